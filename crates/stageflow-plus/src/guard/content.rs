//! What can be guarded: [`Content`].

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::guarded::Guarded;

/// What can be guarded: it knows whether there is anything to look at.
///
/// Empty content is blocked, because a check that finds nothing in nothing says nothing. A text is empty if it has no character that is
/// seen; a number and a `bool` never are.
///
/// ```
/// use stageflow_plus::guard::Content;
///
/// struct Request { text: String, user: u64 }
///
/// impl Content for Request {
///     fn is_empty(&self) -> bool {
///         Content::is_empty(&self.text)
///     }
/// }
///
/// assert!(Content::is_empty(&Request { text: " \n\u{200b}".to_owned(), user: 7 }));
/// ```
pub trait Content: Send + Sync + 'static {
    /// Whether there is nothing to look at.
    fn is_empty(&self) -> bool;
}

/// Whether nothing of it is seen: white space, control characters, and characters without a width.
pub(super) fn is_blank(text: &str) -> bool {
    text.chars().all(|c| c.is_whitespace() || c.is_control() || is_invisible(c))
}

/// Characters that are not seen, and that some put between others to hide a word.
pub(super) fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        | '\u{e0000}'..='\u{e0fff}')
}

impl Content for String {
    fn is_empty(&self) -> bool {
        is_blank(self)
    }
}

impl Content for &'static str {
    fn is_empty(&self) -> bool {
        is_blank(self)
    }
}

impl<T: Send + Sync + 'static> Content for Vec<T> {
    fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }
}

impl<T: Content> Content for Option<T> {
    fn is_empty(&self) -> bool {
        self.as_ref().is_none_or(Content::is_empty)
    }
}

impl<T: Content> Content for Box<T> {
    fn is_empty(&self) -> bool {
        T::is_empty(self)
    }
}

impl<T: Content> Content for Arc<T> {
    fn is_empty(&self) -> bool {
        T::is_empty(self)
    }
}

impl<T: Content> Content for Guarded<T> {
    fn is_empty(&self) -> bool {
        T::is_empty(self)
    }
}

impl<K: Send + Sync + 'static, V: Send + Sync + 'static> Content for BTreeMap<K, V> {
    fn is_empty(&self) -> bool {
        self.is_empty()
    }
}

impl<K: Send + Sync + 'static, V: Send + Sync + 'static, S: Send + Sync + 'static> Content
    for HashMap<K, V, S>
{
    fn is_empty(&self) -> bool {
        self.is_empty()
    }
}

macro_rules! never_empty {
    ($($of:ty)*) => {$(
        impl Content for $of {
            fn is_empty(&self) -> bool {
                false
            }
        }
    )*};
}

never_empty! { bool u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize f32 f64 }

//! [`Measure`]: how many tokens a value is.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::counter::TokenCounter;

/// What of a value counts against a context window.
///
/// Texts count as what they are, collections as the sum of what is in them; separators and keys that a prompt adds are not in it.
///
/// ```
/// use stageflow_plus::enrich::{EstimatedTokens, Measure, TokenCounter};
///
/// struct Doc { title: String, body: String, id: u64 }
///
/// impl Measure for Doc {
///     fn measure(&self, counter: &dyn TokenCounter) -> usize {
///         self.title.measure(counter) + self.body.measure(counter) // the id is not in the prompt
///     }
/// }
///
/// let doc = Doc { title: "Fees".into(), body: "Nobody pays them.".into(), id: 7 };
/// assert_eq!(vec![doc].measure(&EstimatedTokens::default()), 6);
/// ```
pub trait Measure {
    /// How many tokens it is.
    fn measure(&self, counter: &dyn TokenCounter) -> usize;
}

impl Measure for str {
    fn measure(&self, counter: &dyn TokenCounter) -> usize {
        counter.count(self)
    }
}

impl Measure for String {
    fn measure(&self, counter: &dyn TokenCounter) -> usize {
        counter.count(self)
    }
}

impl Measure for Cow<'_, str> {
    fn measure(&self, counter: &dyn TokenCounter) -> usize {
        counter.count(self)
    }
}

/// Nothing is no token.
impl Measure for () {
    fn measure(&self, _: &dyn TokenCounter) -> usize {
        0
    }
}

macro_rules! through {
    ($($of:ty),*) => {$(
        impl<T: Measure + ?Sized> Measure for $of {
            fn measure(&self, counter: &dyn TokenCounter) -> usize {
                (**self).measure(counter)
            }
        }
    )*};
}

through!(&T, Box<T>, Arc<T>);

impl<T: Measure> Measure for Option<T> {
    fn measure(&self, counter: &dyn TokenCounter) -> usize {
        self.as_ref().map_or(0, |value| value.measure(counter))
    }
}

impl<T: Measure> Measure for [T] {
    fn measure(&self, counter: &dyn TokenCounter) -> usize {
        sum(self.iter().map(|item| item.measure(counter)))
    }
}

impl<T: Measure> Measure for Vec<T> {
    fn measure(&self, counter: &dyn TokenCounter) -> usize {
        self.as_slice().measure(counter)
    }
}

impl<K, V: Measure> Measure for BTreeMap<K, V> {
    fn measure(&self, counter: &dyn TokenCounter) -> usize {
        sum(self.values().map(|value| value.measure(counter)))
    }
}

impl<K, V: Measure, S> Measure for HashMap<K, V, S> {
    fn measure(&self, counter: &dyn TokenCounter) -> usize {
        sum(self.values().map(|value| value.measure(counter)))
    }
}

macro_rules! tuples {
    ($(($($name:ident $index:tt),+))*) => {$(
        impl<$($name: Measure),+> Measure for ($($name,)+) {
            fn measure(&self, counter: &dyn TokenCounter) -> usize {
                sum([$(self.$index.measure(counter)),+])
            }
        }
    )*};
}

tuples! {
    (A 0)
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
}

/// A counter that gives enormous numbers makes no small sum.
pub(crate) fn sum(parts: impl IntoIterator<Item = usize>) -> usize {
    parts.into_iter().fold(0, usize::saturating_add)
}

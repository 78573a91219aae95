//! [`Reason`]: why a guard decided as it did, as a word.

use std::{borrow::Cow, fmt};

use stageflow_core::text::OneLine;

/// How many characters of it are kept.
const LONGEST: usize = 64;

/// Why a guard decided as it did: a word such as `pii.email`, for events, errors and dashboards.
///
/// It is made of a text of the program, so that content cannot be formatted into it by accident. [`of_rule`](Self::of_rule) is for
/// rules whose names are known at run time only. Control characters are escaped, and 64 characters are kept.
///
/// ```
/// use stageflow_plus::guard::Reason;
///
/// assert_eq!(Reason::from("pii.email").as_str(), "pii.email");
/// assert_eq!(Reason::of_rule(format!("rule-{}", 7)).as_str(), "rule-7");
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Reason(Cow<'static, str>);

impl Reason {
    /// The name of a rule that comes from a configuration. Never make it of what was checked: it goes into events and errors.
    pub fn of_rule(name: impl Into<String>) -> Self {
        Self::new(Cow::Owned(name.into()))
    }

    fn new(word: Cow<'static, str>) -> Self {
        let is_fine = word.len() <= LONGEST && !word.chars().any(char::is_control);
        Self(if is_fine { word } else { OneLine(word).to_string().chars().take(LONGEST).collect() })
    }

    /// As a word.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&'static str> for Reason {
    fn from(word: &'static str) -> Self {
        Self::new(Cow::Borrowed(word))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

//! Events of a stage's or a policy's own.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Whether the engine's own events have such names.
fn is_reserved(name: &str) -> bool {
    const OF_STAGES: [&str; 6] = ["started", "completed", "failed", "skipped", "cancelled", "blocked"];
    ["pipeline.", "events."].iter().any(|space| name.starts_with(space))
        || name.strip_prefix("stage.").is_some_and(|what| OF_STAGES.contains(&what))
}

/// An event of a stage's or a policy's own.
#[derive(Clone, Debug, PartialEq)]
pub struct CustomEvent {
    pub(super) name: String,
    pub(super) fields: Vec<(String, FieldValue)>,
}

impl CustomEvent {
    /// An event with a name such as `route.decided` and a few small fields.
    ///
    /// Names of the engine's own events are reserved, so that nobody takes one for the other: `custom.` is put before
    /// `pipeline.…`, `events.…`, and `stage.started` and its like.
    pub fn new<K, V>(name: impl Into<String>, fields: impl IntoIterator<Item = (K, V)>) -> Self
    where
        K: Into<String>,
        V: Into<FieldValue>,
    {
        let fields = fields.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        let mut name = name.into();
        if is_reserved(&name) {
            name.insert_str(0, "custom.");
        }
        Self { name, fields }
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// All fields, in the order in which they were given.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &FieldValue)> {
        self.fields.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// The field `key`.
    pub fn field(&self, key: &str) -> Option<&FieldValue> {
        self.fields.iter().find(|(known, _)| known == key).map(|(_, value)| value)
    }
}

/// The value of a field of a [`CustomEvent`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum FieldValue {
    /// A text.
    Text(String),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// A truth value.
    Bool(bool),
}

macro_rules! field_values {
    ($($from:ty => $variant:ident,)*) => {$(
        impl From<$from> for FieldValue {
            fn from(value: $from) -> Self {
                Self::$variant(value.into())
            }
        }
    )*};
}

field_values! {
    &str => Text,
    String => Text,
    i32 => Int,
    i64 => Int,
    u8 => Int,
    u16 => Int,
    u32 => Int,
    f32 => Float,
    f64 => Float,
    bool => Bool,
}

impl From<u64> for FieldValue {
    fn from(value: u64) -> Self {
        Self::Int(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<usize> for FieldValue {
    fn from(value: usize) -> Self {
        Self::Int(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for FieldValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Int(number) => number.fmt(f),
            Self::Float(number) => number.fmt(f),
            Self::Bool(truth) => truth.fmt(f),
        }
    }
}

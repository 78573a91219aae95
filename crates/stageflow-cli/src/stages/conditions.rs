//! Conditions over JSON values, for `when`.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use stageflow::{plus::router::Phrase, spec::Registry};

use super::pointer::Pointer;

/// A part is this value.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Equals {
    /// Which part.
    #[serde(default)]
    at: Pointer,
    /// The value.
    value: Value,
}

/// A part is there, and not `null`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Exists {
    /// Which part.
    #[serde(default)]
    at: Pointer,
}

/// A part is a number, and at least this.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AtLeast {
    /// Which part.
    #[serde(default)]
    at: Pointer,
    /// The number.
    number: f64,
}

/// A part is a text that says one of these phrases: whole words, in whatever case.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Says {
    /// Which part.
    #[serde(default)]
    at: Pointer,
    /// The phrases.
    any_of: Vec<String>,
}

pub(super) fn register(registry: &mut Registry) {
    registry
        .predicate("equals", |wanted: &Equals, value: &Value| wanted.at.get(value) == Some(&wanted.value))
        .predicate("exists", |wanted: &Exists, value: &Value| {
            wanted.at.get(value).is_some_and(|part| !part.is_null())
        })
        .predicate("at_least", |wanted: &AtLeast, value: &Value| {
            wanted.at.get(value).and_then(Value::as_f64).is_some_and(|number| number >= wanted.number)
        })
        .predicate("says", |wanted: &Says, value: &Value| {
            let text = wanted.at.get(value).and_then(Value::as_str).unwrap_or_default();
            wanted.any_of.iter().any(|phrase| Phrase::new(phrase.as_str()).is_in(text))
        });
}

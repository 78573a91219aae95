//! Places in values: JSON pointers, and references to the output of a stage.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::Value;

/// A JSON pointer (RFC 6901): `/customer/name`; the empty text is the whole value.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Pointer(String);

/// A value among inputs by name: `stage`, or `stage/field` for a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    pub(crate) stage: String,
    pub(crate) pointer: Pointer,
}

impl Pointer {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if !text.is_empty() && !text.starts_with('/') {
            return Err(format!(
                "a JSON pointer begins with `/`: write `/{text}`, or nothing for the whole value"
            ));
        }
        let mut tail = text;
        while let Some((_, after)) = tail.split_once('~') {
            if !after.starts_with(['0', '1']) {
                return Err(
                    "in a JSON pointer `~` is written `~0`, and `/` in a name is written `~1`".to_owned()
                );
            }
            tail = after;
        }
        Ok(Self(text.to_owned()))
    }

    pub(crate) fn get<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        value.pointer(&self.0)
    }

    /// How people read it.
    pub(crate) fn shown(&self) -> &str {
        if self.0.is_empty() { "the input" } else { &self.0 }
    }
}

impl Reference {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (stage, pointer) = match text.find('/') {
            Some(slash) => text.split_at(slash),
            None => (text, ""),
        };
        if stage.is_empty() {
            return Err("a reference begins with the name of a stage: `ticket/text`".to_owned());
        }
        Ok(Self { stage: stage.to_owned(), pointer: Pointer::parse(pointer)? })
    }
}

impl<'de> Deserialize<'de> for Pointer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&Cow::<str>::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&Cow::<str>::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

impl JsonSchema for Pointer {
    fn schema_name() -> Cow<'static, str> {
        "Pointer".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^(/([^~]|~[01])*)?$",
            "description": "A JSON pointer (RFC 6901), such as `/customer/name`; the empty text is the whole value.",
        })
    }
}

impl JsonSchema for Reference {
    fn schema_name() -> Cow<'static, str> {
        "Reference".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^[^/]+(/([^~]|~[01])*)?$",
            "description": "The output of a stage, such as `ticket`, or a part of it, such as `ticket/customer/name`.",
        })
    }
}

/// A value as it stands in a text: texts as they are, nothing for `null`, everything else as JSON.
pub(crate) fn shown(value: &Value) -> Cow<'_, str> {
    match value {
        Value::Null => "".into(),
        Value::String(text) => text.into(),
        other => other.to_string().into(),
    }
}

/// What a value is, for messages: never its content, which may be a secret.
pub(crate) fn what(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// The text at a pointer.
pub(crate) fn text_at<'v>(value: &'v Value, pointer: &Pointer) -> Result<&'v str, String> {
    match pointer.get(value) {
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(format!("{} is {} and has to be a text", pointer.shown(), what(other))),
        None => Err(format!("{} is missing and has to be a text", pointer.shown())),
    }
}

//! [`InputSpec`]: what feeds a stage, in data.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor},
    ser::SerializeMap,
};

use super::entries::twice;

/// How deep inputs may be nested: tuples in tuples.
const DEEPEST: usize = 8;

/// What feeds a stage or a part of its input.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum InputSpec {
    /// A stage's output, or the pipeline's input.
    Port(String),
    /// Each of them: a tuple, a list, or inputs by name, as the stage takes it.
    Each(Vec<InputSpec>),
    /// `{"optional": …}`
    Optional(Side),
    /// `{"or": […]}`
    Or(Vec<String>),
}

/// What can be optional.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Side {
    Port(String),
    Or(Vec<String>),
}

impl InputSpec {
    /// Calls `see` with each name.
    pub(crate) fn for_each<'s>(&'s self, see: &mut impl FnMut(&'s str)) {
        match self {
            Self::Port(name) | Self::Optional(Side::Port(name)) => see(name),
            Self::Or(names) | Self::Optional(Side::Or(names)) => names.iter().for_each(|name| see(name)),
            Self::Each(items) => items.iter().for_each(|item| item.for_each(see)),
        }
    }
}

impl Serialize for InputSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Port(name) => serializer.serialize_str(name),
            Self::Each(items) => serializer.collect_seq(items),
            Self::Optional(side) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("optional", side)?;
                map.end()
            }
            Self::Or(names) => or(names, serializer),
        }
    }
}

impl Serialize for Side {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Port(name) => serializer.serialize_str(name),
            Self::Or(names) => or(names, serializer),
        }
    }
}

fn or<S: Serializer>(names: &[String], serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(1))?;
    map.serialize_entry("or", names)?;
    map.end()
}

impl<'de> Deserialize<'de> for InputSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Nested(DEEPEST).deserialize(deserializer)
    }
}

struct Nested(usize);

impl<'de> DeserializeSeed<'de> for Nested {
    type Value = InputSpec;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<InputSpec, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Nested {
    type Value = InputSpec;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name, an array of inputs, `{\"optional\": …}` or `{\"or\": […]}`")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<InputSpec, E> {
        Ok(InputSpec::Port(name.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<InputSpec, A::Error> {
        let Some(depth) = self.0.checked_sub(1) else {
            return Err(A::Error::custom(format_args!("inputs are nested deeper than {DEEPEST} levels")));
        };
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(Nested(depth))? {
            items.push(item);
        }
        Ok(InputSpec::Each(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<InputSpec, A::Error> {
        let Some(key) = map.next_key::<String>()? else {
            return Err(A::Error::custom("an empty object is no input: write `optional` or `or`"));
        };
        let input = match key.as_str() {
            "optional" => InputSpec::Optional(map.next_value()?),
            "or" => InputSpec::Or(map.next_value()?),
            other => return Err(A::Error::unknown_field(other, &["optional", "or"])),
        };
        only(&key, map)?;
        Ok(input)
    }
}

impl<'de> Deserialize<'de> for Side {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SideVisitor)
    }
}

struct SideVisitor;

impl<'de> Visitor<'de> for SideVisitor {
    type Value = Side;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name or `{\"or\": […]}`")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Side, E> {
        Ok(Side::Port(name.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Side, A::Error> {
        let Some(key) = map.next_key::<String>()? else {
            return Err(A::Error::custom("an empty object is no input: write `or`"));
        };
        if key != "or" {
            return Err(A::Error::unknown_field(&key, &["or"]));
        }
        let side = Side::Or(map.next_value()?);
        only(&key, map)?;
        Ok(side)
    }
}

/// Nothing may follow the one key of an object.
fn only<'de, A: MapAccess<'de>>(first: &str, mut map: A) -> Result<(), A::Error> {
    match map.next_key::<String>()? {
        None => Ok(()),
        Some(again) if again == first => Err(twice(first)),
        Some(_) => {
            Err(A::Error::custom("`optional` and `or` stand alone: write `{\"optional\": {\"or\": […]}}`"))
        }
    }
}

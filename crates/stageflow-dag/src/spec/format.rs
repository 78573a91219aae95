//! [`PipelineSpec`]: the format.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use stageflow_core::StageKind;

use super::{
    entries::{Config, Entries},
    input::InputSpec,
};

/// A pipeline as data: stages by name, what they are, what feeds them, and their policies.
///
/// Read by [`from_json`](Self::from_json), which says where an error is, or by any format that serde knows. What is read is well
/// formed; whether its stages exist and fit is found by [`Registry::build`](super::Registry::build). Unknown fields and keys that
/// come twice are errors. Serialised it gives the same data again, with its objects in the order of the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct PipelineSpec {
    #[serde(default, rename = "$schema", deserialize_with = "some", skip_serializing_if = "Option::is_none")]
    pub(crate) schema: Option<String>,
    pub(crate) stageflow: Version,
    pub(crate) name: String,
    #[serde(default, deserialize_with = "some", skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<String>,
    #[serde(default, deserialize_with = "some", skip_serializing_if = "Option::is_none")]
    pub(crate) policies: Option<Entries<Config>>,
    pub(crate) stages: Entries<StageSpec>,
    pub(crate) output: String,
}

impl PipelineSpec {
    /// The version of the format: the value of `"stageflow"`.
    pub const VERSION: u64 = 1;

    /// The pipeline's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is for, if the data says so.
    pub fn description(&self) -> Option<&str> {
        self.description.as_deref()
    }

    /// The name and the kind of each stage, in the order of the data.
    pub fn stages(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.stages.iter().map(|(name, stage)| (name, stage.kind.as_str()))
    }

    /// The stage whose output is the pipeline's.
    pub fn output(&self) -> &str {
        &self.output
    }
}

/// What is derived reads arrays as well, with the fields in their order; these are read from objects alone.
macro_rules! only_objects {
    ($($name:ident)+) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                Self::serialize(self, serializer)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Fields;

                impl<'de> de::Visitor<'de> for Fields {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("an object")
                    }

                    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<$name, A::Error> {
                        $name::deserialize(de::value::MapAccessDeserializer::new(map))
                    }
                }

                deserializer.deserialize_map(Fields)
            }
        }
    )+};
}

only_objects!(PipelineSpec StageSpec WhenSpec);

/// The only version there is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Version;

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(PipelineSpec::VERSION)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u64::deserialize(deserializer)? {
            PipelineSpec::VERSION => Ok(Self),
            other => Err(de::Error::custom(unknown_version(other))),
        }
    }
}

pub(super) fn unknown_version(version: impl fmt::Display) -> String {
    format!(
        "version {version} of the format is unknown: this program reads version {}",
        PipelineSpec::VERSION
    )
}

/// A stage of a [`PipelineSpec`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub(crate) struct StageSpec {
    #[serde(rename = "use")]
    pub(crate) kind: String,
    #[serde(default, deserialize_with = "some", skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<String>,
    #[serde(default, deserialize_with = "some", skip_serializing_if = "Option::is_none")]
    pub(crate) with: Option<Config>,
    #[serde(default, deserialize_with = "some", skip_serializing_if = "Option::is_none")]
    pub(crate) inputs: Option<InputSpec>,
    #[serde(default, deserialize_with = "some", skip_serializing_if = "Option::is_none")]
    pub(crate) after: Option<OneOrMany<String>>,
    #[serde(default, deserialize_with = "some", skip_serializing_if = "Option::is_none")]
    pub(crate) when: Option<OneOrMany<WhenSpec>>,
    #[serde(default, rename = "kind", deserialize_with = "some", skip_serializing_if = "Option::is_none")]
    pub(crate) work: Option<StageKind>,
    #[serde(default, deserialize_with = "some", skip_serializing_if = "Option::is_none")]
    pub(crate) policies: Option<Entries<Config>>,
}

/// A condition of a stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub(crate) struct WhenSpec {
    pub(crate) of: String,
    #[serde(default, deserialize_with = "some", skip_serializing_if = "Option::is_none")]
    pub(crate) is: Option<String>,
    #[serde(default, deserialize_with = "some", skip_serializing_if = "Option::is_none")]
    pub(crate) not: Option<String>,
    #[serde(default, deserialize_with = "some", skip_serializing_if = "Option::is_none")]
    pub(crate) with: Option<Config>,
}

/// One, or an array of them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    pub(crate) fn as_slice(&self) -> &[T] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }

    /// Where the item is, behind the field.
    pub(crate) fn pointer(&self, index: usize) -> String {
        match self {
            Self::One(_) => String::new(),
            Self::Many(_) => format!("/{index}"),
        }
    }
}

impl<T: Serialize> Serialize for OneOrMany<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::One(one) => one.serialize(serializer),
            Self::Many(many) => many.serialize(serializer),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrManyVisitor(std::marker::PhantomData))
    }
}

struct OneOrManyVisitor<T>(std::marker::PhantomData<T>);

impl<'de, T: Deserialize<'de>> de::Visitor<'de> for OneOrManyVisitor<T> {
    type Value = OneOrMany<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one, or an array of them")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<OneOrMany<T>, E> {
        T::deserialize(de::value::StrDeserializer::new(text)).map(OneOrMany::One)
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<OneOrMany<T>, A::Error> {
        T::deserialize(de::value::MapAccessDeserializer::new(map)).map(OneOrMany::One)
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, seq: A) -> Result<OneOrMany<T>, A::Error> {
        Vec::deserialize(de::value::SeqAccessDeserializer::new(seq)).map(OneOrMany::Many)
    }
}

/// A field that may be left out, and is not `null`.
fn some<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

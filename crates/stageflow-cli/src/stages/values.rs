//! Stages that make and reshape values: `value`, `default`, `select`, `merge`.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use stageflow::prelude::*;

use super::{
    files::{Folder, Format, RelativePath, read},
    pointer::{Pointer, what},
};

/// Gives always the same value.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Constant {
    /// The value: anything JSON knows.
    value: Value,
}

impl Stage for Constant {
    type Input = ();
    type Output = Value;

    async fn run(&self, _: &StageContext, (): ()) -> StageResult<Value> {
        Ok(self.value.clone())
    }
}

/// Passes its input on; if that is `null`, gives the content of a JSON file instead.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Otherwise {
    /// The file, relative to the folder of the pipeline.
    file: RelativePath,
}

impl Stage for Otherwise {
    type Input = Arc<Value>;
    type Output = Value;
    const KIND: StageKind = StageKind::Enrich;

    async fn run(&self, ctx: &StageContext, input: Arc<Value>) -> StageResult<Value> {
        if !input.is_null() {
            return Ok(Arc::unwrap_or_clone(input));
        }
        read(Folder::of(ctx)?, self.file.clone(), Format::Json, super::files::MOST).await
    }
}

/// Gives a part of its input.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Select {
    /// Which part.
    at: Pointer,
    /// What to give where there is no such part; without it the stage fails.
    #[serde(default, deserialize_with = "given")]
    otherwise: Option<Value>,
}

/// A value that may be `null`, which is not the same as none.
pub(super) fn given<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl Stage for Select {
    type Input = Arc<Value>;
    type Output = Value;

    async fn run(&self, _: &StageContext, input: Arc<Value>) -> StageResult<Value> {
        if let Some(part) = self.at.get(&input).or(self.otherwise.as_ref()) {
            return Ok(part.clone());
        }
        let known = match &*input {
            Value::Object(fields) => {
                let names: Vec<_> = fields.keys().take(8).map(|name| format!("`{name}`")).collect();
                format!(
                    "an object with {}",
                    if names.is_empty() { "nothing in it".to_owned() } else { names.join(", ") }
                )
            }
            other => what(other).to_owned(),
        };
        Err(format!("{} is missing: the input is {known}", self.at.shown())).invalid()
    }
}

/// Makes one object of its inputs.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Merge {
    /// How.
    #[serde(default)]
    by: MergeBy,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum MergeBy {
    /// Each input becomes a field with the name of its stage.
    #[default]
    Name,
    /// The fields of all inputs become fields; those of later inputs replace those of earlier ones.
    Field,
}

impl Stage for Merge {
    type Input = StageInputs;
    type Output = Value;

    async fn run(&self, _: &StageContext, inputs: StageInputs) -> StageResult<Value> {
        let mut merged = Map::new();
        for name in inputs.names() {
            // What is optional and not there is left out.
            let Some(value) = inputs.get_optional::<Value>(name)? else { continue };
            match (self.by, &*value) {
                (MergeBy::Name, value) => drop(merged.insert(name.to_owned(), value.clone())),
                (MergeBy::Field, Value::Object(fields)) => merged.extend(fields.clone()),
                (MergeBy::Field, other) => {
                    return Err(format!("`{name}` is {} and has no fields to merge", what(other))).invalid();
                }
            }
        }
        Ok(Value::Object(merged))
    }
}

//! `split`: a text in parts.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use stageflow::prelude::*;

use super::pointer::{Pointer, text_at};

/// Gives the parts of a text as an array of texts; empty ones are left out.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Split {
    /// Where the text is.
    #[serde(default)]
    at: Pointer,
    /// What a part is.
    #[serde(default)]
    by: By,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum By {
    #[default]
    Lines,
    /// What stands between blank lines.
    Paragraphs,
    /// What stands between spaces.
    Words,
}

impl Stage for Split {
    type Input = Arc<Value>;
    type Output = Value;

    async fn run(&self, _: &StageContext, input: Arc<Value>) -> StageResult<Value> {
        let text = text_at(&input, &self.at).invalid()?;
        let parts: Vec<String> = match self.by {
            By::Lines => text.lines().map(str::to_owned).collect(),
            By::Words => text.split_whitespace().map(str::to_owned).collect(),
            By::Paragraphs => paragraphs(text),
        };
        Ok(parts.into_iter().filter(|part| !part.trim().is_empty()).map(Value::from).collect())
    }
}

fn paragraphs(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    lines.split(|line| line.trim().is_empty()).map(|lines| lines.join("\n")).collect()
}

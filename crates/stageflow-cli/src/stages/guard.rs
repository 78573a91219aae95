//! `guard`: lets a value through, or says everything that is wrong with it.

use std::{collections::BTreeMap, sync::Arc};

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use stageflow::{plus::router::Phrase, prelude::*, spec::SpecError};

use super::pointer::{Pointer, what};

/// Passes its input on if it is as it should be; otherwise the stage fails with all that is wrong.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct GuardConfig {
    /// What has to be there, and what it has to be.
    #[serde(default)]
    require: BTreeMap<String, Shape>,
    /// How many characters a text may have at most.
    #[serde(default)]
    max_chars: BTreeMap<String, usize>,
    /// Which values are allowed.
    #[serde(default)]
    one_of: BTreeMap<String, Vec<Value>>,
    /// Which phrases may not be in a text: whole words, in whatever case.
    #[serde(default)]
    forbid: BTreeMap<String, Vec<String>>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Shape {
    /// Anything but `null`.
    Any,
    /// A text that is not blank.
    Text,
    Number,
    Boolean,
    Array,
    Object,
}

#[derive(Debug)]
pub(super) struct Guard {
    require: Vec<(Pointer, Shape)>,
    max_chars: Vec<(Pointer, usize)>,
    one_of: Vec<(Pointer, Vec<Value>)>,
    forbid: Vec<(Pointer, Vec<Phrase>)>,
}

impl Guard {
    pub(super) fn new(config: GuardConfig) -> Result<Self, SpecError> {
        let forbid = config
            .forbid
            .into_iter()
            .map(|(at, phrases)| (at, phrases.into_iter().map(Phrase::new).collect::<Vec<_>>()));
        let guard = Self {
            require: pointers(config.require, "/require")?,
            max_chars: pointers(config.max_chars, "/max_chars")?,
            one_of: pointers(config.one_of, "/one_of")?,
            forbid: pointers(forbid, "/forbid")?,
        };
        for (at, phrases) in &guard.forbid {
            if phrases.iter().any(Phrase::is_empty) {
                let empty =
                    format!("a phrase for {} has no word in it, and would never be found", at.shown());
                return Err(SpecError::new(empty).at("/forbid"));
            }
        }
        Ok(guard)
    }

    fn problems(&self, value: &Value) -> Vec<String> {
        let mut problems = Vec::new();
        for (at, shape) in &self.require {
            match at.get(value) {
                None | Some(Value::Null) => problems.push(format!("{} is missing", at.shown())),
                Some(found) => {
                    if let Some(wanted) = shape.refuses(found) {
                        problems.push(format!("{} is {} and has to be {wanted}", at.shown(), what(found)));
                    }
                }
            }
        }
        for (at, most) in &self.max_chars {
            let chars = at.get(value).and_then(Value::as_str).map_or(0, |text| text.chars().count());
            if chars > *most {
                problems.push(format!("{} has {chars} characters, and {most} are allowed", at.shown()));
            }
        }
        for (at, allowed) in &self.one_of {
            if at.get(value).is_some_and(|found| !allowed.contains(found)) {
                let list: Vec<_> = allowed.iter().map(Value::to_string).collect();
                problems.push(format!("{} is none of {}", at.shown(), list.join(", ")));
            }
        }
        for (at, phrases) in &self.forbid {
            let text = at.get(value).and_then(Value::as_str).unwrap_or_default();
            for phrase in phrases.iter().filter(|phrase| phrase.is_in(text)) {
                problems.push(format!("{} says \"{phrase}\"", at.shown()));
            }
        }
        problems
    }
}

fn pointers<T>(
    rules: impl IntoIterator<Item = (String, T)>,
    field: &str,
) -> Result<Vec<(Pointer, T)>, SpecError> {
    let rules = rules.into_iter().map(|(at, rule)| match Pointer::parse(&at) {
        Ok(at) => Ok((at, rule)),
        Err(what) => Err(SpecError::new(what).at(field)),
    });
    rules.collect()
}

impl Shape {
    /// What it has to be, if it is not.
    fn refuses(self, value: &Value) -> Option<&'static str> {
        let (is_right, wanted) = match self {
            Self::Any => (true, ""),
            Self::Text => {
                (value.as_str().is_some_and(|text| !text.trim().is_empty()), "a text that is not blank")
            }
            Self::Number => (value.is_number(), "a number"),
            Self::Boolean => (value.is_boolean(), "true or false"),
            Self::Array => (value.is_array(), "an array"),
            Self::Object => (value.is_object(), "an object"),
        };
        (!is_right).then_some(wanted)
    }
}

impl Stage for Guard {
    type Input = Arc<Value>;
    type Output = Value;
    const KIND: StageKind = StageKind::Guard;

    async fn run(&self, _: &StageContext, input: Arc<Value>) -> StageResult<Value> {
        match self.problems(&input)[..] {
            [] => Ok(Arc::unwrap_or_clone(input)),
            ref problems => Err(problems.join("; ")).invalid(),
        }
    }
}

//! What reads the data, and what it promises.

use std::{fmt, sync::Arc};

use serde_json::Value;
use stageflow::{
    StageInput,
    prelude::*,
    spec::{HumanDuration, PipelineSpec, Registry, SpecError, StandardPolicies},
};

/// The reader of pipelines from data, and a registry with a stage of each form.
pub(crate) struct Target {
    registry: Registry,
}

/// How far a case came.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reached {
    Unread,
    Refused,
    Built,
}

/// How far all cases came.
#[derive(Debug, Default)]
pub(crate) struct Seen([u64; 3]);

impl Seen {
    pub(crate) fn add(&mut self, reached: Reached) {
        self.0[reached as usize] += 1;
    }

    pub(crate) fn reaches_everything(&self) -> bool {
        self.0.iter().all(|count| *count > 20)
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [unread, refused, built] = self.0;
        let all = unread + refused + built;
        write!(f, "{all} cases, {unread} not read, {refused} read and refused, {built} built")
    }
}

/// Takes anything, gives a number.
fn takes<In: StageInput>() -> impl Stage<Input = In, Output = u32> {
    stage_fn(|_, _: In| async { Ok(0_u32) })
}

impl Target {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::new();
        registry
            .standard_policies()
            .fallback_value::<u32>("answer")
            .stage("zero", |(): ()| Ok::<_, SpecError>(takes::<()>()))
            .stage("one", |(): ()| Ok::<_, SpecError>(takes::<Arc<u32>>()))
            .stage("own", |(): ()| Ok::<_, SpecError>(takes::<Owned<u32>>()))
            .stage("maybe", |(): ()| Ok::<_, SpecError>(takes::<Option<Arc<u32>>>()))
            .stage("list", |(): ()| Ok::<_, SpecError>(takes::<Vec<Arc<u32>>>()))
            .stage("maybes", |(): ()| Ok::<_, SpecError>(takes::<Vec<Option<Arc<u32>>>>()))
            .stage("named", |(): ()| Ok::<_, SpecError>(takes::<StageInputs>()))
            .stage("deep", |(): ()| {
                Ok::<_, SpecError>(takes::<((Arc<u32>, Vec<Arc<u32>>), Option<Arc<u32>>)>())
            })
            .stage("text", |(): ()| {
                Ok::<_, SpecError>(stage_fn(|_, n: Arc<u32>| async move { Ok(n.to_string()) }))
            })
            .stage("times", |times: u32| match times {
                0 => Err(SpecError::new("nothing is left")),
                _ => Ok(takes::<Arc<u32>>()),
            })
            .stage("panics", |(): ()| {
                let stage = takes::<Arc<u32>>();
                if true {
                    panic!("a constructor of the target");
                }
                Ok::<_, SpecError>(stage)
            })
            .predicate("even", |(): &(), n: &u32| n.is_multiple_of(2))
            .predicate("above", |limit: &u32, n: &u32| n > limit);
        Self { registry }
    }

    /// Reads a text and builds what it describes; what is broken of its promises.
    pub(crate) fn check(&self, text: &str) -> Result<Reached, String> {
        duration(text)?;
        let spec = match PipelineSpec::from_json(text) {
            Ok(spec) => spec,
            Err(error) => {
                is_clean(&error.to_string())?;
                let (line, _) = error.line_column().unwrap_or((1, 1));
                return if line <= text.split('\n').count() {
                    Ok(Reached::Unread)
                } else {
                    Err(format!("{error} is behind the end"))
                };
            }
        };
        let again = serde_json::to_string(&spec).map_err(|error| error.to_string())?;
        let data: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if serde_json::from_str::<Value>(&again).ok().as_ref() != Some(&data) {
            return Err(format!("it serialises to {again}"));
        }
        match self.registry.build::<u32, u32>(&spec) {
            Ok(pipeline) => {
                let (tree, lints) = (pipeline.to_tree(), pipeline.lint().to_string());
                let known =
                    spec.stages().all(|(name, _)| pipeline.stages().any(|stage| stage.name() == name));
                if known && !tree.is_empty() && !lints.is_empty() {
                    Ok(Reached::Built)
                } else {
                    Err("a stage is lost".to_owned())
                }
            }
            Err(error) => {
                is_clean(&error.to_string())?;
                for problem in error.problems() {
                    let Some(pointer) = problem.pointer() else {
                        return Err(format!("{problem} is nowhere in the data"));
                    };
                    // A field that is missing is where it would be.
                    let around = pointer.rsplit_once('/').map_or("", |(around, _)| around);
                    if data.pointer(pointer).is_none() && data.pointer(around).is_none() {
                        return Err(format!("{problem} is at a place that is not in the data"));
                    }
                }
                Ok(Reached::Refused)
            }
        }
    }
}

/// A text for a terminal has no control characters but its own line breaks.
fn is_clean(text: &str) -> Result<(), String> {
    match text.chars().find(|c| c.is_control() && *c != '\n') {
        Some(c) => Err(format!("{c:?} is in the text of an error")),
        None => Ok(()),
    }
}

/// Some characters of the text as a duration.
fn duration(text: &str) -> Result<(), String> {
    let short: String = text.chars().filter(|c| !c.is_whitespace()).take(12).collect();
    match short.parse::<HumanDuration>() {
        Ok(time) if time.to_string().parse() != Ok(time) => Err(format!("{time} does not read as itself")),
        _ => Ok(()),
    }
}

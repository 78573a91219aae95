//! The ready-made stages, over JSON values.

mod command;
mod conditions;
mod files;
mod guard;
mod lookup;
mod pointer;
mod redact;
mod route;
mod template;
mod text;
mod trouble;
mod values;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use stageflow::{
    interceptors::Fallback,
    spec::{Registry, SpecError, StandardPolicies as _},
};

pub(crate) use self::files::Folder;

/// What the binary `stageflow` offers: stages over `serde_json::Value`, the policies of Stageflow, and conditions.
pub fn stages() -> Registry {
    let mut registry = Registry::new();
    register(&mut registry);
    registry
}

/// Answers in the place of a stage that fails. The configuration is the answer itself, whatever it is.
#[derive(Deserialize, JsonSchema)]
struct Answer(Value);

/// A stage that is its own configuration.
fn same<S>(stage: S) -> Result<S, SpecError> {
    Ok(stage)
}

fn register(registry: &mut Registry) {
    registry
        .stage("command", command::Program::new)
        .stage("default", same::<values::Otherwise>)
        .stage("delay", same::<trouble::Delay>)
        .stage("flaky", same::<trouble::Flaky>)
        .stage("guard", guard::Guard::new)
        .stage("lookup", lookup::Lookup::new)
        .stage("merge", same::<values::Merge>)
        .stage("rank", same::<lookup::Rank>)
        .stage("read_file", same::<files::ReadFile>)
        .stage("redact", same::<redact::Redact>)
        .stage("route.phrases", route::Router::new)
        .stage("select", same::<values::Select>)
        .stage("split", same::<text::Split>)
        .stage("template", template::Template::new)
        .stage("value", same::<values::Constant>)
        .stage("write_file", same::<files::WriteFile>);
    registry
        .standard_policies()
        .policy("fallback", |Answer(value): Answer| Ok::<_, SpecError>(Fallback::value(value)));
    conditions::register(registry);
}

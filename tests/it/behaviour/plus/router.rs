//! Ready-made stages: routers.

mod breaker;
mod decisions;
mod fallback;
mod loops;
mod priority;
mod weighted;

use std::{collections::BTreeSet, sync::Arc};

use stageflow::{
    EVENTS, EventKind, FieldValue, Recorder,
    plus::router::{Route, RouteKey},
    prelude::*,
};

/// What a pipeline was given.
#[derive(Clone, Debug, Default)]
struct Ticket {
    user: u64,
    text: String,
}

fn ticket(text: &str) -> Ticket {
    Ticket { user: 7, text: text.to_owned() }
}

/// A stage that gives its name.
fn says(name: &'static str) -> impl Stage<Input = Arc<Ticket>, Output = String> {
    stage_fn(move |_, _: Arc<Ticket>| async move { Ok(name.to_owned()) })
}

/// Passes on what the branch said that was taken.
fn passes() -> impl Stage<Input = Arc<String>, Output = String> {
    stage_fn(|_, said: Arc<String>| async move { Ok(said.to_string()) })
}

/// A router, a stage behind each of its routes that says its name, and their join.
fn branches<R: RouteKey>(
    router: impl Stage<Input = Arc<Ticket>, Output = Route<R>>,
    routes: impl IntoIterator<Item = (R, &'static str)>,
) -> Pipeline<Ticket, String> {
    let mut p = Pipeline::builder("routed");
    let ticket = p.input();
    let decision = p.stage("pick", router).inputs(ticket);
    let mut joined: Option<stageflow::OrPort<String>> = None;
    for (route, name) in routes {
        let branch = p.stage(name, says(name)).when(decision, move |d| *d.route() == route).inputs(ticket);
        joined = Some(match joined {
            None => branch.into(),
            Some(others) => others.or(branch),
        });
    }
    let output = p.stage("join", passes()).inputs(joined.expect("there are branches"));
    p.build(output).expect("the pipeline of a test is right")
}

/// The details of each event of a name, which are in the table.
pub(super) fn told(recorder: &Recorder, name: &str) -> Vec<Vec<(String, FieldValue)>> {
    let spec = EVENTS.iter().find(|event| event.name == name).expect("it is in the table");
    let known: BTreeSet<_> = spec.details.iter().copied().collect();
    let events = recorder.events();
    let fields = events.iter().filter(|event| event.name() == name).map(|event| {
        assert_eq!(event.kind().class(), spec.class);
        let EventKind::Custom(custom) = event.kind() else { panic!("{name} is a policy's own") };
        custom.fields().map(|(key, value)| (key.to_owned(), value.clone())).collect::<Vec<_>>()
    });
    let fields: Vec<_> = fields.collect();
    assert!(fields.iter().flatten().all(|(key, _)| known.contains(key.as_str())), "{name}: {fields:?}");
    fields
}

/// One detail of each event of a name, as text.
pub(super) fn each(recorder: &Recorder, name: &str, key: &str) -> Vec<String> {
    let value = |fields: Vec<(String, FieldValue)>| {
        let found = fields.into_iter().find(|(known, _)| known == key);
        found.map_or_else(String::new, |(_, value)| match value {
            FieldValue::Text(text) => text,
            other => other.to_string(),
        })
    };
    told(recorder, name).into_iter().map(value).collect()
}

/// What an error and all that is behind it say.
pub(super) fn causes(error: &RunError) -> String {
    let all = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    all.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

//! Enriching stages in running pipelines: context windows, cuts, conflicts, versions.

mod attacked;
mod recorded;
mod settled;
mod window;

use std::sync::Arc;

use stageflow::{
    EVENTS, Event, EventKind, Recorder, RunReport,
    plus::enrich::{ContextExt as _, ContextReport, ContextWindow, TokenCounter},
    prelude::*,
};

/// Counts characters.
struct Chars;

impl TokenCounter for Chars {
    fn count(&self, text: &str) -> usize {
        text.chars().count()
    }

    fn name(&self) -> &str {
        "chars"
    }
}

/// A stage of kind enrich that gives so many letters.
struct Letters(usize);

impl Stage for Letters {
    type Input = ();
    type Output = String;
    const KIND: StageKind = StageKind::Enrich;

    async fn run(&self, _: &StageContext, (): ()) -> StageResult<String> {
        Ok("x".repeat(self.0))
    }
}

/// A stage that is no enriching one and adds up the lengths.
fn total() -> impl Stage<Input = Vec<Arc<String>>, Output = usize> {
    stage_fn(|_, all: Vec<Arc<String>>| async move { Ok(all.iter().map(|one| one.len()).sum()) })
}

/// A pipeline of enriching stages, one after the other, each of which gives so many letters, and of one that reads them all.
fn chain(window: impl Into<Option<ContextWindow>>, letters: &[usize]) -> Pipeline<(), usize> {
    let mut p = Pipeline::builder("chain");
    if let Some(window) = window.into() {
        p.intercept(window);
    }
    let mut ports: Vec<Port<String>> = Vec::new();
    for (at, letters) in letters.iter().enumerate() {
        let stage = p.stage(format!("e{at}"), Letters(*letters));
        let stage = ports.last().into_iter().fold(stage, |stage, before| stage.after(*before));
        ports.push(stage.inputs(()));
    }
    let total = p.stage("total", total()).inputs(ports);
    p.build(total).expect("the pipeline of a test is right")
}

/// The account of a run after it.
fn account(report: &RunReport) -> ContextReport {
    report.snapshot().context_window().expect("a window has met the run").report()
}

/// `stage: tokens` of each stage in the account.
fn tokens(report: &RunReport) -> Vec<(String, Option<usize>)> {
    account(report).stages.into_iter().map(|one| (one.stage, one.tokens)).collect()
}

/// The events of a name, each as `stage key=value …`, with the keys that its table allows.
fn told(recorder: &Recorder, name: &str) -> Vec<String> {
    let spec = EVENTS.iter().find(|event| event.name == name).expect("it is in the table");
    let line = |event: &Event| {
        let EventKind::Custom(custom) = event.kind() else { panic!("{name} is a policy's own") };
        assert_eq!(event.kind().class(), spec.class);
        let fields = custom.fields().map(|(key, value)| {
            assert!(spec.details.contains(&key), "{name} has {key}");
            format!(" {key}={value}")
        });
        fields.fold(event.stage().unwrap_or("-").to_owned(), |line, field| line + &field)
    };
    recorder.events().iter().filter(|event| event.name() == name).map(line).collect()
}

//! Ready-made stages: guards.

mod blocked;
mod cancelled;
mod hostile;
mod loops;
mod regions;
mod secrets;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use stageflow::{
    ErrorClass, Recorder,
    plus::guard::{Attempt, Guard, GuardExt as _, Guarded, Verdict, guard_fn},
    prelude::*,
};

/// How often something was done.
#[derive(Clone, Default)]
struct Times(Arc<AtomicUsize>);

impl Times {
    fn up(&self) -> usize {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }

    fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// What attempts are given where feedback is a text.
type Draft = Attempt<String, String, String>;

/// A stage that reads what a guard has let pass, and counts.
fn model(calls: &Times) -> impl Stage<Input = Arc<Guarded<String>>, Output = String> + use<> {
    let calls = calls.clone();
    stage_fn(move |_, prompt: Arc<Guarded<String>>| {
        calls.up();
        async move { Ok(format!("about {}", **prompt)) }
    })
}

/// A guard before a model: the stages `source`, `guard` and `model`.
fn guarded(guard: impl Guard<String>, calls: &Times) -> Pipeline<String, String> {
    let mut p = Pipeline::builder("guarded");
    let input = p.input();
    let safe = p.guard("guard", guard).over(input);
    let answer = p.stage("model", model(calls)).inputs(safe);
    p.build(answer).expect("the pipeline of a test is right")
}

/// A pipeline of one stage, `write`, that gives one text of a script after the other, and the last for ever.
fn script(texts: &'static [&'static str], written: &Times) -> Pipeline<Draft, String> {
    let written = written.clone();
    let write = stage_fn(move |_, attempt: Arc<Draft>| {
        written.up();
        let at = usize::try_from(attempt.number() - 1).expect("a small number");
        let text = texts.get(at).or(texts.last()).expect("a script has a text");
        async move { Ok((*text).to_owned()) }
    });
    let mut p = Pipeline::builder("one draft");
    let attempt = p.input();
    let text = p.stage("write", write).inputs(attempt);
    p.build(text).expect("the pipeline of a test is right")
}

/// Lets one text pass, says why not of the others, and counts.
fn wants(text: &'static str, asked: &Times) -> impl Guard<String, String> + use<> {
    let asked = asked.clone();
    guard_fn("wants", move |got: &String| {
        asked.up();
        match got == text {
            true => Verdict::allow(),
            false => Verdict::block("not_it").feedback(format!("{got} is not {text}")),
        }
    })
}

/// A pipeline of one stage, `draft`.
fn drafting(
    stage: impl Stage<Input = Arc<String>, Output = Guarded<String>>,
) -> Pipeline<String, Guarded<String>> {
    let mut p = Pipeline::builder("drafting");
    let topic = p.input();
    let draft = p.stage("draft", stage).inputs(topic);
    p.build(draft).expect("the pipeline of a test is right")
}

fn topic() -> String {
    "topic".to_owned()
}

/// The names of the events of guards, in order.
fn names(recorder: &Recorder) -> Vec<String> {
    let events = recorder.events();
    let names = events.iter().map(|event| event.name().into_owned());
    names.filter(|name| name.starts_with("guard") || name.starts_with("audit")).collect()
}

/// The class of the failure that is the cause.
fn class(error: &RunError) -> ErrorClass {
    error.failure().expect("something failed").class()
}

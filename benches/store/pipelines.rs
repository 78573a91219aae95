//! The pipelines whose stages are durable.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use stageflow::{Pipeline, Port, Stage, StageContext, StageInput, StageResult};
use stageflow_benches::graph::Shape;

/// How many bytes a stage gives, as text: two more are written, for the quotes of JSON.
pub(crate) const BYTES: usize = 256;

/// What a stage gives.
pub(crate) fn payload() -> String {
    "stageflow".chars().cycle().take(BYTES).collect()
}

/// How often stages were called, and whether the last of a run hangs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Door {
    pub(crate) calls: Arc<AtomicU32>,
    pub(crate) is_shut: Arc<AtomicBool>,
}

impl Door {
    pub(crate) fn calls(&self) -> u32 {
        self.calls.load(Ordering::SeqCst)
    }
}

/// A stage that gives a text, whatever it takes.
struct Give<I> {
    text: String,
    door: Door,
    is_last: bool,
    input: std::marker::PhantomData<fn(I)>,
}

impl<I: StageInput + Send + 'static> Stage for Give<I> {
    type Input = I;
    type Output = String;

    async fn run(&self, _: &StageContext, _: I) -> StageResult<String> {
        self.door.calls.fetch_add(1, Ordering::Relaxed);
        if self.is_last && self.door.is_shut.load(Ordering::SeqCst) {
            pending::<()>().await;
        }
        Ok(self.text.clone())
    }
}

/// A pipeline of durable stages in the shape of a graph.
pub(crate) fn durable(shape: Shape, door: &Door) -> Pipeline<(), String> {
    let graph = shape.graph();
    let mut builder = Pipeline::builder("durable");
    let mut ports: Vec<Port<String>> = Vec::with_capacity(graph.len());
    for stage in graph.stages() {
        let name = format!("s{stage}");
        let is_last = ports.len() + 1 == graph.len();
        let port = match graph.dependencies(stage) {
            [] => builder.stage(name, give::<()>(door, is_last)).durable().inputs(()),
            [one] => {
                let before = ports[*one as usize];
                builder.stage(name, give::<Arc<String>>(door, is_last)).durable().inputs(before)
            }
            many => {
                let before: Vec<Port<String>> = many.iter().map(|one| ports[*one as usize]).collect();
                builder.stage(name, give::<Vec<Arc<String>>>(door, is_last)).durable().inputs(before)
            }
        };
        ports.push(port);
    }
    let last = *ports.last().expect("a graph has a stage");
    builder.build(last).expect("the graph is sound")
}

fn give<I>(door: &Door, is_last: bool) -> Give<I> {
    Give { text: payload(), door: door.clone(), is_last, input: std::marker::PhantomData }
}

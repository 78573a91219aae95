//! The same graphs as pipelines.

use std::sync::Arc;

use stageflow::{
    Call, Engine, Interceptor, Keep, Next, Pipeline, Port, Recorder, Stage, StageContext, StageResult, Value,
    events::{AttemptSpans, LogEvents},
};

use crate::{graph::Graph, work::Work};

/// A stage that does its work and gives nothing.
struct Unit<W> {
    work: W,
    stage: u32,
}

impl<W: Work> Stage for Unit<W> {
    type Input = ();
    type Output = ();

    async fn run(&self, _: &StageContext, (): ()) -> StageResult<()> {
        self.work.call(self.stage).await;
        Ok(())
    }
}

/// A stage without inputs that gives a number.
struct Source<W> {
    work: W,
    stage: u32,
}

impl<W: Work> Stage for Source<W> {
    type Input = ();
    type Output = u64;

    async fn run(&self, _: &StageContext, (): ()) -> StageResult<u64> {
        self.work.call(self.stage).await;
        Ok(1)
    }
}

/// A stage that adds one to a number.
struct Next1<W> {
    work: W,
    stage: u32,
}

impl<W: Work> Stage for Next1<W> {
    type Input = Arc<u64>;
    type Output = u64;

    async fn run(&self, _: &StageContext, number: Arc<u64>) -> StageResult<u64> {
        self.work.call(self.stage).await;
        Ok(*number + 1)
    }
}

/// A stage that takes several numbers.
struct Largest<W> {
    work: W,
    stage: u32,
}

impl<W: Work> Stage for Largest<W> {
    type Input = Vec<Arc<u64>>;
    type Output = u64;

    async fn run(&self, _: &StageContext, numbers: Vec<Arc<u64>>) -> StageResult<u64> {
        self.work.call(self.stage).await;
        Ok(numbers.iter().map(|number| **number).max().unwrap_or_default() + 1)
    }
}

/// A stage that gives a value of its own kind and size.
struct Give<V>(V);

impl<V: Clone + Send + Sync + 'static> Stage for Give<V> {
    type Input = ();
    type Output = V;

    async fn run(&self, _: &StageContext, (): ()) -> StageResult<V> {
        Ok(self.0.clone())
    }
}

/// A stage that gives a value and has taken the one before.
struct GiveOn<V>(V);

impl<V: Clone + Send + Sync + 'static> Stage for GiveOn<V> {
    type Input = Arc<V>;
    type Output = V;

    async fn run(&self, _: &StageContext, _: Arc<V>) -> StageResult<V> {
        Ok(self.0.clone())
    }
}

/// A pipeline whose stages give nothing and are only ordered.
pub fn units(graph: &Graph, work: &impl Work) -> Pipeline<(), ()> {
    let mut builder = Pipeline::builder("units");
    let mut ports: Vec<Port<()>> = Vec::with_capacity(graph.len());
    for stage in graph.stages() {
        let mut draft = builder.stage(format!("s{stage}"), Unit { work: work.clone(), stage });
        for before in graph.dependencies(stage) {
            draft = draft.after(ports[*before as usize]);
        }
        ports.push(draft.inputs(()));
    }
    let last = *ports.last().expect("a graph has a stage");
    builder.build(last).expect("the graph is sound")
}

/// A pipeline whose stages take the numbers of those they wait for and give one.
pub fn values(graph: &Graph, work: &impl Work) -> Pipeline<(), u64> {
    let mut builder = Pipeline::builder("values");
    let mut ports: Vec<Port<u64>> = Vec::with_capacity(graph.len());
    for stage in graph.stages() {
        let (name, work) = (format!("s{stage}"), work.clone());
        let port = match graph.dependencies(stage) {
            [] => builder.stage(name, Source { work, stage }).inputs(()),
            [one] => builder.stage(name, Next1 { work, stage }).inputs(ports[*one as usize]),
            many => {
                let before: Vec<Port<u64>> = many.iter().map(|one| ports[*one as usize]).collect();
                builder.stage(name, Largest { work, stage }).inputs(before)
            }
        };
        ports.push(port);
    }
    let last = *ports.last().expect("a graph has a stage");
    builder.build(last).expect("the graph is sound")
}

/// A chain that hands on values of one kind and keeps only the last.
pub fn chain_of<V: Clone + Send + Sync + 'static>(stages: u32, value: &V) -> Pipeline<(), V> {
    let mut builder = Pipeline::builder("chain-of-values");
    builder.keep(Keep::Output);
    let mut port = builder.stage("s0", Give(value.clone())).inputs(());
    for stage in 1..stages {
        port = builder.stage(format!("s{stage}"), GiveOn(value.clone())).inputs(port);
    }
    builder.build(port).expect("the chain is sound")
}

/// An interceptor that does nothing.
struct Nothing;

impl Interceptor for Nothing {
    async fn around(&self, _: &Call, next: Next<'_>) -> StageResult<Value> {
        next.run().await
    }
}

/// An engine that records every event and wraps every stage in two interceptors that do nothing.
pub fn observed() -> (Engine, Recorder) {
    let recorder = Recorder::new();
    let engine = Engine::builder().sink(recorder.clone()).interceptor(Nothing).interceptor(Nothing).build();
    (engine.expect("the engine is sound"), recorder)
}

/// An engine that would log events and lines of stages, where nobody collects what is logged.
pub fn unheard() -> Engine {
    let engine = Engine::builder().sink(LogEvents::new()).interceptor(AttemptSpans::new()).build();
    engine.expect("the engine is sound")
}

/// What a run that is observed leaves behind: dropping it drops the events, too.
#[derive(Debug)]
pub struct Recorded<R> {
    /// The result of the run.
    pub result: R,
    /// Holds the events of the run.
    pub recorder: Recorder,
}

impl<R> Drop for Recorded<R> {
    fn drop(&mut self) {
        self.recorder.clear();
    }
}

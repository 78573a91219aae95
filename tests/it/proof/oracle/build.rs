//! From a case to a pipeline whose stages do what the case says.

use std::{marker::PhantomData, sync::Arc, time::Duration};

use super::{
    super::{
        ON_PURPOSE,
        pause::{Time, yield_once},
    },
    case::{Case, Exit, Pace, Predicate, Source, StageCase, Wire},
    expect,
    probe::{Delivered, Probe, V},
};
use stageflow::{
    AnyPort, Builder, Call, Interceptor, Names, Next, OrPort, Pipeline, Port, Stage, StageBuilder,
    StageContext, StageExit, StageInput, StageInputs, StageResult, Value, names,
};

/// One stage, for one run.
struct Body<I, O> {
    index: usize,
    stage: StageCase,
    probe: Arc<Probe>,
    time: Time,
    types: PhantomData<fn(I) -> O>,
}

impl<I: StageInput + Delivered, O: Output> Stage for Body<I, O> {
    type Input = I;
    type Output = O;

    async fn run(&self, _: &StageContext, input: I) -> StageResult<O> {
        let _running = self.probe.enter(self.index, self.stage.kind);
        let mut inputs = Vec::new();
        input.add_to(&mut inputs);
        self.pause().await;
        match self.stage.exit {
            Exit::Completes => Ok(O::of(&self.probe, expect::value(self.index, inputs))),
            Exit::Skips => Err(StageExit::skip(ON_PURPOSE)),
            Exit::Fails => Err(StageExit::fail(ON_PURPOSE)),
            Exit::Retries => Err(StageExit::retry(ON_PURPOSE).after(Duration::ZERO)),
            Exit::Panics => panic!("{ON_PURPOSE}"),
            Exit::Cancels => Err(StageExit::cancel(ON_PURPOSE)),
            Exit::Denies => Err(StageExit::deny(ON_PURPOSE)),
        }
    }
}

impl<I, O> Body<I, O> {
    async fn pause(&self) {
        match self.stage.pace {
            Pace::AtOnce => {}
            Pace::Yields(count) => {
                for _ in 0..count {
                    yield_once().await;
                }
            }
            Pace::Sleeps(millis) => self.time.pass(millis).await,
        }
    }
}

/// What stages give.
trait Output: Send + Sync + 'static {
    fn of(probe: &Probe, value: u64) -> Self;
}

impl Output for V {
    fn of(probe: &Probe, value: u64) -> Self {
        probe.value(value)
    }
}

impl Output for () {
    fn of(_: &Probe, _: u64) {}
}

/// Stands around every stage and does nothing.
struct Transparent;

impl Interceptor for Transparent {
    async fn around(&self, _: &Call, next: Next<'_>) -> StageResult<Value> {
        next.run().await
    }
}

pub(crate) fn name(stage: usize) -> String {
    format!("s{stage}")
}

/// The ports of the stages that have been added.
struct Ports {
    input: Port<V>,
    /// `None` for a stage whose output is `()`.
    values: Vec<Option<Port<V>>>,
    any: Vec<AnyPort>,
}

impl Ports {
    fn value(&self, source: Source) -> Port<V> {
        match source {
            Source::Input => self.input,
            Source::Stage(stage) => self.values[stage].expect("it is declared and has a value"),
        }
    }

    fn list(&self, sources: &[Source]) -> Vec<Port<V>> {
        sources.iter().map(|source| self.value(*source)).collect()
    }

    fn or(&self, sides: &[Source]) -> OrPort<V> {
        let first = OrPort::from(self.value(sides[0]));
        sides[1..].iter().fold(first, |sides, side| sides.or(self.value(*side)))
    }
}

fn by_name(sources: &[(usize, bool)]) -> Names {
    let wanted = |wanted: bool| {
        sources.iter().filter(move |(_, optional)| *optional == wanted).map(|(stage, _)| name(*stage))
    };
    names(wanted(false)).optional(wanted(true))
}

pub(crate) fn pipeline(case: &Case, probe: &Arc<Probe>, time: Time) -> Pipeline<V, V> {
    let mut p: Builder<V> = Pipeline::builder("random");
    let mut ports = Ports { input: p.input(), values: Vec::new(), any: Vec::new() };
    p.on_failure(case.policy).keep(case.keep);
    if let Some(limit) = case.limits.pipeline {
        p.max_in_flight(limit);
    }
    if let Some((kind, limit)) = case.limits.kind {
        p.limit_kind(kind, limit);
    }
    if case.intercepted {
        p.intercept(Transparent);
    }
    for index in 0..case.stages.len() {
        let add = Add { p: &mut p, ports: &ports, case, probe, time, index };
        if case.stages[index].unit {
            let port: Port<()> = add.stage();
            ports.values.push(None);
            ports.any.push(port.erase());
        } else {
            let port = add.stage();
            ports.values.push(Some(port));
            ports.any.push(port.erase());
        }
    }
    p.build(ports.value(Source::Stage(case.output))).expect("a random pipeline has no problem")
}

/// One stage on its way into the pipeline.
struct Add<'a> {
    p: &'a mut Builder<V>,
    ports: &'a Ports,
    case: &'a Case,
    probe: &'a Arc<Probe>,
    time: Time,
    index: usize,
}

impl Add<'_> {
    fn stage<O: Output>(self) -> Port<O> {
        let ports = self.ports;
        let one = |source: &Source| ports.value(*source);
        match &*self.case.stages[self.index].wires {
            [] => self.body::<(), O>().inputs(()),
            [Wire::One(a)] => self.body::<Arc<V>, O>().inputs(one(a)),
            [Wire::Owned(a)] => self.body::<stageflow::Owned<V>, O>().inputs(one(a)),
            [Wire::One(a), Wire::One(b)] => self.body::<(Arc<V>, Arc<V>), O>().inputs((one(a), one(b))),
            [Wire::Many(a)] => self.body::<Vec<Arc<V>>, O>().inputs(ports.list(a)),
            [Wire::Optional(a)] => self.body::<Option<Arc<V>>, O>().inputs(one(a).optional()),
            [Wire::Or(a)] => self.body::<Arc<V>, O>().inputs(ports.or(a)),
            [Wire::OrOptional(a)] => self.body::<Option<Arc<V>>, O>().inputs(ports.or(a).optional()),
            [Wire::Named(a)] => self.body::<StageInputs, O>().inputs(by_name(a)),
            [Wire::One(a), Wire::Optional(b), Wire::Or(c)] => self
                .body::<(Arc<V>, Option<Arc<V>>, Arc<V>), O>()
                .inputs((one(a), one(b).optional(), ports.or(c))),
            [Wire::Many(a), Wire::OrOptional(b), Wire::Named(c)] => self
                .body::<(Vec<Arc<V>>, Option<Arc<V>>, StageInputs), O>()
                .inputs((ports.list(a), ports.or(b).optional(), by_name(c))),
            [Wire::Owned(a), Wire::Many(b), Wire::Optional(c)] => self
                .body::<(stageflow::Owned<V>, Vec<Arc<V>>, Option<Arc<V>>), O>()
                .inputs((one(a), ports.list(b), one(c).optional())),
            other => unreachable!("no such wiring is drawn: {other:?}"),
        }
    }
}

impl<'a> Add<'a> {
    fn body<I: StageInput + Delivered, O: Output>(self) -> StageBuilder<'a, V, Body<I, O>> {
        let stage = &self.case.stages[self.index];
        let body = Body {
            index: self.index,
            stage: stage.clone(),
            probe: Arc::clone(self.probe),
            time: self.time,
            types: PhantomData,
        };
        let mut builder = self.p.stage(name(self.index), body).kind(stage.kind);
        for source in &stage.after {
            builder = builder.after(self.ports.any[*source]);
        }
        for source in &stage.after_names {
            builder = builder.after_name(name(*source));
        }
        for (source, predicate) in &stage.when {
            let predicate: Predicate = *predicate;
            let holds = move |value: &V| expect::holds(predicate, value.value);
            builder = builder.when(self.ports.value(*source), holds);
        }
        builder
    }
}

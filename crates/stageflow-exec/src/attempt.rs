//! Calling a stage: its inputs, its chain of interceptors, and innermost the attempt.

use std::{sync::Arc, task::Poll};

use stageflow_core::{
    Code, ErrorClass, EventKind, InputError, StageContext, StageExit, StageInputs, StageResult, Value, code,
    input::{InputItem, InputSource, Inputs, NamedItem},
    intercept,
    stage::{StageFuture, StageRole},
    time::{Human, nanos},
};
use stageflow_dag::plan::{Edge, EdgeKind, INPUT};

use crate::{cell::State, limits::Permits, node::Timer, run::RunCore, scope::WorkerScope, worker::Worker};

/// Begins the call of a stage whose inputs are there.
pub(crate) fn begin(worker: &mut Worker, run: &Arc<RunCore>, stage: u32) -> StageResult<StageFuture> {
    let ctx = worker.context(run, stage);
    if run.bare {
        run.cell(stage).mark_attempt(1);
        worker.note(run, stage, 1, EventKind::StageStarted);
        return run.plan.stage(stage).start(ctx, &mut Slots::new(run, stage)).map_err(invalid_input);
    }
    if is_wrapped(run, stage) {
        let inputs = gather(run, stage).map_err(invalid_input)?;
        return Ok(match run.chains.as_ref().map_or(&[][..], |chains| chains.of(stage)) {
            [] => attempt(&worker.scope, &ctx, 1, inputs),
            chain => intercept::call(chain, ctx, inputs),
        });
    }
    run.cell(stage).mark_attempt(1);
    worker.note(run, stage, 1, EventKind::StageStarted);
    let started = if run.outputs.is_counted() {
        let inputs = gather(run, stage).map_err(invalid_input)?;
        run.plan.stage(stage).start(ctx, &mut inputs.into_source())
    } else {
        run.plan.stage(stage).start(ctx, &mut Slots::new(run, stage))
    };
    started.map_err(invalid_input)
}

/// Whether there is anything between the worker and the stage: interceptors or limits.
pub(crate) fn is_wrapped(run: &RunCore, stage: u32) -> bool {
    run.is_limited || run.chains.as_ref().is_some_and(|chains| !chains.of(stage).is_empty())
}

/// One attempt: permit, attempt timeout, event, number.
///
/// Permits are held by leaf stages only, from the end of the wait to the end of the attempt: a stage that waits for its child
/// run holds none, or a limit of one would never let the child run.
pub(crate) fn attempt(scope: &WorkerScope, ctx: &StageContext, number: u32, inputs: Inputs) -> StageFuture {
    let run = &scope.run;
    let stage = ctx.index();
    run.cell(stage).mark_attempt(number);
    let timeout = run.plan.settings(stage).and_then(|settings| settings.attempt_timeout);
    let limited = run.is_limited && run.plan.stage(stage).role() == StageRole::Leaf;
    if !limited && timeout.is_none() {
        scope.attempt_started(stage, number);
        return start(run, ctx.for_attempt(number, ctx.until_nanos()), inputs);
    }
    let (run, ctx) = (Arc::clone(run), ctx.clone());
    Box::pin(async move {
        let _permits =
            if limited { Some(InFlight::new(&run, stage, run.limits.acquire(&ctx).await)) } else { None };
        let now = run.now();
        let until = timeout.map_or(u64::MAX, |timeout| now.saturating_add(nanos(timeout)));
        let cell = run.cell(stage);
        if number == 1 && limited {
            cell.mark_started(now);
        }
        run.emit(stage, number, EventKind::StageStarted);
        let mut future = start(&run, ctx.for_attempt(number, until.min(ctx.until_nanos())), inputs);
        let Some(timeout) = timeout else { return future.await };
        let mut timer = None;
        std::future::poll_fn(move |cx| {
            if let Poll::Ready(done) = future.as_mut().poll(cx) {
                return Poll::Ready(done);
            }
            // A stage that is ready at once pays for no timer.
            let timer = timer.get_or_insert_with(|| Timer::new(timeout, code::ATTEMPT_TIMEOUT));
            if timer.is_up(cx) {
                return Poll::Ready(Err(timed_out(&run, stage, timer.code)));
            }
            Poll::Pending
        })
        .await
    })
}

/// The permits of an attempt, where work that goes on elsewhere finds them.
struct InFlight {
    run: Arc<RunCore>,
    stage: u32,
    _permits: Arc<Permits>,
}

impl InFlight {
    fn new(run: &Arc<RunCore>, stage: u32, permits: Permits) -> Self {
        let permits = Arc::new(permits);
        run.details().permits.insert(stage, Arc::downgrade(&permits));
        Self { run: Arc::clone(run), stage, _permits: permits }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.run.details().permits.remove(&self.stage);
    }
}

fn start(run: &RunCore, ctx: StageContext, inputs: Inputs) -> StageFuture {
    let stage = ctx.index();
    match run.plan.stage(stage).start(ctx, &mut inputs.into_source()) {
        Ok(future) => future,
        Err(error) => Box::pin(std::future::ready(Err(invalid_input(error)))),
    }
}

/// The failure of a stage or an attempt whose time is up.
pub(crate) fn timed_out(run: &RunCore, stage: u32, code: Code) -> StageExit {
    let settings = run.plan.settings(stage);
    let (what, limit) = if code == code::ATTEMPT_TIMEOUT {
        ("the attempt", settings.and_then(|settings| settings.attempt_timeout))
    } else {
        ("the stage", settings.and_then(|settings| settings.timeout))
    };
    let limit = limit.map_or_else(String::new, |limit| format!(" of {}", Human(limit)));
    let error = format!("{what} used up its time{limit}");
    StageExit::failure(code, ErrorClass::Timeout, error.into())
}

fn invalid_input(error: InputError) -> StageExit {
    let code = error.code();
    StageExit::failure(code, ErrorClass::Permanent, error.into())
}

/// Takes the inputs of a stage out of the slots, and lets go of what it will not read.
fn gather(run: &RunCore, stage: u32) -> Result<Inputs, InputError> {
    let mut slots = Slots::new(run, stage);
    let mut inputs = Inputs::default();
    if slots.edges.is_empty() {
        return Ok(inputs);
    }
    while slots.has_more() {
        inputs.push(slots.next()?);
    }
    release_inputs(run, stage);
    Ok(inputs)
}

/// Counts this stage off the readers of its sources.
pub(crate) fn release_inputs(run: &RunCore, stage: u32) {
    if !run.outputs.is_counted() {
        return;
    }
    for edge in run.plan.edges(stage) {
        match edge.kind {
            EdgeKind::One { owned: true } => run.outputs.release_to_owner(edge.source),
            EdgeKind::One { owned: false }
            | EdgeKind::Optional
            | EdgeKind::Or { .. }
            | EdgeKind::NamedOne { .. }
            | EdgeKind::When(_) => run.outputs.release(edge.source),
            EdgeKind::Many(_) | EdgeKind::Named(_) | EdgeKind::After => {}
        }
    }
}

/// Delivers a stage's inputs from the slots of its sources.
struct Slots<'a> {
    run: &'a RunCore,
    stage: u32,
    edges: &'a [Edge],
}

impl<'a> Slots<'a> {
    fn new(run: &'a RunCore, stage: u32) -> Self {
        Self { run, stage, edges: run.plan.edges(stage) }
    }

    fn has_more(&self) -> bool {
        !matches!(self.edges.first().map(|edge| edge.kind), None | Some(EdgeKind::After | EdgeKind::When(_)))
    }

    fn take(&mut self, count: u32) -> &'a [Edge] {
        let (taken, rest) = self.edges.split_at((count as usize).min(self.edges.len()));
        self.edges = rest;
        taken
    }

    fn value(&self, source: u32) -> Option<Value> {
        let there = source == INPUT || self.run.cell(source).state() == State::Completed;
        if there { self.run.output(source) } else { None }
    }

    fn named(&mut self, count: u32) -> InputItem {
        let run = self.run;
        let items = self.take(count).iter().map(|edge| {
            let item = match self.value(edge.source) {
                Some(value) => NamedItem::Value(value),
                None if run.cell(edge.source).state() == State::Skipped => NamedItem::Skipped,
                None => NamedItem::Unavailable,
            };
            (run.plan.stage_name(edge.source).to_owned(), item)
        });
        let items: Vec<_> = items.collect();
        InputItem::Named(StageInputs::new(run.plan.stage_name(self.stage), items))
    }
}

impl InputSource for Slots<'_> {
    fn next(&mut self) -> Result<InputItem, InputError> {
        let Some((edge, rest)) = self.edges.split_first() else { return Err(InputError::gone()) };
        self.edges = rest;
        let one = |value: Option<Value>| value.map(InputItem::One).ok_or_else(InputError::gone);
        match edge.kind {
            EdgeKind::One { .. } => one(self.run.output(edge.source)),
            EdgeKind::Optional => Ok(self.value(edge.source).map_or(InputItem::Absent, InputItem::One)),
            EdgeKind::Many(count) => Ok(InputItem::Many(count as usize)),
            EdgeKind::Or { rest, optional, .. } => {
                let first = self.value(edge.source);
                let others = self.take(rest);
                let chosen = first.or_else(|| others.iter().find_map(|side| self.value(side.source)));
                if optional && chosen.is_none() { Ok(InputItem::Absent) } else { one(chosen) }
            }
            EdgeKind::Named(count) => Ok(self.named(count)),
            EdgeKind::NamedOne { .. } | EdgeKind::After | EdgeKind::When(_) => Err(InputError::gone()),
        }
    }
}

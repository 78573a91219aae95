//! Calling a stage: its inputs, its chain of interceptors, and innermost the attempt.

use std::{
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use stageflow_core::{
    Code, ErrorClass, EventKind, InputError, StageContext, StageExit, StageInputs, StageResult, Value, code,
    input::{InputItem, InputSource, Inputs, NamedItem, NoInputs},
    slot::FutureSlot,
    time::{Human, nanos},
};
use stageflow_dag::plan::{Edge, EdgeKind, INPUT};

use crate::{
    begin, cell::State, durable, limits::Permits, meter, node::Timer, run::RunCore, scope::WorkerScope,
    worker::Worker,
};

/// Begins the call of a stage whose inputs are there.
pub(crate) fn begin(
    worker: &mut Worker,
    run: &Arc<RunCore>,
    stage: u32,
    slot: &mut FutureSlot,
) -> StageResult<()> {
    if !run.bare {
        let chain = run.chain(stage);
        if chain.is_some() || run.log.is_some() || run.is_limited || run.is_metered || is_watched(run, stage)
        {
            if run.plan.takes(stage) {
                worker.calls.give(gather(run, stage).map_err(invalid_input)?);
            }
            worker.call(run, stage, slot, chain);
            if durable::is_committed(run, stage) {
                let call = std::mem::take(slot);
                let scope = Arc::clone(&worker.scope);
                slot.put_with(|| durable::committed(scope, stage, call));
            }
            return Ok(());
        }
    }
    let ctx = worker.context(run, stage);
    run.cell(stage).mark_attempt(1);
    worker.scope.attempt_started(stage, 1);
    let started = if run.outputs.is_counted() {
        let inputs = gather(run, stage).map_err(invalid_input)?;
        run.plan.stage(stage).start_in(slot, ctx, &mut inputs.into_source())
    } else {
        run.plan.stage(stage).start_in(slot, ctx, &mut Slots::new(run, stage))
    };
    started.map_err(invalid_input)
}

/// Whether there is anything between the worker and the stage: interceptors, limits, a meter, or somebody who watches.
pub(crate) fn is_wrapped(run: &RunCore, stage: u32) -> bool {
    run.log.is_some()
        || run.is_limited
        || run.is_metered
        || run.chain(stage).is_some()
        || is_watched(run, stage)
}

/// Whether its attempts are watched: for idleness, or for the time that they take at least.
fn is_watched(run: &RunCore, stage: u32) -> bool {
    (run.pulses.is_some() && run.timeouts(stage).idle.get().is_some())
        || (run.plan.has_min_times() && !run.min_time(stage).is_zero())
}

/// One attempt: permit, attempt timeout, event, number.
///
/// Permits are held from the end of the wait to the end of the attempt. A stage that waits for its child run holds those of
/// its own run only, or an engine's limit of one would never let the child run.
pub(crate) fn attempt(
    scope: &WorkerScope,
    slot: &mut FutureSlot,
    ctx: &StageContext,
    number: u32,
    inputs: Option<Inputs>,
) {
    let run = &scope.run;
    let stage = ctx.index();
    let number = number + run.spent_attempts(stage);
    scope.watch.attempt_begins();
    if ctx.until_nanos() != u64::MAX
        && let Err(exit) = begin::in_time(run, ctx)
    {
        return slot.put(std::future::ready(Err(exit)));
    }
    if run.log.is_some() && run.chain(stage).is_some() {
        let mut call = FutureSlot::take();
        // A stage may panic before it has a future.
        let begun = catch_unwind(AssertUnwindSafe(|| begin_attempt(scope, &mut call, ctx, number, inputs)));
        if let Err(panic) = begun {
            call.put(async move { resume_unwind(panic) });
        }
        let run = Arc::clone(run);
        return slot.put_with(|| durable::noted(run, stage, number, call));
    }
    begin_attempt(scope, slot, ctx, number, inputs);
}

fn begin_attempt(
    scope: &WorkerScope,
    slot: &mut FutureSlot,
    ctx: &StageContext,
    number: u32,
    mut inputs: Option<Inputs>,
) {
    let run = &scope.run;
    let stage = ctx.index();
    let is_directed = run.is_directed();
    if !run.is_timed && !run.is_limited && !run.is_metered && !is_directed {
        run.mark_attempt(stage, number);
        scope.attempt_started(stage, number);
        return start(run, slot, ctx.for_attempt(number, ctx.until_nanos()), &mut inputs);
    }
    let timeouts = run.timeouts(stage);
    let (timeout, idle) = (timeouts.attempt.get(), timeouts.idle.get());
    if !run.is_limited && !run.is_metered && idle.is_none() && !is_directed {
        run.mark_attempt(stage, number);
        scope.attempt_started(stage, number);
        let Some(timeout) = timeout else {
            return start(run, slot, ctx.for_attempt(number, ctx.until_nanos()), &mut inputs);
        };
        let until = scope.now(stage).saturating_add(nanos(timeout)).min(ctx.until_nanos());
        let mut inner = FutureSlot::take();
        start(run, &mut inner, ctx.for_attempt(number, until), &mut inputs);
        return slot.put_with(|| timed(inner, timeout));
    }
    slot.put(limited(Arc::clone(run), ctx.clone(), number, inputs, Watch { timeout, idle }));
}

/// An attempt whose time may be up, and nothing else.
async fn timed(mut inner: FutureSlot, timeout: Duration) -> StageResult<Value> {
    let mut timer = None;
    poll_fn(move |cx| {
        if let Poll::Ready(done) = inner.poll(cx) {
            std::mem::take(&mut inner).keep();
            return Poll::Ready(done);
        }
        // A stage that is ready at once pays for no timer.
        let timer = match &mut timer {
            Some(timer) => timer,
            None => timer.insert(Timer::new(timeout, code::ATTEMPT_TIMEOUT)?),
        };
        if timer.is_up(cx) {
            Poll::Ready(Err(used_up("the attempt", Some(timeout), timer.code)))
        } else {
            Poll::Pending
        }
    })
    .await
}

/// What ends an attempt.
struct Watch {
    timeout: Option<Duration>,
    idle: Option<Duration>,
}

/// An attempt that waits for its permit, is paid for, and whose time may be up; in a replay, one that waits for its cue as well.
async fn limited(
    run: Arc<RunCore>,
    ctx: StageContext,
    number: u32,
    mut inputs: Option<Inputs>,
    Watch { timeout, idle }: Watch,
) -> StageResult<Value> {
    let stage = ctx.index();
    let cue = match &run.log {
        Some(log) => log.cue(&run, stage, number).await,
        None => None,
    };
    let is_timed = cue.as_ref().is_none_or(|cue| cue.timed);
    let (timeout, idle) = (timeout.filter(|_| is_timed), idle.filter(|_| is_timed));
    let _permits = if run.is_limited {
        Some(InFlight::new(&run, stage, begin::permits(&run, &ctx).await?))
    } else {
        None
    };
    let _metered = if run.is_metered { meter::admit(&run, &ctx, number)? } else { None };
    let now = run.now();
    let until = timeout.map_or(u64::MAX, |timeout| now.saturating_add(nanos(timeout)));
    let cell = run.cell(stage);
    run.mark_attempt(stage, number);
    if number == 1 + run.spent_attempts(stage) && run.is_limited {
        cell.mark_started(now);
    }
    run.emit(stage, number, EventKind::StageStarted);
    if idle.is_some() {
        run.begin_pulse(stage, number);
    }
    let mut slot = FutureSlot::take();
    let ctx = ctx.for_attempt(number, until.min(ctx.until_nanos()));
    match cue {
        None => start(&run, &mut slot, ctx, &mut inputs),
        Some(cue) => {
            durable::directed(&run, &mut slot, ctx, cue, |slot, ctx| start(&run, slot, ctx, &mut inputs));
        }
    }
    let (mut timer, mut idle_timer) = (None, None);
    poll_fn(move |cx| {
        if let Poll::Ready(done) = slot.poll(cx) {
            std::mem::take(&mut slot).keep();
            return Poll::Ready(done);
        }
        // A stage that is ready at once pays for no timer.
        if let Some(timeout) = timeout {
            let timer = match &mut timer {
                Some(timer) => timer,
                None => timer.insert(Timer::new(timeout, code::ATTEMPT_TIMEOUT)?),
            };
            if timer.is_up(cx) {
                return Poll::Ready(Err(timed_out(&run, stage, timer.code)));
            }
        }
        if let Some(limit) = idle {
            let timer = match &mut idle_timer {
                Some(timer) => timer,
                None => idle_timer.insert(Timer::new(limit, code::IDLE_TIMEOUT)?),
            };
            // It is wound up for the rest when it goes off, not with each sign.
            while timer.is_up(cx) {
                timer.wind(run.look(stage, limit)?);
            }
        }
        Poll::Pending
    })
    .await
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

#[inline(always)]
fn start(run: &RunCore, slot: &mut FutureSlot, ctx: StageContext, inputs: &mut Option<Inputs>) {
    let stage = run.plan.stage(ctx.index());
    let started = match inputs {
        None => stage.start_in(slot, ctx, &mut NoInputs),
        Some(inputs) => stage.start_in(slot, ctx, &mut std::mem::take(inputs).into_source()),
    };
    if let Err(error) = started {
        slot.put(std::future::ready(Err(invalid_input(error))));
    }
}

/// The failure of a stage or an attempt whose time is up.
pub(crate) fn timed_out(run: &RunCore, stage: u32, code: Code) -> StageExit {
    let timeouts = run.timeouts(stage);
    let (what, limit) = if code == code::ATTEMPT_TIMEOUT {
        ("the attempt", timeouts.attempt)
    } else {
        ("the stage", timeouts.stage)
    };
    used_up(what, limit.get(), code)
}

fn used_up(what: &str, limit: Option<Duration>, code: Code) -> StageExit {
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
    let inputs = read(run, stage)?;
    release_inputs(run, stage, true);
    Ok(inputs)
}

/// The inputs of a stage that was called before, read from where they still are.
pub(crate) fn gather_again(run: &RunCore, stage: u32) -> Result<Option<Inputs>, InputError> {
    if run.plan.takes(stage) { read(run, stage).map(Some) } else { Ok(None) }
}

fn read(run: &RunCore, stage: u32) -> Result<Inputs, InputError> {
    let mut slots = Slots::new(run, stage);
    let mut inputs = Inputs::default();
    while slots.has_more() {
        inputs.push(slots.next()?);
    }
    Ok(inputs)
}

/// Counts this stage off the readers of its sources.
///
/// One that never runs owns nothing: what it would have moved stays in the report.
pub(crate) fn release_inputs(run: &RunCore, stage: u32, runs: bool) {
    if !run.outputs.is_counted() {
        return;
    }
    for edge in run.plan.edges(stage) {
        match edge.kind {
            EdgeKind::One { owned: true } if runs => run.outputs.release_to_owner(edge.source),
            EdgeKind::One { .. }
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

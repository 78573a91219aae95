//! A replay: somebody says when the attempts of a run begin, what they give, and when that is seen.

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use stageflow_core::{
    CustomEvent, ErrorClass, StageContext, StageExit, StageResult, Value, code, durable::Encoded,
    slot::FutureSlot, stage::StageRole,
};

use crate::{node::Spare, run::RunCore, worker::Worker};

/// Says how the attempts of a replayed run go: for simulators, by [`Engine::replay`](crate::Engine::replay).
///
/// Stages have the names that they have in the journal: those of child runs after the stages that lead there.
pub trait Director: Send + Sync + 'static {
    /// Completes when an attempt may begin, with what becomes of it.
    fn cue(&self, stage: Arc<str>, attempt: u32) -> Pin<Box<dyn Future<Output = Cue> + Send + '_>>;

    /// Completes when others may see that an attempt has ended.
    fn release(&self, stage: Arc<str>, attempt: u32) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;

    /// Whether the time of a stage may be up. Where it is not in the journal that it was, it may not: then a slow machine was late to
    /// look.
    fn is_timed(&self, stage: &Arc<str>) -> bool;

    /// Whether a stage ends by itself though the run is stopping: on another thread it was about to.
    fn ends(&self, stage: &Arc<str>) -> bool;

    /// Whether the stage itself is called, as its cue leaves that open.
    fn called(&self, stage: &Arc<str>, attempt: u32);
}

/// What becomes of an attempt.
#[derive(Debug)]
pub struct Cue {
    /// What it says, if the stage is not called: the events of it that were written down.
    pub says: Vec<CustomEvent>,
    /// What it gives.
    pub given: Given,
    /// Whether its time may be up.
    pub timed: bool,
}

/// What an attempt gives in a replay.
#[non_exhaustive]
pub enum Given {
    /// What the stage gives when it is called.
    Call,
    /// What was written of its output. Where nothing was, the stage is called, unless its output is `()`.
    Output(Option<Encoded>),
    /// This exit.
    Exit(StageExit),
    /// Nothing: it is cut off.
    Never,
}

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Call => "Call",
            Self::Output(_) => "Output",
            Self::Exit(_) => "Exit",
            Self::Never => "Never",
        })
    }
}

/// Begins an attempt by its cue; `call` begins the stage itself.
pub(crate) fn directed(
    run: &Arc<RunCore>,
    slot: &mut FutureSlot,
    ctx: StageContext,
    cue: Cue,
    call: impl FnOnce(&mut FutureSlot, StageContext),
) {
    let Some(log) = &run.log else { return call(slot, ctx) };
    let Some(director) = log.director().cloned() else { return call(slot, ctx) };
    let (stage, attempt) = (log.path(run, ctx.index()), ctx.attempt());
    let given = match cue.given {
        // Its own stages have their cues.
        _ if run.plan.stage(ctx.index()).role() == StageRole::Pipeline => None,
        Given::Output(Some(output)) => Some(read(run, ctx.index(), &output)),
        Given::Output(None) => {
            Some(Value::new(())).filter(|unit| run.plan.stage(ctx.index()).gives(unit)).map(Ok)
        }
        Given::Exit(exit) => Some(Err(exit)),
        Given::Never => {
            return slot.put(async move {
                say(&ctx, cue.says);
                std::future::pending().await
            });
        }
        Given::Call => None,
    };
    match given {
        Some(given) => slot.put(async move {
            say(&ctx, cue.says);
            director.release(stage, attempt).await;
            given
        }),
        None => {
            director.called(&stage, attempt);
            let mut inner = FutureSlot::take();
            call(&mut inner, ctx);
            slot.put(async move {
                let done = poll_fn(|cx| inner.poll(cx)).await;
                director.release(stage, attempt).await;
                done
            });
        }
    }
}

impl Worker {
    /// Fails a stage of a replay that is not called, once it is its turn.
    pub(crate) fn refuse(&mut self, run: &Arc<RunCore>, stage: u32, exit: StageExit) {
        let log = run.log.as_ref();
        let Some((director, path)) =
            log.and_then(|log| Some((log.director()?.clone(), log.path(run, stage))))
        else {
            return self.settle_exit(run, stage, exit);
        };
        let mut slot = FutureSlot::take();
        slot.put(async move {
            director.release(path, 0).await;
            Err(exit)
        });
        let spare = Spare::new(run);
        spare.node.set_stage(stage);
        let mut cx = Context::from_waker(&spare.waker);
        match slot.poll(&mut cx) {
            Poll::Pending => self.suspend_until(run, stage, spare, slot, None),
            Poll::Ready(result) => {
                spare.node.task.finish();
                self.finish(run, stage, result);
            }
        }
    }
}

fn say(ctx: &StageContext, events: Vec<CustomEvent>) {
    for event in events {
        let fields: Vec<_> = event.fields().map(|(key, value)| (key.to_owned(), value.clone())).collect();
        ctx.emit(event.name().to_owned(), fields);
    }
}

fn read(run: &RunCore, stage: u32, output: &Encoded) -> StageResult<Value> {
    let codec = run.plan.settings(stage).and_then(|settings| settings.codec.as_ref());
    let refused = |error| StageExit::failure(code::NOT_READABLE, ErrorClass::Permanent, error);
    let Some(codec) = codec else {
        return Err(refused("the stage was durable when it was written down, and is not any more".into()));
    };
    codec.decode(output).map_err(|error| refused(error.into()))
}

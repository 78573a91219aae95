//! A pipeline of one stage that counts its calls, and runs of it under a key.

use std::{
    future::{Future, IntoFuture, poll_fn},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::Poll,
};

use stageflow_core::{DurationExt as _, Recorder, StageContext, StageKind, StageResult, stage_fn};
use stageflow_dag::Pipeline;
use stageflow_exec::{Completed, Engine, RunError, RunHandle};
use tokio::time::Instant;

use crate::{CallInputs, Fingerprint, Idempotency, IdempotencyKey};

pub(super) type Ended = Result<Completed<u32>, RunError>;

/// What a call gives, by its number over all runs, from 1.
pub(super) type Script = fn(u32) -> StageResult<u32>;

#[derive(Clone)]
pub(super) struct Kit {
    engine: Engine,
    pub(super) recorder: Recorder,
    pipeline: Arc<Pipeline<u32, u32>>,
    calls: Arc<AtomicU32>,
}

pub(super) fn input(inputs: &CallInputs) -> Option<Fingerprint> {
    Some(Fingerprint::of(&*inputs.input::<u32>(0)?))
}

impl Kit {
    pub(super) fn new(once: Idempotency, script: Script) -> Self {
        Self::named("billing", StageKind::Work, once, script)
    }

    /// Each call takes a second.
    pub(super) fn named(name: &str, kind: StageKind, once: Idempotency, script: Script) -> Self {
        let recorder = Recorder::new();
        let engine = Engine::builder().sink(recorder.clone()).build().unwrap();
        let calls = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&calls);
        let stage = stage_fn(move |_: StageContext, _: Arc<u32>| {
            let call = counted.fetch_add(1, Ordering::SeqCst) + 1;
            async move {
                // sleeps: the second of a call, in the one test on real threads; all others are paused.
                tokio::time::sleep(1.secs()).await;
                script(call)
            }
        });
        let mut p = Pipeline::builder(name);
        let n = p.input();
        let out = p.stage("charge", stage).kind(kind).intercept(once.fingerprint(input)).inputs(n);
        Self { engine, recorder, pipeline: Arc::new(p.build(out).unwrap()), calls }
    }

    pub(super) fn calls(&self) -> u32 {
        self.calls.load(Ordering::SeqCst)
    }

    pub(super) async fn run(&self, key: &str, input: u32) -> Ended {
        within(self.engine.run(&self.pipeline, input).extension(IdempotencyKey::new(key))).await
    }

    pub(super) async fn run_for(&self, tenant: &str, key: &str) -> Ended {
        within(self.engine.run(&self.pipeline, 1).tenant(tenant).extension(IdempotencyKey::new(key))).await
    }

    pub(super) async fn run_without_key(&self) -> Ended {
        within(self.engine.run(&self.pipeline, 1)).await
    }

    pub(super) fn start(&self, key: &'static str) -> RunHandle<u32> {
        self.engine.run(&self.pipeline, 1).extension(IdempotencyKey::new(key)).start()
    }

    pub(super) fn spawn(&self, key: &'static str) -> tokio::task::JoinHandle<Ended> {
        let kit = self.clone();
        tokio::spawn(async move { kit.run(key, 1).await })
    }

    /// How many events of a name there were.
    pub(super) fn told(&self, name: &str) -> usize {
        self.recorder.events().iter().filter(|event| event.name() == name).count()
    }
}

/// What `future` gives, unless it hangs: in paused time that takes no time, and asking again and again without any time passing is
/// noticed as well.
pub(super) async fn within<F: IntoFuture>(future: F) -> F::Output {
    // sleeps: never to the end, in paused time
    let mut limit = pin!(tokio::time::sleep(60.mins()));
    let mut future = pin!(future.into_future());
    let (mut polls, mut last) = (0, Instant::now());
    poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(output);
        }
        let now = Instant::now();
        polls = if now == last { polls + 1 } else { 1 };
        last = now;
        assert!(polls < 10_000, "it asks again and again while no time passes");
        assert!(limit.as_mut().poll(cx).is_pending(), "it hangs: an hour has passed");
        Poll::Pending
    })
    .await
}

pub(super) fn output(ended: &Ended) -> Option<u32> {
    ended.as_ref().ok().map(|done| *done.output())
}

pub(super) fn message(ended: &Ended) -> String {
    ended.as_ref().err().and_then(RunError::failure).unwrap().message()
}

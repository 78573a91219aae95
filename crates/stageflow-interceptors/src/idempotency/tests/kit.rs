//! A pipeline of one stage that counts its calls, and runs of it under a key.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use stageflow_core::{DurationExt as _, Recorder, StageContext, StageKind, StageResult, stage_fn};
use stageflow_dag::Pipeline;
use stageflow_exec::{Completed, Engine, RunError, RunHandle};

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
        self.engine.run(&self.pipeline, input).extension(IdempotencyKey::new(key)).await
    }

    pub(super) async fn run_for(&self, tenant: &str, key: &str) -> Ended {
        self.engine.run(&self.pipeline, 1).tenant(tenant).extension(IdempotencyKey::new(key)).await
    }

    pub(super) async fn run_without_key(&self) -> Ended {
        self.engine.run(&self.pipeline, 1).await
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

pub(super) fn output(ended: &Ended) -> Option<u32> {
    ended.as_ref().ok().map(|done| *done.output())
}

pub(super) fn message(ended: &Ended) -> String {
    ended.as_ref().err().and_then(RunError::failure).unwrap().message()
}

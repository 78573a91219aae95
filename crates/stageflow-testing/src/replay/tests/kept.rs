//! Runs on threads and in real time, and what was written of them.

use std::{
    sync::{Arc, Mutex},
    time::SystemTime,
};

use stageflow_core::{
    RunId, TenantId, UserId,
    durable::{
        Ack, Answered, Encoded, Entry, Journal, JournalFuture, JournaledRun, PauseRecord, PauseState,
        RunHeader, RunKey, RunLease, RunSummary,
    },
};
use stageflow_dag::Pipeline;
use stageflow_exec::{Durability, Engine, EngineBuilder};

/// Keeps one run.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Option<JournaledRun>>>);

pub(super) fn recorded(pipeline: &Pipeline<u32, u32>, input: u32) -> JournaledRun {
    recorded_with(|engine| engine, pipeline, input)
}

pub(super) fn recorded_with(
    furnish: impl FnOnce(EngineBuilder) -> EngineBuilder,
    pipeline: &Pipeline<u32, u32>,
    input: u32,
) -> JournaledRun {
    let kept = Kept::default();
    let rules = Durability::new(kept.clone()).every_run().default_tenant("acme");
    let engine = furnish(Engine::builder()).journal(rules).build().expect("an engine");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(3).enable_time().build();
    let run = engine.run(pipeline, input);
    let _ended = runtime.expect("a runtime").block_on(async { tokio::spawn(run.into_future()).await });
    let run = kept.0.lock().expect("no test panics here").take();
    run.expect("it was begun")
}

impl Journal for Kept {
    fn begin(&self, header: Arc<RunHeader>) -> JournalFuture<'_, RunLease> {
        let run = JournaledRun { header: (*header).clone(), entries: Vec::new() };
        *self.0.lock().expect("no test panics here") = Some(run);
        Box::pin(async { Ok(RunLease { epoch: 1 }) })
    }

    fn append(&self, _: &RunKey, _: RunLease, entries: Vec<Entry>) -> Ack {
        if let Some(run) = &mut *self.0.lock().expect("no test panics here") {
            run.entries.extend(entries);
        }
        Box::pin(async { Ok(()) })
    }

    fn release(&self, _: &RunKey, _: RunLease) {}

    fn claim<'a>(&'a self, _: &'a RunKey) -> JournalFuture<'a, (RunLease, JournaledRun)> {
        unimplemented!("nobody resumes here")
    }

    fn load<'a>(&'a self, _: &'a RunKey) -> JournalFuture<'a, Option<JournaledRun>> {
        unimplemented!("the test takes it")
    }

    fn unfinished<'a>(
        &'a self,
        _: &'a TenantId,
        _: Option<RunId>,
        _: usize,
    ) -> JournalFuture<'a, Vec<RunSummary>> {
        unimplemented!("nobody asks")
    }

    fn forget_ended<'a>(&'a self, _: &'a TenantId, _: SystemTime) -> JournalFuture<'a, u64> {
        unimplemented!("nobody forgets")
    }

    fn pause<'a>(&'a self, _: &'a RunKey, _: RunLease, _: &'a PauseRecord) -> JournalFuture<'a, PauseState> {
        unimplemented!("nobody pauses")
    }

    fn pause_state<'a>(&'a self, _: &'a RunKey, _: &'a str) -> JournalFuture<'a, Option<PauseState>> {
        unimplemented!("nobody pauses")
    }

    fn answer<'a>(
        &'a self,
        _: &'a RunKey,
        _: &'a str,
        _: Encoded,
        _: Option<&'a UserId>,
    ) -> JournalFuture<'a, Answered> {
        unimplemented!("nobody pauses")
    }

    fn pauses<'a>(&'a self, _: &'a RunKey) -> JournalFuture<'a, Vec<PauseRecord>> {
        unimplemented!("nobody pauses")
    }

    fn describe(&self) -> String {
        "one run in memory".to_owned()
    }
}

//! Between the engine and the board: cues for attempts, and a journal that forgets nothing until the replay is over.

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::Pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use stageflow_core::{
    Clock, RunId, TenantId, UserId,
    durable::{
        Ack, Answered, Encoded, Entry, Journal, JournalError, JournalErrorKind, JournalFuture, JournaledRun,
        PauseRecord, PauseState, RunHeader, RunKey, RunLease, RunSummary,
    },
    time::nanos,
};
use stageflow_exec::{Cue, Director, Given};
use tokio::time::Instant;

use super::board::Board;

/// Directs one process of a replay, and writes what it does.
pub(super) struct Stage {
    pub(super) board: Board,
    pub(super) rerun: BTreeSet<String>,
    /// What pauses are answered with.
    pub(super) answers: BTreeMap<String, Encoded>,
}

impl Stage {
    /// Whether a stage is called though its answer is known.
    fn is_rerun(&self, stage: &str) -> bool {
        let name = stage.rsplit('/').next().unwrap_or(stage);
        self.rerun.contains(stage) || self.rerun.contains(name)
    }
}

impl Director for Stage {
    fn cue(&self, stage: Arc<str>, attempt: u32) -> Pin<Box<dyn Future<Output = Cue> + Send + '_>> {
        Box::pin(async move {
            let known = self.board.begin(Arc::clone(&stage), attempt).await;
            match self.is_rerun(&stage) {
                true => Cue { says: Vec::new(), given: Given::Call, ..known.cue },
                false => known.cue,
            }
        })
    }

    fn release(&self, stage: Arc<str>, attempt: u32) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.board.end(stage, attempt))
    }

    fn is_timed(&self, stage: &Arc<str>) -> bool {
        self.board.is_timed(stage)
    }

    fn ends(&self, stage: &Arc<str>) -> bool {
        self.board.ends(stage)
    }

    fn called(&self, stage: &Arc<str>, attempt: u32) {
        self.board.called(stage, attempt);
    }
}

fn ready<'a, T: Send + 'a>(value: T) -> JournalFuture<'a, T> {
    Box::pin(std::future::ready(Ok(value)))
}

fn nothing<'a, T: Send + 'a>() -> JournalFuture<'a, T> {
    let error = JournalError::new(JournalErrorKind::NotFound, "a replay has one run, which is going on");
    Box::pin(std::future::ready(Err(error)))
}

impl Journal for Stage {
    fn begin(&self, _header: Arc<RunHeader>) -> JournalFuture<'_, RunLease> {
        nothing()
    }

    fn append(&self, _key: &RunKey, _lease: RunLease, entries: Vec<Entry>) -> Ack {
        for entry in entries {
            self.board.observe(entry);
        }
        Box::pin(std::future::ready(Ok(())))
    }

    fn claim<'a>(&'a self, _key: &'a RunKey) -> JournalFuture<'a, (RunLease, JournaledRun)> {
        nothing()
    }

    fn release(&self, _key: &RunKey, _lease: RunLease) {}

    fn load<'a>(&'a self, _key: &'a RunKey) -> JournalFuture<'a, Option<JournaledRun>> {
        ready(None)
    }

    fn unfinished<'a>(
        &'a self,
        _tenant: &'a TenantId,
        _after: Option<RunId>,
        _limit: usize,
    ) -> JournalFuture<'a, Vec<RunSummary>> {
        ready(Vec::new())
    }

    fn forget_ended<'a>(&'a self, _tenant: &'a TenantId, _before: SystemTime) -> JournalFuture<'a, u64> {
        ready(0)
    }

    fn pause<'a>(
        &'a self,
        key: &'a RunKey,
        _lease: RunLease,
        record: &'a PauseRecord,
    ) -> JournalFuture<'a, PauseState> {
        match self.answers.contains_key(&record.token) {
            true => ready(PauseState::Open { expires: record.expires }),
            false => {
                let message = format!("{key} waited for an answer to `{}`, which is not known", record.token);
                let error = JournalError::new(JournalErrorKind::NotFound, message)
                    .hint("give it with `Replay::answer`, or make the stage durable");
                Box::pin(std::future::ready(Err(error)))
            }
        }
    }

    fn pause_state<'a>(&'a self, _key: &'a RunKey, token: &'a str) -> JournalFuture<'a, Option<PauseState>> {
        ready(self.answers.get(token).cloned().map(PauseState::Answered))
    }

    fn answer<'a>(
        &'a self,
        _key: &'a RunKey,
        _token: &'a str,
        _answer: Encoded,
        _by: Option<&'a UserId>,
    ) -> JournalFuture<'a, Answered> {
        ready(Answered::NotWaiting)
    }

    fn pauses<'a>(&'a self, _key: &'a RunKey) -> JournalFuture<'a, Vec<PauseRecord>> {
        ready(Vec::new())
    }

    fn describe(&self) -> String {
        "the replay of a run".to_owned()
    }
}

/// The time of a run that is replayed: it begins when the run did.
#[derive(Clone, Debug)]
pub(super) struct ReplayClock {
    began: Instant,
    wall: SystemTime,
}

impl ReplayClock {
    /// In a runtime whose time is virtual.
    pub(super) fn new(started: SystemTime, base: Duration) -> Self {
        Self { began: Instant::now(), wall: started + base }
    }
}

impl Clock for ReplayClock {
    fn monotonic_nanos(&self) -> u64 {
        nanos(self.began.elapsed())
    }

    fn wall(&self) -> SystemTime {
        self.wall + self.began.elapsed()
    }
}

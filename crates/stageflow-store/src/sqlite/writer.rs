//! The thread that writes: takes what has been asked for, and commits it at once.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rusqlite::Connection;
use stageflow_core::durable::{JournalError, JournalErrorKind};
use tokio::sync::oneshot;

use super::{
    Shared,
    builder::Sqlite,
    error::{Stop, is_busy, journal_error},
    schema,
};
use crate::rows;

/// How much goes into one commit.
const BATCH_JOBS: usize = 4_096;
const BATCH_BYTES: usize = 8 << 20;

/// How long those of the last commit are waited for.
const GATHER: Duration = Duration::from_micros(200);

/// After so many failures in a row the rest of a batch is not tried.
const FAILURES: usize = 4;

/// What is asked for, in its order.
pub(super) struct Queue {
    state: Mutex<Waiting>,
    asked: Condvar,
    max_bytes: usize,
}

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<(Box<dyn Job>, usize)>,
    bytes: usize,
    /// Who waits until the file has taken the log over.
    emptying: Vec<oneshot::Sender<()>>,
    closed: bool,
}

/// Something that is done in a transaction, and can be tried again in another.
trait Job: Send {
    fn attempt(&mut self, connection: &Connection) -> rusqlite::Result<()>;
    /// Says how it went, now that the transaction has ended.
    fn settle(self: Box<Self>, failed: Option<JournalError>);
}

struct Asked<T, F> {
    work: F,
    made: Option<Result<T, JournalError>>,
    answer: oneshot::Sender<Result<T, JournalError>>,
}

impl<T: Send, F: FnMut(&Connection) -> Result<T, Stop> + Send> Job for Asked<T, F> {
    fn attempt(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        self.made = Some(match (self.work)(connection) {
            Ok(made) => Ok(made),
            Err(Stop::Refused(error)) => Err(error),
            Err(Stop::Sql(error)) => return Err(error),
        });
        Ok(())
    }

    fn settle(self: Box<Self>, failed: Option<JournalError>) {
        let outcome = match (failed, self.made) {
            (Some(error), _) => Err(error),
            (None, Some(made)) => made,
            (None, None) => Err(closed()),
        };
        // Whoever asked may be gone: it is done all the same.
        drop(self.answer.send(outcome));
    }
}

/// The answer of a store that was closed, or whose thread has died.
pub(super) fn closed() -> JournalError {
    JournalError::new(JournalErrorKind::Unavailable, "the store was closed before it was done")
}

impl Queue {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { state: Mutex::default(), asked: Condvar::new(), max_bytes }
    }

    /// Has something done in a transaction: it is taken when this returns. What `work` refuses, it must not have begun to write.
    pub(super) fn ask<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnMut(&Connection) -> Result<T, Stop> + Send + 'static,
    ) -> oneshot::Receiver<Result<T, JournalError>> {
        let (answer, answered) = oneshot::channel();
        let mut state = self.lock();
        let refused = if state.closed {
            Some(closed())
        } else if state.bytes > 0 && state.bytes + bytes > self.max_bytes {
            let message = format!("{} bytes wait to be written already", state.bytes);
            let error = JournalError::new(JournalErrorKind::Unavailable, message);
            Some(error.hint("see whether the disk is slow, start fewer runs at once, or raise `queue_bytes`"))
        } else {
            None
        };
        if let Some(error) = refused {
            drop(state);
            drop(answer.send(Err(error)));
            return answered;
        }
        state.jobs.push_back((Box::new(Asked { work, made: None, answer }), bytes));
        state.bytes += bytes;
        drop(state);
        self.asked.notify_one();
        answered
    }

    /// How many bytes wait.
    #[cfg(all(test, feature = "conformance"))]
    pub(super) fn waiting(&self) -> usize {
        self.lock().bytes
    }

    /// Has the file take the log over, after what was asked for before.
    pub(super) fn empty_log(&self) -> oneshot::Receiver<()> {
        let (done, emptied) = oneshot::channel();
        self.lock().emptying.push(done);
        self.asked.notify_one();
        emptied
    }

    /// Takes nothing more. What was taken is done.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.asked.notify_one();
    }

    /// What has been asked for, once there is something, or the time is over; `None` when nothing will come any more.
    ///
    /// Who was answered together asks again together: for so many, `expected`, it waits a moment, so that they share the next sync, too.
    fn next(&self, time: Duration, expected: usize) -> Option<Vec<Box<dyn Job>>> {
        let state = self.lock();
        let idle =
            |waiting: &mut Waiting| waiting.jobs.is_empty() && waiting.emptying.is_empty() && !waiting.closed;
        let (mut state, _) =
            self.asked.wait_timeout_while(state, time, idle).unwrap_or_else(PoisonError::into_inner);
        if state.jobs.is_empty() && state.closed {
            return None;
        }
        if !state.jobs.is_empty() && state.jobs.len() < expected {
            let few = |waiting: &mut Waiting| waiting.jobs.len() < expected && !waiting.closed;
            (state, _) =
                self.asked.wait_timeout_while(state, GATHER, few).unwrap_or_else(PoisonError::into_inner);
        }
        let (mut batch, mut taken) = (Vec::new(), 0);
        while batch.len() < BATCH_JOBS && (taken < BATCH_BYTES || batch.is_empty()) {
            let Some((job, bytes)) = state.jobs.pop_front() else { break };
            taken += bytes;
            batch.push(job);
        }
        state.bytes = state.bytes.saturating_sub(taken);
        Some(batch)
    }

    /// Who waits until the log is empty, if nothing has to be written before.
    fn emptying(&self) -> Vec<oneshot::Sender<()>> {
        let mut state = self.lock();
        if state.jobs.is_empty() { std::mem::take(&mut state.emptying) } else { Vec::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes the queue when the thread ends, so that nobody waits for a thread that panicked.
struct Closing<'a>(&'a Queue);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.close();
        let left = std::mem::take(&mut *self.0.lock());
        self.0.close();
        drop(left);
    }
}

/// Writes until the queue is closed and empty.
pub(super) fn run(shared: &Arc<Shared>, mut connection: Connection, options: &Sqlite) {
    let _closing = Closing(&shared.queue);
    let beat = (shared.lease / 3).max(Duration::from_millis(10));
    let mut renewed = Beat::now();
    let mut expected = 0;
    while let Some(batch) = shared.queue.next(beat.saturating_sub(renewed.age()), expected) {
        expected = batch.len();
        if renewed.age() >= beat {
            // What a commit takes with it costs no sync of its own. Should it fail, the next one is soon.
            drop(shared.owner.renew(&connection));
            renewed = Beat::now();
        }
        if !batch.is_empty() {
            write(shared, &connection, batch);
        }
        let emptying = shared.queue.emptying();
        if !emptying.is_empty() {
            // Whoever still reads the log keeps it a while: the next commit goes on with it.
            drop(connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())));
            for done in emptying {
                // Whoever waited may be gone.
                let _gone = done.send(());
            }
        }
        if !connection.is_autocommit()
            && let Ok(fresh) = schema::connect(options)
        {
            // A transaction that cannot even be rolled back ends with its connection.
            connection = fresh;
        }
    }
    shared.owner.resign(&connection);
}

/// When the leases were last prolonged, by the clock of the machine: nothing of a run depends on it.
struct Beat(std::time::Instant);

impl Beat {
    #[expect(clippy::disallowed_methods, reason = "leases go by the time of the machine, as others see it")]
    fn now() -> Self {
        Self(std::time::Instant::now())
    }

    fn age(&self) -> Duration {
        self.0.elapsed()
    }
}

fn write(shared: &Shared, connection: &Connection, mut batch: Vec<Box<dyn Job>>) {
    let Err(error) = commit(connection, &mut batch) else {
        batch.into_iter().for_each(|job| job.settle(None));
        return;
    };
    let error = Arc::new(journal_error(&shared.path, error));
    if batch.len() == 1 || error.code() == stageflow_core::code::STORE_CORRUPT {
        batch.into_iter().for_each(|job| job.settle(Some(rows::same(&error))));
        return;
    }
    one_by_one(shared, connection, batch);
}

/// Gives each of a batch that failed a transaction of its own.
fn one_by_one(shared: &Shared, connection: &Connection, batch: Vec<Box<dyn Job>>) {
    let mut failures = 0;
    let mut last = None;
    for job in batch {
        if let Some(error) = last.as_ref().filter(|_| failures >= FAILURES) {
            job.settle(Some(rows::same(error)));
            continue;
        }
        let mut alone = [job];
        let committed = commit(connection, &mut alone);
        let [job] = alone;
        match committed {
            Ok(()) => {
                failures = 0;
                job.settle(None);
            }
            Err(error) => {
                // Whoever held the file for so long holds it longer.
                failures = if is_busy(&error) { FAILURES } else { failures + 1 };
                let error = Arc::new(journal_error(&shared.path, error));
                job.settle(Some(rows::same(&error)));
                last = Some(error);
            }
        }
    }
}

/// Does all in one transaction, or nothing.
fn commit(connection: &Connection, batch: &mut [Box<dyn Job>]) -> rusqlite::Result<()> {
    let run = |sql| connection.prepare_cached(sql)?.execute([]).map(drop);
    run("BEGIN IMMEDIATE")?;
    let done = batch.iter_mut().try_for_each(|job| job.attempt(connection)).and_then(|()| run("COMMIT"));
    if done.is_err() && !connection.is_autocommit() {
        drop(run("ROLLBACK"));
    }
    done
}

//! Wide events: one record for each stage and each run, with everything about it.

mod record;
#[cfg(test)]
mod tests;
mod tracker;

use std::{
    fmt,
    io::Write,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::Serialize;
use stageflow_core::{DropReason, Event, EventSink, event::Taken};

use crate::runs::MAX_RUNS;

pub use self::record::{WideDecisions, WideIds, WideRecord, WideRun, WideStage, WideStages, WideWait};
#[cfg(test)]
pub(crate) use self::tests::samples;
pub(crate) use self::tracker::{Seen, Tracker};

type Output = dyn Fn(&WideRecord) -> bool + Send + Sync;
type Flush = dyn Fn() + Send + Sync;

/// Gives out exactly one [wide record](WideRecord) for each stage and one for each run, however it ends.
///
/// The record of a stage comes when the stage has ended, the record of the run after those of all its stages. Where events of the
/// run were lost on the way to this sink, what is missing shows: the records that follow are
/// [incomplete](WideRecord::is_incomplete), and stages whose end is not known get a record with the outcome `unknown` when their
/// run ends. So there are never two, and none is missing; only a run of which no event arrived has none.
///
/// Its memory is bounded: it keeps what is known of runs that are open, and of at most 65 536 of them. Where more are, or where the
/// end of a run was lost, the oldest gives way: its records are given out, incomplete, and what still comes of it is counted as
/// [late](WideAccount::late). When it is dropped it gives out the records of the runs that are left.
///
/// Put it directly into an engine: what filters events before it looks to it like a loss.
///
/// ```
/// use stageflow_events::{WideEvents, WideRecord};
///
/// let wide = WideEvents::new(|record| {
///     if let WideRecord::Run(run) = record {
///         println!("{} {} took {} ns and {} attempts", run.run.pipeline, run.outcome, run.ran_ns, run.attempts);
///     }
/// });
/// let account = wide.account(); // or keep a clone: clones share everything
/// assert_eq!((account.runs, account.stages), (0, 0));
/// ```
#[derive(Clone)]
pub struct WideEvents {
    shared: Arc<Shared>,
}

struct Shared {
    tracker: Mutex<Tracker>,
    account: Mutex<WideAccount>,
    output: Box<Output>,
    flush: Option<Box<Flush>>,
}

/// What became of wide records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct WideAccount {
    /// Records of stages that were given out.
    pub stages: u64,
    /// Records of runs that were given out.
    pub runs: u64,
    /// Of those of runs, incomplete ones.
    pub incomplete: u64,
    /// Records that whoever takes them has panicked on or could not write.
    pub failed: u64,
    /// Runs that gave way to others, or were open at the end.
    pub evicted: u64,
    /// Events that came after the record of their run, gaps included.
    pub late: u64,
    /// Runs that are open.
    pub open: usize,
}

impl WideEvents {
    /// Gives each record to a function. It may block; where it panics, the record counts as failed.
    pub fn new(output: impl Fn(&WideRecord) + Send + Sync + 'static) -> Self {
        let output = move |record: &WideRecord| {
            output(record);
            true
        };
        Self::with(output, None)
    }

    /// Writes each record as one line of JSON. What cannot be written counts as failed.
    ///
    /// ```
    /// use stageflow_events::WideEvents;
    ///
    /// let wide = WideEvents::json_lines(std::io::stdout());
    /// # drop(wide);
    /// ```
    pub fn json_lines(writer: impl Write + Send + 'static) -> Self {
        let writer = Arc::new(Mutex::new(writer));
        let flushed = Arc::clone(&writer);
        let output = move |record: &WideRecord| {
            let Ok(mut line) = serde_json::to_vec(record) else { return false };
            line.push(b'\n');
            lock(&writer).write_all(&line).is_ok()
        };
        let flush = move || {
            // What is wrong with it shows at the next record.
            let _ = lock(&flushed).flush();
        };
        Self::with(output, Some(Box::new(flush)))
    }

    fn with(output: impl Fn(&WideRecord) -> bool + Send + Sync + 'static, flush: Option<Box<Flush>>) -> Self {
        let shared = Shared {
            tracker: Mutex::new(Tracker::new(MAX_RUNS)),
            account: Mutex::default(),
            output: Box::new(output),
            flush,
        };
        Self { shared: Arc::new(shared) }
    }

    /// How many runs may be open at a time; 65 536 by default, at least 1.
    #[must_use]
    pub fn max_runs(self, max: usize) -> Self {
        *lock(&self.shared.tracker) = Tracker::new(max);
        self
    }

    /// What became of records so far.
    pub fn account(&self) -> WideAccount {
        let tracker = lock(&self.shared.tracker);
        let counts = *lock(&self.shared.account);
        WideAccount { evicted: tracker.evicted, late: tracker.late, open: tracker.open(), ..counts }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Gives out what a tracker has seen, outside of every lock; whether all of it was taken.
    fn give_out(&self, seen: &[Seen]) -> bool {
        let records =
            seen.iter().filter_map(|one| if let Seen::Ended(record) = one { Some(record) } else { None });
        let mut all = true;
        for record in records {
            let taken = catch_unwind(AssertUnwindSafe(|| (self.output)(record))).unwrap_or(false);
            let mut account = lock(&self.account);
            match record {
                _ if !taken => account.failed += 1,
                WideRecord::Stage(_) => account.stages += 1,
                WideRecord::Run(run) => {
                    account.runs += 1;
                    account.incomplete += u64::from(run.incomplete);
                }
            }
            all &= taken;
        }
        all
    }
}

impl EventSink for WideEvents {
    fn on_event(&self, event: &Event) {
        self.take_all(vec![event.clone()]);
    }

    fn take_all(&self, events: Vec<Event>) -> Taken {
        let mut taken = Taken::default();
        let mut seen = Vec::new();
        for event in &events {
            lock(&self.shared.tracker).take(event, &mut seen);
            if self.shared.give_out(&seen) {
                taken.took(event);
            } else {
                taken.lost(event, DropReason::Failed);
            }
            seen.clear();
        }
        taken
    }

    fn on_flush(&self) {
        if let Some(flush) = &self.shared.flush {
            flush();
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let mut seen = Vec::new();
        lock(&self.tracker).close(&mut seen);
        self.give_out(&seen);
        if let Some(flush) = &self.flush {
            let _ = catch_unwind(AssertUnwindSafe(flush));
        }
    }
}

impl fmt::Debug for WideEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WideEvents").field("account", &self.account()).finish_non_exhaustive()
    }
}

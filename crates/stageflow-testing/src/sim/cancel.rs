//! Cancelling a run at every poll of its stages, and looking at what is left each time.

use std::{
    fmt,
    future::{Future as _, poll_fn},
    ops::Range,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use stageflow_core::{
    Call, Event, EventKind, Interceptor, Layer, Next, RunOutcome, StageResult, Value, intercept::Placement,
};
use stageflow_dag::Pipeline;
use stageflow_exec::{EngineBuilder, RunBuilder, RunHandle};
use tokio::{runtime::Handle, sync::Notify, task::yield_now, time::timeout};

use super::{Sim, seeds::runtime};
use crate::ledger::Ledger;

/// How much virtual time a cancelled run may take to end.
const PATIENCE: Duration = Duration::from_secs(86_400);

/// How many problems are kept.
const MOST: usize = 20;

type Furnish = dyn Fn(EngineBuilder) -> EngineBuilder + Send + Sync;

/// Cancels a run at every poll of its stages, drops its handle there, and drops its future there: made by
/// [`Sim::cancel_at_every_poll`].
///
/// After each it looks whether the run has ended as cancelled (or as it would have ended anyway), every stage of it has told its
/// end exactly once, the [`Ledger`] of the run is empty, every clean-up in it ran exactly once, and no task is left.
#[must_use = "nothing is run before `assert_clean` or `check`"]
pub struct CancelAtEveryPoll<I, O> {
    pipeline: Pipeline<I, O>,
    input: I,
    ledger: Option<Ledger>,
    seeds: Range<u64>,
    furnish: Option<Arc<Furnish>>,
}

/// What has happened to the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Cancel,
    DropHandle,
    DropFuture,
}

impl How {
    const ALL: [Self; 3] = [Self::Cancel, Self::DropHandle, Self::DropFuture];
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cancel => "cancelled",
            Self::DropHandle => "its handle dropped",
            Self::DropFuture => "its future dropped",
        })
    }
}

/// Something that was not as it should be after a cancellation.
#[derive(Clone, Debug)]
pub struct CancelProblem {
    seed: u64,
    how: How,
    poll: usize,
    what: String,
}

impl CancelProblem {
    /// At which poll of the run's stages, counted from 1; 0 is before the first.
    pub fn poll(&self) -> usize {
        self.poll
    }

    /// What was wrong.
    pub fn what(&self) -> &str {
        &self.what
    }
}

impl fmt::Display for CancelProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}, {} at poll {}: {}", self.seed, self.how, self.poll, self.what)
    }
}

/// What was run, and that all of it left nothing.
#[derive(Clone, Debug, Default)]
pub struct CancelReport {
    runs: usize,
    polls: usize,
    acquired: u64,
    clean_ups: usize,
}

impl CancelReport {
    /// How many runs were cancelled or dropped.
    pub fn runs(&self) -> usize {
        self.runs
    }

    /// How many polls the stages of a run have, with the first seed.
    pub fn polls(&self) -> usize {
        self.polls
    }

    /// How many resources all runs together have registered. If there are none, nothing was said about resources.
    pub fn acquired(&self) -> u64 {
        self.acquired
    }

    /// How many clean-ups all runs together have registered with the ledger.
    pub fn clean_ups(&self) -> usize {
        self.clean_ups
    }
}

impl fmt::Display for CancelReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { runs, polls, acquired, clean_ups } = self;
        write!(
            f,
            "{runs} runs cancelled or dropped at {polls} polls: {acquired} resources and {clean_ups} clean-ups, nothing left"
        )
    }
}

impl<I, O> CancelAtEveryPoll<I, O> {
    pub(super) fn new(pipeline: Pipeline<I, O>, input: I) -> Self {
        Self { pipeline, input, ledger: None, seeds: 0..1, furnish: None }
    }

    /// Looks at this ledger as well as at that of each run: for stages that were built with one.
    pub fn ledger(mut self, ledger: &Ledger) -> Self {
        self.ledger = Some(ledger.clone());
        self
    }

    /// Does everything once per seed, each of which draws another order; only seed 0 by default.
    pub fn seeds(mut self, seeds: Range<u64>) -> Self {
        self.seeds = seeds;
        self
    }

    /// Adds to the engine: interceptors, limits.
    pub fn furnish(
        mut self,
        furnish: impl Fn(EngineBuilder) -> EngineBuilder + Send + Sync + 'static,
    ) -> Self {
        self.furnish = Some(Arc::new(furnish));
        self
    }
}

impl<I, O> CancelAtEveryPoll<I, O>
where
    I: Clone + Send + Sync + 'static,
    O: Send + Sync + 'static,
{
    /// Runs everything.
    ///
    /// # Panics
    ///
    /// With a list of the problems, if there is one.
    #[track_caller]
    pub fn assert_clean(self) -> CancelReport {
        self.check().unwrap_or_else(|problems| {
            let list: Vec<_> = problems.iter().map(CancelProblem::to_string).collect();
            panic!("a cancelled run is not clean:\n  {}", list.join("\n  "))
        })
    }

    /// Runs everything.
    ///
    /// # Errors
    ///
    /// The first problems, in the order in which they were found.
    pub fn check(self) -> Result<CancelReport, Vec<CancelProblem>> {
        let mut report = CancelReport::default();
        let mut problems = Vec::new();
        for seed in self.seeds.clone() {
            let normal = self.once(seed, How::Cancel, usize::MAX, None);
            if seed == self.seeds.start {
                report.polls = normal.polls;
            }
            problems.extend(normal.problems);
            let Some(outcome) = normal.outcome else { break };
            for how in How::ALL {
                // A future that is never polled is no run.
                let first = usize::from(how == How::DropFuture);
                for poll in first..=normal.polls {
                    let once = self.once(seed, how, poll, Some(outcome));
                    report.runs += 1;
                    report.acquired += once.acquired;
                    report.clean_ups += once.clean_ups;
                    problems.extend(once.problems);
                    if problems.len() >= MOST {
                        return Err(problems);
                    }
                }
            }
        }
        if problems.is_empty() { Ok(report) } else { Err(problems) }
    }

    /// One run, with what is to happen at poll `at`.
    fn once(&self, seed: u64, how: How, at: usize, normal: Option<RunOutcome>) -> Once {
        let runtime = runtime();
        let points = Arc::new(Points { at, polls: AtomicUsize::new(0), act: Mutex::default() });
        let mut once = runtime.block_on(self.run(seed, how, &points, normal));
        drop(runtime);
        if let Some(ledger) = &self.ledger {
            once.problems.extend(ledger.problems());
        }
        let wrong = once.problems.into_iter();
        Once {
            problems: wrong.map(|what| CancelProblem { seed, how, poll: at, what }).collect(),
            polls: once.polls,
            outcome: once.outcome,
            acquired: once.acquired,
            clean_ups: once.clean_ups,
        }
    }

    async fn run(
        &self,
        seed: u64,
        how: How,
        points: &Arc<Points>,
        normal: Option<RunOutcome>,
    ) -> Once<String> {
        let (sim, ledger) = (Sim::new(seed), Ledger::new());
        let (furnish, polls) = (self.furnish.clone(), Arc::clone(points));
        sim.furnish(move |engine| {
            let engine = match furnish {
                Some(furnish) => furnish(engine),
                None => engine,
            };
            engine.interceptor(Polls(polls))
        });
        let tasks = Handle::current().metrics().num_alive_tasks();
        let run = sim.run(&self.pipeline, self.input.clone()).extension(ledger.clone());
        let in_time = match how {
            How::DropFuture => timeout(PATIENCE, drive(run, points)).await,
            How::Cancel | How::DropHandle => timeout(PATIENCE, hold(run, points, how)).await,
        };

        let mut problems = Vec::new();
        if in_time.is_err() || sim.engine().drain(PATIENCE).await > 0 {
            let runs: Vec<_> = sim.engine().explain().iter().map(ToString::to_string).collect();
            problems.push(format!("it does not end: {}", runs.join("; ")));
        }
        let left = || Handle::current().metrics().num_alive_tasks().saturating_sub(tasks);
        for _ in 0..1_000 {
            if left() == 0 {
                break;
            }
            yield_now().await;
        }
        if left() > 0 {
            problems.push(format!("{} tasks are left behind the end of the run", left()));
        }
        if at_a_poll(points) && locked(&points.act).is_some() {
            problems.push("the run never came to this poll".to_owned());
        }
        problems.extend(ledger.problems());
        let outcome = ended(&sim.recorder().events(), self.pipeline.len(), &mut problems);
        if let (Some(outcome), Some(normal)) = (outcome, normal)
            && outcome != RunOutcome::Cancelled
            && outcome != normal
        {
            problems.push(format!("it ended as {outcome}"));
        }
        Once {
            problems,
            polls: points.polls.load(Ordering::SeqCst),
            outcome,
            acquired: ledger.acquired(),
            clean_ups: ledger.clean_ups(),
        }
    }
}

impl<I, O> fmt::Debug for CancelAtEveryPoll<I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelAtEveryPoll").field("pipeline", &self.pipeline.name()).finish_non_exhaustive()
    }
}

struct Once<P = CancelProblem> {
    problems: Vec<P>,
    polls: usize,
    outcome: Option<RunOutcome>,
    acquired: u64,
    clean_ups: usize,
}

/// Looks whether every stage of the first run has ended exactly once, and how the run has.
fn ended(events: &[Event], stages: usize, problems: &mut Vec<String>) -> Option<RunOutcome> {
    // A run that is cancelled before its first poll may never have been.
    let run = events.first()?.run_id();
    let own = || events.iter().filter(|event| event.run_id() == run);
    let mut ends: Vec<_> =
        own().filter(|event| event.kind().is_terminal()).filter_map(Event::stage).collect();
    let all = ends.len();
    ends.sort_unstable();
    ends.dedup();
    if all != stages || ends.len() != stages {
        problems.push(format!("{all} ends were told by {} of {stages} stages", ends.len()));
    }
    own().find_map(|event| match event.kind() {
        EventKind::PipelineEnded { outcome, .. } => Some(*outcome),
        _ => None,
    })
}

/// Whether something was to happen.
fn at_a_poll(points: &Points) -> bool {
    points.at != usize::MAX
}

type Act = Box<dyn FnOnce() + Send>;

/// The polls of a run's stages, and what happens at one of them.
struct Points {
    at: usize,
    polls: AtomicUsize,
    act: Mutex<Option<Act>>,
}

impl Points {
    fn set(&self, act: impl FnOnce() + Send + 'static) {
        *locked(&self.act) = Some(Box::new(act));
        if self.at == 0 {
            self.fire();
        }
    }

    fn step(&self) {
        if self.polls.fetch_add(1, Ordering::SeqCst) + 1 == self.at {
            self.fire();
        }
    }

    fn fire(&self) {
        let act = locked(&self.act).take();
        if let Some(act) = act {
            act();
        }
    }
}

/// Counts the polls of each attempt.
struct Polls(Arc<Points>);

impl Interceptor for Polls {
    async fn around(&self, _: &Call, next: Next<'_>) -> StageResult<Value> {
        let mut attempt = pin!(next.run());
        poll_fn(|cx| {
            self.0.step();
            attempt.as_mut().poll(cx)
        })
        .await
    }

    fn placement(&self) -> Placement {
        Placement::Inside(Layer::Inner)
    }
}

/// Drives a run here, and drops its future right after the poll within which it is to happen.
async fn drive<O: Send + Sync + 'static>(run: RunBuilder<O>, points: &Arc<Points>) {
    let dropped = Arc::new(Mutex::new(false));
    let flag = Arc::clone(&dropped);
    points.set(move || *locked(&flag) = true);
    let mut future = Some(Box::pin(run.into_future()));
    poll_fn(|cx| {
        if let Some(running) = &mut future {
            let ended = running.as_mut().poll(cx).is_ready();
            if !ended && !*locked(&dropped) {
                return Poll::Pending;
            }
        }
        future = None;
        Poll::Ready(())
    })
    .await;
}

/// Waits for a run on a task of its own, as long as there is a handle.
async fn hold<O: Send + Sync + 'static>(run: RunBuilder<O>, points: &Arc<Points>, how: How) {
    let handle: Arc<Mutex<Option<RunHandle<O>>>> = Arc::new(Mutex::new(Some(run.start())));
    let dropped = Arc::new(Notify::new());
    let (held, told) = (Arc::clone(&handle), Arc::clone(&dropped));
    points.set(move || {
        if how == How::DropHandle {
            drop(locked(&held).take());
            told.notify_one();
        } else if let Some(handle) = &*locked(&held) {
            handle.cancel("at a poll");
        }
    });
    let ended = poll_fn(|cx| match &mut *locked(&handle) {
        Some(handle) => Pin::new(handle).poll(cx).map(drop),
        None => Poll::Ready(()),
    });
    tokio::select! {
        biased;
        () = ended => {}
        () = dropped.notified() => {}
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! [`FailureCollector`]: gathers the failures of a run, and decides whether it goes on.

use std::{
    collections::HashMap,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::Serialize;

use crate::{
    code::{self, Code},
    exit::{ErrorClass, Exit, FailSpec, StageExit},
    outcome::Failure,
    policy::FailurePolicy,
    tolerance::{FailureRules, Standing, StopReason, Stopped},
};

/// Gathers failures and decides whether to go on: every run has one, and it is as well a plain object for other work.
///
/// # Guarantees
///
/// - The first decision to stop stands, and all who ask are told the same one.
/// - Several failures of one stage are one failed stage with several records.
/// - What waits for a failed stage does not go on, and what waits for that does not either (rule S-6).
/// - The predicates of the rules are called under no lock, and their panics stop the run.
///
/// ```
/// use std::time::Duration;
/// use stageflow_core::{FailureCollector, FailurePolicy, FailureRules, StageExit};
///
/// let rules = FailureRules::new(FailurePolicy::Continue).max_failures(1);
/// let collector = FailureCollector::new(rules).stages(5);
/// collector.completed("load");
/// assert!(collector.record(Duration::ZERO, "avatar", StageExit::fail("no picture")));
/// assert!(collector.should_continue("page", ["load"]));
/// assert!(!collector.should_continue("resize", ["avatar"]));
/// assert!(!collector.should_continue("frame", ["resize"])); // it waits for what waits for the failure
///
/// assert!(!collector.record(Duration::from_millis(3), "page", StageExit::fail("no template")));
/// assert_eq!(collector.stopped().map(|why| why.to_string()).as_deref(), Some("2 failures, 1 tolerated"));
/// let summary = collector.summary();
/// assert_eq!((summary.completed, summary.failed, summary.blocked), (1, 2, 2));
/// assert_eq!(summary.success_rate, 0.2);
/// ```
pub struct FailureCollector {
    rules: FailureRules,
    total: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// In the order they were observed.
    failures: Vec<(Duration, Failure)>,
    retried: Vec<FailureRecord>,
    /// Stages that give nothing, each with the stage whose failure is the root of it.
    fallen: HashMap<String, String>,
    failed: usize,
    completed: usize,
    skipped: usize,
    cancelled: usize,
    stopped: Option<Stopped>,
    /// What a predicate's panic made.
    panic: Option<Failure>,
}

/// How many records of attempts that were tried again are kept of a run; what comes later is left out.
const MAX_RETRIED: usize = 1_000;

impl FailureCollector {
    /// A collector that has seen nothing.
    pub fn new(rules: impl Into<FailureRules>) -> Self {
        Self { rules: rules.into(), total: 0, state: Mutex::default() }
    }

    /// How many stages there are: what [`FailurePolicy::ToleratePercent`] is of, and the success rate.
    #[must_use]
    pub fn stages(mut self, total: usize) -> Self {
        self.total = total;
        self
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A stage has completed.
    pub fn completed(&self, _stage: &str) {
        self.lock().completed += 1;
    }

    /// A stage has left without an output, so long after the start; `true` if the rest goes on.
    ///
    /// A skip is counted as one, a cancellation too, and a request for a retry is a record only: none of them is a failure.
    pub fn record(&self, at: Duration, stage: &str, exit: StageExit) -> bool {
        match exit.into_exit() {
            Exit::Skip(_) => self.lock().skipped += 1,
            Exit::Cancel(_) => self.lock().cancelled += 1,
            Exit::Retry { reason, .. } => self.tried_again(at, stage, 1, &reason),
            Exit::Fail(spec) => {
                let completed = self.lock().completed;
                return self.observe(at, Failure::new(stage, 1, spec), completed).is_none();
            }
        }
        self.stopped().is_none()
    }

    /// Whether a stage that waits for `deps` may begin. Where it may not because of one of them, those that wait for it may not.
    pub fn should_continue<D: AsRef<str>>(&self, stage: &str, deps: impl IntoIterator<Item = D>) -> bool {
        // The caller's iterator is not asked under the lock.
        let deps: Vec<D> = deps.into_iter().collect();
        let mut state = self.lock();
        if state.stopped.is_some() {
            return false;
        }
        if self.rules.policy() == FailurePolicy::BestEffort {
            return true;
        }
        let root = deps.iter().find_map(|dep| state.fallen.get(dep.as_ref()).cloned());
        match root {
            Some(root) => {
                state.fallen.entry(stage.to_owned()).or_insert(root);
                false
            }
            None => true,
        }
    }

    /// At which failure and why to stop, if so.
    pub fn stopped(&self) -> Option<Stopped> {
        self.lock().stopped.clone()
    }

    /// The failures, in the order they were observed.
    pub fn failures(&self) -> Vec<Failure> {
        self.lock().failures.iter().map(|(_, failure)| failure.clone()).collect()
    }

    /// What was gathered so far.
    pub fn summary(&self) -> FailureSummary {
        let records = self.records();
        let state = self.lock();
        let blocked = state.fallen.len() - state.failed;
        let known = state.completed + state.failed + state.skipped + state.cancelled + blocked;
        let total = self.total.max(known);
        FailureSummary {
            total,
            completed: state.completed,
            failed: state.failed,
            skipped: state.skipped,
            blocked,
            cancelled: state.cancelled,
            success_rate: success_rate(state.completed, total),
            stopped: state.stopped.clone(),
            failures: records,
        }
    }

    /// A failure was observed while so many stages had completed: where and why the run stops, if it does.
    #[doc(hidden)]
    pub fn observe(&self, at: Duration, failure: Failure, completed: usize) -> Option<Stopped> {
        let denied = failure.class() == ErrorClass::Denied;
        // A denial ends the run whatever they say.
        let asked = if denied { None } else { self.rules.ask(&failure) };
        let mut state = self.lock();
        let stage = failure.stage().to_owned();
        let class = failure.class();
        state.failures.push((at, failure));
        if state.fallen.get(&stage).is_none_or(|root| *root != stage) {
            state.fallen.insert(stage.clone(), stage.clone());
            state.failed += 1;
        }
        if state.stopped.is_none() {
            let now = Standing { failed: state.failed, completed, total: self.total };
            state.stopped =
                self.rules.judge(class, asked, now).map(|reason| Stopped { stage: stage.clone(), reason });
            if let Some(Stopped { reason: reason @ StopReason::PredicatePanicked { .. }, .. }) =
                &state.stopped
            {
                let error = reason.to_string().into();
                let spec = FailSpec::new(code::PANIC, ErrorClass::Panic, error);
                let failure = Failure::new(&stage, 1, spec);
                state.panic = Some(failure.clone());
                state.failures.push((at, failure));
            }
        }
        state.stopped.clone()
    }

    /// An attempt failed, and another follows.
    #[doc(hidden)]
    pub fn tried_again(&self, at: Duration, stage: &str, attempt: u32, message: &str) {
        let mut state = self.lock();
        if state.retried.len() < MAX_RETRIED {
            state.retried.push(FailureRecord {
                stage: stage.to_owned(),
                attempt,
                code: None,
                class: None,
                recoverable: true,
                message: message.to_owned(),
                at,
            });
        }
    }

    #[doc(hidden)]
    pub fn is_empty(&self) -> bool {
        self.lock().failures.is_empty()
    }

    /// The failure that a run which failed is said to have failed with: the first, unless a predicate panicked.
    #[doc(hidden)]
    pub fn cause(&self) -> Option<Failure> {
        let state = self.lock();
        state.panic.clone().or_else(|| state.failures.first().map(|(_, failure)| failure.clone()))
    }

    /// Every record, by time.
    #[doc(hidden)]
    pub fn records(&self) -> Vec<FailureRecord> {
        let (failures, mut records) = {
            let state = self.lock();
            (state.failures.clone(), state.retried.clone())
        };
        // The messages are the user's code.
        records.extend(failures.iter().map(|(at, failure)| FailureRecord::of(*at, failure)));
        records.sort_by_key(|record| record.at);
        records
    }
}

impl fmt::Debug for FailureCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FailureCollector")
            .field("rules", &self.rules)
            .field("stopped", &self.stopped())
            .finish_non_exhaustive()
    }
}

fn success_rate(completed: usize, total: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "stage counts stay far below 2^52")]
    let rate = completed as f64 / total.max(1) as f64;
    rate
}

/// What became of the stages of a run, and every failure among it. It holds no outputs, and serialises.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct FailureSummary {
    /// Stages there are.
    pub total: usize,
    /// Stages that gave an output.
    pub completed: usize,
    /// Stages that failed, each counted once.
    pub failed: usize,
    /// Stages that were left out without error.
    pub skipped: usize,
    /// Stages whose input will never come because of a failure.
    pub blocked: usize,
    /// Stages that the end of the run stopped.
    pub cancelled: usize,
    /// Completed stages over all; 0 where there is none.
    pub success_rate: f64,
    /// At which failure and why the run stopped, if one stopped it.
    pub stopped: Option<Stopped>,
    /// Every failure, and the failed attempts that were followed by another, by time: of the latter the first 1,000.
    pub failures: Vec<FailureRecord>,
}

impl FailureSummary {
    #[doc(hidden)]
    pub fn new(
        [completed, failed, skipped, blocked, cancelled]: [usize; 5],
        stopped: Option<Stopped>,
        failures: Vec<FailureRecord>,
    ) -> Self {
        let total = completed + failed + skipped + blocked + cancelled;
        let success_rate = success_rate(completed, total);
        Self { total, completed, failed, skipped, blocked, cancelled, success_rate, stopped, failures }
    }
}

/// One failure, or one failed attempt that was followed by another.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct FailureRecord {
    /// The stage.
    pub stage: String,
    /// The attempt that failed, from 1; for a stage that failed the last one, and 0 if there was none.
    pub attempt: u32,
    /// The code; `None` for an attempt that was followed by another.
    pub code: Option<Code>,
    /// The class; `None` for an attempt that was followed by another.
    pub class: Option<ErrorClass>,
    /// Whether another run may succeed, or another attempt was made.
    pub recoverable: bool,
    /// What the error says.
    pub message: String,
    /// When, since the run started.
    pub at: Duration,
}

impl FailureRecord {
    fn of(at: Duration, failure: &Failure) -> Self {
        Self {
            stage: failure.stage().to_owned(),
            attempt: failure.attempts(),
            code: Some(failure.code()),
            class: Some(failure.class()),
            recoverable: failure.recoverable(),
            message: failure.message(),
            at,
        }
    }
}

//! Trying again: when, how often, after which delay, and on whose account.

mod budget;
mod failed;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc, time::Duration};

use stageflow_core::{
    Backoff, Call, ErrorClass, Interceptor, Jitter, Layer, Next, PolicyFacts, PolicyId, RetryFacts,
    StageExit, StageResult, Value, intercept::Placement, time::Human,
};

pub use self::budget::RetryBudget;
use self::failed::Failures;

/// What `budget` uses, so that `tests/model` can run it under a model checker.
mod sync {
    pub(super) use std::sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    };
}

/// The name under which the policy is known elsewhere.
pub type RetryInterceptor = Retry;

/// Over how much time calls spread at most that wait for the same breaker.
const BREAKER_SPREAD: Duration = Duration::from_secs(5);

const NANOSECOND: Duration = Duration::from_nanos(1);

type RetryIf = dyn Fn(&StageExit) -> bool + Send + Sync;

/// A retry policy: an interceptor in [`Layer::Retry`].
///
/// A [`StageExit::retry`] is granted; a failure is tried again if its class is among those of the policy, which are transient and
/// timeout without a call of [`on`](Self::on), or if [`retry_if`](Self::retry_if) says so. Permanent, invalid and denied
/// failures, panics, skips and cancellations never are (rule S-22).
///
/// Nothing is tried again that could not end in time: the policy gives up when the delay would not leave the stage and the run more
/// time than an attempt takes at least ([`slack`](stageflow_core::StageContext::slack)).
///
/// # Around a breaker
///
/// A refusal by an open [`CircuitBreaker`](crate::CircuitBreaker) inside is waited out: the next attempt begins when the breaker has
/// promised to admit probes, and not before, however long that is; [`hint_max`](Self::hint_max) does not cut it. With jitter of any
/// kind it begins up to a tenth of the wait later, at most 5 s, drawn evenly, so that those who wait do not come in one instant.
/// What the wait cannot reach in time, within [`max_elapsed`](Self::max_elapsed), or on the budgets, is given up at once, with an
/// error that says so. The refusal takes one of the attempts, and so does another one, such as by a breaker whose probes are under
/// way: each names a new time, which is waited for alike. While it waits `explain()` shows the breaker, and for how long it does.
///
/// A breaker that an operator has opened names no time: delays are then those of the policy.
///
/// # Events
///
/// Each retry is told by a `stage.retry_scheduled` event, with attempt, delay, reason and code, and while it waits `explain()` shows
/// attempt, delay and last error. `stage.retry_recovered` and `stage.retry_exhausted` tell how it ended. State is per call: calls
/// know nothing of each other, but for the budgets they share: each retry is taken out of that of the run, which its child runs
/// share, and out of the [`RetryBudget`] of the dependency where the policy has one. Both pay, or the retries end (rule S-24).
///
/// # Cancel safety
///
/// Cancelled while it waits, it makes no further attempt.
///
/// ```
/// use std::sync::Arc;
/// use stageflow_core::{ClassifyExt as _, DurationExt as _, StageContext, StageResult, stage_fn};
/// use stageflow_dag::Pipeline;
/// use stageflow_exec::PipelineExt as _;
/// use stageflow_interceptors::Retry;
///
/// async fn flaky(ctx: StageContext, n: Arc<u32>) -> StageResult<u32> {
///     if ctx.attempt() < 3 {
///         return Err("connection reset").transient();
///     }
///     Ok(*n + 1)
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?.block_on(async {
/// let mut p = Pipeline::builder("flaky");
/// let n = p.input();
/// let sum = p.stage("flaky", stage_fn(flaky)).retry(Retry::exponential(200.millis()).max_attempts(4)).inputs(n);
/// let flaky = p.build(sum)?;
///
/// let run = flaky.run(1).await?;
/// assert_eq!(*run.output(), 2);
/// assert_eq!(run.report().stage("flaky").map(|stage| stage.attempts), Some(3));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
#[must_use = "a policy does nothing until a stage, pipeline or engine has it"]
pub struct Retry {
    backoff: Backoff,
    max_attempts: u32,
    max_elapsed: Option<Duration>,
    hint_max: Duration,
    classes: Vec<ErrorClass>,
    retry_if: Option<Arc<RetryIf>>,
    budget: Option<RetryBudget>,
}

impl Default for Retry {
    /// Three attempts, 200 ms doubled each time and at most 30 s, full jitter.
    fn default() -> Self {
        Self::with(Backoff::default())
    }
}

impl Retry {
    /// Delays of your own.
    pub fn with(backoff: Backoff) -> Self {
        Self {
            backoff,
            max_attempts: Backoff::ATTEMPTS,
            max_elapsed: None,
            hint_max: Backoff::HINT_MAX,
            classes: vec![ErrorClass::Transient, ErrorClass::Timeout],
            retry_if: None,
            budget: None,
        }
    }

    /// Delays that double, beginning with `base`.
    pub fn exponential(base: Duration) -> Self {
        Self::with(Backoff::exponential(base))
    }

    /// Delays that grow by `base`.
    pub fn linear(base: Duration) -> Self {
        Self::with(Backoff::linear(base))
    }

    /// Delays that are all `base`.
    pub fn constant(base: Duration) -> Self {
        Self::with(Backoff::constant(base))
    }

    /// By what exponential delays grow; 2 by default.
    pub fn factor(mut self, factor: f64) -> Self {
        self.backoff = self.backoff.factor(factor);
        self
    }

    /// What no delay exceeds; 30 s by default.
    pub fn cap(mut self, cap: Duration) -> Self {
        self.backoff = self.backoff.cap(cap);
        self
    }

    /// How delays are spread; fully by default.
    pub fn jitter(mut self, jitter: Jitter) -> Self {
        self.backoff = self.backoff.jitter(jitter);
        self
    }

    /// Delays evenly between nothing and the ceiling: the default.
    pub fn full_jitter(self) -> Self {
        self.jitter(Jitter::Full)
    }

    /// Delays that are the ceiling itself. Clients that failed together come back together.
    pub fn no_jitter(self) -> Self {
        self.jitter(Jitter::None)
    }

    /// How many attempts there are at most, the first included; 3 by default. 0 counts as 1.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts.max(1);
        self
    }

    /// How long after the beginning of the first attempt a retry may begin, delays included. It ends no attempt that has begun.
    pub fn max_elapsed(mut self, limit: Duration) -> Self {
        self.max_elapsed = Some(limit);
        self
    }

    /// How long a delay may be that the other side has asked for, such as by `Retry-After`; 60 s by default. A longer one is cut,
    /// unless it is the time of an open breaker.
    pub fn hint_max(mut self, limit: Duration) -> Self {
        self.hint_max = limit;
        self
    }

    /// The classes of failures that are tried again, in place of transient and timeout. Those that must not be never are.
    pub fn on(mut self, classes: impl IntoIterator<Item = ErrorClass>) -> Self {
        self.classes = classes.into_iter().collect();
        self
    }

    /// Tries failures again for which this says so, beside those of the classes.
    pub fn retry_if(mut self, retry: impl Fn(&StageExit) -> bool + Send + Sync + 'static) -> Self {
        self.retry_if = Some(Arc::new(retry));
        self
    }

    /// The account of the dependency, on which retries go beside that of the run: empty, it ends them.
    pub fn budget(mut self, budget: &RetryBudget) -> Self {
        self.budget = Some(budget.clone());
        self
    }

    /// Whether an exit is one that is tried again at all.
    fn grants(&self, exit: &StageExit) -> bool {
        if exit.is_retry() {
            return true;
        }
        let Some(class) = exit.error_class() else { return false };
        class.may_retry()
            && (self.classes.contains(&class) || self.retry_if.as_ref().is_some_and(|retry| retry(exit)))
    }

    /// Takes a retry out of the account of the dependency and out of that of the run, or out of none.
    fn pay(&self, of_run: impl Fn() -> bool) -> bool {
        let Some(dependency) = &self.budget else { return of_run() };
        if !dependency.withdraw() {
            return false;
        }
        let paid = of_run();
        if !paid {
            dependency.refund();
        }
        paid
    }

    /// What to do after an attempt: a pure function of what is known, and a random number.
    fn decide(&self, exit: &StageExit, state: &State<'_>, random: u64) -> Decision {
        if !self.grants(exit) {
            return Decision::Leave;
        }
        if state.attempts >= self.max_attempts {
            return Decision::GiveUp("max_attempts");
        }
        let own = self.backoff.delay(state.attempts.saturating_sub(1), state.previous, random);
        let is_open = exit.breaker().is_some();
        // Whoever was asked knows better than we do, and a breaker of ours knows it for certain.
        let delay =
            exit.retry_after().map_or(own, |hint| if is_open { hint } else { hint.min(self.hint_max) });
        if state.slack.is_some_and(|slack| delay >= slack) {
            return Decision::GiveUp("deadline");
        }
        let within = self.max_elapsed.map(|most| most.saturating_sub(state.elapsed));
        if within.is_some_and(|within| delay > within) {
            return Decision::GiveUp("max_elapsed");
        }
        if !self.pay(state.take_retry) {
            return Decision::GiveUp("budget");
        }
        if !is_open || self.backoff.is_fixed() {
            return Decision::Retry(delay);
        }
        // Nobody gives up for the sake of the others.
        let slack = state.slack.map(|slack| slack.saturating_sub(NANOSECOND));
        let room =
            slack.into_iter().chain(within).min().map_or(Duration::MAX, |most| most.saturating_sub(delay));
        let spread = (delay / 10).min(BREAKER_SPREAD).min(room);
        Decision::Retry(delay.saturating_add(Backoff::constant(spread).cap(spread).delay(0, spread, random)))
    }

    /// Why an open breaker is not waited for.
    fn not_awaited(&self, why: &'static str, exit: &StageExit, state: &State<'_>) -> Option<String> {
        exit.breaker()?;
        match why {
            "deadline" => {
                let slack = state.slack.unwrap_or_default();
                Some(format!("there is time to wait for {} only", Human(slack)))
            }
            "max_elapsed" => {
                let most = self.max_elapsed.unwrap_or_default();
                Some(format!("the policy begins no retry later than {} after the first attempt", Human(most)))
            }
            "budget" => Some("the budget has no retry left".to_owned()),
            _ => None,
        }
    }
}

/// What a decision depends on, beside the policy.
struct State<'a> {
    /// Takes a retry out of the account of the run.
    take_retry: &'a (dyn Fn() -> bool + Sync),
    /// Attempts that have ended.
    attempts: u32,
    /// The delay before the last of them.
    previous: Duration,
    /// Since the first began, if that is limited.
    elapsed: Duration,
    /// What may be waited for, if another attempt is to be of use before the time of the stage or the run is up.
    slack: Option<Duration>,
}

#[derive(Debug, PartialEq, Eq)]
enum Decision {
    /// It is not for this policy.
    Leave,
    /// It would be, but for what the word says.
    GiveUp(&'static str),
    Retry(Duration),
}

impl Interceptor for Retry {
    async fn around(&self, call: &Call, next: Next<'_>) -> StageResult<Value> {
        let ctx = call.context();
        // The clock is read only where the time decides something.
        let began = self.max_elapsed.map(|_| ctx.elapsed());
        let mut state = State {
            take_retry: &|| ctx.budget().take_retry(),
            attempts: ctx.spent_attempts(),
            previous: self.backoff.base(),
            elapsed: Duration::ZERO,
            slack: None,
        };
        let mut failures = Failures::default();
        self.budget.iter().for_each(RetryBudget::deposit);
        loop {
            let done = next.clone().run().await;
            state.attempts += 1;
            let exit = match done {
                Ok(output) => {
                    if state.attempts > 1 {
                        ctx.record_stage_event("retry_recovered", [("attempts", state.attempts)]);
                    }
                    return Ok(output);
                }
                Err(exit) => exit,
            };
            state.elapsed = began.map_or(Duration::ZERO, |began| ctx.elapsed().saturating_sub(began));
            state.slack = ctx.slack();
            match self.decide(&exit, &state, ctx.random_u64()) {
                Decision::Leave => return Err(failures.last(exit, state.attempts)),
                Decision::GiveUp(why) => {
                    let fields = [("attempts", state.attempts.to_string()), ("because", why.to_owned())];
                    ctx.record_stage_event("retry_exhausted", fields);
                    failures.not_awaited = self.not_awaited(why, &exit, &state);
                    return Err(failures.last(exit, state.attempts));
                }
                Decision::Retry(delay) => {
                    let (reason, code) = (exit.to_string(), exit.error_code());
                    let breaker = exit.breaker().map(ToString::to_string);
                    let _waiting = ctx.backing_off(state.attempts + 1, delay, reason, code, breaker);
                    // On the heap, for those alone that wait.
                    Box::pin(tokio::time::sleep(delay)).await;
                    failures.note(&exit);
                    state.previous = delay;
                }
            }
        }
    }

    fn name(&self) -> String {
        "retry".to_owned()
    }

    fn placement(&self) -> Placement {
        Placement::At(Layer::Retry)
    }

    fn describe(&self) -> PolicyFacts {
        let mut facts = RetryFacts::new(self.backoff, self.max_attempts);
        facts.max_elapsed = self.max_elapsed;
        facts.hint_max = self.hint_max;
        facts.classes.clone_from(&self.classes);
        facts.has_predicate = self.retry_if.is_some();
        facts.budget = self.budget.as_ref().map(|budget| PolicyId::of(&budget.0));
        facts.is_budgeted = self.budget.is_some();
        facts.into()
    }
}

impl fmt::Debug for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry")
            .field("backoff", &self.backoff)
            .field("max_attempts", &self.max_attempts)
            .finish_non_exhaustive()
    }
}

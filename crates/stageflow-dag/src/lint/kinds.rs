//! What is looked for: a stable name, how bad it is, what it is, and what helps.

use std::fmt;

use serde::Serialize;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// It does less than it seems to, or costs more.
    Warning,
    /// It does harm: load that multiplies, effects that happen twice, calls that wait for themselves, or never succeed.
    Danger,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Warning => "warning",
            Self::Danger => "danger",
        })
    }
}

macro_rules! lints {
    ($($(#[doc = $what:literal])+ $variant:ident $name:literal $severity:ident $help:literal;)*) => {
        /// A way in which policies go wrong together. Names are part of the API, and never change their meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Lint {
            $($(#[doc = $what])+ $variant,)*
        }

        impl Lint {
            /// Every lint.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The stable name.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// How bad it is at worst: [`Finding::severity`](super::Finding::severity) says how bad it is in one place.
            pub fn severity(self) -> Severity {
                match self { $(Self::$variant => Severity::$severity,)* }
            }

            /// What it is about, in a sentence.
            pub fn summary(self) -> &'static str {
                match self { $(Self::$variant => concat!($($what),+).trim_ascii_start(),)* }
            }

            /// What usually helps.
            pub fn help(self) -> &'static str {
                match self { $(Self::$variant => $help,)* }
            }
        }
    };
}

lints! {
    /// Retries around retries multiply.
    NestedRetries "nested-retries" Danger
        "retry on one level, best the innermost; leave the run its budget, or give all of them one `RetryBudget`";
    /// A stage with an effect is tried again by a policy that cannot know whether the effect has happened.
    RetryOfWork "retry-of-work" Danger
        "have the stage ask with `StageExit::retry` where nothing was done, under `Retry::on([])`; or make its effect idempotent and allow this";
    /// A policy makes more than ten attempts.
    ManyAttempts "many-attempts" Warning
        "make fewer attempts, and let a breaker or a fallback answer when the dependency is down";
    /// A policy allows attempts that the budget of the run never pays for.
    AttemptsAboveBudget "attempts-above-budget" Warning
        "make fewer attempts, or give the run more with `Budget::retries`";
    /// All attempts together may cost more than the budget of the run has.
    CostAboveBudget "cost-above-budget" Danger
        "make fewer attempts, lower the estimates, settle what an attempt has really cost, or raise the limit with `Budget::cost`";
    /// Attempts of a policy can never begin.
    UnreachableAttempts "unreachable-attempts" Warning
        "make fewer attempts, shorten the delays, or give more time";
    /// At worst the time is up before the last attempt can begin.
    RetriesCutShort "retries-cut-short" Warning
        "give the stage more time, or its attempts less; make fewer of them, or shorten the delays";
    /// Timeouts are tried again, and nothing ends an attempt that hangs.
    HungAttempt "hung-attempt" Warning
        "set `.attempt_timeout(…)` or `.idle_timeout(…)`";
    /// Many stages that fail together come back together.
    SynchronisedRetries "synchronised-retries" Warning
        "leave the jitter in: it is there by default";
    /// A breaker stands around a retry, and counts one call where there are several attempts.
    BreakerOutsideRetry "breaker-outside-retry" Warning
        "put the breaker inside of the retry, where its layer has it: around the stage that calls the dependency";
    /// A retry waits for an open breaker for longer than it would for anybody else.
    LongWaitForBreaker "long-wait-for-breaker" Warning
        "open for a shorter time, or give the retry a `max_elapsed` or the stage a timeout below it, so that the retry gives up at once";
    /// A bulkhead keeps its place while a retry inside of it waits.
    BulkheadOutsideRetry "bulkhead-outside-retry" Warning
        "put the bulkhead inside of the retry, where its layer has it: around the stage that calls the dependency";
    /// A rate limit charges once for several attempts.
    RateLimitOutsideRetry "rate-limit-outside-retry" Danger
        "put the rate limit inside of the retry, where its layer has it: around the stage that calls the dependency";
    /// A bulkhead stands around itself, so that calls wait for the places they hold.
    BulkheadAroundItself "bulkhead-around-itself" Danger
        "put it around the stages that call the dependency only, not around the pipelines that hold them";
    /// A rate limit charges the same call twice.
    ChargedTwice "charged-twice" Warning
        "put it around the stages that call the dependency only, not around the pipelines that hold them";
    /// Of two limits around a call one never takes effect, or its places are held by calls that wait for the other.
    LimitsInSeries "limits-in-series" Warning
        "keep the smaller one, or make one of them per tenant";
    /// A limit for a wait is above the time that there is.
    WaitOutlastsStage "wait-outlasts-stage" Warning
        "make the wait shorter than the time of the stage";
    /// More stages begin together than a bulkhead has places and room in its queue.
    FanOverflowsQueue "fan-overflows-queue" Danger
        "raise `max_queue` to the number of stages, or share the work among fewer";
    /// More stages of one run need a quota than it lets through in their time.
    FanOutlastsQuota "fan-outlasts-quota" Danger
        "give the run more time, raise the burst or `max_queue`, or share the work among fewer stages";
    /// A stored failure answers each retry.
    StoredFailureRetried "stored-failure-retried" Danger
        "leave out `store_failures`, or retry inside of the idempotency";
    /// The lease of an idempotent call is shorter than its time.
    LeaseTooShort "lease-too-short" Warning
        "make the lease longer than the timeout of the stage";
    /// A fallback inside of a retry answers before anything is tried again.
    FallbackInsideRetry "fallback-inside-retry" Warning
        "put the fallback outside of the retry, where its place has it";
    /// Something answers, or takes what is scarce, before it is known who calls.
    OutsideAuthentication "outside-authentication" Danger
        "authenticate at the outermost stage, best by the engine";
    /// An attempt gets as much time as all attempts together, or more.
    AttemptOutlastsStage "attempt-outlasts-stage" Warning
        "make the attempt timeout shorter than the time of all attempts";
    /// An attempt may be idle for as long as it gets at most, or longer.
    IdleOutlastsAttempt "idle-outlasts-attempt" Warning
        "make the idle timeout shorter than the time of an attempt";
    /// A stage takes longer at least than it gets.
    TooLittleTime "too-little-time" Danger
        "give the stage more time of its own, or lower `.min_time(…)`";
    /// A stage gets more time than its run.
    StageOutlastsDeadline "stage-outlasts-deadline" Warning
        "make the timeout shorter than the deadline";
    /// Stages that wait for each other get more time together than their run.
    PathOutlastsDeadline "path-outlasts-deadline" Warning
        "make the timeouts on the path shorter, or the deadline longer";
    /// A run may wait to be let in for as long as its pipeline has time, or longer.
    QueueOutlastsDeadline "queue-outlasts-deadline" Warning
        "make the `queue_timeout` of the monitor shorter than the deadline, by what a run needs";
    /// Runs that wait to be let in wait for ever.
    EndlessQueue "endless-queue" Warning
        "give the monitor a `queue_timeout`, or the pipeline a deadline";
    /// A rule for failures never decides anything.
    UnreachableFailureRule "unreachable-failure-rule" Warning
        "leave out the rule, or take a policy under which the run goes on until it counts, such as `FailurePolicy::Continue`";
    /// Pipelines are nested deeper than the engine allows.
    TooDeep "too-deep" Danger
        "raise `max_depth`, or compose with `then` and `zip`, which nest nothing";
}

impl fmt::Display for Lint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for Lint {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

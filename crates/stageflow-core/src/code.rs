//! The stable codes of errors: what users, dashboards and the pages in `docs/errors/` refer to.

use std::fmt;

use serde::Serialize;

/// A stable, low-cardinality code of an error.
///
/// Codes are part of the API: they are never reused and never change their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Code(&'static str);

impl Code {
    /// A code of your own, for [`StageExit::code`](crate::StageExit::code).
    pub const fn new(code: &'static str) -> Self {
        Self(code)
    }

    /// The code as text.
    pub const fn as_str(&self) -> &'static str {
        self.0
    }

    /// What usually helps, for the codes of the engine.
    pub fn hint(&self) -> Option<&'static str> {
        ALL.iter().find(|(code, _)| code == self).map(|(_, hint)| *hint)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $hint:literal;)*) => {
        $($(#[$doc])* pub const $name: Code = Code::new(stringify!($name));)*

        /// Every code of the engine with its hint.
        pub const ALL: &[(Code, &str)] = &[$(($name, $hint),)*];
    };
}

codes! {
    // Building a pipeline.
    /// A pipeline has no stage.
    EMPTY = "add at least one stage before `build`";
    /// Two stages have one name.
    DUPLICATE = "give each stage a name of its own; `parallel` numbers them for you";
    /// A name is empty or holds control characters.
    INVALID_NAME = "use a non-empty name without control characters";
    /// A name refers to no stage.
    MISSING_DEP = "check the spelling, or add the stage";
    /// A stage waits for itself.
    SELF_DEP = "remove the stage from its own inputs";
    /// Stages wait for each other in a circle.
    CYCLE = "cut one of the edges on the path";
    /// A port of another builder was used.
    FOREIGN_NODE = "use ports of the builder that made them; compose whole pipelines with `then`, `zip` or as a stage";
    /// A limit, timeout or policy has a value that cannot work.
    INVALID_POLICY = "use a limit and a timeout above zero, and a percentage from 0 to 100";
    /// A pipeline has more stages or edges than a plan can number.
    TOO_LARGE = "split the pipeline, and run the parts one after the other";
    /// A stage's output is read by nobody.
    UNUSED_OUTPUT = "wire the output into a stage, or give the stage the unit output `()`";
    /// A stage has no edge to any other.
    ORPHAN = "wire the stage to the others, or leave it out";
    /// Policies that are fine one by one go wrong together: a warning.
    POLICY_LINT = "follow the help of the finding, or allow it with a reason: `.allow_lint(…)`";
    // Building a pipeline from data.
    /// A text is no pipeline in the format of `stageflow::spec`.
    INVALID_SPEC = "mend the text at the place that the message names; `Registry::schema` says what may stand where";
    /// A pipeline from data uses a stage, a policy, a condition or a lint that is not there.
    UNKNOWN_KIND = "check the spelling, or register it; `Registry::kinds` lists what there is";
    /// The configuration of a stage, a policy or a condition was refused.
    INVALID_CONFIG = "mend the configuration; `Registry::schema` says what it may be";
    /// An edge of a pipeline from data delivers another type than its reader takes, or in another form.
    TYPE_MISMATCH = "wire the input to a stage that gives what the reader takes, or put a stage between that converts it";
    // Building an engine.
    /// An interceptor asks for a place outside authentication.
    OUTSIDE_AUTHENTICATION = "move the interceptor to a layer inside `Layer::Authenticate`";
    // Running.
    /// A stage returned an error without a code of its own.
    STAGE_FAILED = "read the cause; classify it with `.transient()` or `.permanent()` so that policies can act on it";
    /// A stage, predicate or interceptor panicked.
    PANIC = "find the panic's place in the log and return an error instead";
    /// A stage asked for a retry, and its inputs are gone or a policy has let the request through.
    RETRY_UNAVAILABLE = "attach a retry policy, which keeps the inputs, to the stage, the pipeline or the engine";
    /// A stage asked for a retry, and the policy grants no more.
    RETRY_EXHAUSTED = "raise `max_attempts`, or find out why every attempt asks for another";
    /// A circuit breaker did not let the call through.
    BREAKER_OPEN = "try again when the breaker lets probes through; what opened it is in the event `breaker.opened`";
    /// A stage used up its time over all attempts.
    STAGE_TIMEOUT = "raise `.timeout(…)`, or make the stage faster";
    /// An attempt used up its time.
    ATTEMPT_TIMEOUT = "raise `.attempt_timeout(…)`, or make the stage faster";
    /// An attempt showed no progress for too long.
    IDLE_TIMEOUT = "call `ctx.progress()` wherever the stage gets on, raise `.idle_timeout(…)`, or find out what it waits for";
    /// The run used up its time, or less was left than what follows takes.
    DEADLINE_EXCEEDED = "raise the run's deadline, or start less work under it";
    /// A bulkhead has no room for the call.
    BULKHEAD_FULL = "try again later, raise `max_concurrent` or `max_queue`, or make the calls faster";
    /// A rate limit has no room for the call in time.
    RATE_LIMITED = "try again after the delay that the failure names, or give the run more time to wait";
    /// A call costs more than a rate limit ever lets through at once.
    COST_ABOVE_BURST = "split the call, or raise the burst of the dimension";
    /// A limiter of a fan-out has no room for an item.
    FAN_OUT_FULL = "try again later, raise `limit`, `max_queue` or `queue_timeout`, or have items wait: `Overflow::Wait`";
    /// More items of a map have failed than are tolerated.
    TOO_MANY_FAILURES = "read the first failures in the cause; tolerate more, or have items tried again";
    /// A batcher did not take an item.
    BATCH_REFUSED = "try again later, raise `max_queue` or `tenant_queue`, or make the calls faster";
    /// The handler of a batcher gave another number of answers than there were items.
    BATCH_MISMATCH = "give one answer for each item of the batch, in their order";
    /// A step of a saga could not be undone, or nobody knows whether it was done.
    SAGA_STUCK = "undo by hand what the saga lists as stuck and in doubt, or resume it: the desk of the saga has it";
    /// The budget of the run cannot afford a stage, or a child run that is made again.
    BUDGET_EXHAUSTED = "raise the budget of the run, the pipeline or the engine, or find out what has used it up";
    /// An idempotency key came again with other inputs.
    IDEMPOTENCY_MISMATCH = "take a new key for each request; repeat one under its key with the same inputs only";
    /// A router found no route.
    NO_ROUTE = "read which routes were skipped and why, or say where to go then with `on_unknown` and `on_empty`";
    /// A chain of runs took a route of a router too often.
    ROUTE_LOOP = "read the path in the message, and give the loop an end; raise `max_times` if it is meant to go on";
    /// A value has no room in a context window.
    CONTEXT_WINDOW_EXCEEDED = "fetch less, raise the limit, or have it cut: `.shorten(…)` on the window";
    /// Sources contradict each other, and the rule for that is an error.
    MERGE_CONFLICT = "mend one of the sources, or say which wins: `Resolve::KeepOld`, `KeepNew`, `Newest` or `Merge`";
    /// A guard has blocked the content of a stage.
    GUARD_BLOCKED = "read which guard objects and why; say what follows from it with `on_block`";
    /// A guard gave no verdict, so the content of a stage was blocked.
    GUARD_FAILED = "read the cause; give the guard more time, try the stage again, or let it be passed over with `OnError::Open`";
    /// No output of a loop has passed its guard.
    REFINE_EXHAUSTED = "read what was objected last; give the attempts the feedback, more of them, or say what follows with `on_exhausted`";
    /// An interceptor denied the call.
    DENIED = "check the caller's credentials and rights";
    /// An input of a stage is not usable.
    INVALID_INPUT = "check what the stage was given";
    /// A stage read an input it did not declare.
    UNDECLARED_DEP = "add the name to the inputs of the stage";
    /// A stage read a declared input that was skipped.
    INPUT_SKIPPED = "use `get_optional`, or make the input required";
    /// A stage read a declared input that never came because its stage failed.
    INPUT_UNAVAILABLE = "use `get_optional`, or make the input required";
    /// A stage read an input as another type than it has.
    WRONG_TYPE = "ask for the type that the named stage returns";
    /// An interceptor replaced an output by a value of another type.
    REPLACED_TYPE = "return a value of the stage's output type from the interceptor";
    /// A run was cancelled.
    CANCELLED = "nothing to mend: somebody asked for it";
    /// A run ended without its output, though nothing failed.
    NO_OUTPUT = "the output stage was skipped: join its branches with `.or(…)`, or read the report";
    /// Pipelines are nested too deeply.
    MAX_DEPTH = "flatten the nesting, or raise the engine's `max_depth`";
    /// The engine is shutting down and takes no new run.
    SHUTTING_DOWN = "start runs before calling `shutdown`";
    /// A backpressure monitor did not let a run in.
    OVERLOADED = "try again later, raise `max_active` or `queue_limit`, or make the runs faster";
    /// A run was started outside a tokio runtime, or with a deadline or timeouts on a runtime without a timer.
    NO_RUNTIME = "run pipelines inside `#[tokio::main]`, or on a runtime of your own with `enable_time`";
    /// A clean-up failed.
    CLEANUP_FAILED = "read the cause; what it should have released may still be held";
    /// Clean-ups used up their budget.
    CLEANUP_TIMEOUT = "raise `cleanup_budget`, or make the clean-up faster";
    // Keeping runs.
    /// A pipeline keeps what its stages give, and not its own input.
    INPUT_NOT_DURABLE = "take the input by `p.durable_input()`, so that the run can be resumed";
    /// A run with durable stages was started on an engine without a journal.
    NO_JOURNAL = "give the engine one: `Engine::builder().journal(…)`";
    /// A durable run, or a key of a store, has no tenant.
    TENANT_REQUIRED = "say for whom the run is: `.tenant(…)`, or give the journal a `default_tenant`";
    /// A run of this id was begun before.
    RUN_EXISTS = "take a new run id, or resume that run";
    /// The tenant has no run of this id.
    RUN_NOT_FOUND = "check the id and the tenant; runs that have ended are forgotten after their retention";
    /// A run has ended, so there is nothing to resume.
    RUN_ENDED = "read its journal, or branch from one of its stages";
    /// Another process goes on with a run.
    LEASE_HELD = "leave it to that process, or wait for the end of its lease";
    /// Another process has taken a run over.
    LEASE_LOST = "nothing to mend where the other process lives; else give leases more time than the process is ever stopped for";
    /// A store does not answer.
    STORE_UNAVAILABLE = "see whether the store is up and reachable; the run can be resumed when it is";
    /// A store has no room left.
    STORE_FULL = "make room; the run can be resumed then";
    /// A tenant has used up what it may use.
    QUOTA_EXCEEDED = "wait, free what is not needed any more, or raise the quota of the tenant";
    /// A store was made by another version.
    STORE_SCHEMA = "run the version that made it, or let the newer one migrate it";
    /// A store does not keep tenants apart.
    STORE_UNSAFE = "use a role that neither owns the tables nor is a superuser nor has BYPASSRLS, and tables with FORCE ROW LEVEL SECURITY";
    /// A store gives something else than was written.
    STORE_CORRUPT = "restore the store from a backup; what can be read of it stays readable";
    /// A run was begun with another pipeline.
    PIPELINE_CHANGED = "resume it with the version that began it, or begin it anew";
    /// What was written is not what this code reads.
    NOT_READABLE = "give the codec of the stage upcasters for the older versions";
    /// A value that has to leave the process has no codec, or does not go through it.
    NOT_STORABLE = "have the type derive `Serialize` and `Deserialize`, and the stage marked `.durable()` or `.stored()`";
    /// A pause has ended without an answer.
    PAUSE_EXPIRED = "give the pause more time, or say what follows without an answer";
    /// The executor itself is at fault.
    INTERNAL = "report this as a bug";
}

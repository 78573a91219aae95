//! Every event that Stageflow itself emits, in one table: for the specification, and for tests that nothing else is emitted.

use super::EventClass::{self, Decision, Progress, Terminal};

/// One event of Stageflow's own, by its name.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct EventSpec {
    /// The name on the wire.
    pub name: &'static str,
    /// How much it matters when there is no room for every event.
    pub class: EventClass,
    /// Who emits it: `engine`, or the policy.
    pub by: &'static str,
    /// When.
    pub when: &'static str,
    /// What its `details` may have; some are left out where they do not apply.
    pub details: &'static [&'static str],
}

const fn event(
    name: &'static str,
    class: EventClass,
    by: &'static str,
    when: &'static str,
    details: &'static [&'static str],
) -> EventSpec {
    EventSpec { name, class, by, when, details }
}

const ENDED: &[&str] = &["outcome", "failure", "cancelled"];
const BREAKER: &[&str] = &["key", "breaker", "reason", "open_ms", "until_ms"];
const WAITED: &[&str] = &[
    "permit_ns",
    "permit_count",
    "back_off_ns",
    "back_off_count",
    "rate_limit_ns",
    "rate_limit_count",
    "bulkhead_ns",
    "bulkhead_count",
    "breaker_ns",
    "breaker_count",
    "idempotency_ns",
    "idempotency_count",
];

/// Every event that Stageflow itself emits; what stages emit has names of their own.
///
/// ```
/// use stageflow_core::EVENTS;
///
/// for event in EVENTS {
///     println!("{} ({}, by {}): {}", event.name, event.class, event.by, event.when);
/// }
/// assert!(EVENTS.iter().any(|event| event.name == "stage.completed"));
/// ```
pub const EVENTS: &[EventSpec] = &[
    event("pipeline.started", Progress, "engine", "A run starts.", &["priority"]),
    event("pipeline.completed", Terminal, "engine", "A run gave its output.", ENDED),
    event(
        "pipeline.failed",
        Terminal,
        "engine",
        "A failure took the output away, or was more than is tolerated.",
        ENDED,
    ),
    event("pipeline.cancelled", Terminal, "engine", "A run was cancelled.", ENDED),
    event("pipeline.denied", Terminal, "engine", "A call was denied, and with it the run.", ENDED),
    event("pipeline.timed_out", Terminal, "engine", "The deadline of a run passed.", ENDED),
    event(
        "pipeline.child_started",
        Progress,
        "engine",
        "A stage that is a pipeline starts a run of its own.",
        &["child_run_id"],
    ),
    event("pipeline.cleanup_failed", Terminal, "engine", "A clean-up failed or took too long.", &["error"]),
    event("stage.started", Progress, "engine", "An attempt starts.", &[]),
    event("stage.completed", Terminal, "engine", "A stage gave its output.", &[]),
    event("stage.failed", Terminal, "engine", "A stage failed.", &["failure"]),
    event("stage.skipped", Terminal, "engine", "A stage is left out, without error.", &["skipped"]),
    event("stage.cancelled", Terminal, "engine", "The run ended before the stage did.", &["cancelled"]),
    event(
        "stage.blocked",
        Terminal,
        "engine",
        "An input will never come, because a stage failed.",
        &["blocked_by"],
    ),
    event(
        "stage.waited",
        Progress,
        "engine",
        "A stage that has waited is about to end: for what it waited, how long in all, and how often.",
        WAITED,
    ),
    event(
        "stage.retry_scheduled",
        Decision,
        "retry",
        "Another attempt follows.",
        &["attempt", "delay_ms", "reason", "code"],
    ),
    event(
        "stage.retry_recovered",
        Decision,
        "retry",
        "An attempt after the first gave the output.",
        &["attempts"],
    ),
    event(
        "stage.retry_exhausted",
        Decision,
        "retry",
        "An attempt would be tried again, and there is none left.",
        &["attempts", "because"],
    ),
    event(
        "failures.stopped",
        Progress,
        "engine",
        "The failures are more than the rules tolerate.",
        &["stage", "because"],
    ),
    event(
        "budget.exhausted",
        Progress,
        "budget",
        "A budget has nothing left of what is asked for.",
        &["kind", "used", "limit"],
    ),
    event(
        "budget.spent",
        Progress,
        "budget",
        "A run that has used a budget of its own is about to end: what it used.",
        &["cost", "retries"],
    ),
    event("admission.queued", Progress, "backpressure monitor", "A run waits to be let in.", &["ahead"]),
    event(
        "admission.admitted",
        Progress,
        "backpressure monitor",
        "A run that waited is let in.",
        &["waited_ms"],
    ),
    event("admission.shed", Progress, "backpressure monitor", "A run that waited is given up.", &["rule"]),
    event(
        "auth.accepted",
        Terminal,
        "authentication",
        "A run is let through.",
        &["principal", "by", "tenant", "organisation"],
    ),
    event(
        "auth.denied",
        Terminal,
        "authentication",
        "A call, or a run as a whole, is denied.",
        &["reason", "principal"],
    ),
    event(
        "tenant.denied",
        Terminal,
        "tenant guard",
        "A call, or a run as a whole, is denied.",
        &["reason", "principal"],
    ),
    event(
        "quota.waiting",
        Decision,
        "tenant quota",
        "A run waits for the quota of its tenant.",
        &["quota", "used", "limit", "ahead"],
    ),
    event(
        "quota.admitted",
        Decision,
        "tenant quota",
        "A run that waited for the quota of its tenant is let in.",
        &["waited_ns"],
    ),
    event(
        "tenant.quota_exceeded",
        Terminal,
        "tenant quota",
        "A run that was started is refused, or the first stage of a window that its tenant cannot afford.",
        &["quota", "used", "limit", "retry_after_ns"],
    ),
    event(
        "idempotency.waited",
        Decision,
        "idempotency",
        "A call has waited for another under its key.",
        &["waited_ns"],
    ),
    event(
        "idempotency.replayed",
        Decision,
        "idempotency",
        "A call is answered from the store.",
        &["failure"],
    ),
    event("idempotency.mismatch", Decision, "idempotency", "A key came again with other inputs.", &["stage"]),
    event("idempotency.not_stored", Decision, "idempotency", "An answer was not stored.", &["reason"]),
    event("breaker.opened", Decision, "breaker", "A breaker opens.", BREAKER),
    event("breaker.half_open", Decision, "breaker", "A breaker lets probes through.", BREAKER),
    event("breaker.closed", Decision, "breaker", "A breaker closes.", BREAKER),
    event("breaker.rejected", Decision, "breaker", "A call is refused, for the breaker is open.", BREAKER),
    event("bulkhead.waited", Decision, "bulkhead", "A call has waited for room.", &["bulkhead", "waited_ns"]),
    event(
        "bulkhead.rejected",
        Decision,
        "bulkhead",
        "A call is refused for want of room.",
        &["bulkhead", "reason", "skipped"],
    ),
    event(
        "rate.waited",
        Decision,
        "rate limit",
        "A call has waited for its quota.",
        &["limiter", "waited_ns"],
    ),
    event(
        "rate.rejected",
        Decision,
        "rate limit",
        "A call is refused for want of quota.",
        &["limiter", "reason", "skipped", "wait_ns"],
    ),
    event(
        "route.decided",
        Decision,
        "router",
        "A router chose a route: which, why, how sure it is, and why not the others.",
        &["router", "version", "route", "reason", "because", "confidence", "skipped"],
    ),
    event(
        "route.refused",
        Decision,
        "router",
        "A router found no route.",
        &["router", "version", "reason", "skipped"],
    ),
    event(
        "route.looped",
        Decision,
        "router",
        "A chain of runs took a route too often.",
        &["router", "route", "times", "path"],
    ),
    event(
        "route.unreported",
        Decision,
        "router",
        "A run ended, and the stage behind its route was never called.",
        &["router", "route"],
    ),
    event(
        "limit.waited",
        Decision,
        "priority gate",
        "A call has waited for its turn.",
        &["limit", "class", "waited_ns", "promoted"],
    ),
    event(
        "limit.rejected",
        Decision,
        "priority gate",
        "A call is refused, for it would wait too long.",
        &["limit", "class", "reason"],
    ),
    event("fallback.used", Decision, "fallback", "A fallback gave the output.", &["step", "class", "reason"]),
    event(
        "fallback.failed",
        Decision,
        "fallback",
        "A fallback failed as well.",
        &["step", "class", "reason"],
    ),
    event("fan_out.item_failed", Decision, "map", "An item of a map failed.", &["index", "code", "class"]),
    event(
        "fan_out.item_retried",
        Decision,
        "map",
        "Another attempt of an item follows.",
        &["index", "attempt", "delay_ms", "code"],
    ),
    event(
        "fan_out.refused",
        Decision,
        "map",
        "An item is refused by its limiter, and has failed.",
        &["index", "reason", "limiter"],
    ),
    event(
        "fan_out.dropped",
        Decision,
        "map",
        "An item is dropped by its limiter, without failure.",
        &["index", "reason", "limiter"],
    ),
    event(
        "fan_out.stopped",
        Decision,
        "map",
        "No further item is begun: more have failed than are tolerated, or one was denied.",
        &["because", "failed"],
    ),
    event(
        "fan_out.finished",
        Decision,
        "map",
        "A map is over: how many of its items ended how.",
        &["completed", "failed", "skipped", "dropped", "cancelled", "not_begun", "peak_in_flight"],
    ),
    event(
        "context.measured",
        Decision,
        "context window",
        "An output was counted: what it takes, and what the run has used by then.",
        &["window", "part", "tokens", "used", "limit", "counter"],
    ),
    event(
        "context.unmeasured",
        Decision,
        "context window",
        "An output was not counted, for nobody has said how its type is measured.",
        &["window"],
    ),
    event(
        "context.near_limit",
        Decision,
        "context window",
        "With this output the run has come near the limit.",
        &["window", "used", "limit", "near_at"],
    ),
    event(
        "context.over_limit",
        Decision,
        "context window",
        "An output does not fit, and what became of it.",
        &["window", "tokens", "used", "limit", "policy"],
    ),
    event(
        "context.truncated",
        Decision,
        "context window",
        "Something was cut: what, why, how much of it, where and by which strategy.",
        &["what", "why", "strategy", "unit", "before", "after", "removed", "pieces", "counter"],
    ),
    event(
        "context.conflict",
        Decision,
        "conflict detector",
        "Sources contradict each other, and which was kept.",
        &["key", "old_source", "new_source", "resolution", "old", "new"],
    ),
    event(
        "context.stale",
        Decision,
        "version metadata",
        "Something older than its time to live is used.",
        &["source", "version", "age_ms", "ttl_ms"],
    ),
    event(
        "batch.dispatched",
        Decision,
        "batcher",
        "The batch of an item goes: how large it is, why now, and how long its first item has waited.",
        &["batcher", "size", "weight", "because", "waited_ns"],
    ),
    event("batch.refused", Decision, "batcher", "An item is refused.", &["batcher", "reason"]),
    event(
        "saga.committed",
        Decision,
        "saga",
        "All steps of a saga are done, and stay.",
        &["saga", "done", "in_doubt"],
    ),
    event("saga.undone", Decision, "saga", "A step of a saga is undone.", &["saga", "step", "attempts"]),
    event(
        "saga.undo_retried",
        Decision,
        "saga",
        "An undo failed, and another attempt of it follows.",
        &["saga", "step", "attempt", "delay_ms", "code"],
    ),
    event(
        "saga.rolled_back",
        Decision,
        "saga",
        "All that was done of a saga is undone.",
        &["saga", "undone", "because"],
    ),
    event(
        "saga.stuck",
        Terminal,
        "saga",
        "A saga could not be undone to its end: which steps are stuck, in doubt, and still done.",
        &["saga", "because", "stuck", "in_doubt", "undone", "still_done"],
    ),
    event(
        "journal.lost",
        Terminal,
        "engine",
        "The journal did not take what the run had to write: it goes on without, or stops.",
        &["code", "reason"],
    ),
    event(
        "stage.restored",
        Decision,
        "engine",
        "A stage ended before the run was resumed, and is not called again.",
        &["attempts"],
    ),
    event(
        "pause.opened",
        Decision,
        "engine",
        "A stage begins to wait for an answer from outside.",
        &["token"],
    ),
    event("pause.answered", Decision, "engine", "A pause has its answer.", &["token"]),
    event(
        "guard.decided",
        Decision,
        "guard",
        "A guard has given a verdict, or has failed to.",
        &["guard", "verdict", "reason", "score", "took_ns", "code", "class"],
    ),
    event(
        "guard.blocked",
        Decision,
        "guard stage",
        "A stage lets nothing pass: why, and what follows.",
        &["guard", "reason", "objections", "then"],
    ),
    event(
        "audit.guard_opened",
        Terminal,
        "guard",
        "A guard has failed, and the content is taken as allowed.",
        &["guard", "reason", "code", "class"],
    ),
    event(
        "guard_retry.attempt",
        Decision,
        "refine",
        "An output was rejected.",
        &["guard", "attempt", "retry_stage", "stagnation_hits", "timeout_seconds", "max_attempts"],
    ),
    event(
        "guard_retry.scheduled",
        Decision,
        "refine",
        "Another attempt follows.",
        &["guard", "attempt", "retry_stage", "stagnation_hits", "timeout_seconds"],
    ),
    event(
        "guard_retry.recovered",
        Decision,
        "refine",
        "An output passes, after others were rejected.",
        &["guard", "attempts"],
    ),
    event(
        "guard_retry.exhausted",
        Decision,
        "refine",
        "No output has passed, and no other attempt follows.",
        &["guard", "attempts", "retry_stage", "stagnation_hits", "timeout_seconds", "reason"],
    ),
    event(
        "events.gap",
        Terminal,
        "sinks",
        "Events of the run before this place were not delivered to this sink.",
        &["dropped", "losses"],
    ),
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{super::EventKind, EVENTS, EventClass};

    #[test]
    fn names_are_unique_and_have_the_class_that_the_engine_gives_them() {
        let names: HashSet<_> = EVENTS.iter().map(|event| event.name).collect();
        assert_eq!(names.len(), EVENTS.len());
        for event in EVENTS {
            let is_engines = event.name.starts_with("pipeline.") || event.name.starts_with("events.");
            let is_stages = ["started", "completed", "failed", "skipped", "cancelled", "blocked"]
                .iter()
                .any(|what| event.name == format!("stage.{what}"));
            if !is_engines && !is_stages {
                assert_eq!(EventClass::of_name(event.name), event.class, "{}", event.name);
            }
        }
        for kind in [EventKind::PipelineStarted, EventKind::StageStarted, EventKind::StageCompleted] {
            let class = EVENTS.iter().find(|event| event.name == kind.name()).map(|event| event.class);
            assert_eq!(class, Some(kind.class()));
        }
    }
}

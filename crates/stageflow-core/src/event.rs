//! What happened: events, and the sinks that are told of them.

mod account;
#[doc(hidden)]
pub mod backlog;
mod class;
mod codec;
mod custom;
mod losses;
mod sink;
#[cfg(test)]
mod support;
mod table;

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde::{Serialize, ser::SerializeMap};

use crate::{
    id::RunId,
    outcome::{CancelCause, Failure, RunOutcome, SkipCause},
    snapshot::ContextSnapshot,
    stage::StageKind,
    text::OneLine,
    time::Human,
};

pub use self::{
    account::{DropReason, SinkAccount},
    class::EventClass,
    custom::{CustomEvent, FieldValue},
    losses::Losses,
    sink::{Delivery, EventSink, Flushing, Taken},
    table::{EVENTS, EventSpec},
};

/// What all events of one run have in common.
#[derive(Clone)]
pub struct RunInfo {
    snapshot: Arc<ContextSnapshot>,
    started: SystemTime,
    names: Arc<dyn StageNames>,
}

/// Names the stages of a plan.
#[doc(hidden)]
pub trait StageNames: Send + Sync {
    fn stage_name(&self, index: u32) -> &str;

    fn stage_kind(&self, _index: u32) -> StageKind {
        StageKind::Transform
    }

    /// Calls `visit` for each stage that the one at `index` waits for.
    fn for_each_source(&self, _index: u32, _visit: &mut dyn FnMut(u32)) {}

    /// Whether some stage is of this kind.
    fn has_kind(&self, _kind: StageKind) -> bool {
        false
    }

    /// How many stages there are, where that is known.
    fn stage_count(&self) -> u32 {
        0
    }
}

impl RunInfo {
    #[doc(hidden)]
    pub fn new(snapshot: Arc<ContextSnapshot>, started: SystemTime, names: Arc<dyn StageNames>) -> Self {
        Self { snapshot, started, names }
    }

    /// The immutable facts of the run.
    pub fn snapshot(&self) -> &Arc<ContextSnapshot> {
        &self.snapshot
    }

    #[doc(hidden)]
    pub fn stages(&self) -> &dyn StageNames {
        &*self.names
    }

    #[doc(hidden)]
    pub fn run_id(&self) -> RunId {
        self.snapshot.identity().run_id()
    }

    /// When the run started, by the wall clock.
    pub fn started(&self) -> SystemTime {
        self.started
    }
}

impl fmt::Debug for RunInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunInfo").field("run", &self.snapshot.identity().run_id()).finish_non_exhaustive()
    }
}

/// Something that happened in a run (rules S-27 and S-28).
#[derive(Clone, Debug)]
pub struct Event {
    run: Arc<RunInfo>,
    record: EventRecord,
}

/// The part of an event that differs from event to event: of fixed size, without names.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct EventRecord {
    pub seq: u64,
    pub nanos: u64,
    pub stage: u32,
    pub attempt: u32,
    pub kind: EventKind,
}

/// The stage index of an event about the run itself.
#[doc(hidden)]
pub const NO_STAGE: u32 = u32::MAX;

impl Event {
    #[doc(hidden)]
    pub fn new(run: Arc<RunInfo>, record: EventRecord) -> Self {
        Self { run, record }
    }

    /// What all events of the run have in common.
    pub fn run(&self) -> &Arc<RunInfo> {
        &self.run
    }

    /// The run's id.
    pub fn run_id(&self) -> RunId {
        self.run.snapshot.identity().run_id()
    }

    /// Whether it is one of this run.
    pub(crate) fn is_of(&self, run: &Arc<RunInfo>) -> bool {
        Arc::ptr_eq(&self.run, run) || self.run_id() == run.run_id()
    }

    /// The tenant, if the run has one.
    pub fn tenant(&self) -> Option<&str> {
        self.run.snapshot.identity().tenant_id().map(crate::TenantId::as_str)
    }

    /// The correlation id, if the run has one.
    pub fn correlation_id(&self) -> Option<&str> {
        self.run.snapshot.identity().correlation_id().map(crate::CorrelationId::as_str)
    }

    /// The id of the trace the run is part of, in 32 hexadecimal digits: where it was given none, one that follows from its id.
    pub fn trace_id(&self) -> String {
        format!("{:032x}", self.run.snapshot.trace_id())
    }

    /// The pipeline's name.
    pub fn pipeline(&self) -> &str {
        self.run.snapshot.pipeline()
    }

    /// The stage, for an event about one.
    pub fn stage(&self) -> Option<&str> {
        (self.record.stage != NO_STAGE).then(|| self.run.names.stage_name(self.record.stage))
    }

    /// The kind of the stage, for an event about one.
    pub fn stage_kind(&self) -> Option<StageKind> {
        (self.record.stage != NO_STAGE).then(|| self.run.names.stage_kind(self.record.stage))
    }

    /// The number of the stage in its pipeline, for an event about one.
    #[doc(hidden)]
    pub fn stage_index(&self) -> Option<u32> {
        Some(self.record.stage).filter(|stage| *stage != NO_STAGE)
    }

    /// The attempt, for an event about one: from 1.
    pub fn attempt(&self) -> Option<u32> {
        (self.record.attempt != 0).then_some(self.record.attempt)
    }

    /// The position in the run: from 1, without gaps but those that a [`EventKind::Gap`] announces.
    pub fn seq(&self) -> u64 {
        self.record.seq
    }

    /// Time since the run started, by its monotonic clock.
    pub fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.record.nanos)
    }

    /// The time of day.
    pub fn time(&self) -> SystemTime {
        self.run.started + self.elapsed()
    }

    /// What happened.
    pub fn kind(&self) -> &EventKind {
        &self.record.kind
    }

    /// The name on the wire, such as `stage.completed`.
    pub fn name(&self) -> Cow<'_, str> {
        self.record.kind.name()
    }

    #[doc(hidden)]
    pub fn is_gap(&self) -> bool {
        matches!(self.record.kind, EventKind::Gap { .. })
    }

    #[doc(hidden)]
    pub fn record(&self) -> &EventRecord {
        &self.record
    }

    /// A gap in the events of a run, behind the number `seq`.
    #[doc(hidden)]
    pub fn gap(run: Arc<RunInfo>, seq: u64, nanos: u64, losses: Losses) -> Self {
        let kind = EventKind::Gap { dropped: losses.total(), losses: Arc::new(losses) };
        Self { run, record: EventRecord { seq, nanos, stage: NO_STAGE, attempt: 0, kind } }
    }
}

/// What an event says.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum EventKind {
    /// `pipeline.started`; on the wire with the priority of the run.
    PipelineStarted,
    /// `pipeline.completed`, `.failed`, `.cancelled`, `.denied` or `.timed_out`: the last event of a run.
    PipelineEnded {
        /// How it ended.
        outcome: RunOutcome,
        /// The first failure observed, where there is one.
        failure: Option<Failure>,
        /// Why it was cancelled, where it was.
        cancelled: Option<Arc<CancelCause>>,
    },
    /// `stage.started`: once per attempt.
    StageStarted,
    /// `stage.completed`
    StageCompleted,
    /// `stage.failed`
    StageFailed(Failure),
    /// `stage.skipped`
    StageSkipped(Arc<SkipCause>),
    /// `stage.cancelled`
    StageCancelled(Arc<CancelCause>),
    /// `stage.blocked`
    StageBlocked {
        /// The stage whose failure is the root of it.
        by: Arc<str>,
    },
    /// `pipeline.child_started`: a stage that is a pipeline has started a run of its own.
    ChildStarted {
        /// The child's id.
        run: RunId,
    },
    /// `pipeline.cleanup_failed`
    CleanUpFailed {
        /// What went wrong.
        error: Arc<str>,
    },
    /// An event of a stage's or a policy's own.
    Custom(Arc<CustomEvent>),
    /// `events.gap`: so many events of the run before this place were not delivered to this sink.
    Gap {
        /// How many.
        dropped: u64,
        /// Which of them, and why.
        losses: Arc<Losses>,
    },
}

impl EventKind {
    /// The name on the wire.
    pub fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed(match self {
            Self::PipelineStarted => "pipeline.started",
            Self::PipelineEnded { outcome, .. } => match outcome {
                RunOutcome::Completed | RunOutcome::CompletedWithFailures => "pipeline.completed",
                RunOutcome::Failed => "pipeline.failed",
                RunOutcome::Cancelled => "pipeline.cancelled",
                RunOutcome::Denied => "pipeline.denied",
                RunOutcome::TimedOut => "pipeline.timed_out",
            },
            Self::StageStarted => "stage.started",
            Self::StageCompleted => "stage.completed",
            Self::StageFailed(_) => "stage.failed",
            Self::StageSkipped(_) => "stage.skipped",
            Self::StageCancelled(_) => "stage.cancelled",
            Self::StageBlocked { .. } => "stage.blocked",
            Self::ChildStarted { .. } => "pipeline.child_started",
            Self::CleanUpFailed { .. } => "pipeline.cleanup_failed",
            Self::Custom(event) => return Cow::Borrowed(&event.name),
            Self::Gap { .. } => "events.gap",
        })
    }

    /// Whether this ends a stage or a run: such events are dropped last.
    pub fn is_terminal(&self) -> bool {
        matches!(
            self,
            Self::PipelineEnded { .. }
                | Self::StageCompleted
                | Self::StageFailed(_)
                | Self::StageSkipped(_)
                | Self::StageCancelled(_)
                | Self::StageBlocked { .. }
        )
    }

    /// How much it matters when there is no room for every event.
    pub fn class(&self) -> EventClass {
        EventClass::of(self)
    }

    fn details(&self) -> BTreeMap<String, serde_json::Value> {
        let mut out = BTreeMap::new();
        let mut put = |key: &str, value: serde_json::Value| out.insert(key.to_owned(), value);
        match self {
            Self::PipelineEnded { outcome, failure, cancelled } => {
                put("outcome", outcome.as_str().into());
                if let Some(failure) = failure {
                    put("failure", json(failure));
                }
                if let Some(cause) = cancelled {
                    put("cancelled", json(&**cause));
                }
            }
            Self::StageFailed(failure) => {
                put("failure", json(failure));
            }
            Self::StageSkipped(cause) => {
                put("skipped", json(&**cause));
            }
            Self::StageCancelled(cause) => {
                put("cancelled", json(&**cause));
            }
            Self::StageBlocked { by } => {
                put("blocked_by", (**by).into());
            }
            Self::ChildStarted { run } => {
                put("child_run_id", run.to_string().into());
            }
            Self::CleanUpFailed { error } => {
                put("error", (**error).into());
            }
            Self::Custom(event) => {
                for (key, value) in &event.fields {
                    put(key, json(value));
                }
            }
            Self::Gap { dropped, losses } => {
                put("dropped", (*dropped).into());
                put("losses", json(&**losses));
            }
            Self::PipelineStarted | Self::StageStarted | Self::StageCompleted => {}
        }
        out
    }
}

fn json(value: &impl Serialize) -> serde_json::Value {
    serde_json::to_value(value).unwrap_or(serde_json::Value::Null)
}

impl Serialize for Event {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("event", &self.name())?;
        map.serialize_entry("seq", &self.seq())?;
        map.serialize_entry("run_id", &self.run_id())?;
        map.serialize_entry("tenant", &self.tenant())?;
        map.serialize_entry("correlation_id", &self.correlation_id())?;
        map.serialize_entry("trace_id", &self.trace_id())?;
        map.serialize_entry("pipeline", self.pipeline())?;
        if let Some(parent) = self.run.snapshot.parent() {
            map.serialize_entry("parent_run_id", &parent.run)?;
            map.serialize_entry("parent_stage", &parent.stage)?;
        }
        map.serialize_entry("stage", &self.stage())?;
        map.serialize_entry("attempt", &self.attempt())?;
        map.serialize_entry("elapsed_ns", &self.record.nanos)?;
        let since = self.time().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        map.serialize_entry("unix_ms", &(u64::try_from(since.as_millis()).unwrap_or(u64::MAX)))?;
        let mut details = self.record.kind.details();
        if matches!(self.record.kind, EventKind::PipelineStarted) {
            details.insert("priority".to_owned(), json(&self.run.snapshot.priority()));
        }
        map.serialize_entry("details", &details)?;
        map.end()
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>5} {:>8} {}", self.seq(), Human(self.elapsed()), OneLine(self.name()))?;
        if let Some(stage) = self.stage() {
            write!(f, " {stage}")?;
        }
        if let Some(attempt) = self.attempt().filter(|attempt| *attempt > 1) {
            write!(f, " #{attempt}")?;
        }
        match self.kind() {
            EventKind::StageFailed(failure) => {
                write!(f, ": {} [{}]", OneLine(failure.message()), failure.code())
            }
            EventKind::StageSkipped(cause) => write!(f, ": {}", OneLine(cause)),
            EventKind::StageCancelled(cause) => write!(f, ": {}", OneLine(cause)),
            EventKind::StageBlocked { by } => write!(f, ": by `{by}`"),
            EventKind::CleanUpFailed { error } => write!(f, ": {}", OneLine(error)),
            EventKind::Gap { losses, .. } => write!(f, ": {losses}"),
            EventKind::Custom(event) => {
                event.fields.iter().try_for_each(|(key, value)| write!(f, " {}={value}", OneLine(key)))
            }
            _ => Ok(()),
        }
    }
}

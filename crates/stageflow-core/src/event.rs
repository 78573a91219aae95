//! What happened: events, and the sinks that are told of them.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
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
}

/// What an event says.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum EventKind {
    /// `pipeline.started`
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
    /// `events.gap`: so many events before this place were not delivered to this sink.
    Gap {
        /// How many.
        dropped: u64,
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
            Self::Gap { dropped } => {
                put("dropped", (*dropped).into());
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
        map.serialize_entry("details", &self.record.kind.details())?;
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
            EventKind::Gap { dropped } => write!(f, ": {dropped} events dropped"),
            EventKind::Custom(event) => {
                event.fields.iter().try_for_each(|(key, value)| write!(f, " {}={value}", OneLine(key)))
            }
            _ => Ok(()),
        }
    }
}

/// Whether the engine's own events have such names.
fn is_reserved(name: &str) -> bool {
    const OF_STAGES: [&str; 6] = ["started", "completed", "failed", "skipped", "cancelled", "blocked"];
    ["pipeline.", "events."].iter().any(|space| name.starts_with(space))
        || name.strip_prefix("stage.").is_some_and(|what| OF_STAGES.contains(&what))
}

/// An event of a stage's or a policy's own.
#[derive(Clone, Debug, PartialEq)]
pub struct CustomEvent {
    name: String,
    fields: Vec<(String, FieldValue)>,
}

impl CustomEvent {
    /// An event with a name such as `route.decided` and a few small fields.
    ///
    /// Names of the engine's own events are reserved, so that nobody takes one for the other: `custom.` is put before
    /// `pipeline.…`, `events.…`, and `stage.started` and its like.
    pub fn new<K, V>(name: impl Into<String>, fields: impl IntoIterator<Item = (K, V)>) -> Self
    where
        K: Into<String>,
        V: Into<FieldValue>,
    {
        let fields = fields.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        let mut name = name.into();
        if is_reserved(&name) {
            name.insert_str(0, "custom.");
        }
        Self { name, fields }
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// All fields, in the order in which they were given.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &FieldValue)> {
        self.fields.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// The field `key`.
    pub fn field(&self, key: &str) -> Option<&FieldValue> {
        self.fields.iter().find(|(known, _)| known == key).map(|(_, value)| value)
    }
}

/// The value of a field of a [`CustomEvent`].
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum FieldValue {
    /// A text.
    Text(String),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// A truth value.
    Bool(bool),
}

macro_rules! field_values {
    ($($from:ty => $variant:ident,)*) => {$(
        impl From<$from> for FieldValue {
            fn from(value: $from) -> Self {
                Self::$variant(value.into())
            }
        }
    )*};
}

field_values! {
    &str => Text,
    String => Text,
    i32 => Int,
    i64 => Int,
    u8 => Int,
    u16 => Int,
    u32 => Int,
    f32 => Float,
    f64 => Float,
    bool => Bool,
}

impl From<u64> for FieldValue {
    fn from(value: u64) -> Self {
        Self::Int(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<usize> for FieldValue {
    fn from(value: usize) -> Self {
        Self::Int(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for FieldValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Int(number) => number.fmt(f),
            Self::Float(number) => number.fmt(f),
            Self::Bool(truth) => truth.fmt(f),
        }
    }
}

/// Is told what happened; cannot change it.
///
/// The engine delivers the events of a run in the order of their sequence numbers. What a sink does, its panics
/// included, changes no run (rule S-29).
///
/// ```
/// use stageflow_core::{Event, EventSink};
///
/// struct Print;
///
/// impl EventSink for Print {
///     fn on_event(&self, event: &Event) {
///         println!("{event}");
///     }
/// }
/// ```
pub trait EventSink: Send + Sync + 'static {
    /// Takes one event.
    fn on_event(&self, event: &Event);

    /// Takes events that came together, all of one run, in order. Gives the number of those it did not panic on.
    #[doc(hidden)]
    fn take_all(&self, events: Vec<Event>) -> u64 {
        let taken = |event| catch_unwind(AssertUnwindSafe(|| self.on_event(event))).is_ok();
        events.iter().filter(|event| taken(event)).count() as u64
    }

    /// Whether it records the trace of a run, for a sink that records traces: asked for the headers that stages send, at any
    /// time and often, and always answered in the same way for the same run.
    fn samples(&self, _run: &ContextSnapshot) -> Option<bool> {
        None
    }

    /// How the engine hands events over.
    fn delivery(&self) -> Delivery {
        Delivery::default()
    }
}

/// How the engine hands events to a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Delivery {
    /// Through a bounded queue, on a thread of its own: the sink may take its time. When the queue is full
    /// events are dropped and counted, those that end a stage or a run last, and a
    /// [`Gap`](EventKind::Gap) stands in their place.
    Queued {
        /// How many events the queue holds.
        capacity: usize,
    },
    /// Directly, by the worker that runs the stages: for sinks that only append to memory.
    Inline,
}

impl Default for Delivery {
    fn default() -> Self {
        Self::Queued { capacity: 65_536 }
    }
}

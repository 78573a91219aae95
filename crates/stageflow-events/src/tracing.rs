//! Events as lines of a log, and the ids of their run in the lines of stages, by `tracing`.

use std::fmt;

use stageflow_core::{
    Call, Event, EventClass, EventKind, EventSink, Interceptor, Layer, Next, RunOutcome, StageResult, Value,
    intercept::Placement, text::OneLine,
};
use tracing::{Instrument, Level, level_filters::LevelFilter};

macro_rules! line {
    ($log:ident, $event:ident, $level:ident) => {
        if tracing::enabled!(target: "stageflow", Level::$level) {
            let line = Line::of($event, $log.hides_messages);
            tracing::event!(
                target: "stageflow",
                parent: None,
                Level::$level,
                event = &*line.name,
                run_id = &*line.run,
                tenant = $event.tenant(),
                correlation_id = $event.correlation_id(),
                trace_id = line.trace.as_deref(),
                pipeline = $event.pipeline(),
                stage = $event.stage(),
                attempt = $event.attempt(),
                seq = $event.seq(),
                elapsed_us = u64::try_from($event.elapsed().as_micros()).unwrap_or(u64::MAX),
                code = line.code,
                class = line.class.as_deref(),
                message = line.message.as_deref(),
                details = line.details.as_deref(),
            );
        }
    };
}

/// Whether anybody collects what is logged.
fn is_collected() -> bool {
    LevelFilter::current() != LevelFilter::OFF
}

/// Makes a line of the log of each event, with the target `stageflow`.
///
/// Each line has the fields `event`, `run_id`, `tenant`, `correlation_id`, `trace_id`, `pipeline` and `seq`, and `stage` and
/// `attempt` where the event is about one. Failures have `code`, `class` and, unless [it is left out](Self::without_messages), the
/// `message` of the error: its own, not that of its causes. The fields of a policy's or a stage's own event are in `details`. What is
/// not known is left out. The levels:
///
/// | level | events |
/// |---|---|
/// | error | a stage or a run failed or was denied, a clean-up failed |
/// | warn | a run was cancelled or timed out, a stage was blocked, a gap, and what a policy has refused or given up |
/// | info | the start and the good end of runs, and what policies decide |
/// | debug | the start, the good end, the skip and the cancellation of stages, and what they tell themselves |
/// | trace | events named `debug.…` and `trace.…` |
///
/// Without a subscriber it listens to no run that begins, and costs nothing.
///
/// ```
/// use stageflow_events::{LogEvents, SinkExt};
///
/// let sink = LogEvents::new().bounded(10_000); // goes to `Engine::builder().sink(…)`
/// # drop(sink);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct LogEvents {
    hides_messages: bool,
}

impl LogEvents {
    /// Lines with the messages of errors.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lines without the messages of errors, and without the fields of events that are not the engine's: for logs that more people
    /// may read than the texts of errors are meant for.
    #[must_use]
    pub fn without_messages(self) -> Self {
        Self { hides_messages: true }
    }

    fn log(self, event: &Event) {
        // Each level is a place of its own in the code, as `tracing` wants it.
        match level(event) {
            Level::ERROR => line!(self, event, ERROR),
            Level::WARN => line!(self, event, WARN),
            Level::INFO => line!(self, event, INFO),
            Level::DEBUG => line!(self, event, DEBUG),
            Level::TRACE => line!(self, event, TRACE),
        }
    }
}

/// What a line says beside what the event lends.
struct Line {
    name: String,
    run: String,
    trace: Option<String>,
    code: Option<&'static str>,
    class: Option<String>,
    message: Option<String>,
    details: Option<String>,
}

impl Line {
    fn of(event: &Event, hides_messages: bool) -> Self {
        let failure = match event.kind() {
            EventKind::StageFailed(failure) => Some(failure),
            EventKind::PipelineEnded { failure, .. } => failure.as_ref(),
            _ => None,
        };
        let message = match event.kind() {
            EventKind::CleanUpFailed { error } => Some(error.to_string()),
            _ => failure.map(stageflow_core::Failure::message),
        };
        let details = match event.kind() {
            EventKind::Custom(custom) if !hides_messages => {
                let fields: Vec<_> =
                    custom.fields().map(|(key, value)| format!("{}={value}", OneLine(key))).collect();
                (!fields.is_empty()).then(|| fields.join(" "))
            }
            EventKind::Gap { losses, .. } => Some(losses.to_string()),
            EventKind::ChildStarted { run } => Some(format!("child_run_id={run}")),
            EventKind::StageBlocked { by } => Some(format!("blocked_by={}", OneLine(by))),
            EventKind::StageSkipped(cause) if !hides_messages => Some(OneLine(cause).to_string()),
            EventKind::StageCancelled(cause) if !hides_messages => Some(OneLine(cause).to_string()),
            EventKind::PipelineEnded { cancelled: Some(cause), .. } if !hides_messages => {
                Some(OneLine(cause).to_string())
            }
            _ => None,
        };
        Self {
            name: event.name().into_owned(),
            run: event.run_id().to_string(),
            trace: Some(event.trace_id()),
            code: failure.map(|failure| failure.code().as_str()),
            class: failure.map(|failure| failure.class().to_string()),
            message: message.filter(|_| !hides_messages).map(|message| OneLine(message).to_string()),
            details,
        }
    }
}

/// How loud an event is.
fn level(event: &Event) -> Level {
    match event.kind() {
        EventKind::StageFailed(_) | EventKind::CleanUpFailed { .. } => Level::ERROR,
        EventKind::PipelineEnded { outcome, .. } => match outcome {
            RunOutcome::Completed | RunOutcome::CompletedWithFailures => Level::INFO,
            RunOutcome::Cancelled | RunOutcome::TimedOut => Level::WARN,
            _ => Level::ERROR,
        },
        EventKind::StageBlocked { .. } | EventKind::Gap { .. } => Level::WARN,
        EventKind::PipelineStarted => Level::INFO,
        EventKind::Custom(custom) => {
            let (_, what) = custom.name().split_once('.').unwrap_or_default();
            match custom.name() {
                "breaker.opened"
                | "failures.stopped"
                | "stage.retry_exhausted"
                | "idempotency.mismatch"
                | "idempotency.not_stored"
                | "admission.shed" => Level::WARN,
                "stage.waited" => Level::DEBUG,
                _ if matches!(what, "rejected" | "denied" | "exhausted" | "failed") => Level::WARN,
                name => match EventClass::of_name(name) {
                    EventClass::Terminal | EventClass::Decision => Level::INFO,
                    EventClass::Debug => Level::TRACE,
                    EventClass::Progress => Level::DEBUG,
                },
            }
        }
        _ => Level::DEBUG,
    }
}

impl EventSink for LogEvents {
    fn on_event(&self, event: &Event) {
        self.log(event);
    }

    fn listens(&self) -> bool {
        is_collected()
    }
}

/// Puts a span around each attempt of each stage, so that what a stage logs carries the ids of its run.
///
/// The span is `attempt`, with the target `stageflow`, the level info, and the fields `run_id`, `tenant`, `correlation_id`,
/// `trace_id`, `pipeline`, `stage` and `attempt`. It is entered while the attempt is polled, on whatever thread, and in the threads of
/// `blocking` stages. A stage that spawns a task or a thread hands it on itself: `tokio::spawn(work.in_current_span())`.
///
/// It stands in [`Layer::Trace`]: inside of retries, so that each attempt has a span of its own, and outside of what is in
/// [`Layer::Inner`]. The stages of a child run have spans of their own, with the ids of that run.
///
/// Whether there is a subscriber is asked when an engine first meets a pipeline: where there is none then, it stands around no
/// stage, and costs nothing. So install the subscriber before the first run.
///
/// ```
/// use stageflow_events::AttemptSpans;
///
/// let interceptor = AttemptSpans::new(); // goes to `Engine::builder().interceptor(…)`
/// # drop(interceptor);
/// ```
#[derive(Clone, Copy, Default)]
pub struct AttemptSpans(());

impl AttemptSpans {
    /// Spans around attempts.
    pub fn new() -> Self {
        Self(())
    }
}

impl Interceptor for AttemptSpans {
    async fn around(&self, call: &Call, next: Next<'_>) -> StageResult<Value> {
        let snapshot = call.snapshot();
        let ids = snapshot.identity();
        let span = tracing::info_span!(
            target: "stageflow",
            "attempt",
            run_id = %ids.run_id(),
            tenant = ids.tenant_id().map(stageflow_core::TenantId::as_str),
            correlation_id = ids.correlation_id().map(stageflow_core::CorrelationId::as_str),
            trace_id = %format_args!("{:032x}", call.context().trace().trace_id()),
            pipeline = snapshot.pipeline(),
            stage = call.stage_name(),
            attempt = call.attempts() + 1,
        );
        next.run().instrument(span).await
    }

    fn name(&self) -> String {
        "attempt spans".to_owned()
    }

    fn placement(&self) -> Placement {
        Placement::At(Layer::Trace)
    }

    fn applies_to(&self, _stage: &str, _kind: stageflow_core::StageKind) -> bool {
        is_collected()
    }
}

impl fmt::Debug for AttemptSpans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AttemptSpans")
    }
}

//! What an engine in development writes: what went wrong, and why.

use std::{
    fmt::{self, Write as _},
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
};

use stageflow_core::text::OneLine;

use crate::{Event, EventKind, EventSink, RunOutcome};

/// Writes events of which somebody who develops wants to know, a line each.
#[derive(Clone)]
pub(super) struct Console(Arc<Mutex<dyn Write + Send>>);

impl Console {
    pub(super) fn new(to: impl Write + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(to)))
    }

    /// Writes something, and the end of its line. Where that fails there is nobody to tell.
    pub(super) fn write(&self, what: impl fmt::Display) {
        let text = format!("{what}\n");
        let mut to = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _: io::Result<()> = to.write_all(text.as_bytes()).and_then(|()| to.flush());
    }
}

impl EventSink for Console {
    fn on_event(&self, event: &Event) {
        if let Some(line) = line(event) {
            self.write(line);
        }
    }
}

/// What is written of an event, if something is.
fn line(event: &Event) -> Option<String> {
    let mut line = format!("[{}]", OneLine(event.pipeline()));
    if let Some(stage) = event.stage() {
        let _ = write!(line, " {}", OneLine(stage));
    }
    if let Some(attempt) = event.attempt().filter(|attempt| *attempt > 1) {
        let _ = write!(line, " (attempt {attempt})");
    }
    let _ = write!(line, ": {}", OneLine(&event.name()));
    match event.kind() {
        EventKind::StageFailed(failure) => {
            let _ = write!(line, ": {}: {}", failure.code(), OneLine(failure.message()));
            if let Some(hint) = failure.hint() {
                let _ = write!(line, " ({})", OneLine(hint));
            }
        }
        EventKind::StageBlocked { by } => {
            let _ = write!(line, " by {}", OneLine(by));
        }
        EventKind::CleanUpFailed { error } => {
            let _ = write!(line, ": {}", OneLine(error));
        }
        EventKind::PipelineEnded { outcome: RunOutcome::Completed, .. } => return None,
        EventKind::PipelineEnded { outcome, cancelled, .. } => {
            let _ = write!(line, ": {outcome} after {:?}", event.elapsed());
            if let Some(cause) = cancelled {
                let _ = write!(line, ": {}", OneLine(&cause.to_string()));
            }
        }
        EventKind::Gap { dropped, .. } => {
            let _ = write!(line, ": {dropped} events were dropped");
        }
        EventKind::Custom(custom) if is_of_policy(custom.name()) => {
            for key in FIELDS {
                custom.field(key).map_or(Ok(()), |value| write!(line, " {key}={value}")).ok()?;
            }
        }
        _ => return None,
    }
    Some(line)
}

/// What is written of the events of policies.
const FIELDS: [&str; 10] =
    ["key", "limiter", "bulkhead", "kind", "rule", "attempt", "attempts", "delay_ms", "because", "reason"];

/// Whether an event tells that something stood in the way of a call. What stages emit is their own, and may hold payloads.
fn is_of_policy(name: &str) -> bool {
    const WRITTEN: [&str; 9] =
        ["admission", "auth", "breaker", "budget", "bulkhead", "failures", "fallback", "rate", "tenant"];
    let (family, what) = name.split_once('.').unwrap_or((name, ""));
    let is_good = matches!(what, "accepted" | "admitted");
    (WRITTEN.contains(&family) && !is_good) || name.starts_with("stage.retry_")
}

//! The spans of one run while it goes on.

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use opentelemetry_proto::tonic::{
    common::v1::KeyValue,
    trace::v1::{Span, SpanFlags, Status, span, span::SpanKind},
};
use stageflow_core::{
    CustomEvent, Event, EventKind, Failure, FieldValue, RunInfo, StageKind, event::NO_STAGE, time::nanos,
    trace::span_id,
};

use super::{
    SpanLimits,
    attributes::{self, number, text, truth},
};
use crate::{
    otel::conventions as names,
    words::{cancel_word, skip_word},
};

/// A run that has not ended, as far as is known.
#[derive(Debug)]
pub(super) struct RunSpans {
    info: Arc<RunInfo>,
    limits: SpanLimits,
    /// What every span of the run says.
    common: Vec<KeyValue>,
    /// The stages that have started and not ended.
    stages: BTreeMap<u32, StageSpans>,
    notes: Notes,
    /// The latest time seen, in nanoseconds of the run.
    last: u64,
    end: Option<(Vec<KeyValue>, Option<Status>)>,
    lost: u64,
}

/// A stage that has started.
#[derive(Debug, Default)]
struct StageSpans {
    attempts: Vec<Attempt>,
    incomplete: bool,
}

#[derive(Debug)]
struct Attempt {
    number: u32,
    start: u64,
    end: Option<u64>,
    /// The code of its failure, as far as another attempt was announced with it.
    code: Option<String>,
    notes: Notes,
}

impl Attempt {
    fn new(number: u32, start: u64) -> Self {
        Self { number, start, end: None, code: None, notes: Notes::default() }
    }
}

/// The events of a span, as many as it may have.
#[derive(Debug, Default)]
struct Notes {
    kept: Vec<span::Event>,
    dropped: u32,
}

impl Notes {
    fn add(&mut self, limit: usize, note: impl FnOnce() -> span::Event) {
        if self.kept.len() < limit {
            self.kept.push(note());
        } else {
            self.dropped = self.dropped.saturating_add(1);
        }
    }
}

/// How a stage ended.
struct End<'a> {
    outcome: &'static str,
    failure: Option<&'a Failure>,
    more: Vec<KeyValue>,
}

impl RunSpans {
    pub(super) fn new(event: &Event, limits: SpanLimits) -> Self {
        Self {
            info: Arc::clone(event.run()),
            limits,
            common: attributes::of_run(event),
            stages: BTreeMap::new(),
            notes: Notes::default(),
            last: 0,
            end: None,
            lost: 0,
        }
    }

    pub(super) fn take(&mut self, event: &Event, out: &mut Vec<Span>) {
        let now = nanos(event.elapsed());
        self.last = self.last.max(now);
        match event.kind() {
            EventKind::StageStarted => self.start(event, now),
            EventKind::StageCompleted => self.end_stage(event, now, &end("completed"), out),
            EventKind::StageFailed(failure) => {
                let end = End { failure: Some(failure), ..end("failed") };
                self.end_stage(event, now, &end, out);
            }
            EventKind::StageSkipped(cause) => {
                self.end_stage(event, now, &because("skipped", skip_word(cause)), out);
            }
            EventKind::StageCancelled(cause) => {
                self.end_stage(event, now, &because("cancelled", cancel_word(cause)), out);
            }
            EventKind::StageBlocked { by } => {
                let end = End { more: vec![text(names::BLOCKED_BY, &**by)], ..end("blocked") };
                self.end_stage(event, now, &end, out);
            }
            EventKind::ChildStarted { run } => {
                let child = text(names::CHILD_RUN_ID, run.to_string());
                self.note(event, |time| attributes::happened(time, "pipeline.child_started", vec![child]));
            }
            EventKind::Custom(custom) => {
                let limits = self.limits;
                self.end_attempt(event, custom, now);
                self.note(event, |time| attributes::custom(time, custom, limits));
            }
            EventKind::CleanUpFailed { .. } => {
                let stage = event.stage().map(|stage| text(names::STAGE, stage));
                let time = self.time(now);
                self.notes.add(self.limits.events, || {
                    attributes::happened(time, "pipeline.cleanup_failed", stage.into_iter().collect())
                });
            }
            EventKind::Gap { dropped, .. } => self.lost += dropped,
            EventKind::PipelineEnded { outcome, failure, cancelled } => {
                let mut more = vec![text(names::RUN_OUTCOME, outcome.as_str())];
                more.extend(cancelled.iter().map(|cause| text(names::CAUSE, cancel_word(cause))));
                let failed = failure.as_ref().filter(|_| !outcome_is_fine(*outcome));
                more.extend(failed.into_iter().flat_map(attributes::of_failure));
                let status = failed.map(|failure| attributes::failed(failure, self.limits));
                self.end = Some((more, status));
            }
            _ => {}
        }
    }

    /// Ends the run, and before it what has not ended.
    pub(super) fn close(mut self, out: &mut Vec<Span>) {
        let unknown = End { more: vec![truth(names::INCOMPLETE, true)], ..end("unknown") };
        for (stage, spans) in std::mem::take(&mut self.stages) {
            self.stage_spans(stage, spans, self.last, &unknown, out);
        }
        let snapshot = self.info.snapshot();
        let operation = names::operation_of_run(self.info.stages());
        let mut attributes = self.common.clone();
        attributes.extend(generative(operation, snapshot.pipeline()));
        attributes.extend(snapshot.parent().map(|parent| text(names::PARENT_RUN_ID, parent.run.to_string())));
        if self.end.is_none() || self.lost > 0 {
            attributes.push(truth(names::INCOMPLETE, true));
        }
        if self.lost > 0 {
            attributes.push(number(names::LOST, i64::try_from(self.lost).unwrap_or(i64::MAX)));
        }
        let (more, status) = self.end.take().unwrap_or_default();
        attributes.extend(more);
        // The caller of a child run is in this process.
        let remote = snapshot.trace().is_some() && snapshot.parent().is_none();
        let notes = std::mem::take(&mut self.notes);
        out.push(Span {
            flags: flags(remote),
            name: names::span_name(operation, snapshot.pipeline()),
            status,
            ..self.span(
                (NO_STAGE, 0),
                snapshot.trace().map(stageflow_core::TraceContext::span_id),
                (0, self.last),
                (attributes, notes),
            )
        });
    }

    fn start(&mut self, event: &Event, now: u64) {
        let (Some(stage), Some(number)) = (event.stage_index(), event.attempt()) else { return };
        let spans = self.stages.entry(stage).or_default();
        if let Some(before) = spans.attempts.last_mut() {
            before.end.get_or_insert(now);
        }
        spans.attempts.push(Attempt::new(number, now));
    }

    /// A policy that tells of the next attempt tells of the end of this one.
    fn end_attempt(&mut self, event: &Event, custom: &CustomEvent, now: u64) {
        if custom.name() != "stage.retry_scheduled" {
            return;
        }
        let spans = event.stage_index().and_then(|stage| self.stages.get_mut(&stage));
        if let Some(attempt) = spans.and_then(|spans| spans.attempts.last_mut()) {
            attempt.end.get_or_insert(now);
            if let Some(FieldValue::Text(code)) = custom.field("code") {
                attempt.code = Some(code.clone());
            }
        }
    }

    /// Adds an event to the attempt it is about, or else to the run.
    fn note(&mut self, event: &Event, note: impl FnOnce(u64) -> span::Event) {
        let time = self.time(nanos(event.elapsed()));
        let spans = event.stage_index().and_then(|stage| self.stages.get_mut(&stage));
        let notes = match spans.and_then(|spans| spans.attempts.last_mut()) {
            Some(attempt) => &mut attempt.notes,
            None => &mut self.notes,
        };
        notes.add(self.limits.events, || note(time));
    }

    fn end_stage(&mut self, event: &Event, now: u64, end: &End<'_>, out: &mut Vec<Span>) {
        let Some(stage) = event.stage_index() else { return };
        let ran = event.attempt().is_some();
        let spans = self.stages.remove(&stage).or_else(|| {
            // It did start, and the event was lost.
            let attempts = event.attempt().map(|number| Attempt::new(number, now)).into_iter().collect();
            ran.then_some(StageSpans { attempts, incomplete: true })
        });
        if let Some(spans) = spans {
            return self.stage_spans(stage, spans, now, end, out);
        }
        let time = self.time(now);
        let mut said = vec![text(names::STAGE, self.info.stages().stage_name(stage))];
        said.extend(end.failure.into_iter().flat_map(attributes::of_failure));
        said.extend(end.more.iter().cloned());
        self.notes
            .add(self.limits.events, || attributes::happened(time, &format!("stage.{}", end.outcome), said));
    }

    fn stage_spans(&self, stage: u32, spans: StageSpans, now: u64, end: &End<'_>, out: &mut Vec<Span>) {
        let run_span = self.id((NO_STAGE, 0));
        let StageSpans { mut attempts, incomplete } = spans;
        let Some(mut last) = attempts.pop() else { return };
        let name = self.info.stages().stage_name(stage);
        let kind = self.info.stages().stage_kind(stage);
        let operation = names::operation_of_stage(kind);
        let span_name = names::span_name(operation, name);
        let count = attempts.len() + 1;
        let status = end.failure.map(|failure| attributes::failed(failure, self.limits));
        if let Some(failure) = end.failure {
            let time = self.time(now);
            last.notes.add(self.limits.events, || attributes::exception(time, failure, self.limits));
        }
        let mut said = self.of_stage(name, kind);
        said.extend(generative(operation, name));
        said.push(number(names::ATTEMPTS, i64::try_from(count).unwrap_or(i64::MAX)));
        said.push(text(names::STAGE_OUTCOME, end.outcome));
        said.extend(end.failure.into_iter().flat_map(attributes::of_failure));
        said.extend(end.more.iter().cloned());
        if incomplete {
            said.push(truth(names::INCOMPLETE, true));
        }
        if attempts.is_empty() {
            // What was called by a later attempt whose start is all that is known finds its parent, too.
            let place = (stage, last.number);
            let made = self.span(place, Some(run_span), (last.start, now), (said, last.notes));
            return out.push(Span { name: span_name, status, ..made });
        }
        let begin = attempts.first().map_or(now, |first| first.start);
        let stage_span = self.id((stage, 0));
        for (attempt, ended) in attempts.into_iter().map(|attempt| (attempt, None)).chain([(last, Some(now))])
        {
            let mut about = self.of_stage(name, kind);
            about.push(number(names::ATTEMPT, attempt.number));
            let until = ended.or(attempt.end).unwrap_or(now);
            let (failed, own) = match (ended, end.failure) {
                (None, _) => {
                    let code = attempt.code.unwrap_or_else(|| names::RETRY_REQUESTED.to_owned());
                    (Some(attributes::error(code.clone())), vec![text(names::ERROR_TYPE, code)])
                }
                (Some(_), Some(failure)) => (status.clone(), attributes::of_failure(failure).to_vec()),
                (Some(_), None) => (None, Vec::new()),
            };
            about.extend(own);
            let place = (stage, attempt.number);
            let made = self.span(place, Some(stage_span), (attempt.start, until), (about, attempt.notes));
            out.push(Span { name: format!("{name} #{}", attempt.number), status: failed, ..made });
        }
        let made = self.span((stage, 0), Some(run_span), (begin, now), (said, Notes::default()));
        out.push(Span { name: span_name, status, ..made });
    }

    fn of_stage(&self, name: &str, kind: StageKind) -> Vec<KeyValue> {
        let mut said = self.common.clone();
        said.extend([text(names::STAGE, name), text(names::STAGE_KIND, kind.as_str())]);
        said
    }

    fn span(
        &self,
        place: (u32, u32),
        parent: Option<u64>,
        (start, end): (u64, u64),
        (attributes, notes): (Vec<KeyValue>, Notes),
    ) -> Span {
        Span {
            trace_id: self.info.snapshot().trace_id().to_be_bytes().to_vec(),
            span_id: self.id(place).to_be_bytes().to_vec(),
            parent_span_id: parent.map_or_else(Vec::new, |parent| parent.to_be_bytes().to_vec()),
            flags: flags(false),
            kind: SpanKind::Internal.into(),
            start_time_unix_nano: self.time(start),
            end_time_unix_nano: self.time(end),
            attributes,
            events: notes.kept,
            dropped_events_count: notes.dropped,
            ..Span::default()
        }
    }

    fn id(&self, (stage, attempt): (u32, u32)) -> u64 {
        span_id(self.info.snapshot().identity().run_id(), stage, attempt)
    }

    /// The time of day of a moment of the run.
    fn time(&self, elapsed: u64) -> u64 {
        let since = self.info.started().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        nanos(since).saturating_add(elapsed)
    }
}

fn outcome_is_fine(outcome: stageflow_core::RunOutcome) -> bool {
    use stageflow_core::RunOutcome::{Cancelled, Completed, CompletedWithFailures};
    matches!(outcome, Completed | CompletedWithFailures | Cancelled)
}

fn generative(operation: names::Operation, name: &str) -> Vec<KeyValue> {
    let said = |(operation, key)| vec![text(names::GEN_AI_OPERATION, operation), text(key, name)];
    operation.map_or_else(Vec::new, said)
}

fn end(outcome: &'static str) -> End<'static> {
    End { outcome, failure: None, more: Vec::new() }
}

fn because(outcome: &'static str, cause: &str) -> End<'static> {
    End { more: vec![text(names::CAUSE, cause)], ..end(outcome) }
}

/// Sampled, and whether the parent is in another process, which is said of it either way.
fn flags(remote: bool) -> u32 {
    let known = 1 | SpanFlags::ContextHasIsRemoteMask as u32;
    if remote { known | SpanFlags::ContextIsRemoteMask as u32 } else { known }
}

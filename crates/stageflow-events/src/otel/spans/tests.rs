//! Spans of events that were lost in part, and the limits.

use std::{sync::Arc, time::SystemTime};

use stageflow_core::{
    ContextSnapshot, CustomEvent, Event, EventKind, RunInfo, RunOutcome,
    event::{EventRecord, NO_STAGE, StageNames},
};

use super::*;
use crate::otel::conventions as names;

struct Names;

impl StageNames for Names {
    fn stage_name(&self, index: u32) -> &str {
        ["zero", "one"][index as usize]
    }
}

fn limits() -> SpanLimits {
    SpanLimits { events: 3, text: 5, messages: false }
}

fn run() -> Arc<RunInfo> {
    let snapshot = Arc::new(ContextSnapshot::builder().pipeline("p").build());
    Arc::new(RunInfo::new(snapshot, SystemTime::UNIX_EPOCH, Arc::new(Names)))
}

fn event(run: &Arc<RunInfo>, nanos: u64, stage: u32, attempt: u32, kind: EventKind) -> Event {
    Event::new(Arc::clone(run), EventRecord { seq: 1, nanos, stage, attempt, kind })
}

fn ended() -> EventKind {
    EventKind::PipelineEnded { outcome: RunOutcome::Completed, failure: None, cancelled: None }
}

fn take(events: impl IntoIterator<Item = Event>) -> Vec<Span> {
    let (mut assembler, mut spans) = (Assembler::new(limits()), Vec::new());
    events.into_iter().for_each(|event| assembler.take(&event, &mut spans));
    assert_eq!(assembler.runs.len(), 0);
    spans
}

fn is_incomplete(span: &Span) -> bool {
    span.attributes.iter().any(|one| one.key == names::INCOMPLETE)
}

fn times(span: &Span) -> (u64, u64) {
    (span.start_time_unix_nano, span.end_time_unix_nano)
}

#[test]
fn a_lost_start_or_end_makes_a_span_that_says_so() {
    let info = run();
    let spans = take([
        event(&info, 5, 0, 1, EventKind::StageStarted),
        event(&info, 9, 1, 2, EventKind::StageCompleted),
        event(&info, 12, NO_STAGE, 0, ended()),
    ]);
    let shown: Vec<_> = spans.iter().map(|span| (&*span.name, times(span), is_incomplete(span))).collect();
    assert_eq!(shown, [("one", (9, 9), true), ("zero", (5, 12), true), ("p", (0, 12), false)]);
    // What the second attempt has called finds its parent.
    let id = stageflow_core::trace::span_id(info.snapshot().identity().run_id(), 1, 2);
    assert_eq!(spans[0].span_id, id.to_be_bytes());
}

#[test]
fn a_gap_is_told_by_the_run() {
    let info = run();
    let gap = || event(&info, 5, NO_STAGE, 0, EventKind::Gap { dropped: 7, losses: Arc::default() });
    // The one after the end begins nothing.
    let start = event(&info, 1, NO_STAGE, 0, EventKind::PipelineStarted);
    let spans = take([start, gap(), event(&info, 6, NO_STAGE, 0, ended()), gap()]);
    let lost = spans[0].attributes.iter().find(|one| one.key == names::LOST).expect("it is told");
    assert!(is_incomplete(&spans[0]) && format!("{lost:?}").contains("IntValue(7)"));
}

#[test]
fn events_and_texts_have_their_limits() {
    let info = run();
    let custom = |text: &str| EventKind::Custom(Arc::new(CustomEvent::new("c", [("text", text)])));
    let mut events = vec![event(&info, 1, 0, 1, EventKind::StageStarted)];
    events.extend((0..5).map(|at| event(&info, 2 + at, 0, 1, custom("aäöüßzz"))));
    events.push(event(&info, 8, 0, 1, EventKind::StageCompleted));
    events.push(event(&info, 9, NO_STAGE, 0, ended()));
    let spans = take(events);
    assert_eq!((spans[0].events.len(), spans[0].dropped_events_count), (3, 2));
    assert!(format!("{:?}", spans[0].events[0]).contains("\"aäöüß\""), "characters, not bytes");
}

/// Runs whose end is lost do not pile up, and are exported when they give way.
#[test]
fn the_oldest_run_gives_way() {
    let (mut assembler, mut spans) = (Assembler::new(limits()), Vec::new());
    assembler.runs = Runs::new(2);
    let runs = [run(), run(), run()];
    for (at, info) in (0..).zip(&runs) {
        assembler.take(&event(info, at, 0, 1, EventKind::StageStarted), &mut spans);
    }
    assert_eq!(assembler.runs.len(), 2);
    let shown: Vec<_> = spans.iter().map(|span| (&*span.name, is_incomplete(span))).collect();
    assert_eq!(shown, [("zero", true), ("p", true)]);
    assert_eq!(spans[1].trace_id, runs[0].snapshot().trace_id().to_be_bytes());
}

/// User ids are never exported, whatever the audit of a policy says.
#[test]
fn who_was_let_in_is_not_exported() {
    for name in ["auth.accepted", "auth.denied", "tenant.denied"] {
        let fields = [("principal", "mary"), ("reason", "scope")];
        let audit = EventKind::Custom(Arc::new(CustomEvent::new(name, fields)));
        for (stage, attempt) in [(NO_STAGE, 0), (0, 1)] {
            let info = run();
            let spans = take([
                event(&info, 1, 0, 1, EventKind::StageStarted),
                event(&info, 2, stage, attempt, audit.clone()),
                event(&info, 3, NO_STAGE, 0, ended()),
            ]);
            let text = format!("{spans:?}");
            assert!(text.contains(name) && text.contains("reason") && !text.contains("mary"), "{text}");
        }
    }
}

/// The texts of errors that policies repeat are messages.
#[test]
fn what_policies_repeat_of_errors_is_a_message() {
    for name in ["stage.retry_scheduled", "fallback.used", "fallback.failed", "idempotency.not_stored"] {
        let info = run();
        let told = EventKind::Custom(Arc::new(CustomEvent::new(name, [("reason", "mary"), ("other", "x")])));
        let spans = take([
            event(&info, 1, 0, 1, EventKind::StageStarted),
            event(&info, 2, 0, 1, told),
            event(&info, 3, NO_STAGE, 0, ended()),
        ]);
        let text = format!("{spans:?}");
        assert!(text.contains(name) && text.contains("other") && !text.contains("mary"), "{text}");
    }
}

//! What is read is what was written, for every kind of event.

use std::{
    io,
    time::{Duration, SystemTime},
};

use proptest::prelude::*;

use super::*;
use crate::{
    code,
    event::{DropReason, support::run_from},
    exit::{BoxError, ErrorClass},
    outcome::{CancelCause, RunOutcome, SkipCause},
    quota::{QuotaExceeded, QuotaKind},
};

fn run() -> Arc<RunInfo> {
    run_from(SystemTime::UNIX_EPOCH + Duration::from_nanos(7))
}

#[derive(Debug, thiserror::Error)]
#[error("{text}")]
struct Caused {
    text: String,
    #[source]
    below: io::Error,
}

fn any_failure() -> impl Strategy<Value = Failure> {
    let codes = prop::sample::select(vec![code::PANIC, code::STAGE_FAILED, Code::new("MY_OWN")]);
    let classes = prop::sample::select(vec![
        ErrorClass::Unclassified,
        ErrorClass::Transient,
        ErrorClass::Permanent,
        ErrorClass::Timeout,
        ErrorClass::Invalid,
        ErrorClass::Denied,
        ErrorClass::Panic,
    ]);
    let hint = prop::option::of(any::<String>());
    (codes, classes, any::<(String, u32, String, Option<String>)>(), hint).prop_map(
        |(code, class, (stage, attempts, text, below), hint)| {
            let error: BoxError = match below {
                Some(below) => Box::new(Caused { text, below: io::Error::other(below) }),
                None => text.into(),
            };
            let hint = hint.map(Into::into);
            Failure::new(&stage, attempts, FailSpec { hint, ..FailSpec::new(code, class, error) })
        },
    )
}

fn any_cancel() -> impl Strategy<Value = CancelCause> {
    any::<(u8, String, String)>().prop_map(|(kind, stage, reason)| match kind % 10 {
        0 => CancelCause::Requested { reason },
        1 => CancelCause::Stage { stage, reason },
        2 => CancelCause::Failure { stage },
        3 => CancelCause::Denied { stage },
        4 => CancelCause::Deadline,
        5 => CancelCause::Dropped,
        6 => CancelCause::Parent { reason },
        7 => CancelCause::Shutdown,
        8 => CancelCause::Quota(Box::new(
            QuotaExceeded::new(Some(stage.into()), QuotaKind::RunRate, 2, 2)
                .retry_after(Duration::from_millis(5)),
        )),
        _ => CancelCause::Shed { reason },
    })
}

fn any_skip() -> impl Strategy<Value = SkipCause> {
    any::<(u8, String)>().prop_map(|(kind, text)| match kind % 3 {
        0 => SkipCause::Own { reason: text },
        1 => SkipCause::Upstream { stage: text },
        _ => SkipCause::NotTaken { route: text },
    })
}

fn any_value() -> impl Strategy<Value = FieldValue> {
    prop_oneof![
        any::<String>().prop_map(FieldValue::Text),
        any::<i64>().prop_map(FieldValue::Int),
        any::<f64>().prop_map(FieldValue::Float),
        prop::sample::select(vec![f64::NAN, f64::INFINITY, -0.0]).prop_map(FieldValue::Float),
        any::<bool>().prop_map(FieldValue::Bool),
    ]
}

fn any_losses() -> impl Strategy<Value = Losses> {
    (prop::option::of(any::<(u64, u64)>()), any::<[u64; 4]>(), any::<u64>(), any::<[u64; 10]>())
        .prop_map(|(numbers, classes, elsewhere, reasons)| Losses { numbers, classes, reasons, elsewhere })
}

fn any_kind() -> impl Strategy<Value = EventKind> {
    let outcomes = prop::sample::select(vec![
        RunOutcome::Completed,
        RunOutcome::CompletedWithFailures,
        RunOutcome::Failed,
        RunOutcome::Cancelled,
        RunOutcome::Denied,
        RunOutcome::TimedOut,
    ]);
    let ended = (outcomes, prop::option::of(any_failure()), prop::option::of(any_cancel()));
    let custom = (any::<String>(), prop::collection::vec((any::<String>(), any_value()), 0..5));
    prop_oneof![
        Just(EventKind::PipelineStarted),
        Just(EventKind::StageStarted),
        Just(EventKind::StageCompleted),
        ended.prop_map(|(outcome, failure, cancelled)| EventKind::PipelineEnded {
            outcome,
            failure,
            cancelled: cancelled.map(Arc::new)
        }),
        any_failure().prop_map(EventKind::StageFailed),
        any_skip().prop_map(|cause| EventKind::StageSkipped(Arc::new(cause))),
        any_cancel().prop_map(|cause| EventKind::StageCancelled(Arc::new(cause))),
        any::<String>().prop_map(|by| EventKind::StageBlocked { by: by.into() }),
        Just(()).prop_map(|()| EventKind::ChildStarted { run: RunId::new() }),
        any::<String>().prop_map(|error| EventKind::CleanUpFailed { error: error.into() }),
        custom.prop_map(|(name, fields)| EventKind::Custom(Arc::new(CustomEvent::new(name, fields)))),
        (any::<u64>(), any_losses())
            .prop_map(|(dropped, losses)| EventKind::Gap { dropped, losses: Arc::new(losses) }),
    ]
}

fn any_record() -> impl Strategy<Value = EventRecord> {
    (any::<(u64, u64, u32, u32)>(), any_kind()).prop_map(|((seq, nanos, stage, attempt), kind)| EventRecord {
        seq,
        nanos,
        stage,
        attempt,
        kind,
    })
}

/// All that can be told of an event, but for the type of a failure's error.
fn told(event: &Event) -> String {
    let (EventKind::StageFailed(failure) | EventKind::PipelineEnded { failure: Some(failure), .. }) =
        event.kind()
    else {
        return format!("{:?}", event.record());
    };
    let mut causes = vec![failure.message()];
    let mut cause = failure.cause().source();
    while let Some(error) = cause {
        causes.push(error.to_string());
        cause = error.source();
    }
    let EventRecord { seq, nanos, stage, attempt, kind } = event.record();
    let ended = match kind {
        EventKind::PipelineEnded { outcome, cancelled, .. } => format!("{outcome:?} {cancelled:?}"),
        _ => String::new(),
    };
    let what = serde_json::to_string(failure).expect("it can be written");
    format!("{seq} {nanos} {stage} {attempt} {} {ended} {what} {causes:?}", kind.name())
}

fn is_same_error(a: &Event, b: &Event) -> bool {
    match (a.kind(), b.kind()) {
        (EventKind::StageFailed(a), EventKind::StageFailed(b)) => std::ptr::addr_eq(a.cause(), b.cause()),
        _ => true,
    }
}

proptest! {
    /// Whatever happened is read as it was written: failures with all their texts, and while there is room as they are.
    #[test]
    fn what_is_read_is_what_was_written(records in prop::collection::vec(any_record(), 1..8), room in 0..4_usize) {
        let runs = [run(), run()];
        let (mut beside, mut bytes) = (Beside::new(room), Vec::new());
        let event = |(n, record): (usize, EventRecord)| Event::new(Arc::clone(&runs[n % 2]), record);
        let events: Vec<_> = records.into_iter().enumerate().map(event).collect();
        events.iter().for_each(|event| encode(event, &mut beside, &mut bytes));
        prop_assert!(beside.failures() <= room);
        let input = &mut &bytes[..];
        for event in &events {
            let read = decode(input, &beside).expect("it is whole");
            prop_assert!(Arc::ptr_eq(read.run(), event.run()));
            prop_assert_eq!(told(&read), told(event));
            prop_assert!(room < events.len() || is_same_error(&read, event));
        }
        prop_assert!(input.is_empty());
    }

    /// Damage is no panic, and no event where there are not enough bytes.
    #[test]
    fn what_is_cut_off_or_changed_is_no_panic(record in any_record(), cut in any::<prop::sample::Index>(), byte: u8) {
        let (mut beside, mut bytes) = (Beside::new(0), Vec::new());
        encode(&Event::new(run(), record), &mut beside, &mut bytes);
        let place = cut.index(bytes.len());
        prop_assert!(decode(&mut &bytes[..place], &beside).is_none());
        bytes[place] = byte;
        let _ = decode(&mut &bytes[..], &beside);
    }
}

/// Another format is not read.
#[test]
fn another_version_is_not_read() {
    let record = EventRecord { seq: 1, nanos: 2, stage: 3, attempt: 4, kind: EventKind::StageStarted };
    let (mut beside, mut bytes) = (Beside::default(), Vec::new());
    encode(&Event::new(run(), record), &mut beside, &mut bytes);
    bytes[0] += 1;
    assert!(decode(&mut &bytes[..], &beside).is_none());
    assert_eq!(DropReason::ALL.len(), Losses::default().reasons.len());
}

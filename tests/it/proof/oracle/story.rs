//! What the events of a run must tell (S-4, S-27, S-28).

use std::collections::HashMap;

use stageflow::{Event, EventKind, StageOutcome, StopReason};

use super::{
    build::name,
    case::{Case, Source, Wire},
    expect::Oracle,
    observe::{Mode, Seen},
};

/// Where in the stream each stage started and ended.
struct Places {
    started: Vec<Option<usize>>,
    ended: Vec<Option<usize>>,
}

pub(crate) fn check(case: &Case, oracle: &Oracle, seen: &Seen) {
    let Some(events) = &seen.events else { return };
    s_28_every_event_says_where_it_belongs(seen, events);
    s_27_the_run_starts_and_ends_the_stream(seen, events);
    let places = s_27_each_stage_ends_once(seen, events);
    s_4_no_stage_starts_before_its_edges_are_decided(case, seen, &places);
    if seen.mode == Mode::Single && !case.is_limited() {
        s_4_roots_start_in_declaration_order(case, &places);
    }
    if !matches!(seen.mode, Mode::Threads { .. }) {
        assert!(events.is_sorted_by_key(Event::elapsed), "S-28: time does not go back");
        if !case.is_limited() {
            s_4_stages_start_the_moment_their_edges_are_decided(oracle, events, &places);
        }
        let first = events.iter().find_map(|event| match event.kind() {
            EventKind::StageFailed(failure) => Some(failure.clone()),
            _ => None,
        });
        let failures = seen.report.failures();
        assert_eq!(failures.first(), first.as_ref(), "S-8: the first failure observed is the first listed");
    }
}

fn s_28_every_event_says_where_it_belongs(seen: &Seen, events: &[Event]) {
    for (event, seq) in events.iter().zip(1..) {
        assert_eq!(event.seq(), seq, "S-28: numbers from 1 without gaps");
        assert_eq!(event.run_id(), seen.report.run_id());
        assert_eq!(event.tenant(), Some("acme"));
        assert_eq!(event.pipeline(), "random");
        assert!(event.time() >= event.run().started());
    }
}

fn s_27_the_run_starts_and_ends_the_stream(seen: &Seen, events: &[Event]) {
    let names: Vec<_> = events.iter().map(Event::name).collect();
    assert_eq!(names.first().map(AsRef::as_ref), Some("pipeline.started"), "S-27");
    let (last, others) = events.split_last().expect("a run has events");
    let EventKind::PipelineEnded { outcome, failure, cancelled } = last.kind() else {
        panic!("S-27: the last event is {last}")
    };
    assert_eq!(*outcome, seen.report.outcome(), "S-27");
    assert_eq!(*failure, seen.report.cause(), "S-27: with the first failure");
    if let Some(cause) = cancelled {
        assert_eq!(Some(&**cause), seen.report.cancelled().as_ref());
    }
    let between = others.iter().skip(1).filter(|event| event.stage().is_none());
    let (spent, extra): (Vec<_>, Vec<_>) = between.partition(|event| event.name() == "budget.spent");
    let used = seen.report.budget().is_some_and(|budget| budget.retries > 0);
    assert_eq!(spent.len(), usize::from(used), "a budget that was used is told once");
    let is_rule = |reason| !matches!(reason, StopReason::FailFast | StopReason::Denied);
    let stopped = seen.report.stopped().is_some_and(|stopped| is_rule(stopped.reason));
    let told = extra.iter().all(|event| event.name() == "failures.stopped");
    assert!(
        told && extra.len() == usize::from(stopped),
        "S-27: between speak stages, and the rule that stopped it"
    );
}

fn s_27_each_stage_ends_once(seen: &Seen, events: &[Event]) -> Places {
    let stages: HashMap<String, usize> = (0..seen.report.stages().count()).map(|i| (name(i), i)).collect();
    let mut places = Places { started: vec![None; stages.len()], ended: vec![None; stages.len()] };
    for (place, event) in events.iter().enumerate() {
        let Some(stage) = event.stage().map(|stage| stages[stage]) else { continue };
        if event.name() == "stage.waited" {
            let next = events[place + 1..].iter().find(|next| next.stage() == event.stage());
            assert!(
                next.is_some_and(|next| next.kind().is_terminal()),
                "the last but the end of its stage: {event}"
            );
            continue;
        }
        // S-22: a stage that asks for a retry starts again, between its first start and its end.
        let again =
            event.name() == "stage.retry_scheduled" || event.attempt().is_some_and(|attempt| attempt > 1);
        if again && !event.kind().is_terminal() {
            assert!(places.started[stage].is_some() && places.ended[stage].is_none(), "S-22: {event}");
            continue;
        }
        let of = if event.kind().is_terminal() { &mut places.ended } else { &mut places.started };
        assert_eq!(of[stage].replace(place), None, "S-27: twice: {event}");
    }
    for (index, report) in seen.report.stages().enumerate() {
        let (started, ended) = (places.started[index], places.ended[index]);
        let ended = ended.unwrap_or_else(|| panic!("S-27: s{index} has no terminal event"));
        let told = match events[ended].kind() {
            EventKind::StageCompleted => StageOutcome::Completed,
            EventKind::StageFailed(failure) => StageOutcome::Failed(failure.clone()),
            EventKind::StageSkipped(cause) => StageOutcome::Skipped((**cause).clone()),
            EventKind::StageCancelled(cause) => StageOutcome::Cancelled((**cause).clone()),
            EventKind::StageBlocked { by } => StageOutcome::Blocked { by: by.to_string() },
            other => panic!("S-27: {other:?} ends no stage"),
        };
        assert_eq!(told, report.outcome, "S-27: the event of s{index} agrees with the report");
        assert!(started.is_none_or(|started| started < ended), "S-27: s{index} starts before it ends");
        assert_eq!(
            started.is_some(),
            seen.probe.was_called(index),
            "S-27: s{index} starts when it is called"
        );
        if let Some(started) = started {
            assert_eq!(events[started].name(), "stage.started");
            assert_eq!(events[started].attempt(), Some(1), "S-28");
        }
    }
    places
}

/// Of an `or` one side that completed and all sides before it must have ended, of everything else all of it.
fn s_4_no_stage_starts_before_its_edges_are_decided(case: &Case, seen: &Seen, places: &Places) {
    let completed: Vec<bool> = seen.report.stages().map(|stage| stage.outcome.is_completed()).collect();
    for (index, stage) in case.stages.iter().enumerate() {
        let Some(started) = places.started[index] else { continue };
        let over = |source: &Source| match source {
            Source::Input => true,
            Source::Stage(source) => places.ended[*source].is_some_and(|ended| ended < started),
        };
        let gives = |source: &Source| match source {
            Source::Input => true,
            Source::Stage(source) => completed[*source] && over(&Source::Stage(*source)),
        };
        let wires = stage.wires.iter().all(|wire| match wire {
            Wire::Or(sides) | Wire::OrOptional(sides) => {
                let first = sides.iter().position(gives).unwrap_or(sides.len());
                sides[..first].iter().all(over)
            }
            other => other.sources().iter().all(over),
        });
        let after = stage.after.iter().chain(&stage.after_names).all(|source| over(&Source::Stage(*source)));
        let when = stage.when.iter().all(|(source, _)| over(source));
        assert!(wires && after && when, "S-4: s{index} starts before its edges are decided");
    }
}

fn s_4_roots_start_in_declaration_order(case: &Case, places: &Places) {
    let roots = (0..case.stages.len()).filter(|stage| case.stages[*stage].sources().count() == 0);
    let started: Vec<usize> = roots.filter_map(|root| places.started[root]).collect();
    assert!(started.is_sorted(), "S-4: roots start in declaration order: {started:?}");
}

/// Never level by level: virtual time shows when a stage starts, to the millisecond.
fn s_4_stages_start_the_moment_their_edges_are_decided(oracle: &Oracle, events: &[Event], places: &Places) {
    for (index, (started, expected)) in places.started.iter().zip(&oracle.stages).enumerate() {
        let Some(started) = started else { continue };
        let at = events[*started].elapsed();
        let (first, last) = expected.start;
        let millis = u64::try_from(at.as_millis()).expect("a short run");
        assert!(
            (first..=last).contains(&millis),
            "S-4: s{index} starts at {at:?} instead of {first}…{last} ms"
        );
    }
}

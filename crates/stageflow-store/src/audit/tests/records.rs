//! What is recorded, and what is not.

use std::collections::BTreeSet;

use stageflow_core::{
    EVENTS, ErrorClass, EventSink as _, Failure, RunOutcome, UserId, code, event::Losses, exit::FailSpec,
};

use super::*;

fn failure(class: ErrorClass) -> Failure {
    let error = "the card 4111 is not valid".into();
    Failure::new("fetch", 1, FailSpec::new(code::DENIED, class, error))
}

fn ended(outcome: RunOutcome) -> EventKind {
    let failure = (outcome == RunOutcome::Denied).then(|| failure(ErrorClass::Denied));
    EventKind::PipelineEnded { outcome, failure, cancelled: None }
}

#[test]
fn who_was_let_do_what_for_which_tenant_and_why() {
    let log = Log::with([]);
    let run = run_of(ContextSnapshot::builder().tenant("acme").user("said"));
    let granted = [("principal", "ada".into()), ("by", "credentials".into()), ("token", "hunter2".into())];
    sink(&log).take_all(vec![
        says(&run, 1, "auth.accepted", &granted),
        says(&run, 2, "tenant.denied", &[("reason", "tenant_not_allowed".into())]),
        event(&run, 3, EventKind::StageFailed(failure(ErrorClass::Denied))),
        event(&run, 4, ended(RunOutcome::Denied)),
    ]);
    let records = log.of("acme");
    assert_eq!(
        log.lines("acme"),
        ["auth.accepted granted", "tenant.denied denied", "stage.failed denied", "pipeline.denied denied"]
    );
    assert_eq!(records[0].who, Some(UserId::from("ada")), "who was found out, not who was said");
    assert_eq!(records[1].who, Some(UserId::from("said")));
    assert_eq!((&*records[0].reason, &*records[1].reason), ("credentials", "tenant_not_allowed"));
    assert_eq!((&*records[3].reason, records[3].stage.as_deref()), ("DENIED", Some("fetch")));
    assert!(records.iter().all(|record| record.run == Some(run.snapshot().identity().run_id())));
    assert_eq!(field(&records[2], "event"), Some(&3_u64.into()));
    let all = serde_json::to_string(&records).unwrap();
    assert!(
        !all.contains("4111") && !all.contains("hunter2"),
        "no message, no field that is not named: {all}"
    );
}

#[test]
fn a_guard_that_opens_is_recorded_and_so_is_each_verdict() {
    let (log, run) = (Log::with([]), run("acme"));
    let decided = [("guard", "pii".into()), ("verdict", "block".into()), ("reason", "pii.email".into())];
    let opened = [("guard", "pii".into()), ("reason", "timed_out".into()), ("code", "GUARD_FAILED".into())];
    sink(&log).take_all(vec![
        says(&run, 1, "guard.decided", &decided),
        says(&run, 2, "guard.blocked", &decided),
        says(&run, 3, "audit.guard_opened", &opened),
        says(&run, 4, "audit.exported", &[("decision", "granted".into()), ("rows", 7.into())]),
    ]);
    assert_eq!(
        log.lines("acme"),
        [
            "guard.decided block",
            "guard.blocked blocked",
            "audit.guard_opened opened",
            "audit.exported granted"
        ]
    );
    assert_eq!(field(&log.of("acme")[2], "code"), Some(&"GUARD_FAILED".into()));
    assert_eq!(field(&log.of("acme")[3], "rows"), Some(&7.into()));
}

/// What no auditor asks for is none of its business, and is taken.
#[test]
fn other_events_make_no_record() {
    let (log, run) = (Log::with([]), run("acme"));
    let taken = sink(&log).take_all(vec![
        event(&run, 1, EventKind::PipelineStarted),
        event(&run, 2, EventKind::StageStarted),
        says(&run, 3, "tokens.received", &[]),
        event(&run, 4, EventKind::StageFailed(failure(ErrorClass::Permanent))),
        event(&run, 5, ended(RunOutcome::Completed)),
    ]);
    assert_eq!((taken.delivered, log.calls()), (5, 0));
    sink(&log).with_runs().take_all(vec![
        event(&run, 6, EventKind::PipelineStarted),
        event(&run, 7, ended(RunOutcome::TimedOut)),
    ]);
    assert_eq!(log.lines("acme"), ["pipeline.started admitted", "pipeline.timed_out timed_out"]);
}

#[test]
fn runs_of_nobody_and_tenants_that_are_no_key_are_recorded_as_well() {
    let log = Log::with([]);
    let long = "x".repeat(300);
    for run in [run_of(ContextSnapshot::builder()), run(""), run("a\nb"), run(&long)] {
        sink(&log).on_event(&denied(&run, 1));
    }
    let records = log.of("-");
    assert_eq!(records.len(), 4);
    assert_eq!(field(&records[2], "tenant"), Some(&"a\\nb".into()));
    sink(&log).unowned("ops").on_event(&denied(&run_of(ContextSnapshot::builder()), 1));
    assert_eq!(log.lines("ops"), ["auth.denied denied"]);
}

/// Events that were dropped before they came here. Of how many events of others a tenant is not told.
#[test]
fn a_gap_is_a_record() {
    let (log, run) = (Log::with([]), run("acme"));
    let mut losses = Losses::default();
    for seq in 3..6 {
        losses.add(
            &denied(&run, seq),
            stageflow_core::EventClass::Terminal,
            stageflow_core::DropReason::Full,
        );
    }
    let mut elsewhere = Losses::default();
    elsewhere.add_elsewhere(&losses);
    losses.merge(&elsewhere);
    sink(&log).take_all(vec![Event::gap(Arc::clone(&run), 6, 0, losses)]);
    let (gap, others) = (&log.of("acme")[0], &log.of("-")[0]);
    assert_eq!((&*gap.action, &*gap.decision, field(gap, "dropped")), ("audit.gap", "lost", Some(&3.into())));
    assert_eq!((field(gap, "first_event"), field(gap, "last_event")), (Some(&3.into()), Some(&5.into())));
    assert_eq!((field(others, "dropped"), others.run), (Some(&3.into()), None));
    assert_eq!(gap.fields.len(), 5, "event, pipeline, dropped, first, last: nothing of others");
}

#[test]
fn texts_are_on_one_line_and_of_bounded_length() {
    let (log, run) = (Log::with([]), run("acme"));
    let reason = format!("a\u{0}\n{}", "x".repeat(10_000));
    sink(&log).on_event(&says(
        &run,
        1,
        "audit.told",
        &[("reason", reason.clone().into()), ("it", reason.into())],
    ));
    let record = &log.of("acme")[0];
    assert_eq!(record.reason.chars().count(), 256);
    assert!(!record.reason.chars().any(char::is_control));
    assert!(matches!(field(record, "it"), Some(FieldValue::Text(it)) if it.chars().count() == 256));
}

/// Each event of the policies that decide on access is known by its name, and no rule is about fields that its event does not have.
#[test]
fn the_rules_fit_the_events() {
    let (log, run) = (Log::with([]), run("acme"));
    let all: BTreeSet<_> = EVENTS.iter().map(|event| event.name).collect();
    let asked =
        ["auth.", "tenant.", "audit.", "guard.", "saga.stuck", "admission.shed", "pause.", "run.resumed"];
    for name in all.iter().filter(|name| asked.iter().any(|asked| name.starts_with(asked))) {
        assert!(sink(&log).wants(&says(&run, 1, name, &[])), "{name}");
    }
    for spec in EVENTS {
        let known = super::super::rules::known_fields(spec.name);
        for field in known {
            assert!(spec.details.contains(&field), "{} has no `{field}`", spec.name);
        }
    }
}

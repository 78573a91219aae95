//! What two runs did differently, and how it is printed.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::*;
use crate::{
    ContextSnapshot, ErrorClass, RunOutcome, SkipCause,
    durable::{AttemptEnd, Encoded, Entry, EntryKind, JournaledFailure, RunHeader, RunKey},
    event::FieldValue,
};

/// A run of `support`, as its journal has it.
#[derive(Default)]
struct Journal(Vec<(EntryKind, Option<Encoded>)>);

impl Journal {
    fn add(mut self, kind: EntryKind) -> Self {
        self.0.push((kind, None));
        self
    }

    fn started(self, stage: &str, attempt: u32) -> Self {
        self.add(EntryKind::AttemptStarted { stage: stage.into(), attempt })
    }

    fn decided(self, stage: &str, name: &str, fields: &[(&str, FieldValue)]) -> Self {
        let fields = fields.iter().map(|(key, value)| (Arc::from(*key), value.clone())).collect();
        self.add(EntryKind::Decided { stage: stage.into(), attempt: 1, name: name.into(), fields })
    }

    fn ended(mut self, stage: &str, (attempts, millis): (u32, u64), end: StageEnd, output: &str) -> Self {
        let took = Duration::from_millis(millis);
        let kind = EntryKind::StageEnded { stage: stage.into(), attempts, took, end, wiring: 7 };
        self.0.push((kind, (!output.is_empty()).then(|| Encoded::new(1, output))));
        self
    }

    fn run(self, id: u128) -> JournaledRun {
        let run = uuid::Uuid::from_u128(id).to_string().parse().expect("it is an id");
        let header = RunHeader {
            key: RunKey::new("acme", run),
            snapshot: ContextSnapshot::builder().run(run).tenant("acme").pipeline("support").build(),
            input: None,
            started: SystemTime::UNIX_EPOCH,
            seed: 7,
            branch_of: None,
        };
        let entry = |(seq, (kind, payload))| Entry { seq, at: seq * 1_000_000, kind, payload };
        JournaledRun { header, entries: (1..).zip(self.0).map(entry).collect() }
    }
}

fn failure(attempts: u32) -> JournaledFailure {
    JournaledFailure {
        stage: "llm".into(),
        code: "BUSY".into(),
        class: ErrorClass::Transient,
        message: "too many requests".into(),
        attempts,
    }
}

fn patient() -> Journal {
    let ended = AttemptEnd::Failed { failure: failure(1), after: None };
    Journal::default()
        .decided("triage", "route.decided", &[("route", "careful".into()), ("because", "long text".into())])
        .ended("triage", (1, 1), StageEnd::Completed, "")
        .started("llm", 1)
        .add(EntryKind::AttemptEnded { stage: "llm".into(), attempt: 1, end: ended })
        .decided("llm", "stage.retry_scheduled", &[("attempt", 2.into()), ("delay_ms", 120.into())])
        .started("llm", 2)
        .add(EntryKind::AttemptEnded { stage: "llm".into(), attempt: 2, end: AttemptEnd::Gave })
        .ended("llm", (2, 340), StageEnd::Completed, r#"{"text":"secret","n":1}"#)
        .ended("check/words", (1, 20), StageEnd::Completed, "3")
        .add(EntryKind::Spent { retries: 1, cost: 900 })
        .add(EntryKind::RunEnded { outcome: RunOutcome::Completed, failure: None })
}

fn impatient() -> Journal {
    Journal::default()
        .decided("triage", "route.decided", &[("route", "careful".into()), ("because", "long text".into())])
        .ended("triage", (1, 1), StageEnd::Completed, "")
        .started("llm", 1)
        .decided(
            "llm",
            "stage.retry_exhausted",
            &[("attempts", 1.into()), ("because", "max_attempts".into())],
        )
        .ended("llm", (1, 170), StageEnd::Failed(failure(1)), "")
        .ended("check/words", (1, 90), StageEnd::Completed, "4")
        .ended("apology", (0, 0), StageEnd::Skipped(SkipCause::Own { reason: "nobody asked".into() }), "")
        .add(EntryKind::RunEnded { outcome: RunOutcome::Failed, failure: Some(failure(1)) })
}

#[test]
fn a_difference_reads_like_this() {
    let diff = RunDiff::of(&patient().run(1), &impatient().run(2));
    assert!(!diff.is_same());
    let expected = "\
run 00000000-0000-0000-0000-000000000001 and run 00000000-0000-0000-0000-000000000002 did not do the same
  outcome   completed → failed [BUSY]
  retries   1 → 0
  cost      900 → 0
  `llm`
    end       completed → failed [BUSY]: too many requests
    attempts  2 → 1
    - stage.retry_scheduled attempt=2 delay_ms=120
    + stage.retry_exhausted attempts=1 because=max_attempts
  `check/words`
    output    not the same
  `apology`: only in the second
";
    assert_eq!(diff.to_string(), expected);
    let times = diff.clone().with_times(2.0).to_string();
    assert_eq!(
        times.strip_prefix(expected),
        Some("  times\n    llm          340ms → 170ms (0.5 ×)\n    check/words  20ms → 90ms (4.5 ×)\n")
    );
    assert_eq!(diff.stage("llm").and_then(|llm| llm.attempts.clone()), Some(Changed { before: 2, after: 1 }));
}

#[test]
fn times_ids_and_measured_fields_make_no_difference() {
    let waited = |ns: i64| {
        Journal::default()
            .decided("llm", "bulkhead.waited", &[("bulkhead", "llm".into()), ("waited_ns", ns.into())])
            .ended("llm", (1, u64::try_from(ns).expect("it is positive")), StageEnd::Completed, "1")
    };
    let diff = RunDiff::of(&waited(3).run(1), &waited(900).run(2));
    assert!(diff.is_same(), "{diff}");
    assert!(diff.to_string().ends_with(" did the same\n"), "{diff}");
    assert_eq!(diff.times[0].ratio(), Some(300.0));
}

#[test]
fn the_order_of_a_map_is_no_difference_and_a_version_is() {
    let gave = |output| Journal::default().ended("llm", (1, 1), StageEnd::Completed, output).run(1);
    let diff = RunDiff::of(&gave(r#"{"a":1,"b":2}"#), &gave(r#"{"b":2,"a":1}"#));
    assert!(diff.is_same(), "{diff}");
    let mut newer = gave(r#"{"a":1,"b":2}"#);
    newer.entries[0].payload.as_mut().expect("it has one").version = 2;
    let diff = RunDiff::of(&gave(r#"{"a":1,"b":2}"#), &newer);
    assert!(diff.stage("llm").is_some_and(|llm| llm.output_differs), "{diff}");
    let unknown = RunDiff::of(&gave("not JSON"), &gave("neither"));
    assert!(!unknown.is_same() && !unknown.to_string().contains("neither"), "{unknown}");
}

#[test]
fn another_wiring_and_a_decision_more_are_seen() {
    let mut rewired = patient().run(1);
    for entry in &mut rewired.entries {
        if let EntryKind::StageEnded { stage, wiring, .. } = &mut entry.kind
            && &**stage == "triage"
        {
            *wiring = 8;
        }
    }
    let diff = RunDiff::of(&patient().run(1), &rewired);
    let stages: Vec<_> = diff.stages.iter().map(|stage| (&*stage.stage, stage.rewired)).collect();
    assert_eq!(stages, [("triage", true)]);
    let twice = patient().decided(
        "triage",
        "route.decided",
        &[("route", "careful".into()), ("because", "long text".into())],
    );
    let diff = RunDiff::of(&patient().run(1), &twice.run(1));
    assert_eq!(
        diff.stage("triage").map(|triage| triage.newly_decided.clone()),
        Some(vec!["route.decided route=careful because=\"long text\"".to_owned()])
    );
    assert!(RunDiff::of(&patient().run(1), &patient().run(1)).is_same());
}

#[test]
fn a_difference_is_data() {
    let diff = RunDiff::of(&patient().run(1), &impatient().run(2));
    let json = serde_json::to_value(&diff).expect("it is JSON");
    assert_eq!(json["outcome"]["after"], "failed [BUSY]");
    assert_eq!(json["stages"][2]["only"], "after");
    assert!(!json.to_string().contains("secret"), "{json}");
}

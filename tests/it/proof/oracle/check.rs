//! Compares what was seen of a run with what must have happened.

use stageflow::{CancelCause, FailurePolicy, Keep, RunOutcome, SkipCause, StageOutcome};

use super::{
    build::name,
    case::{Case, Exit, Source, Wire},
    expect::{Fate, Oracle},
    observe::Seen,
    probe::V,
};

/// Everything that must hold, each with its rule.
pub(crate) fn check(case: &Case, oracle: &Oracle, seen: &Seen) {
    s_5_every_stage_ends_as_the_rules_say(case, oracle, seen);
    s_6_only_stages_whose_inputs_are_there_are_called(case, oracle, seen);
    s_7_completed_outputs_can_be_read(case, oracle, seen);
    s_8_the_run_ends_as_the_rules_say(case, oracle, seen);
    s_8_failures_are_listed_in_order(case, oracle, seen);
    s_11_limits_hold(case, seen);
}

fn outcomes(seen: &Seen) -> Vec<StageOutcome> {
    seen.report.stages().map(|stage| stage.outcome).collect()
}

/// Also S-6: skips, blocks and joins. Stages that an early end has kept from ending by themselves are cancelled, all others
/// end in the way that does not depend on it.
fn s_5_every_stage_ends_as_the_rules_say(case: &Case, oracle: &Oracle, seen: &Seen) {
    let outcomes = outcomes(seen);
    assert_eq!(outcomes.len(), case.stages.len(), "S-5: each stage has a terminal state");
    for (index, (outcome, expected)) in outcomes.iter().zip(&oracle.stages).enumerate() {
        if let StageOutcome::Cancelled(cause) = outcome {
            assert!(!oracle.exact, "S-5: nothing ended the run, and s{index} is cancelled");
            assert_eq!(
                Some(cause),
                seen.report.cancelled().as_ref(),
                "S-8: s{index} is told the run's cause"
            );
            continue;
        }
        let agrees = match (outcome, &expected.fate) {
            (StageOutcome::Completed, Fate::Completed(_)) => true,
            (StageOutcome::Failed(failure), Fate::Failed | Fate::Denied) => failure.stage() == name(index),
            (StageOutcome::Skipped(SkipCause::Own { .. }), Fate::SkippedOwn) => true,
            (StageOutcome::Skipped(SkipCause::Upstream { stage }), Fate::SkippedUpstream(by)) => {
                by.iter().any(|by| name(*by) == *stage)
            }
            (StageOutcome::Skipped(SkipCause::NotTaken { route }), Fate::NotTaken(routes)) => {
                routes.iter().any(|by| by.map_or_else(|| "input".to_owned(), name) == *route)
            }
            (StageOutcome::Blocked { by }, Fate::Blocked(roots)) => {
                roots.iter().any(|root| name(*root) == *by)
            }
            _ => false,
        };
        assert!(agrees, "S-5, S-6: s{index} is {outcome:?}, and must be {:?}", expected.fate);
    }
}

/// Also S-5 and S-22: a stage is called once, one that asks for a retry thrice. S-4, that it is called after its edges are decided, shows in the events.
fn s_6_only_stages_whose_inputs_are_there_are_called(case: &Case, oracle: &Oracle, seen: &Seen) {
    assert_eq!(seen.probe.running(), 0, "S-16: no stage runs after the end of the run");
    for (stage, (report, expected)) in seen.report.stages().zip(&oracle.stages).enumerate() {
        let calls = seen.probe.calls[stage].load(std::sync::atomic::Ordering::SeqCst);
        let most = if case.stages[stage].exit == Exit::Retries { 3 } else { 1 };
        assert!(calls <= most, "S-22: s{stage} is called {calls} times");
        // What nobody has moved away is there to be read again.
        if most == 3
            && calls > 0
            && matches!(report.outcome, StageOutcome::Failed(_))
            && case.keep == Keep::All
        {
            assert!(calls == 3 || case.has_owners(), "S-22: s{stage} is called {calls} times");
        }
        assert!(calls == 0 || expected.runs, "S-6: s{stage} is called and must not be: {:?}", expected.fate);
        assert!(calls >= 1 || !expected.runs || !oracle.exact, "S-4: s{stage} is never called");
        if matches!(report.outcome, StageOutcome::Completed) {
            assert_eq!(calls, 1, "s{stage} completed without being called");
        }
        if !case.is_limited() {
            assert_eq!(report.attempts, calls, "the attempts of s{stage} in the report");
        }
    }
}

/// Also S-6 and S-13: the values show what was delivered.
fn s_7_completed_outputs_can_be_read(case: &Case, oracle: &Oracle, seen: &Seen) {
    for (index, outcome) in outcomes(seen).iter().enumerate() {
        let output = seen.report.output_of::<V>(&name(index)).map(|value| value.value);
        let is_output = index == case.output;
        match (&oracle.stages[index].fate, outcome) {
            (Fate::Completed(_), StageOutcome::Completed) if case.stages[index].unit => {
                assert!(seen.report.output_of::<()>(&name(index)).is_some(), "S-7: a unit can be read");
            }
            (Fate::Completed(value), StageOutcome::Completed) if case.keep == Keep::All || is_output => {
                let moved = output.is_none() && !is_output && may_be_moved(case, seen, index);
                assert!(moved || output == Some(*value), "S-7: s{index} gave {output:?} instead of {value}");
            }
            _ if oracle.exact => assert_eq!(output, None, "nothing is kept of s{index}: {outcome:?}"),
            _ => {}
        }
    }
}

/// Whether a stage that owns its input took the output away. One that waits for a permit when the run ends has it already.
fn may_be_moved(case: &Case, seen: &Seen, stage: usize) -> bool {
    let owns = |wire: &Wire| matches!(wire, Wire::Owned(source) if *source == Source::Stage(stage));
    case.stages.iter().zip(seen.report.stages()).enumerate().any(|(reader, (it, report))| {
        let waits = case.is_limited() && matches!(report.outcome, StageOutcome::Cancelled(_));
        it.wires.iter().any(owns) && (seen.probe.was_called(reader) || waits)
    })
}

fn s_8_the_run_ends_as_the_rules_say(case: &Case, oracle: &Oracle, seen: &Seen) {
    let outcome = seen.report.outcome();
    let outcomes = outcomes(seen);
    let output_completed = outcomes[case.output].is_completed();
    if oracle.exact {
        let failed = outcomes.iter().any(|outcome| matches!(outcome, StageOutcome::Failed(_)));
        let expected = match (failed, output_completed) {
            (false, _) => RunOutcome::Completed,
            (true, true) => RunOutcome::CompletedWithFailures,
            (true, false) => RunOutcome::Failed,
        };
        assert_eq!(outcome, expected, "S-8");
        assert_eq!(seen.report.cancelled(), None, "S-8: nothing cancelled the run");
        assert_eq!(seen.result.is_ok(), output_completed, "S-8: a result with the output");
    } else {
        s_8_an_early_end_has_its_cause(case, oracle, seen, outcome, &outcomes);
        assert!(seen.result.is_err(), "S-8: a run that ended early gives no output");
    }
    match (&oracle.stages[case.output].fate, &seen.result) {
        (Fate::Completed(value), Ok(completed)) => assert_eq!(completed.output().value, *value, "the output"),
        (_, Ok(_)) => panic!("the run gives an output, and its output stage must not complete"),
        (_, Err(_)) => {}
    }
}

fn s_8_an_early_end_has_its_cause(
    case: &Case,
    oracle: &Oracle,
    seen: &Seen,
    outcome: RunOutcome,
    outcomes: &[StageOutcome],
) {
    let cause = seen.report.cancelled().expect("S-8: a run that ended early says why");
    let outcome_of = |stage: &str| seen.report.stage(stage).expect("it names a stage").outcome;
    match (outcome, &cause) {
        (RunOutcome::Cancelled, CancelCause::Stage { stage, .. }) => {
            assert!(oracle.any(&Fate::Cancels), "S-8: no stage cancels the run");
            assert_eq!(
                outcome_of(stage),
                StageOutcome::Cancelled(cause.clone()),
                "S-5: the one that cancelled"
            );
        }
        (RunOutcome::Denied, CancelCause::Denied { stage }) => {
            assert!(matches!(outcome_of(stage), StageOutcome::Failed(_)), "S-20: a denial is a failure");
            let denies = |exit| matches!(exit, Exit::Denies);
            assert!(case.stages.iter().enumerate().any(|(i, it)| denies(it.exit) && name(i) == *stage));
            assert_eq!(seen.report.cause().expect("a denial").stage(), stage, "S-8: the denial is the cause");
        }
        (RunOutcome::Failed, CancelCause::Failure { stage }) => {
            assert!(oracle.too_many_failures, "S-7: the policy tolerates all that can fail");
            assert!(matches!(outcome_of(stage), StageOutcome::Failed(_)), "S-8: the stage that failed");
            if case.policy == FailurePolicy::FailFast {
                let first = seen.report.cause().expect("a failure");
                assert_eq!(first.stage(), stage, "S-8: the first failure is the cause");
            }
            let failures =
                outcomes.iter().filter(|outcome| matches!(outcome, StageOutcome::Failed(_))).count();
            assert!(!case.policy.tolerates(failures, outcomes.len()), "S-7: it ends once it is too much");
        }
        other => panic!("S-8: a run cannot end as {other:?}"),
    }
}

fn s_8_failures_are_listed_in_order(case: &Case, oracle: &Oracle, seen: &Seen) {
    let failures = seen.report.failures();
    let order: Vec<usize> = failures
        .iter()
        .map(|failure| (0..case.stages.len()).find(|stage| name(*stage) == failure.stage()).expect("a stage"))
        .collect();
    assert!(order.iter().skip(1).is_sorted(), "S-8: after the first in declaration order: {order:?}");
    let mut listed = order;
    listed.sort_unstable();
    let failed = |(index, outcome): (usize, &StageOutcome)| {
        matches!(outcome, StageOutcome::Failed(_)).then_some(index)
    };
    let outcomes = outcomes(seen);
    let failed: Vec<usize> = outcomes.iter().enumerate().filter_map(failed).collect();
    assert_eq!(listed, failed, "S-8: every failure is listed once");
    if oracle.exact && failed.is_empty() {
        assert_eq!(seen.report.cause(), None);
    } else if seen.report.outcome() != RunOutcome::Denied {
        let first = failures.first().map(|failure| failure.stage().to_owned());
        let cause = seen.report.cause().map(|failure| failure.stage().to_owned());
        assert_eq!(cause, first, "S-8: the first failure is the cause");
    }
}

fn s_11_limits_hold(case: &Case, seen: &Seen) {
    let (all, working) = seen.probe.most();
    assert!(all <= case.in_flight() as usize, "S-11: {all} stages ran at a time");
    if let Some((_, limit)) = case.limits.kind {
        assert!(working <= limit as usize, "S-11: {working} stages of kind `work` ran at a time");
    }
}

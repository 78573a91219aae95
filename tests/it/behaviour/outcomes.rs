//! How stages and runs end: skips, failures, cancellations by stages (§18.2; rules S-5 to S-8).

use std::{error::Error as _, fmt, sync::Arc};

use stageflow::{
    CancelCause, EventKind, FailurePolicy, RunOutcome, SkipCause, StageOutcome, code, prelude::*,
};

use super::kit::{
    Log, error_of, exits, exits_after, gives, naps, never, pipeline, recorded, report_of, same, solo,
    statuses, sum,
};

/// 18.2-57, decided by S-6: a skip is passed on over required edges, and the run completes without its output.
#[tokio::test(start_paused = true)]
async fn a_skip_is_passed_on_over_required_edges() {
    let chain = pipeline(|p| {
        let a = p.stage("a", exits(|| StageExit::skip("no audio"))).inputs(());
        let b = p.stage("b", same()).inputs(a);
        p.stage("c", same()).inputs(b)
    });
    let error = error_of(chain.run(())).await;
    assert_eq!((error.outcome(), error.code()), (Some(RunOutcome::Completed), code::NO_OUTPUT));
    let expected = ["a: skipped: no audio", "b: skipped: `a` was skipped", "c: skipped: `b` was skipped"];
    assert_eq!(statuses(&error.report().unwrap()), expected);
    assert_eq!(error.to_string(), "pipeline `test` has no output: it was skipped");
    assert!(error.failure().is_none() && error.source().is_none());
}

/// KEEP 18.2-58: one event, with the reason and the ids of the run.
#[tokio::test(start_paused = true)]
async fn a_skip_is_one_event_with_its_reason() {
    let (engine, recorder) = recorded();
    let skips = solo(exits_after(5.millis(), || StageExit::skip("no audio")));
    let run = engine.run(&skips, ()).request("r-1");
    let report = report_of(run).await;
    let events = recorder.events();
    let [event] = &*events.iter().filter(|event| event.name() == "stage.skipped").collect::<Vec<_>>() else {
        panic!("not one: {events:?}");
    };
    let EventKind::StageSkipped(cause) = event.kind() else { panic!("{event:?}") };
    assert_eq!(**cause, SkipCause::Own { reason: "no audio".into() });
    assert_eq!((event.run_id(), event.stage(), event.elapsed()), (report.run_id(), Some("only"), 5.millis()));
    assert_eq!(event.run().snapshot().identity().request_id().unwrap().as_str(), "r-1");
}

/// KEEP 18.2-60.
#[tokio::test(start_paused = true)]
async fn a_failure_names_its_stage_and_says_its_message() {
    let error = error_of(solo(exits(|| StageExit::fail("the disk is full"))).run(())).await;
    assert_eq!(error.outcome(), Some(RunOutcome::Failed));
    assert_eq!(error.to_string(), "pipeline `solo` failed at stage `only`");
    let failure = error.failure().unwrap();
    assert_eq!((failure.stage(), failure.code()), ("only", code::STAGE_FAILED));
    assert_eq!(failure.to_string(), "stage `only` failed [STAGE_FAILED]");
    assert_eq!(failure.message(), "the disk is full");
}

#[derive(Debug, PartialEq)]
struct Quota(u32);

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "quota of {} used up", self.0)
    }
}

impl std::error::Error for Quota {}

/// KEEP 18.2-61, W4: the original error, with its type.
#[tokio::test(start_paused = true)]
async fn the_original_error_is_kept_with_its_type() {
    let error = error_of(solo(exits(|| Quota(7).into())).run(())).await;
    assert_eq!(error.failure().unwrap().cause().downcast_ref::<Quota>(), Some(&Quota(7)));
    let failure = error.source().unwrap();
    assert_eq!(failure.source().unwrap().downcast_ref::<Quota>(), Some(&Quota(7)));
}

/// KEEP 18.2-62, 63, S-16: the siblings have stopped before anybody hears of the failure.
#[tokio::test(start_paused = true)]
async fn siblings_have_stopped_before_a_failure_is_reported() {
    let log = Log::default();
    let sibling = {
        let log = log.clone();
        stage_fn(move |_, (): ()| {
            let gone = log.on_drop("sibling stopped");
            async move {
                let _gone = gone;
                std::future::pending::<StageResult<u32>>().await
            }
        })
    };
    let failing = pipeline(|p| {
        let a = p.stage("a", exits_after(10.millis(), || StageExit::fail("boom"))).inputs(());
        let b = p.stage("b", sibling).inputs(());
        p.stage("sum", sum()).inputs([a, b])
    });
    let error = error_of(failing.run(())).await;
    assert_eq!(log.lines(), ["sibling stopped"]);
    let expected = ["a: failed: boom", "b: cancelled: `a` failed", "sum: cancelled: `a` failed"];
    assert_eq!(statuses(&error.report().unwrap()), expected);
}

/// KEEP 18.2-64, S-6.
#[tokio::test(start_paused = true)]
async fn dependents_of_a_failed_stage_never_run() {
    for policy in [FailurePolicy::FailFast, FailurePolicy::Continue, FailurePolicy::TolerateCount(9)] {
        let log = Log::default();
        let spy = log.clone();
        let failing = pipeline(|p| {
            p.on_failure(policy);
            let a = p.stage("a", exits(|| StageExit::fail("boom"))).inputs(());
            let b = p
                .stage(
                    "b",
                    stage_fn(move |_, n: Arc<u32>| {
                        spy.add("ran");
                        std::future::ready(Ok(*n))
                    }),
                )
                .inputs(a);
            p.stage("c", same()).inputs(b)
        });
        let report = report_of(failing.run(())).await;
        assert!(log.lines().is_empty());
        assert_eq!((report.outcome(), report.stage("c").unwrap().attempts), (RunOutcome::Failed, 0));
        if policy != FailurePolicy::FailFast {
            assert_eq!(statuses(&report), ["a: failed: boom", "b: blocked by `a`", "c: blocked by `a`"]);
        }
    }
}

/// KEEP 18.2-65, 66, S-7: the reason, the stage, and what was there before.
#[tokio::test(start_paused = true)]
async fn a_cancel_by_a_stage_keeps_partial_results() {
    let hung_up = pipeline(|p| {
        let a = p.stage("a", gives(41_u32)).inputs(());
        let leave = |_, _: Arc<u32>| async { StageResult::<u32>::Err(StageExit::cancel("user hung up")) };
        let b = p.stage("b", stage_fn(leave)).inputs(a);
        p.stage("c", same()).inputs(b)
    });
    let error = error_of(hung_up.run(())).await;
    let cause = CancelCause::Stage { stage: "b".into(), reason: "user hung up".into() };
    let report = error.report().unwrap();
    assert_eq!((error.outcome(), error.code()), (Some(RunOutcome::Cancelled), code::CANCELLED));
    assert_eq!((report.cancelled(), report.failures().len()), (Some(cause.clone()), 0));
    assert_eq!(report.stage("b").unwrap().outcome, StageOutcome::Cancelled(cause.clone()));
    assert_eq!(report.stage("c").unwrap().outcome, StageOutcome::Cancelled(cause));
    assert_eq!(*report.output_of::<u32>("a").unwrap(), 41);
    assert_eq!(error.to_string(), "pipeline `test` was cancelled: `b` ended the run: user hung up");
}

/// 18.2-67.
#[tokio::test(start_paused = true)]
async fn an_empty_reason_stays_empty() {
    let report = report_of(solo(exits(|| StageExit::cancel(""))).run(())).await;
    assert_eq!(report.cancelled(), Some(CancelCause::Stage { stage: "only".into(), reason: String::new() }));
}

/// S-7: an unrelated branch goes on, and the output that is there counts.
#[tokio::test(start_paused = true)]
async fn unrelated_branches_go_on_where_the_policy_says_so() {
    let partly = pipeline(|p| {
        p.on_failure(FailurePolicy::Continue);
        p.stage("bad", exits(|| StageExit::fail("boom"))).inputs(());
        p.stage("good", naps(10.millis(), 5)).inputs(())
    });
    let done = partly.run(()).await.unwrap();
    assert_eq!((*done.output(), done.outcome()), (5, RunOutcome::CompletedWithFailures));
    assert_eq!(done.report().cause().unwrap().stage(), "bad");
    assert!(done.report().cancelled().is_none());
}

/// S-7: so many failures are tolerated, and no more.
#[tokio::test(start_paused = true)]
async fn tolerance_ends_with_the_failure_that_is_one_too_many() {
    for (policy, outcome) in [
        (FailurePolicy::TolerateCount(2), RunOutcome::CompletedWithFailures),
        (FailurePolicy::TolerateCount(1), RunOutcome::Failed),
        (FailurePolicy::TolerateCount(0), RunOutcome::Failed),
        (FailurePolicy::ToleratePercent(50.0), RunOutcome::CompletedWithFailures),
        (FailurePolicy::ToleratePercent(49.9), RunOutcome::Failed),
        (FailurePolicy::ToleratePercent(0.0), RunOutcome::Failed),
    ] {
        let four = pipeline(|p| {
            p.on_failure(policy);
            p.stage("a", exits_after(1.millis(), || StageExit::fail("a"))).inputs(());
            p.stage("b", exits_after(2.millis(), || StageExit::fail("b"))).inputs(());
            p.stage("other", gives(())).inputs(());
            p.stage("out", naps(10.millis(), 5)).inputs(())
        });
        assert_eq!(report_of(four.run(())).await.outcome(), outcome, "{policy:?}");
    }
}

/// S-8: the first failure observed is the cause, the others come in declaration order.
#[tokio::test(start_paused = true)]
async fn the_first_failure_is_the_cause_and_the_others_follow_in_declaration_order() {
    let failing = pipeline(|p| {
        p.on_failure(FailurePolicy::Continue);
        p.stage("a", exits_after(30.millis(), || StageExit::fail("a"))).inputs(());
        p.stage("b", exits_after(20.millis(), || StageExit::fail("b"))).inputs(());
        p.stage("c", exits_after(10.millis(), || StageExit::fail("c"))).inputs(())
    });
    let report = report_of(failing.run(())).await;
    assert_eq!(report.cause().unwrap().stage(), "c");
    assert_eq!(report.failures().iter().map(|it| it.stage().to_owned()).collect::<Vec<_>>(), ["c", "a", "b"]);
}

/// S-8: a cancel before the end of the last stage wins, a later one has no effect.
#[tokio::test(start_paused = true)]
async fn a_cancel_counts_until_the_last_stage_has_ended() {
    let nap = solo(naps(10.millis(), 1));
    let early = nap.start(());
    tokio::time::sleep(9.millis()).await;
    early.cancel("changed my mind");
    assert_eq!(error_of(early).await.outcome(), Some(RunOutcome::Cancelled));
    let late = nap.start(());
    tokio::time::sleep(11.millis()).await;
    late.cancel("too late");
    assert_eq!(late.await.unwrap().outcome(), RunOutcome::Completed);
}

/// S-20: a denial ends the run as `Denied`, whatever the failure policy tolerates, and names the stage that was denied.
#[tokio::test(start_paused = true)]
async fn a_denial_is_the_cause_even_after_tolerated_failures() {
    let denied = pipeline(|p| {
        p.on_failure(FailurePolicy::Continue);
        p.stage("a", exits(|| StageExit::fail("boom"))).inputs(());
        p.stage("slow", never()).inputs(());
        p.stage("b", exits_after(5.millis(), || StageExit::deny("not yours"))).inputs(())
    });
    let error = error_of(denied.run(())).await;
    assert_eq!((error.outcome(), error.code()), (Some(RunOutcome::Denied), code::DENIED));
    assert_eq!(error.to_string(), "pipeline `test` was denied at stage `b`");
    let expected = ["a: failed: boom", "slow: cancelled: `b` was denied", "b: failed: not yours"];
    assert_eq!(statuses(&error.report().unwrap()), expected);
    assert!(!error.recoverable());
}

/// S-6: `optional()` gives nothing in every case in which there is nothing.
#[tokio::test(start_paused = true)]
async fn an_optional_input_is_none_for_skips_failures_and_blocks() {
    let all = pipeline(|p| {
        p.on_failure(FailurePolicy::Continue);
        let skipped = p.stage("skipped", exits(|| StageExit::skip("no"))).inputs(());
        let failed = p.stage("failed", exits(|| StageExit::fail("boom"))).inputs(());
        let blocked = p.stage("blocked", same()).inputs(failed);
        let there = p.stage("there", gives(7_u32)).inputs(());
        type Maybe = Option<Arc<u32>>;
        let look = |_, (a, b, c, d): (Maybe, Maybe, Maybe, Maybe)| async move {
            Ok([a, b, c, d].map(|it| it.map(|n| *n)))
        };
        p.stage("look", stage_fn(look)).inputs((
            skipped.optional(),
            failed.optional(),
            blocked.optional(),
            there.optional(),
        ))
    });
    assert_eq!(all.run(()).await.unwrap().output(), &[None, None, None, Some(7)]);
}

//! What the lint says about times, admission and the rules for failures is what running pipelines do.

use stageflow::{
    BackpressureMonitor, EngineBuilder, FailurePolicy, FailureRules, Lint, code, interceptors::Retry,
    prelude::*,
};
use tokio::time::Instant;

use super::{
    super::kit::{error_of, gives, idle, never, pipeline, report_of, solo, sum},
    Calls, bulkhead, each_second, lint, lint_in, quota,
};

#[tokio::test(start_paused = true)]
async fn an_attempt_that_takes_longer_than_it_gets_never_completes() {
    let calls = Calls::default();
    let p = pipeline(|p| p.stage("only", calls.hanging()).min_time(5.secs()).inputs(()));
    assert!(p.lint().is_clean());
    for (engine, expected, begun) in [
        (Engine::builder().attempt_timeout(4.secs()), code::ATTEMPT_TIMEOUT, 1),
        (Engine::builder().stage_timeout(4.secs()), code::DEADLINE_EXCEEDED, 0),
    ] {
        let calls_before = calls.count();
        let engine = engine.build().expect("the engine is right");
        let report = engine.lint(&p);
        assert_eq!(
            report.finding(Lint::TooLittleTime).and_then(stageflow::Finding::time),
            Some(4.secs()),
            "{report}"
        );
        assert_eq!(error_of(engine.run(&p, ())).await.code(), expected);
        assert_eq!(calls.count() - calls_before, begun);
    }
}

/// Back-offs are not waited for that would leave an attempt less than it takes at least.
#[tokio::test(start_paused = true)]
async fn s_15_attempts_that_take_a_time_at_least_are_begun_as_often_as_it_says() {
    for least in 0..10_u64 {
        let calls = Calls::default();
        let p = pipeline(|p| {
            let only = p.stage("only", calls.failing()).retry(each_second(10)).min_time(least.secs());
            only.timeout(10.secs()).inputs(())
        });
        let report = p.lint();
        let expected = report.finding(Lint::UnreachableAttempts).map_or(Some(10), stageflow::Finding::calls);
        error_of(p.run(())).await;
        assert_eq!(Some(calls.count()), expected, "{report}");
    }
}

#[tokio::test(start_paused = true)]
async fn s_15_at_worst_as_many_attempts_are_begun_as_leave_the_last_what_it_takes() {
    for timeout in [13_u64, 14, 15, 23, 24, 26, 33] {
        let calls = Calls::default();
        let p = pipeline(|p| {
            let only = p.stage("only", calls.hanging()).retry(Retry::exponential(1.secs()).no_jitter());
            only.min_time(3.secs()).attempt_timeout(10.secs()).timeout(timeout.secs()).inputs(())
        });
        let report = p.lint();
        let expected = report.finding(Lint::RetriesCutShort).map_or(Some(3), stageflow::Finding::calls);
        error_of(p.run(())).await;
        assert_eq!(Some(calls.count()), expected, "{timeout} s:\n{report}");
    }
}

/// A bulkhead, too, is waited for only as long as that leaves what an attempt takes.
#[tokio::test(start_paused = true)]
async fn s_15_a_wait_that_leaves_too_little_never_counts() {
    for (least, bad, took) in
        [(0_u64, false, 6.secs()), (3, false, 6.secs()), (4, true, 6.secs()), (7, true, 3.secs())]
    {
        let limit = bulkhead(1).queue_timeout(6.secs()).build().expect("a bulkhead");
        let p = pipeline(|p| {
            let only = p.stage("only", gives(1)).intercept(limit.clone());
            only.min_time(least.secs()).timeout(10.secs()).inputs(())
        });
        let report = p.lint();
        assert_eq!(report.finding(Lint::WaitOutlastsStage).is_some(), bad, "{report}");
        let _held = limit.try_acquire(None).expect("there is room");
        let began = Instant::now();
        error_of(p.run(())).await;
        assert_eq!(began.elapsed(), took, "{least} s");
    }
}

/// Of stages that wait for a quota those are refused that would be left less than they take.
#[tokio::test(start_paused = true)]
async fn s_15_a_quota_lets_those_through_that_can_still_end() {
    let limit = quota(60, 10).build().expect("a quota");
    let p = pipeline(|p| {
        p.on_failure(FailurePolicy::Continue).deadline(60.secs());
        let all = p.parallel("s", 0..100, |_| gives(1)).intercept(limit).min_time(20.secs()).inputs(());
        p.stage("sum", sum()).inputs(all)
    });
    let report = p.lint();
    let expected = report.finding(Lint::FanOutlastsQuota).and_then(stageflow::Finding::calls);
    let ran = report_of(p.run(())).await;
    let refused = ran.failures().iter().filter(|failure| failure.code() == code::RATE_LIMITED).count();
    assert_eq!(Some(refused as u64), expected, "{report}");
}

/// An idle timeout ends an attempt that hangs as well.
#[tokio::test(start_paused = true)]
async fn an_idle_timeout_ends_an_attempt_that_hangs() {
    let calls = Calls::default();
    let p = pipeline(|p| {
        p.stage("only", calls.hanging()).idle_timeout(5.secs()).retry(each_second(3)).inputs(())
    });
    assert!(p.lint().is_clean(), "{}", p.lint());
    error_of(p.run(())).await;
    assert_eq!(calls.count(), 3);
}

/// What is ended by its attempt timeout was never idle for too long.
#[tokio::test(start_paused = true)]
async fn an_idle_time_as_long_as_the_attempt_is_never_up() {
    for (idle, bad, expected) in [(5_u64, true, code::ATTEMPT_TIMEOUT), (4, false, code::IDLE_TIMEOUT)] {
        let p = pipeline(|p| {
            p.stage("only", never()).idle_timeout(idle.secs()).attempt_timeout(5.secs()).inputs(())
        });
        assert_eq!(p.lint().finding(Lint::IdleOutlastsAttempt).is_some(), bad, "{}", p.lint());
        assert_eq!(error_of(p.run(())).await.code(), expected);
    }
}

/// A default is for those about which nothing else is said: nothing is wrong where something nearer is shorter.
#[test]
fn defaults_above_what_is_nearer_are_not_mistakes() {
    let defaults =
        || Engine::builder().stage_timeout(90.secs()).attempt_timeout(30.secs()).idle_timeout(20.secs());
    let nearer = lint_in(defaults(), |p| {
        p.deadline(60.secs());
        p.stage("only", never()).timeout(10.secs()).inputs(())
    });
    assert!(nearer.is_clean(), "{nearer}");
    let deadline = lint_in(defaults(), |p| {
        p.deadline(5.secs());
        p.stage("only", never()).inputs(())
    });
    assert!(deadline.is_clean(), "{deadline}");
    let of_pipeline = lint(|p| {
        p.attempt_timeout(30.secs()).idle_timeout(20.secs());
        p.stage("only", never()).attempt_timeout(15.secs()).timeout(40.secs()).inputs(())
    });
    assert!(of_pipeline.is_clean(), "{of_pipeline}");
    // They are where one of the same level is.
    let engine = Engine::builder().attempt_timeout(30.secs()).stage_timeout(30.secs());
    let same = lint_in(engine, |p| p.stage("only", never()).inputs(()));
    assert!(same.finding(Lint::AttemptOutlastsStage).is_some(), "{same}");
}

/// The times of an engine are for the stages that do the work, and not for pipelines in their place.
#[tokio::test(start_paused = true)]
async fn times_of_an_engine_are_not_for_pipelines_that_are_stages() {
    let child = pipeline(|p| {
        let first = p.stage("first", super::super::kit::naps(4.secs(), 1)).inputs(());
        let last = p.stage("last", super::super::kit::naps(4.secs(), 1)).after(first).inputs(());
        p.stage("sum", sum()).inputs(vec![first, last])
    });
    let p = pipeline(|p| {
        let input = p.input();
        p.stage("outer", child).retry(each_second(2)).inputs(input)
    });
    let engine = Engine::builder().stage_timeout(5.secs()).attempt_timeout(4500.millis());
    let engine = engine.build().expect("the engine is right");
    let report = engine.lint(&p);
    assert!(report.is_clean(), "{report}");
    engine.run(&p, ()).await.expect("no stage takes longer than it may");
}

fn monitored(timeout: Option<u64>) -> EngineBuilder {
    let monitor = BackpressureMonitor::builder().max_active(1).queue_limit(3);
    let monitor = timeout.into_iter().fold(monitor, |monitor, secs| monitor.queue_timeout(secs.secs()));
    Engine::builder().backpressure(monitor.build().expect("a monitor"))
}

/// A run whose deadline is shorter than the queue timeout is never refused for having waited.
#[tokio::test(start_paused = true)]
async fn s_11_a_queue_timeout_above_the_deadline_never_counts() {
    for (timeout, bad, expected) in [(10, true, code::DEADLINE_EXCEEDED), (9, false, code::OVERLOADED)] {
        let engine = monitored(Some(timeout)).build().expect("the engine is right");
        let p = pipeline(|p| {
            p.deadline(10.secs());
            p.stage("only", gives(1)).inputs(())
        });
        let report = engine.lint(&p);
        assert_eq!(report.finding(Lint::QueueOutlastsDeadline).is_some(), bad, "{report}");
        let holds = engine.start(&solo(never()), ());
        idle().await;
        assert_eq!(error_of(engine.run(&p, ())).await.code(), expected);
        holds.cancel("seen enough");
    }
}

#[tokio::test(start_paused = true)]
async fn s_11_runs_wait_for_ever_where_nothing_ends_it() {
    let engine = monitored(None).build().expect("the engine is right");
    let p = solo(gives(1));
    let report = engine.lint(&p);
    assert_eq!(report.finding(Lint::EndlessQueue).and_then(stageflow::Finding::calls), Some(3), "{report}");
    let holds = engine.start(&solo(never()), ());
    idle().await;
    let waiting = engine.start(&p, ());
    // sleeps: on paused time
    tokio::time::sleep(1_000_000.secs()).await;
    assert_eq!(engine.backpressure().map(|monitor| monitor.stats().queued), Some(1));
    waiting.cancel("seen enough");
    holds.cancel("seen enough");
}

/// Where nobody waits nothing is wrong.
#[test]
fn s_11_a_monitor_that_lets_nobody_wait_has_no_endless_queue() {
    let none = BackpressureMonitor::builder().queue_limit(0).build().expect("a monitor");
    let sheds = BackpressureMonitor::builder().shed_when_overloaded(true).build().expect("a monitor");
    for monitor in [none, sheds] {
        let report =
            lint_in(Engine::builder().backpressure(monitor), |p| p.stage("only", gives(1)).inputs(()));
        assert!(report.is_clean(), "{report}");
    }
}

/// Ten stages that all fail, and what ends the run.
#[tokio::test(start_paused = true)]
async fn s_7_rules_that_are_never_reached_never_end_a_run() {
    use FailurePolicy::{Continue, FailFast, TolerateCount, ToleratePercent};
    let rules = |policy| FailureRules::new(policy);
    for (rules, message, failures) in [
        (
            rules(FailFast).max_failures(5),
            "`max_failures(5)` never ends a run: the first failure ends the run all the same",
            1,
        ),
        (
            rules(FailFast).abort_if(|failure| failure.code() == code::PANIC),
            "`abort_if` decides nothing: the first failure ends the run all the same",
            1,
        ),
        (
            rules(TolerateCount(3)).max_failures(3),
            "`max_failures(3)` never ends a run: failure 4 ends the run before",
            4,
        ),
        (
            rules(ToleratePercent(30.0)).max_failures(5),
            "`max_failures(5)` never ends a run: failure 4 ends the run before",
            4,
        ),
        (rules(Continue).max_failures(11), "`max_failures(11)` never ends a run: there are 11 stages", 11),
        (
            rules(Continue).tolerate_percent_of_ended(0.0, 12),
            "`tolerate_percent_of_ended(0, 12)` never ends a run: there are 11 stages",
            11,
        ),
        (
            rules(Continue).tolerate_percent_of_ended(100.0, 1),
            "`tolerate_percent_of_ended(100, 1)` never ends a run: all of them may fail",
            11,
        ),
        (
            rules(TolerateCount(2)).tolerate_percent_of_ended(25.0, 8),
            "`tolerate_percent_of_ended(25, 8)` never ends a run: failure 3 ends the run before",
            3,
        ),
    ] {
        let p = pipeline(|p| {
            p.on_failure(rules).max_in_flight(1);
            let calls = Calls::default();
            let all = p.parallel("s", 0..10, |_| calls.failing()).inputs(());
            let one = p.stage("one", calls.failing()).inputs(());
            let _all = all;
            one
        });
        let report = p.lint();
        let finding =
            report.finding(Lint::UnreachableFailureRule).unwrap_or_else(|| panic!("{message}:\n{report}"));
        assert_eq!((finding.message(), finding.calls()), (message, Some(failures)));
        let ran = report_of(p.run(())).await;
        assert_eq!(ran.failures().len() as u64, failures, "{message}");
        let said = ran.stopped().map(|stopped| stopped.to_string()).unwrap_or_default();
        assert!(!said.contains("abort_if") && !said.contains("to end failed"), "{said}");
    }
}

/// The neighbours of those: each ends a run that the others would not.
#[tokio::test(start_paused = true)]
async fn s_7_rules_that_can_be_reached_are_not_found() {
    use FailurePolicy::{Continue, TolerateCount};
    for (rules, failures) in [
        (FailureRules::new(Continue).max_failures(10), 11),
        (FailureRules::new(TolerateCount(3)).max_failures(2), 3),
        (FailureRules::new(Continue).tolerate_percent_of_ended(99.0, 11), 11),
        (FailureRules::new(TolerateCount(2)).tolerate_percent_of_ended(24.0, 2), 2),
        (FailureRules::new(Continue).abort_if(|_| true), 1),
    ] {
        let p = pipeline(|p| {
            p.on_failure(rules).max_in_flight(1);
            let calls = Calls::default();
            let _all = p.parallel("s", 0..10, |_| calls.failing()).inputs(());
            p.stage("one", calls.failing()).inputs(())
        });
        let report = p.lint();
        assert!(report.finding(Lint::UnreachableFailureRule).is_none(), "{report}");
        let ran = report_of(p.run(())).await;
        assert_eq!((ran.failures().len(), ran.stopped().is_some()), (failures, true), "{report}");
    }
}

/// Those of an engine are for pipelines of any size, and for those that say nothing.
#[test]
fn s_7_rules_of_an_engine_are_measured_by_no_pipeline() {
    let engine = |policy| Engine::builder().on_failure(FailureRules::new(policy).max_failures(50));
    let report = |policy, own: bool| {
        lint_in(engine(policy), |p| {
            if own {
                p.on_failure(FailurePolicy::FailFast);
            }
            p.stage("only", gives(1)).inputs(())
        })
    };
    assert!(report(FailurePolicy::Continue, false).is_clean());
    assert!(report(FailurePolicy::FailFast, false).finding(Lint::UnreachableFailureRule).is_some());
    assert!(report(FailurePolicy::FailFast, true).is_clean());
}

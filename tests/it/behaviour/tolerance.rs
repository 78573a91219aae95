//! What a failure means for the rest: rules beside the policy, and what the collector of a run tells (rule S-7).

use std::time::Duration;

use proptest::{
    prelude::*,
    test_runner::{Config, RngSeed},
};
use stageflow::{
    Code, ErrorClass, FailureCollector, FailureRules, RunOutcome, RunReport, StopReason, code,
    interceptors::Retry, prelude::*,
};

use super::{
    child::parent_of,
    kit::{
        Log, exits, exits_after, gives, logging, naps, never, pipeline, recorded, report_of, same, solo,
        statuses,
    },
};

const QUOTA: Code = Code::new("QUOTA");

fn quota() -> StageExit {
    StageExit::fail("no quota is left").code(QUOTA)
}

/// So many failing stages, 1 ms apart, and one that never ends.
async fn failing(count: usize, rules: impl Into<FailureRules>) -> RunReport {
    let pipeline = pipeline(|p| {
        p.on_failure(rules);
        for n in 0..count {
            let after = Duration::from_millis(1 + n as u64);
            p.stage(format!("f{n}"), exits_after(after, quota)).inputs(());
        }
        p.stage("last", naps(1.secs(), 1)).inputs(())
    });
    report_of(pipeline.run(())).await
}

fn why(report: &RunReport) -> Option<String> {
    report.stopped().map(|stopped| stopped.to_string())
}

/// 203: under fail-fast the first failure ends it, and before there is no end.
#[tokio::test(start_paused = true)]
async fn s_7_203_fail_fast_stops_at_the_first() {
    let report = failing(3, FailurePolicy::FailFast).await;
    assert_eq!(report.outcome(), RunOutcome::Failed);
    let summary = report.failure_summary();
    assert_eq!((summary.failed, summary.cancelled, summary.completed), (1, 3, 0));
    assert_eq!(report.stopped().map(|stopped| stopped.reason), Some(StopReason::FailFast));
    let collector = FailureCollector::new(FailurePolicy::FailFast);
    assert!(collector.should_continue("b", ["a"]));
    assert!(!collector.record(Duration::ZERO, "a", quota()));
    assert!(!collector.should_continue("c", Vec::<&str>::new()));
}

/// 204, 205, W28: unrelated stages run, dependents do not, and neither do their dependents.
#[tokio::test(start_paused = true)]
async fn s_7_204_205_what_waits_for_a_failure_never_runs_however_far_w28() {
    let log = Log::default();
    let chain = pipeline(|p| {
        p.on_failure(FailurePolicy::Continue);
        let fails = p.stage("fails", exits(quota)).inputs(());
        let child = p.stage("child", same()).inputs(fails);
        let grand = p.stage("grand", same()).inputs(child);
        p.stage("great", same()).inputs(grand);
        let runs = logging(&log, |log, ctx| async move {
            log.add(ctx.stage_name());
            Ok(1_u32)
        });
        p.stage("after", runs).after(grand).inputs(());
        p.stage("unrelated", gives(1_u32)).inputs(())
    });
    let report = report_of(chain.run(())).await;
    let blocked = |name: &str| format!("{name}: blocked by `fails`");
    let expected = [
        "fails: failed: no quota is left".to_owned(),
        blocked("child"),
        blocked("grand"),
        blocked("great"),
        blocked("after"),
        "unrelated: completed".to_owned(),
    ];
    assert_eq!(statuses(&report), expected);
    assert_eq!((log.lines().len(), report.failure_summary().blocked), (0, 4));
}

/// 206: under best effort what can run runs, also what waits for a failure without reading it.
#[tokio::test(start_paused = true)]
async fn s_7_206_best_effort_runs_what_can_run() {
    let best = pipeline(|p| {
        p.on_failure(FailurePolicy::BestEffort);
        let fails = p.stage("fails", exits(quota)).inputs(());
        let reads = p.stage("reads", same()).inputs(fails);
        let skips = p.stage("skips", exits(|| StageExit::skip("nothing to do"))).inputs(());
        p.stage("skipped", gives(1_u32)).after(skips).inputs(());
        p.stage("tidy", gives(2_u32)).after(fails).after(reads).inputs(())
    });
    let done = best.run(()).await.expect("the output is there");
    assert_eq!((*done.output(), done.outcome()), (2, RunOutcome::CompletedWithFailures));
    let lines = statuses(&done.report());
    assert_eq!(lines[1], "reads: blocked by `fails`", "an input is not made up");
    assert_eq!(lines[3], "skipped: skipped: `skips` was skipped", "a skip is no failure");
    let collector = FailureCollector::new(FailurePolicy::BestEffort);
    assert!(collector.record(Duration::ZERO, "a", quota()));
    assert!(collector.should_continue("b", ["a"]));
}

/// 207: the success rate is of all stages, and 0 of none.
#[tokio::test(start_paused = true)]
async fn s_7_207_the_success_rate_is_of_all_stages() {
    let two_of_three = pipeline(|p| {
        p.on_failure(FailurePolicy::Continue);
        p.stage("fails", exits(quota)).inputs(());
        let a = p.stage("a", gives(1_u32)).inputs(());
        p.stage("b", same()).inputs(a)
    });
    let summary = report_of(two_of_three.run(())).await.failure_summary();
    assert_eq!((summary.completed, summary.failed, summary.total), (2, 1, 3));
    assert!((summary.success_rate - 2.0 / 3.0).abs() < 1e-12);
    let nothing = FailureCollector::new(FailurePolicy::Continue).summary();
    assert_eq!((nothing.total, nothing.success_rate), (0, 0.0));
}

/// The report, the error, and an event say which rule stopped it.
#[tokio::test(start_paused = true)]
async fn s_7_the_outcome_says_which_rule_stopped_the_run() {
    let rules = || FailureRules::new(FailurePolicy::Continue);
    assert_eq!(why(&failing(5, rules().max_failures(2)).await).as_deref(), Some("3 failures, 2 tolerated"));
    let of_all = failing(5, FailurePolicy::ToleratePercent(50.0)).await;
    assert_eq!(why(&of_all).as_deref(), Some("4 of 6 stages failed, 50 % tolerated"));
    let of_ended = failing(5, rules().tolerate_percent_of_ended(50.0, 3)).await;
    assert_eq!(why(&of_ended).as_deref(), Some("3 of the first 3 stages to end failed, 50 % tolerated"));
    let enough = failing(5, rules().tolerate_percent_of_ended(50.0, 6)).await;
    assert_eq!((why(&enough), enough.outcome()), (None, RunOutcome::CompletedWithFailures));

    let (engine, recorder) = recorded();
    let stops = pipeline(|p| {
        p.on_failure(rules().max_failures(1));
        p.stage("a", exits(quota)).inputs(());
        p.stage("b", exits_after(1.millis(), quota)).inputs(());
        p.stage("c", never()).inputs(())
    });
    let error = engine.run(&stops, ()).await.unwrap_err();
    assert_eq!(error.to_string(), "pipeline `test` failed at stage `a`: 2 failures, 1 tolerated");
    let event = "failures.stopped stage=\"b\" because=\"2 failures, 1 tolerated\"";
    assert!(recorder.events().iter().any(|it| it.to_string().ends_with(event)), "{:?}", recorder.lines());
}

/// A predicate sees code, class and stage, and ends the run under a policy that would go on.
#[tokio::test(start_paused = true)]
async fn s_7_a_predicate_ends_the_run() {
    type Predicate = fn(&stageflow::Failure) -> bool;
    let predicates: [Predicate; 3] = [
        |it| it.code() == QUOTA && it.stage() == "f1",
        |it| it.class() == ErrorClass::Unclassified && it.stage() == "f1",
        |it| it.message() == "no quota is left" && it.stage() == "f1",
    ];
    for predicate in predicates {
        let rules = FailureRules::new(FailurePolicy::Continue).abort_if(|_| false).abort_if(predicate);
        let report = failing(3, rules).await;
        assert_eq!(why(&report).as_deref(), Some("`abort_if` matched `f1` [QUOTA]"));
        assert_eq!(report.failure_summary().failed, 2, "the first was tolerated");
    }
}

/// S-9: a predicate that panics ends the run, and that is what the run is said to have failed with.
#[tokio::test(start_paused = true)]
async fn s_9_a_predicate_that_panics_ends_the_run() {
    let stops = pipeline(|p| {
        p.on_failure(FailureRules::new(FailurePolicy::Continue).abort_if(|_| panic!("on purpose")));
        p.stage("fails", exits(quota)).inputs(());
        p.stage("never", never()).inputs(())
    });
    let error = stops.run(()).await.unwrap_err();
    assert_eq!((error.code(), error.outcome()), (code::PANIC, Some(RunOutcome::Failed)));
    let report = error.report().expect("it ran");
    assert_eq!(why(&report).as_deref(), Some("`abort_if` panicked: on purpose"));
    let summary = report.failure_summary();
    let codes: Vec<_> = summary.failures.iter().filter_map(|record| record.code).collect();
    assert_eq!((summary.failed, codes), (1, vec![QUOTA, code::PANIC]), "one stage, two records");
    assert!(statuses(&report)[0].ends_with("no quota is left"), "the stage keeps its own failure");
}

/// The engine's rules are for pipelines that have none, child runs included.
#[tokio::test(start_paused = true)]
async fn s_7_an_engine_has_rules_for_pipelines_without() {
    let engine = Engine::builder().on_failure(FailurePolicy::Continue).build().unwrap();
    let two = |own: Option<FailurePolicy>| {
        pipeline(move |p| {
            if let Some(own) = own {
                p.on_failure(own);
            }
            p.stage("fails", exits(quota)).inputs(());
            p.stage("ends", naps(5.millis(), 1)).inputs(())
        })
    };
    assert!(engine.run(&two(None), ()).await.is_ok());
    assert!(engine.run(&parent_of(two(None)), ()).await.is_ok(), "a child run asks the engine as well");
    assert!(engine.run(&two(Some(FailurePolicy::FailFast)), ()).await.is_err());
    assert!(two(None).run(()).await.is_err(), "without an engine the first failure ends it");
    let wrong = Engine::builder().on_failure(FailurePolicy::ToleratePercent(101.0)).build().unwrap_err();
    assert_eq!(wrong.codes().collect::<Vec<_>>(), [code::INVALID_POLICY]);
}

/// A percentage that is none is a problem of the pipeline, wherever it stands.
#[test]
fn s_1_a_percentage_of_the_ended_is_checked() {
    let mut p: stageflow::Builder<()> = Pipeline::builder("wrong");
    p.on_failure(FailureRules::default().tolerate_percent_of_ended(-1.0, 2));
    let only = p.stage("only", gives(1_u32)).inputs(());
    let error = p.build(only).unwrap_err();
    assert!(error.to_string().contains("-1 is no percentage of failures"), "{error}");
}

/// Attempts that were tried again are records, and no failed stages.
#[tokio::test(start_paused = true)]
async fn s_7_failed_attempts_are_records_of_one_failed_stage() {
    let busy = || StageExit::fail("busy").class(ErrorClass::Transient);
    let tries = pipeline(|p| {
        p.on_failure(FailurePolicy::Continue);
        p.stage("tries", exits(busy)).retry(Retry::constant(10.millis()).no_jitter()).inputs(());
        p.stage("own", exits(|| StageExit::retry("later"))).inputs(());
        p.stage("ends", gives(1_u32)).inputs(())
    });
    let summary = report_of(tries.run(())).await.failure_summary();
    assert_eq!((summary.failed, summary.completed), (2, 1));
    let of = |stage: &str| {
        let records = summary.failures.iter().filter(|record| record.stage == stage);
        records.map(|record| (record.attempt, record.code)).collect::<Vec<_>>()
    };
    assert_eq!(of("tries"), [(1, None), (2, None), (3, Some(code::STAGE_FAILED))]);
    assert_eq!(of("own"), [(1, None), (2, None), (3, Some(code::RETRY_EXHAUSTED))]);
    let tries: Vec<_> = summary.failures.iter().filter(|record| record.stage == "tries").collect();
    assert_eq!((tries[0].at, tries[2].at), (Duration::ZERO, 20.millis()));
    assert!(tries.iter().all(|record| record.recoverable));

    let recovers = solo(stage_fn(|ctx: StageContext, (): ()| async move {
        if ctx.attempt() < 2 { Err(StageExit::retry("not yet")) } else { Ok(1_u32) }
    }));
    let report = recovers.run(()).await.unwrap().report();
    let summary = report.failure_summary();
    assert_eq!((summary.failed, summary.failures.len(), report.outcome()), (0, 1, RunOutcome::Completed));
}

/// The summary is JSON, and holds no outputs.
#[tokio::test(start_paused = true)]
async fn s_33_a_summary_serialises_without_payloads() {
    let leaks = pipeline(|p| {
        p.on_failure(FailurePolicy::TolerateCount(0));
        let secret = p.stage("secret", gives("s3cret".to_owned())).inputs(());
        p.stage("fails", exits(quota)).after(secret).inputs(());
        secret
    });
    let json = serde_json::to_value(report_of(leaks.run(())).await.failure_summary()).unwrap();
    assert_eq!((&json["completed"], &json["failed"]), (&1.into(), &1.into()));
    assert_eq!(
        (&json["failures"][0]["code"], &json["stopped"]["rule"]),
        (&"QUOTA".into(), &"too_many".into())
    );
    assert!(!json.to_string().contains("s3cret"));
}

/// One ending of a stage in a random story.
#[derive(Clone, Copy, Debug)]
struct Ending {
    fails: bool,
    matches: bool,
}

#[derive(Clone, Debug)]
struct Story {
    policy: FailurePolicy,
    most: Option<u32>,
    of_ended: Option<(f64, u32)>,
    endings: Vec<Ending>,
}

fn stories() -> impl Strategy<Value = Story> {
    let policy = prop_oneof![
        Just(FailurePolicy::FailFast),
        Just(FailurePolicy::Continue),
        Just(FailurePolicy::BestEffort),
        (0..6_u32).prop_map(FailurePolicy::TolerateCount),
        (0..100_u32).prop_map(|percent| FailurePolicy::ToleratePercent(f64::from(percent))),
    ];
    let ending = (any::<bool>(), 0..12_u32).prop_map(|(fails, n)| Ending { fails, matches: n == 0 });
    let of_ended = proptest::option::of((0..100_u32, 0..8_u32));
    let endings = proptest::collection::vec(ending, 1..14);
    (policy, proptest::option::of(0..5_u32), of_ended, endings).prop_map(
        |(policy, most, of_ended, endings)| {
            let of_ended = of_ended.map(|(percent, samples)| (f64::from(percent), samples));
            Story { policy, most, of_ended, endings }
        },
    )
}

/// After how many endings the run stops, if it does: the rules read aloud, in whole numbers.
fn stops_after(story: &Story) -> Option<usize> {
    let all = story.endings.len() + 1;
    let (mut failed, mut completed) = (0, 0);
    for (at, ending) in story.endings.iter().enumerate() {
        if !ending.fails {
            completed += 1;
            continue;
        }
        failed += 1;
        let above = |percent: f64, of: usize| failed as f64 * 100.0 > percent * of as f64;
        let policy = match story.policy {
            FailurePolicy::FailFast => true,
            FailurePolicy::TolerateCount(most) => failed > most as usize,
            FailurePolicy::ToleratePercent(percent) => above(percent, all),
            _ => false,
        };
        let ended = failed + completed;
        let share = story
            .of_ended
            .is_some_and(|(percent, samples)| ended >= samples as usize && above(percent, ended));
        if policy || ending.matches || story.most.is_some_and(|most| failed > most as usize) || share {
            return Some(at + 1);
        }
    }
    None
}

async fn run_story(story: &Story) -> RunReport {
    let mut rules = FailureRules::new(story.policy).abort_if(|failure| failure.code() == QUOTA);
    if let Some(most) = story.most {
        rules = rules.max_failures(most);
    }
    if let Some((percent, samples)) = story.of_ended {
        rules = rules.tolerate_percent_of_ended(percent, samples);
    }
    let told = pipeline(|p| {
        p.on_failure(rules);
        for (n, ending) in story.endings.iter().copied().enumerate() {
            let at = Duration::from_millis(1 + n as u64);
            let stage = stage_fn(move |_, (): ()| async move {
                // sleeps: on paused time
                tokio::time::sleep(at).await;
                match ending {
                    Ending { fails: false, .. } => Ok(1_u32),
                    Ending { matches: true, .. } => Err(quota()),
                    Ending { .. } => Err(StageExit::fail("of no account")),
                }
            });
            p.stage(format!("s{n}"), stage).inputs(());
        }
        p.stage("end", naps(1.secs(), 1)).inputs(())
    });
    report_of(told.run(())).await
}

/// SEED3-6: whatever the rules and the failures, the run stops where the rules say, and tells all that happened before.
#[test]
fn s_7_random_failures_stop_a_run_where_the_rules_say() {
    let config =
        Config { cases: 300, failure_persistence: None, rng_seed: RngSeed::Fixed(7), ..Config::default() };
    proptest!(config, |(story in stories())| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let report = runtime.block_on(run_story(&story));
        let seen = stops_after(&story).unwrap_or(story.endings.len());
        let failed = story.endings[..seen].iter().filter(|ending| ending.fails).count();
        let summary = report.failure_summary();
        let end = usize::from(stops_after(&story).is_none());
        prop_assert_eq!(summary.failed, failed);
        prop_assert_eq!(summary.completed, seen - failed + end);
        prop_assert_eq!(summary.cancelled, story.endings.len() - seen + 1 - end);
        prop_assert_eq!(report.stopped().is_some(), stops_after(&story).is_some());
        prop_assert_eq!(summary.failures.len(), failed);
    });
}

/// Style 3: predicates are called under no lock, and all who fail at a time hear of the same end.
#[test]
fn s_10_predicates_are_called_under_no_lock() {
    let both = std::sync::Barrier::new(2);
    let rules = FailureRules::new(FailurePolicy::TolerateCount(0)).abort_if(move |_| {
        both.wait();
        false
    });
    let collector = FailureCollector::new(rules);
    std::thread::scope(|scope| {
        for name in ["a", "b"] {
            let collector = &collector;
            scope.spawn(move || assert!(!collector.record(Duration::ZERO, name, quota())));
        }
    });
    let first = collector.failures()[0].stage().to_owned();
    assert_eq!(collector.stopped().map(|stopped| stopped.stage), Some(first));
}

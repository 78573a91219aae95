//! Branches: conditions, routes, joins (§18.3; rule S-6).

use std::sync::Arc;

use stageflow::{FailurePolicy, RunOutcome, SkipCause, StageOutcome, code, prelude::*};

use super::kit::{Log, error_of, exits, gives, naps, pipeline, recorded, report_of, same, statuses};

/// A route to `n`, two branches and their join.
fn routed(n: u32) -> Pipeline<(), String> {
    pipeline(|p| {
        let route = p.stage("route", gives(n)).kind(StageKind::Route).inputs(());
        let small = p.stage("small", stage_fn(|_, n: Arc<u32>| async move { Ok(format!("small {n}")) }));
        let small = small.when(route, |n| *n < 10).inputs(route);
        let large = p.stage("large", stage_fn(|_, n: Arc<u32>| async move { Ok(format!("large {n}")) }));
        let large = large.when(route, |n| *n >= 10).inputs(route);
        p.stage("join", stage_fn(|_, it: Arc<String>| async move { Ok(format!("{it}!")) }))
            .inputs(small.or(large))
    })
}

/// KEEP 18.3-87, 88: the branch whose condition holds runs; the other is never started.
#[tokio::test(start_paused = true)]
async fn only_the_branch_whose_condition_holds_runs() {
    for (n, output, other) in [(3, "small 3!", "large"), (12, "large 12!", "small")] {
        let (engine, recorder) = recorded();
        let done = engine.run(&routed(n), ()).await.unwrap();
        assert_eq!(done.output(), output);
        let left_out = done.report().stage(other).unwrap();
        assert_eq!(left_out.outcome, StageOutcome::Skipped(SkipCause::NotTaken { route: "route".into() }));
        assert_eq!((left_out.attempts, left_out.queued, left_out.ran), (0, None, None));
        assert!(!recorder.lines().contains(&format!("stage.started {other}")));
        assert_eq!(done.outcome(), RunOutcome::Completed);
    }
}

/// KEEP 18.3-89, 93: a condition reads the port it names and nothing else.
#[tokio::test(start_paused = true)]
async fn a_condition_looks_at_its_own_port_only() {
    let chain = pipeline(|p| {
        let zero = p.stage("zero", gives(0_u32)).inputs(());
        let one = p.stage("one", gives(1_u32)).after(zero).inputs(());
        let next = p.stage("next", same()).when(one, |n| *n == 1).inputs(one);
        p.stage("plain", same()).inputs(next)
    });
    assert_eq!(*chain.run(()).await.unwrap().output(), 1);
}

/// 18.3-90, decided by S-6: a branch that was not taken is passed on as a skip.
#[tokio::test(start_paused = true)]
async fn what_depends_on_a_branch_not_taken_is_skipped() {
    let chain = pipeline(|p| {
        let a = p.stage("a", gives(1_u32)).inputs(());
        let b = p.stage("b", same()).when(a, |_| false).inputs(a);
        p.stage("c", same()).when(b, |_| panic!("never asked")).inputs(b)
    });
    let error = error_of(chain.run(())).await;
    assert_eq!(error.code(), code::NO_OUTPUT);
    let expected = ["a: completed", "b: skipped: branch not taken at `a`", "c: skipped: `b` was skipped"];
    assert_eq!(statuses(&error.report().unwrap()), expected);
}

/// 18.3-92, decided: a stage that is not taken meets no interceptor, and is one event.
#[tokio::test(start_paused = true)]
async fn a_branch_not_taken_is_one_event() {
    let (engine, recorder) = recorded();
    engine.run(&routed(3), ()).await.unwrap();
    let about_large: Vec<_> = recorder.lines().into_iter().filter(|line| line.ends_with(" large")).collect();
    assert_eq!(about_large, ["stage.skipped large"]);
}

/// S-6: a stage is skipped as soon as one condition fails, whatever else it waits for.
#[tokio::test(start_paused = true)]
async fn a_condition_that_fails_does_not_wait_for_the_other_inputs() {
    let (engine, recorder) = recorded();
    let uneven = pipeline(|p| {
        let slow = p.stage("slow", naps(1.secs(), 1)).inputs(());
        let no = p.stage("no", gives(false)).inputs(());
        let skipped = p.stage("skipped", same()).when(no, |it| *it).inputs(slow);
        let next = p.stage("next", stage_fn(|_, it: Option<Arc<u32>>| async move { Ok(it.is_none()) }));
        next.inputs(skipped.optional())
    });
    let done = engine.run(&uneven, ()).await.unwrap();
    assert!(*done.output());
    let next = recorder.events().into_iter().find(|event| event.stage() == Some("next")).unwrap();
    assert_eq!(next.elapsed(), 0.secs());
}

/// 18.3-91, W6: the verdict follows from the outcomes, not from the order of their coming.
#[tokio::test(start_paused = true)]
async fn the_verdict_does_not_depend_on_which_input_was_decided_first() {
    for (skip_after, fail_after) in [(1, 2), (2, 1), (1, 1)] {
        let racing = pipeline(|p| {
            p.on_failure(FailurePolicy::Continue);
            let skips = p.stage("skips", leaves(skip_after, || StageExit::skip("no"))).inputs(());
            let fails = p.stage("fails", leaves(fail_after, || StageExit::fail("boom"))).inputs(());
            p.stage("join", stage_fn(|_, _: (Arc<u32>, Arc<u32>)| async { Ok(1_u32) })).inputs((skips, fails))
        });
        let report = report_of(racing.run(())).await;
        assert_eq!(statuses(&report)[2], "join: blocked by `fails`", "{skip_after} {fail_after}");
    }
}

fn leaves(after: u64, exit: fn() -> StageExit) -> impl Stage<Input = (), Output = u32> {
    super::kit::exits_after(after.millis(), exit)
}

/// S-6: the first side in written order that completed, however late it is.
#[tokio::test(start_paused = true)]
async fn a_join_takes_the_first_side_in_written_order() {
    let both = |first: u64, second: u64| {
        pipeline(|p| {
            let a = p.stage("a", naps(first.millis(), 1)).inputs(());
            let b = p.stage("b", naps(second.millis(), 2)).inputs(());
            p.stage("join", same()).inputs(a.or(b))
        })
    };
    assert_eq!(*both(1, 50).run(()).await.unwrap().output(), 1);
    assert_eq!(*both(50, 1).run(()).await.unwrap().output(), 1);
}

/// S-6: a failed side matters only if no side completed.
#[tokio::test(start_paused = true)]
async fn a_join_passes_a_failure_on_only_if_no_side_completed() {
    let join = |second: fn() -> StageExit, third: Option<u32>| {
        pipeline(|p| {
            p.on_failure(FailurePolicy::Continue);
            let a = p.stage("a", exits(|| StageExit::skip("no"))).inputs(());
            let b = p.stage("b", exits(second)).inputs(());
            let c = p.stage(
                "c",
                stage_fn(move |_, (): ()| async move { third.ok_or_else(|| StageExit::skip("no")) }),
            );
            let c = c.inputs(());
            p.stage("join", same()).inputs(a.or(b).or(c))
        })
    };
    let fail = || StageExit::fail("boom");
    assert_eq!(*join(fail, Some(3)).run(()).await.unwrap().output(), 3);
    assert_eq!(statuses(&report_of(join(fail, None).run(())).await)[3], "join: blocked by `b`");
    let skipped = report_of(join(|| StageExit::skip("no"), None).run(())).await;
    assert_eq!(skipped.stage("join").unwrap().outcome.status(), "skipped");
}

/// S-9: a condition that panics fails its stage, and each stage that shares it.
#[tokio::test(start_paused = true)]
async fn a_condition_that_panics_fails_every_stage_it_decides() {
    let panics = pipeline(|p| {
        p.on_failure(FailurePolicy::Continue);
        let n = p.stage("n", gives(1_u32)).inputs(());
        let all = p.parallel("s", 0..3, |_| same()).when(n, |_| panic!("no idea")).inputs(n);
        p.stage("sum", super::kit::sum()).inputs(all)
    });
    let report = report_of(panics.run(())).await;
    let codes: Vec<_> = report.failures().iter().map(|it| (it.stage().to_owned(), it.code())).collect();
    assert_eq!(codes, ["s-000", "s-001", "s-002"].map(|name| (name.to_owned(), code::PANIC)));
    assert_eq!(report.failures()[0].message(), "panicked: no idea");
    assert_eq!(statuses(&report)[4], "sum: blocked by `s-000`");
}

/// A condition is asked once, however many stages share it.
#[tokio::test(start_paused = true)]
async fn a_shared_condition_is_asked_once() {
    let log = Log::default();
    let asked = log.clone();
    let shared = pipeline(|p| {
        let n = p.stage("n", gives(1_u32)).inputs(());
        let yes = move |_: &u32| {
            asked.add("asked");
            true
        };
        let all = p.parallel("s", 0..5, |_| same()).when(n, yes).inputs(n);
        p.stage("sum", super::kit::sum()).inputs(all)
    });
    assert_eq!(*shared.run(()).await.unwrap().output(), 5);
    assert_eq!(log.lines().len(), 1);
}

/// A root may be conditional on the pipeline's input.
#[tokio::test(start_paused = true)]
async fn a_condition_may_look_at_the_input() {
    let mut p = Pipeline::builder("even");
    let n = p.input();
    let even = p.stage("even", same()).when(n, |n: &u32| n.is_multiple_of(2)).inputs(n);
    let even = p.build(even).unwrap();
    assert_eq!(*even.run(4).await.unwrap().output(), 4);
    let report = report_of(even.run(5)).await;
    assert_eq!(statuses(&report), ["even: skipped: branch not taken at `input`"]);
}

/// S-6: a list of optional inputs says of each whether it is there, also of so many that their ends are told in bundles.
#[tokio::test(start_paused = true)]
async fn a_list_of_optional_inputs_says_of_each_whether_it_is_there() {
    for width in [1_usize, 3, 100] {
        let pipeline: Pipeline<(), Vec<bool>> = pipeline(|p| {
            p.on_failure(FailurePolicy::Continue);
            let parts = p.parallel("part", 0..width, |index| {
                stage_fn(move |_: StageContext, (): ()| async move {
                    match index % 3 {
                        0 => Ok(index),
                        1 => Err(StageExit::fail("broken")),
                        _ => Err(StageExit::skip("not today")),
                    }
                })
            });
            let parts: Vec<_> = parts.inputs(()).into_iter().map(Port::optional).collect();
            let seen = stage_fn(|_: StageContext, parts: Vec<Option<Arc<usize>>>| async move {
                Ok(parts.iter().map(Option::is_some).collect::<Vec<_>>())
            });
            p.stage("seen", seen).inputs(parts)
        });
        let run = pipeline.run(()).await.expect("what fails is optional");
        assert_eq!(*run.output(), (0..width).map(|index| index % 3 == 0).collect::<Vec<_>>());
    }
}

//! Concurrency limits: reached, never exceeded, given back on every path, fair (rule S-11).

use std::{sync::Arc, time::Duration};

use stageflow::{EngineBuilder, FailurePolicy, Pipeline as Built, RunOutcome, code, prelude::*};

use super::{
    child::parent_of,
    kit::{Gauge, Log, Switch, error_of, idle, naps, never, pipeline, report_of, solo, sum, within},
};

/// `count` stages of kind work that are inside the gauge for 10 ms each.
fn wide(gauge: &Gauge, count: usize, limit: impl FnOnce(&mut stageflow::Builder<()>)) -> Built<(), u32> {
    pipeline(|p| {
        limit(p);
        let all = p.parallel("s", 0..count, |_| gauge.stage(10.millis())).kind(StageKind::Work).inputs(());
        p.stage("sum", sum()).inputs(all)
    })
}

fn engine(with: fn(EngineBuilder) -> EngineBuilder) -> Engine {
    with(Engine::builder()).build().expect("the limits are right")
}

/// One run under each limit: it is reached, kept, and the work is done in as many rounds as it takes.
#[tokio::test(start_paused = true)]
async fn each_limit_is_reached_and_kept() {
    let no_limit = |_: &mut stageflow::Builder<()>| {};
    let check = async |what: &str, engine: Engine, pipeline: Built<(), u32>, gauge: Gauge| {
        let done = engine.run(&pipeline, ()).tenant("acme").await.unwrap();
        assert_eq!((*done.output(), gauge.most(), gauge.now()), (20, 4, 0), "{what}");
        assert_eq!(done.report().duration(), 50.millis(), "{what}");
    };
    let gauge = Gauge::default;
    let g = gauge();
    check(
        "run",
        engine(|it| it),
        wide(&g, 20, |p| {
            p.max_in_flight(4);
        }),
        g,
    )
    .await;
    let g = gauge();
    check(
        "kind of the run",
        engine(|it| it),
        wide(&g, 20, |p| {
            p.limit_kind(StageKind::Work, 4);
        }),
        g,
    )
    .await;
    let g = gauge();
    check("kind", engine(|it| it.limit_kind(StageKind::Work, 4)), wide(&g, 20, no_limit), g).await;
    let g = gauge();
    check("tenant", engine(|it| it.tenant_max_in_flight(4)), wide(&g, 20, no_limit), g).await;
    let g = gauge();
    check("engine", engine(|it| it.max_in_flight(4)), wide(&g, 20, no_limit), g).await;
    let g = gauge();
    let all = |it: EngineBuilder| it.max_in_flight(9).tenant_max_in_flight(4).limit_kind(StageKind::Work, 7);
    check(
        "the smallest of all",
        engine(all),
        wide(&g, 20, |p| {
            p.max_in_flight(8);
        }),
        g,
    )
    .await;
}

/// The limit of the builder of a run goes before that of the pipeline.
#[tokio::test(start_paused = true)]
async fn a_run_may_set_its_own_limit() {
    let gauge = Gauge::default();
    let limited = wide(&gauge, 10, |p| {
        p.max_in_flight(1);
    });
    limited.run(()).max_in_flight(5).await.unwrap();
    assert_eq!(gauge.most(), 5);
}

/// Limits of kind and tenant hold nobody else up.
#[tokio::test(start_paused = true)]
async fn a_limit_is_of_its_kind_and_tenant_only() {
    let (work, other) = (Gauge::default(), Gauge::default());
    let mixed = pipeline(|p| {
        p.limit_kind(StageKind::Work, 1);
        let work = p.parallel("w", 0..3, |_| work.stage(10.millis())).kind(StageKind::Work).inputs(());
        let other = p.parallel("o", 0..3, |_| other.stage(10.millis())).inputs(());
        p.stage("sum", sum()).inputs([work, other].concat())
    });
    mixed.run(()).await.unwrap();
    assert_eq!((work.most(), other.most()), (1, 3));
    let gauge = Gauge::default();
    let engine = engine(|it| it.tenant_max_in_flight(2));
    let wide = wide(&gauge, 4, |_| {});
    let runs = ["a", "a", "b"].map(|tenant| engine.run(&wide, ()).tenant(tenant).start());
    let mut lasted = Vec::new();
    for run in runs {
        lasted.push(run.await.unwrap().report().duration());
    }
    assert_eq!((gauge.most(), lasted), (4, vec![40.millis(), 40.millis(), 20.millis()]));
}

/// S-32: a tenant that is at its limit keeps no permit of a shared limit from the others.
#[tokio::test(start_paused = true)]
async fn a_tenant_at_its_limit_keeps_nothing_from_the_others() {
    let engine = engine(|it| it.limit_kind(StageKind::Work, 2).tenant_max_in_flight(1).max_in_flight(2));
    let gauge = Gauge::default();
    let greedy = engine.run(&wide(&gauge, 10, |_| {}), ()).tenant("greedy").start();
    idle().await;
    let modest = engine.run(&wide(&gauge, 1, |_| {}), ()).tenant("modest").await.unwrap();
    assert_eq!(modest.report().duration(), 10.millis());
    greedy.await.unwrap();
    assert_eq!(gauge.most(), 2);
}

/// Panic, failure, skip, timeout, cancellation and drop: the permit is back at once.
#[tokio::test(start_paused = true)]
async fn a_permit_is_given_back_on_every_path() {
    let bodies: [fn(StageContext) -> StageResult<u32>; 4] = [
        |_| panic!("x"),
        |_| Err(StageExit::fail("x")),
        |_| Err(StageExit::skip("x")),
        |_| Err(StageExit::cancel("x")),
    ];
    let engine = engine(|it| it.max_in_flight(1));
    let gauge = Gauge::default();
    let probe = wide(&gauge, 1, |_| {});
    let free = async || {
        let done = within(engine.run(&probe, ())).await.unwrap();
        assert_eq!(done.report().stage("s-000").unwrap().queued, Some(Duration::ZERO));
    };
    for body in bodies {
        for pending in [false, true] {
            let ends = solo(stage_fn(move |ctx, (): ()| async move {
                if pending {
                    tokio::time::sleep(1.millis()).await;
                }
                body(ctx)
            }));
            report_of(engine.run(&ends, ())).await;
            free().await;
        }
    }
    let timed = pipeline(|p| p.stage("only", never()).timeout(1.millis()).inputs(()));
    assert_eq!(error_of(engine.run(&timed, ())).await.code(), code::STAGE_TIMEOUT);
    free().await;
    let timed = pipeline(|p| p.stage("only", never()).attempt_timeout(1.millis()).inputs(()));
    assert_eq!(error_of(engine.run(&timed, ())).await.code(), code::ATTEMPT_TIMEOUT);
    free().await;
    let run = engine.start(&solo(never()), ());
    idle().await;
    run.cancel("x");
    error_of(run).await;
    free().await;
    let run = engine.start(&solo(never()), ());
    idle().await;
    drop(run);
    free().await;
    // One that still waited for its permit leaves its place in the queue.
    let holder = engine.start(&solo(never()), ());
    idle().await;
    let waiting = engine.start(&solo(never()), ());
    idle().await;
    drop(waiting);
    holder.cancel("x");
    error_of(holder).await;
    free().await;
}

/// S-11: a blocking function that its stage gave up on still runs, so it keeps its permit.
#[tokio::test(start_paused = true)]
async fn a_thread_that_still_runs_keeps_its_permit() {
    let (gauge, switch) = (Gauge::default(), Switch::default());
    let blocks = |_| {
        let (gauge, switch) = (gauge.clone(), switch.clone());
        blocking(move |_, (): ()| {
            let _inside = gauge.enter();
            switch.spin();
            Ok(1_u32)
        })
    };
    let engine = engine(|it| it.max_in_flight(1));
    let two = pipeline(|p| {
        p.on_failure(FailurePolicy::Continue);
        let all = p.parallel("s", 0..2, blocks).attempt_timeout(10.millis()).inputs(());
        p.stage("sum", sum()).inputs(all)
    });
    let run = engine.start(&two, ());
    switch.reached().await;
    // Time does not run by itself while a thread works.
    tokio::time::advance(50.millis()).await;
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(gauge.most(), 1);
    switch.open();
    let report = error_of(run).await.report().unwrap();
    assert_eq!((gauge.most(), report.outcome()), (1, RunOutcome::Failed));
}

/// S-19: a stage that waits for its child holds no permit.
#[tokio::test(start_paused = true)]
async fn children_under_a_limit_of_one_do_not_deadlock() {
    let gauge = Gauge::default();
    let nested = (0..3).fold(
        wide(&gauge, 3, |p| {
            p.max_in_flight(1);
        }),
        |inner, _| parent_of(inner),
    );
    let engine = engine(|it| it.max_in_flight(1).tenant_max_in_flight(1).limit_kind(StageKind::Transform, 1));
    let (one, other) = (engine.start(&nested, ()), engine.start(&nested, ()));
    assert_eq!(*within(one).await.unwrap().output(), 3);
    assert_eq!(*within(other).await.unwrap().output(), 3);
    assert_eq!(gauge.most(), 1);
}

/// Permits are given in the order in which they were asked for.
#[tokio::test(start_paused = true)]
async fn permits_are_given_in_turn() {
    let log = Log::default();
    let engine = engine(|it| it.max_in_flight(1));
    let named = |name: &str| {
        let (log, name) = (log.clone(), name.to_owned());
        solo(stage_fn(move |_, (): ()| {
            log.add(&*name);
            async {
                tokio::time::sleep(10.millis()).await;
                Ok(1_u32)
            }
        }))
    };
    let mut runs = Vec::new();
    for name in ["a", "b", "c", "d", "e"] {
        runs.push(engine.start(&named(name), ()));
        idle().await;
    }
    for run in runs {
        run.await.unwrap();
    }
    assert_eq!(log.lines(), ["a", "b", "c", "d", "e"]);
}

/// A stage that never got its permit never ran: the report counts no attempt, and the time it was queued for nothing is no run.
#[tokio::test(start_paused = true)]
async fn a_stage_that_never_got_its_permit_never_ran() {
    let starved = pipeline(|p| {
        p.max_in_flight(1);
        let a = p.stage("a", never()).inputs(());
        let b = p.stage("b", never()).inputs(());
        p.stage("sum", sum()).inputs([a, b])
    });
    let (engine, recorder) = super::kit::recorded();
    let run = engine.start(&starved, ());
    tokio::time::sleep(1.secs()).await;
    run.cancel("x");
    let report = error_of(run).await.report().unwrap();
    let (a, b) = (report.stage("a").unwrap(), report.stage("b").unwrap());
    assert_eq!((a.attempts, a.ran), (1, Some(1.secs())));
    assert_eq!((b.attempts, b.queued, b.ran), (0, None, None), "{report}");
    assert!(!recorder.lines().contains(&"stage.started b".to_owned()));
    let told = recorder
        .events()
        .into_iter()
        .filter(|it| it.name() != "stage.waited")
        .find(|it| it.stage() == Some("b"))
        .unwrap();
    assert_eq!((told.name().as_ref(), told.attempt()), ("stage.cancelled", None));
}

/// Several threads: the limit holds at every instant.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_limit_holds_on_several_threads() {
    let gauge = Gauge::default();
    let inside = gauge.clone();
    let spins = move |_| {
        let gauge = inside.clone();
        stage_fn(move |_, (): ()| {
            let gauge = gauge.clone();
            async move {
                let _inside = gauge.enter();
                for _ in 0..3 {
                    tokio::task::yield_now().await;
                }
                Ok(1_u32)
            }
        })
    };
    let engine = engine(|it| it.max_in_flight(3));
    let wide = Arc::new(pipeline(|p| {
        let all = p.parallel("s", 0..300, spins).inputs(());
        p.stage("sum", sum()).inputs(all)
    }));
    let runs: Vec<_> = (0..4).map(|_| engine.start(&wide, ())).collect();
    for run in runs {
        assert_eq!(*run.await.unwrap().output(), 300);
    }
    assert_eq!((gauge.most(), gauge.now()), (3, 0));
}

/// S-11: stages that wait for a permit of their kind keep no permit of the run from stages of other kinds.
#[tokio::test(start_paused = true)]
async fn who_waits_for_its_kind_holds_up_no_other() {
    let pipeline = pipeline(|p| {
        p.max_in_flight(3).limit_kind(StageKind::Agent, 1);
        let agents =
            p.parallel("agent", 0..10, |_| naps(10.millis(), 1_u32)).kind(StageKind::Agent).inputs(());
        let others = p.parallel("other", 0..4, |_| naps(1.millis(), 1_u32)).inputs(());
        p.stage("sum", sum()).inputs([agents, others].concat())
    });
    let run = within(pipeline.start(())).await.unwrap();
    let report = run.report();
    let end = |name: &str| {
        let stage = report.stage(name).expect("a stage");
        stage.queued.unwrap_or_default() + stage.ran.unwrap_or_default()
    };
    assert_eq!(end("agent-009"), 100.millis(), "one agent after the other");
    assert_eq!(end("other-003"), 2.millis(), "the others, two at a time beside them");
}

//! What a run has taken of its tenant's quota is given back on every path.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use stageflow::{BackpressureMonitor, Quota, TenantQuotas, code, prelude::*, testing::Sim};

use super::{
    super::kit::{Gauge, error_of, exits, gives, idle, never, solo, within},
    at_rest, engine, usage,
};

#[tokio::test(start_paused = true)]
async fn s_11_however_a_run_ends_it_gives_back_what_it_has() {
    let (engine, ..) = engine(Quota::concurrent_runs(1).stages_in_flight(1).wait_up_to(1.secs()));
    let panics = solo(stage_fn(|_, (): ()| async { if true { panic!("it breaks") } else { Ok(1) } }));
    let run = |pipeline: &Pipeline<(), u32>| engine.run(pipeline, ()).tenant("acme");
    error_of(run(&panics)).await;
    error_of(run(&solo(exits(|| StageExit::fail("no"))))).await;
    error_of(run(&solo(exits(|| StageExit::deny("no"))))).await;
    error_of(run(&solo(never())).deadline(5.millis())).await;
    let handle = run(&solo(never())).start();
    idle().await;
    handle.cancel("enough");
    error_of(handle).await;
    // Dropped: before it began, while it runs, and while it waits.
    drop(run(&solo(never())).start());
    let (running, waiting) = (run(&solo(never())).start(), run(&solo(never())).start());
    idle().await;
    assert_eq!((usage(&engine, "acme").runs, usage(&engine, "acme").waiting), (1, 1));
    drop(waiting);
    idle().await;
    assert_eq!(usage(&engine, "acme").waiting, 0);
    drop(running);
    let mut future = Box::pin(IntoFuture::into_future(run(&solo(never()))));
    tokio::select! { biased; _ = &mut future => {}, () = idle() => {} }
    drop(future);
    idle().await;
    at_rest(&engine, "acme");
    // Shut down, with one that runs and one that waits.
    let (running, waiting) = (run(&solo(never())).start(), run(&solo(never())).start());
    idle().await;
    engine.shutdown(1.secs()).await;
    error_of(running).await;
    error_of(waiting).await;
    assert_eq!(error_of(run(&solo(gives(1)))).await.code(), code::SHUTTING_DOWN);
    at_rest(&engine, "acme");
}

/// A run that nothing came of does not count for the rate.
#[tokio::test(start_paused = true)]
async fn what_never_began_does_not_count_for_the_rate() {
    let monitor = BackpressureMonitor::builder().max_active(1).queue_limit(0).build().expect("a monitor");
    let quota = Quota::new().runs_per(2, 1.hours());
    let engine =
        Engine::builder().tenant_quota(quota).backpressure(monitor.clone()).build().expect("an engine");
    let busy = monitor.acquire().await.expect("there is room");
    for _ in 0..5 {
        assert_eq!(error_of(engine.run(&solo(gives(1)), ())).await.code(), code::OVERLOADED);
    }
    drop(busy);
    for _ in 0..2 {
        within(engine.run(&solo(gives(1)), ())).await.expect("the two that count");
    }
    assert_eq!(error_of(engine.run(&solo(gives(1)), ())).await.code(), code::QUOTA_EXCEEDED);
}

/// The runtime is gone with runs in it: nobody polls them any more, and what they had is free for runs elsewhere.
#[test]
fn a_runtime_that_is_gone_gives_back_what_its_runs_had() {
    let (engine, ..) = engine(Quota::concurrent_runs(1).wait_up_to(10.secs()));
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let first = runtime();
    let handles = first.block_on(async {
        let handles = [engine.start(&solo(never()), ()), engine.start(&solo(never()), ())];
        tokio::task::yield_now().await;
        handles
    });
    assert_eq!((usage(&engine, "").runs, usage(&engine, "").waiting), (1, 1));
    drop(first);
    at_rest(&engine, "");
    drop(handles);
    runtime().block_on(async { engine.run(&solo(gives(1)), ()).await }).expect("there is room");
}

/// In the simulator: random tenants, lengths, cancellations and changes of quotas. Nobody is ever above the highest limit that it has
/// had, and in the end nothing is left.
#[test]
fn s_11_no_tenant_is_above_its_limit_under_random_cancellation() {
    let report = Sim::seeds(0..60).run(|sim| async move {
        let quota = |runs: u32| Quota::concurrent_runs(runs).wait_up_to(40.millis()).max_waiting(5);
        let quotas = TenantQuotas::new(quota(2)).with("t0", quota(1).stages_in_flight(1));
        let quotas = quotas.with("t1", quota(3).runs_per(1, 5.millis()).burst(3));
        let given = quotas.clone();
        sim.furnish(move |engine| engine.tenant_quota(given));
        let gauges: Arc<Mutex<HashMap<u64, Gauge>>> = Arc::default();
        let mut runs = Vec::new();
        for _ in 0..60 {
            let tenant = sim.random_u64() % 4;
            let gauge = gauges.lock().unwrap().entry(tenant).or_default().clone();
            let stage = gauge.stage(Duration::from_millis(1 + sim.random_u64() % 20));
            runs.push(Some(sim.run(&solo(stage), ()).tenant(format!("t{tenant}")).start()));
            // sleeps: on paused time
            tokio::time::sleep(Duration::from_micros(sim.random_u64() % 4_000)).await;
            let at = (sim.random_u64() as usize) % runs.len();
            match sim.random_u64() % 6 {
                0 => drop(runs[at].take()),
                1 => runs[at].iter().for_each(|run| run.cancel("drawn")),
                2 => quotas.set("t3", quota(u32::try_from(sim.random_u64() % 4).unwrap())),
                _ => {}
            }
            for tenant in 0..4 {
                usage(sim.engine(), &format!("t{tenant}"));
            }
        }
        for run in runs.into_iter().flatten() {
            let _ended = run.await;
        }
        idle().await;
        for (tenant, most) in [(0, 1), (1, 3), (2, 2), (3, 3)] {
            let gauge = gauges.lock().unwrap().entry(tenant).or_default().clone();
            assert!(gauge.most() <= most, "{} of {most} of t{tenant}", gauge.most());
            at_rest(sim.engine(), &format!("t{tenant}"));
        }
    });
    assert_eq!(report.seeds(), 60);
}

/// On several threads: runs come, end and are dropped, while their quota changes.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn s_11_changes_race_with_runs_of_many_threads() {
    let (engine, _, quotas) = engine(Quota::concurrent_runs(3).wait_up_to(60.secs()).max_waiting(10_000));
    let gauge = Gauge::default();
    let quick = solo(gauge.stage(10.micros()));
    let runs: Vec<_> = (0..2_000).map(|_| engine.run(&quick, ()).tenant("acme").start()).collect();
    let changes = tokio::spawn(async move {
        for n in 0..500u32 {
            quotas.set("acme", Quota::concurrent_runs(1 + n % 5).wait_up_to(60.secs()).max_waiting(10_000));
            tokio::task::yield_now().await;
        }
    });
    let mut ended = 0;
    for (n, run) in runs.into_iter().enumerate() {
        if n % 7 == 0 {
            drop(run);
        } else {
            ended += usize::from(run.await.is_ok());
        }
    }
    changes.await.expect("no panic");
    assert_eq!(ended, 2_000 - 2_000_usize.div_ceil(7));
    assert!(gauge.most() <= 5, "{}", gauge.most());
    engine.drain(10.secs()).await;
    at_rest(&engine, "acme");
}

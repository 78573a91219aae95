//! Admission: who is let in, who waits, who is refused, and that every place is given back (rule S-11).

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use stageflow::{
    BackpressureBuilder, BackpressureMonitor, BackpressureStats, CancelCause, RunHandle, RunOutcome,
    ShedRule, WaitReason, code, prelude::*, testing::Sim,
};

use super::{
    child::parent_of,
    kit::{Gauge, error_of, idle, naps, never, solo, within},
};

fn monitor(with: impl FnOnce(BackpressureBuilder) -> BackpressureBuilder) -> BackpressureMonitor {
    with(BackpressureMonitor::builder()).build().expect("the limits are right")
}

fn engine(monitor: &BackpressureMonitor) -> (Engine, stageflow::Recorder) {
    let recorder = stageflow::Recorder::new();
    let engine = Engine::builder().backpressure(monitor.clone()).sink(recorder.clone()).build();
    (engine.expect("a monitor is no problem"), recorder)
}

/// Nothing came that was not let in, refused, or has given up.
fn conserved(stats: &BackpressureStats) {
    assert_eq!(
        stats.offered,
        stats.admitted + stats.shed + stats.cancelled + stats.queued as u64,
        "{stats:?}"
    );
}

/// All is over, and everything was given back.
fn at_rest(monitor: &BackpressureMonitor) -> BackpressureStats {
    let stats = monitor.stats();
    conserved(&stats);
    assert_eq!((stats.active, stats.queued), (0, 0), "{stats:?}");
    stats
}

/// Under the limit a run is let in at once, and no event tells of it.
#[tokio::test(start_paused = true)]
async fn s_11_runs_under_the_limit_are_let_in_at_once() {
    let monitor = monitor(|it| it.max_active(2));
    let (engine, recorder) = engine(&monitor);
    let done = engine.run(&solo(naps(5.millis(), 1)), ()).await.unwrap();
    assert_eq!((done.report().queued(), recorder.len()), (Duration::ZERO, 4));
    let stats = at_rest(&monitor);
    assert_eq!((stats.offered, stats.admitted, stats.peak_active), (1, 1, 1));
}

/// Above the limit runs wait in the order in which they came; the wait is seen while it lasts and told afterwards.
#[tokio::test(start_paused = true)]
async fn s_11_runs_above_the_limit_wait_in_order() {
    let monitor = monitor(|it| it.max_active(1));
    let (engine, recorder) = engine(&monitor);
    let slow = solo(naps(10.millis(), 1));
    let mut runs: Vec<_> = (0..4).map(|_| engine.start(&slow, ())).collect();
    idle().await;
    for (ahead, run) in runs[1..].iter().enumerate() {
        let explained = run.explain().expect("it is a run");
        assert_eq!(explained.reason("only"), Some(&WaitReason::Admission { ahead }));
    }
    let stats = monitor.stats();
    conserved(&stats);
    assert_eq!((stats.active, stats.queued, stats.utilisation), (1, 3, 4.0));
    for (n, run) in runs.drain(..).enumerate() {
        let report = within(run).await.unwrap().report();
        assert_eq!(report.queued(), Duration::from_millis(10 * n as u64), "in order");
        assert_eq!(report.duration(), Duration::from_millis(10 * (n as u64 + 1)), "the wait counts");
    }
    assert_eq!(at_rest(&monitor).peak_active, 1);
    let last = recorder.events().last().expect("there are events").run_id();
    let of_last: Vec<_> =
        recorder.events().iter().filter(|it| it.run_id() == last).map(ToString::to_string).collect();
    let said = |at: usize, what: &str| assert!(of_last[at].contains(what), "{of_last:#?}");
    said(0, "pipeline.started");
    said(1, "admission.queued ahead=2");
    said(2, "admission.admitted waited_ms=30");
    said(3, "stage.started");
}

/// What does not fit into the queue is refused before it is a run, like a run that meets a shutdown.
#[tokio::test(start_paused = true)]
async fn s_11_a_full_queue_refuses() {
    let monitor = monitor(|it| it.max_active(1).queue_limit(1));
    let (engine, recorder) = engine(&monitor);
    let runs = [engine.start(&solo(never()), ()), engine.start(&solo(never()), ())];
    idle().await;
    let before = recorder.len();
    let error = error_of(engine.run(&solo(never()), ())).await;
    assert_eq!((error.code(), error.outcome(), error.recoverable()), (code::OVERLOADED, None, true));
    let message =
        "`solo` was not started: overloaded: 1 of 1 active, 1 of 1 waiting: the queue is full [OVERLOADED]";
    assert_eq!(error.to_string(), message);
    assert!(error.report().is_none() && error.hint().is_some());
    assert_eq!(recorder.len(), before, "no event tells of it");
    assert_eq!(engine.start(&solo(never()), ()).run_id(), None);
    assert_eq!(monitor.stats().shed_queue_full, 2);
    drop(runs);
    idle().await;
    at_rest(&monitor);
}

/// 208: utilisation is what is active over what may be.
#[tokio::test]
async fn s_11_208_utilisation_and_overload() {
    let four = monitor(|it| it.max_active(4));
    let _two = (four.acquire().await.unwrap(), four.acquire().await.unwrap());
    assert_eq!((four.stats().utilisation, four.is_overloaded()), (0.5, false));
    let ten = monitor(|it| it.max_active(10).high_watermark(0.8));
    let permits: Vec<_> = (0..9).map(|_| ten.try_acquire().unwrap()).collect();
    assert!(ten.is_overloaded());
    drop(permits);
    assert_eq!(at_rest(&ten).peak_active, 9);
}

/// 209, and hysteresis: refused from the high watermark on, until the load has fallen to the low one.
#[tokio::test(start_paused = true)]
async fn s_11_209_overload_sheds_from_the_high_watermark_to_the_low_one() {
    let monitor =
        monitor(|it| it.max_active(10).high_watermark(0.8).low_watermark(0.3).shed_when_overloaded(true));
    let (engine, _) = engine(&monitor);
    let hold = solo(never());
    let mut runs: Vec<RunHandle<u32>> = (0..8).map(|_| engine.start(&hold, ())).collect();
    let shed = async || error_of(engine.run(&hold, ())).await;
    assert_eq!(shed().await.code(), code::OVERLOADED);
    assert_eq!(monitor.stats().shed_high_watermark, 1);
    while runs.len() > 4 {
        runs.pop();
        idle().await;
        assert!(shed().await.to_string().contains("high watermark"), "{} are active", runs.len());
    }
    runs.pop();
    idle().await;
    assert!(!monitor.is_overloaded(), "the low watermark is reached");
    runs.extend((0..5).map(|_| engine.start(&hold, ())));
    assert_eq!(monitor.stats().active, 8, "all are let in again, up to the high one");
    assert_eq!(shed().await.code(), code::OVERLOADED);
    drop(runs);
    idle().await;
    at_rest(&monitor);
}

/// With a high watermark above 1 the queue is used, and overload begins in it.
#[tokio::test(start_paused = true)]
async fn s_11_a_high_watermark_may_lie_in_the_queue() {
    let monitor =
        monitor(|it| it.max_active(2).high_watermark(2.0).low_watermark(1.0).shed_when_overloaded(true));
    let (engine, _) = engine(&monitor);
    let runs: Vec<RunHandle<u32>> = (0..5).map(|_| engine.start(&solo(never()), ())).collect();
    let stats = monitor.stats();
    assert_eq!((stats.active, stats.queued, stats.shed_high_watermark), (2, 2, 1));
    drop(runs);
    idle().await;
    at_rest(&monitor);
}

/// Latencies above the threshold shed, but not while so little runs that nobody could show better ones.
#[tokio::test(start_paused = true)]
async fn s_11_latencies_shed_while_there_is_load() {
    let shedding = |it: BackpressureBuilder| {
        it.max_active(10)
            .low_watermark(0.1)
            .high_watermark(1.0)
            .latency_threshold(50.millis())
            .shed_when_overloaded(true)
    };
    let monitor = monitor(shedding);
    let (engine, _) = engine(&monitor);
    for _ in 0..20 {
        engine.run(&solo(naps(100.millis(), 1)), ()).await.unwrap();
    }
    assert_eq!(monitor.stats().p95, Some(100.millis()));
    for _ in 0..20 {
        let cancelled = engine.start(&solo(never()), ());
        // sleeps: on paused time
        tokio::time::sleep(10.secs()).await;
        drop(cancelled);
        idle().await;
    }
    assert_eq!(monitor.stats().p95, Some(100.millis()), "what was cancelled is no latency");
    let held = [engine.start(&solo(never()), ()), engine.start(&solo(never()), ())];
    let error = error_of(engine.run(&solo(never()), ())).await;
    assert!(error.to_string().contains("95th percentile"), "{error}");
    assert_eq!(monitor.stats().shed_latency, 1);
    drop(held);
    idle().await;
    for _ in 0..1_000 {
        engine.run(&solo(naps(1.millis(), 1)), ()).await.expect("nothing else runs");
    }
    assert_eq!(at_rest(&monitor).p95, Some(1.millis()), "of the last 1,000");
}

/// S-15: the deadline goes on in the queue, and a run that runs out of it there starts nothing and takes nobody's turn.
#[tokio::test(start_paused = true)]
async fn s_15_the_deadline_goes_on_in_the_queue() {
    let monitor = monitor(|it| it.max_active(1));
    let (engine, recorder) = engine(&monitor);
    let slow = solo(naps(50.millis(), 1));
    let first = engine.start(&slow, ());
    let out = engine.run(&slow, ()).deadline(20.millis()).start();
    let last = engine.start(&slow, ());
    let error = error_of(out).await;
    assert_eq!((error.code(), error.outcome()), (code::DEADLINE_EXCEEDED, Some(RunOutcome::TimedOut)));
    let report = error.report().unwrap();
    assert_eq!((report.duration(), report.queued()), (20.millis(), 20.millis()));
    assert_eq!(report.stage("only").unwrap().attempts, 0);
    assert_eq!(within(first).await.unwrap().report().duration(), 50.millis());
    assert_eq!(within(last).await.unwrap().report().queued(), 50.millis());
    assert_eq!(at_rest(&monitor).cancelled, 1);
    assert_eq!(recorder.events().iter().filter(|it| it.name() == "stage.started").count(), 2);
}

/// S-16, S-18: cancelled or dropped in the queue, in every way, a run gives its place back, and its lifecycle is whole.
#[tokio::test(start_paused = true)]
async fn s_18_what_is_dropped_in_the_queue_gives_its_place_back() {
    let monitor = monitor(|it| it.max_active(1));
    let (engine, recorder) = engine(&monitor);
    let first = engine.start(&solo(naps(50.millis(), 1)), ());
    let cancelled = engine.start(&solo(never()), ());
    let dropped = engine.start(&solo(never()), ());
    let mut future = Box::pin(IntoFuture::into_future(engine.run(&solo(never()), ())));
    assert!(futures_poll(future.as_mut()).await);
    let last = engine.start(&solo(naps(1.millis(), 1)), ());
    idle().await;
    assert_eq!(monitor.stats().queued, 4);
    cancelled.cancel("no more need");
    drop(dropped);
    drop(future);
    idle().await;
    assert_eq!((monitor.stats().queued, monitor.stats().cancelled), (1, 3));
    let error = error_of(cancelled).await;
    assert_eq!((error.code(), error.outcome()), (code::CANCELLED, Some(RunOutcome::Cancelled)));
    assert!(within(first).await.is_ok());
    assert_eq!(within(last).await.unwrap().report().queued(), 50.millis());
    at_rest(&monitor);
    let names = recorder.events();
    let count = |name: &str| names.iter().filter(|it| it.name() == name).count();
    assert_eq!((count("pipeline.started"), count("pipeline.cancelled"), count("stage.cancelled")), (5, 3, 3));
}

/// Polls once; `true` if it is pending.
async fn futures_poll<F: Future>(mut future: std::pin::Pin<&mut F>) -> bool {
    std::future::poll_fn(|cx| std::task::Poll::Ready(future.as_mut().poll(cx).is_pending())).await
}

/// A run that has waited too long ends as what it is: one that was let in by nobody.
#[tokio::test(start_paused = true)]
async fn s_11_the_queue_timeout_sheds() {
    let monitor = monitor(|it| it.max_active(1).queue_timeout(20.millis()));
    let (engine, recorder) = engine(&monitor);
    let first = engine.start(&solo(naps(50.millis(), 1)), ());
    let error = error_of(engine.run(&solo(never()), ())).await;
    assert_eq!(
        (error.code(), error.outcome(), error.recoverable()),
        (code::OVERLOADED, Some(RunOutcome::Cancelled), true)
    );
    let report = error.report().expect("it was a run");
    let reason =
        "overloaded: 1 of 1 active, 0 of 100 waiting: no turn within the queue timeout of 20ms".to_owned();
    assert_eq!((report.cancelled(), report.duration()), (Some(CancelCause::Shed { reason }), 20.millis()));
    let names: Vec<_> = recorder
        .events()
        .iter()
        .filter(|it| it.run_id() == report.run_id())
        .map(|it| it.name().into_owned())
        .collect();
    let expected =
        ["pipeline.started", "admission.queued", "admission.shed", "stage.cancelled", "pipeline.cancelled"];
    assert_eq!(names, expected);
    within(first).await.unwrap();
    assert_eq!(at_rest(&monitor).shed_queue_timeout, 1);
}

/// S-18: a shutdown cancels those that wait, and a drain waits for them.
#[tokio::test(start_paused = true)]
async fn s_18_a_shutdown_ends_those_that_wait() {
    let monitor = monitor(|it| it.max_active(1));
    let (engine, _) = engine(&monitor);
    let runs: Vec<_> = (0..3).map(|_| engine.start(&solo(naps(10.millis(), 1)), ())).collect();
    assert_eq!(engine.drain(25.millis()).await, 1, "two have had their turn, the last not");
    assert_eq!(engine.drain(10.millis()).await, 0);
    for run in runs {
        assert!(within(run).await.is_ok());
    }
    let runs: Vec<_> = (0..3).map(|_| engine.start(&solo(never()), ())).collect();
    idle().await;
    let report = engine.shutdown(1.secs()).await;
    assert_eq!((report.ended(), report.abandoned().len()), (3, 0));
    for run in runs {
        assert_eq!(error_of(run).await.code(), code::CANCELLED);
    }
    assert_eq!(error_of(engine.run(&solo(never()), ())).await.code(), code::SHUTTING_DOWN);
    at_rest(&monitor);
}

/// S-19: a child run is part of a run that is in. If it asked, it would wait for its parent.
#[tokio::test(start_paused = true)]
async fn s_19_child_runs_are_not_asked_for() {
    let monitor = monitor(|it| it.max_active(1).queue_limit(0));
    let (engine, _) = engine(&monitor);
    let nested = parent_of(parent_of(solo(naps(1.millis(), 7))));
    within(engine.run(&nested, ())).await.expect("the children run under the permit of their parent");
    assert_eq!(at_rest(&monitor).offered, 1);
}

/// One monitor stands before several engines.
#[tokio::test(start_paused = true)]
async fn s_11_engines_may_share_a_monitor() {
    let monitor = monitor(|it| it.max_active(3));
    let (gauge, engines) = (Gauge::default(), [engine(&monitor).0, engine(&monitor).0]);
    let inside = solo(gauge.stage(5.millis()));
    let runs: Vec<_> = (0..12).map(|n| engines[n % 2].start(&inside, ())).collect();
    for run in runs {
        within(run).await.unwrap();
    }
    assert_eq!((gauge.most(), at_rest(&monitor).peak_active), (3, 3));
}

/// A monitor whose queue has a timeout needs a timer, and says so before it is needed.
#[test]
fn s_11_a_queue_timeout_needs_a_timer() {
    let monitor = monitor(|it| it.queue_timeout(1.secs()));
    let (engine, _) = engine(&monitor);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let error =
        runtime.block_on(async { engine.run(&solo(super::kit::gives(1_u32)), ()).await }).unwrap_err();
    assert_eq!(error.code(), code::NO_RUNTIME);
    assert_eq!(monitor.stats().offered, 0);
}

/// What cannot work is said when the monitor is built, all at once.
#[test]
fn s_1_a_monitor_is_checked() {
    let wrong =
        BackpressureMonitor::builder().max_active(0).high_watermark(f64::NAN).queue_timeout(Duration::ZERO);
    assert_eq!(wrong.build().unwrap_err().problems().len(), 3);
    let crossed = BackpressureMonitor::builder().high_watermark(0.3).low_watermark(0.3);
    assert!(crossed.build().unwrap_err().to_string().contains("low < high"));
    let never = BackpressureMonitor::builder().max_active(10).queue_limit(5).high_watermark(1.6);
    assert!(never.clone().build().is_ok(), "it is only looked at");
    assert!(never.shed_when_overloaded(true).build().is_err(), "it is never reached");
}

/// Outside of runs: waiting in order, giving up, and a timeout, with the same account.
#[tokio::test(start_paused = true)]
async fn s_11_a_monitor_is_a_plain_object_as_well() {
    let monitor = monitor(|it| it.max_active(1).queue_limit(2).queue_timeout(30.millis()));
    let first = monitor.acquire().await.unwrap();
    assert_eq!(monitor.try_acquire().unwrap_err().rule(), ShedRule::NoWait);
    let mut waits = Box::pin(monitor.acquire());
    assert!(futures_poll(waits.as_mut()).await);
    let mut gives_up = Box::pin(monitor.acquire());
    assert!(futures_poll(gives_up.as_mut()).await);
    let full = monitor.acquire().await.unwrap_err();
    assert_eq!((full.rule(), full.active(), full.queued()), (ShedRule::QueueFull, 1, 2));
    assert_eq!(full.into_exit().error_code(), Some(code::OVERLOADED));
    drop(gives_up);
    drop(first);
    let second = waits.await.unwrap();
    let mut handed = Box::pin(monitor.acquire());
    assert!(futures_poll(handed.as_mut()).await);
    drop(second);
    assert_eq!(monitor.stats().active, 1, "it was handed on");
    drop(handed);
    let third = monitor.try_acquire().expect("what was handed on and dropped is given back");
    assert_eq!(monitor.acquire().await.unwrap_err().rule(), ShedRule::QueueTimeout);
    third.discard();
    let stats = at_rest(&monitor);
    assert_eq!(
        (stats.shed_no_wait, stats.shed_queue_full, stats.shed_queue_timeout, stats.cancelled),
        (1, 1, 1, 1)
    );
}

/// The order in which runs got in, and what of it has to hold: SEED3-7. The checks of the load tests below.
fn kept(limit: usize, gauge: &Gauge, monitor: &BackpressureMonitor, runs: u64) -> Result<(), String> {
    let stats = at_rest(monitor);
    if gauge.most() > limit || stats.peak_active > limit {
        return Err(format!("{} were active under a limit of {limit}", gauge.most()));
    }
    if stats.admitted != runs || stats.queued != 0 {
        return Err(format!("{stats:?}"));
    }
    if gauge.most() < limit {
        Err("the limit was never reached: it proves nothing".to_owned())
    } else {
        Ok(())
    }
}

/// 10,000 concurrent runs on real threads.
async fn crowd(monitor: &BackpressureMonitor) -> Gauge {
    const RUNS: usize = 10_000;
    let gauge = Gauge::default();
    let engine = Engine::builder().backpressure(monitor.clone()).build().expect("a monitor is no problem");
    let inside = gauge.clone();
    let yields = solo(stage_fn(move |_, (): ()| {
        let gauge = inside.clone();
        async move {
            let _inside = gauge.enter();
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
            Ok(1_u32)
        }
    }));
    let runs: Vec<_> = (0..RUNS).map(|_| engine.start(&yields, ())).collect();
    for run in runs {
        run.await.expect("each has its turn");
    }
    gauge
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn seed3_7_never_more_than_the_limit_of_10_000_runs() {
    let limited = monitor(|it| it.max_active(10).queue_limit(20_000));
    let gauge = crowd(&limited).await;
    kept(10, &gauge, &limited, 10_000).unwrap();
}

/// The control: a monitor that limits nothing fails the check.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn seed3_7_the_check_finds_a_monitor_that_does_nothing() {
    let idle = monitor(|it| it.max_active(u32::MAX));
    let gauge = crowd(&idle).await;
    assert!(kept(10, &gauge, &idle, 10_000).is_err());
}

/// In the simulator, with cancellations drawn from the seed: the limit holds, and those that are left come in in order.
#[test]
fn s_11_the_queue_is_in_order_under_random_cancellation() {
    let report = Sim::seeds(0..100).run(|sim| async move {
        let monitor = monitor(|it| it.max_active(3));
        sim.furnish({
            let monitor = monitor.clone();
            move |engine| engine.backpressure(monitor)
        });
        let (gauge, order) = (Gauge::default(), Arc::new(Mutex::new(Vec::new())));
        let mut runs = Vec::new();
        for n in 0..40_u32 {
            let (gauge, order) = (gauge.clone(), Arc::clone(&order));
            let time = Duration::from_millis(1 + sim.random_u64() % 20);
            let only = solo(stage_fn(move |_, (): ()| {
                order.lock().unwrap().push(n);
                let inside = gauge.enter();
                async move {
                    let _inside = inside;
                    // sleeps: on paused time
                    tokio::time::sleep(time).await;
                    Ok(n)
                }
            }));
            runs.push(Some(sim.start(&only, ())));
        }
        for _ in 0..10 {
            // sleeps: on paused time
            tokio::time::sleep(Duration::from_millis(sim.random_u64() % 15)).await;
            let at = (sim.random_u64() % 40) as usize;
            match sim.random_u64() % 2 {
                0 => drop(runs[at].take()),
                _ => runs[at].iter().for_each(|run| run.cancel("drawn")),
            }
            conserved(&monitor.stats());
        }
        for run in runs.into_iter().flatten() {
            let _ended = run.await;
        }
        assert_eq!(sim.engine().drain(1.secs()).await, 0);
        at_rest(&monitor);
        assert_eq!(gauge.most(), 3);
        assert!(order.lock().unwrap().is_sorted(), "{:?}", order.lock().unwrap());
    });
    assert_eq!(report.seeds(), 100);
}

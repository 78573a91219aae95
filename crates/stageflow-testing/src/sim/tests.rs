//! The simulator: it is deterministic, it finds what is wrong, and it says so.

use std::{
    cell::Cell,
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use stageflow_core::{
    DurationExt as _, Owned, StageContext, StageExit, StageKind, StageResult, code, stage_fn,
};
use stageflow_dag::Pipeline;
use tokio::sync::mpsc;

use super::{Sim, SimFailure};
use crate::{Faults, INJECTED, Latency, Ledger, OUT_OF_MEMORY};

async fn plus(_: StageContext, n: Arc<u64>) -> StageResult<u64> {
    tokio::task::yield_now().await;
    tokio::time::sleep(Duration::from_millis(*n % 3)).await;
    Ok(*n + 1)
}

async fn sum(_: StageContext, parts: Vec<Arc<u64>>) -> StageResult<u64> {
    Ok(parts.iter().map(|part| **part).sum())
}

/// A head, `width` stages beside each other, and their sum.
fn wide(width: usize) -> Pipeline<u64, u64> {
    let mut p = Pipeline::builder("wide");
    let input = p.input();
    let head = p.stage("head", stage_fn(plus)).inputs(input);
    let parts = p.parallel("part", 0..width, |_| stage_fn(plus)).kind(StageKind::Enrich).inputs(head);
    let sum = p.stage("sum", stage_fn(sum)).inputs(parts);
    p.build(sum).expect("a pipeline")
}

/// What `try_run` gives with these seeds and faults at `wide`, whose runs may fail.
fn simulated(seeds: std::ops::Range<u64>, furnish: impl Fn(&Sim)) -> Result<super::SimReport, SimFailure> {
    let pipeline = wide(8);
    Sim::seeds(seeds).try_run(|sim| {
        furnish(&sim);
        let pipeline = pipeline.clone();
        async move {
            let _may_fail = sim.run(&pipeline, 1).await;
        }
    })
}

#[test]
fn the_same_seed_gives_the_same_trace_and_others_give_others() {
    let pipeline = wide(8);
    let test = |sim: Sim| {
        let pipeline = pipeline.clone();
        async move {
            sim.latency("head", 1.millis()..1.secs())
                .faults(Faults::of_kind(StageKind::Enrich).rate(0.1).permanent());
            let _may_fail = sim.run(&pipeline, 1).await;
        }
    };
    let report = Sim::seeds(0..200).twice().run(test);
    assert_eq!(report.seeds(), 200);
    assert!(report.distinct_traces() > 190, "{report}");
    let again = Sim::seeds(0..200).run(test);
    assert_eq!(report.to_string(), again.to_string(), "times, faults and traces are the same");
}

#[test]
fn what_is_outside_of_the_simulation_is_found() {
    // Shared by all runs, as a static would be.
    let outside = Arc::new(AtomicU64::new(0));
    let failed = Sim::seeds(0..10).twice().try_run(|sim| {
        let outside = Arc::clone(&outside);
        async move {
            let mut p = Pipeline::builder::<()>("odd");
            let stage = stage_fn(move |_: StageContext, (): ()| {
                let outside = Arc::clone(&outside);
                async move {
                    tokio::time::sleep(Duration::from_millis(outside.fetch_add(1, Ordering::Relaxed))).await;
                    Ok(1_u64)
                }
            });
            let odd = p.stage("odd", stage).inputs(());
            let odd = p.build(odd).expect("a pipeline");
            sim.run(&odd, ()).await.expect("it completes");
        }
    });
    let text = failed.expect_err("two traces").to_string();
    assert!(text.starts_with("seed 0 gave two traces: a stage reads another clock"), "{text}");
    assert!(text.contains("first:  run 1") && text.contains("stage.completed odd"), "{text}");
    assert!(text.contains("replay: STAGEFLOW_SEED=0 cargo test "), "{text}");
}

/// A planted race: two stages read and write without a lock, with an `.await` in between.
#[test]
fn a_race_is_found_and_replays_from_its_seed() {
    let pipeline = |shared: Arc<AtomicU64>| {
        let mut p = Pipeline::builder::<()>("race");
        let add = |_| {
            let shared = Arc::clone(&shared);
            stage_fn(move |_: StageContext, (): ()| {
                let shared = Arc::clone(&shared);
                async move {
                    let seen = shared.load(Ordering::Relaxed);
                    tokio::time::sleep(1.millis()).await;
                    shared.store(seen + 1, Ordering::Relaxed);
                    Ok(seen)
                }
            })
        };
        let parts = p.parallel("add", 0..2, add).inputs(());
        let sum = p.stage("sum", stage_fn(sum)).inputs(parts);
        p.build(sum).expect("a pipeline")
    };
    let test = |sim: Sim| async move {
        let shared = Arc::new(AtomicU64::new(0));
        // Where the second comes so much later the race is not seen.
        sim.latency("add-001", 0.millis()..200.millis());
        sim.run(&pipeline(Arc::clone(&shared)), ()).await.expect("it completes");
        assert_eq!(shared.load(Ordering::Relaxed), 2, "an update was lost");
    };
    let found = Sim::seeds(0..2_000).try_run(test).expect_err("a seed shows the race");
    let SimFailure::Seed { seed, message, trace, replayed } = &found else { panic!("{found}") };
    assert!(message.contains("an update was lost"), "{message}");
    assert_eq!(*replayed, trace.hash(), "it replays to the same trace");
    let alone = Sim::seeds(*seed..seed + 1).try_run(test).expect_err("the seed alone shows it as well");
    assert_eq!(alone.to_string(), found.to_string());
}

#[test]
fn a_simulation_in_which_nothing_can_happen_any_more_says_what_it_waits_for() {
    let failed = simulated(3..9, |sim| {
        sim.faults(Faults::at("part-005").hang());
    });
    let text = failed.expect_err("it hangs").to_string();
    assert!(text.starts_with("seed 3 failed: it did not end in 100d00h of virtual time\nrun "), "{text}");
    assert!(text.contains("part-005") && text.contains("and the same when simulated again"), "{text}");
}

#[test]
fn faults_that_never_strike_fail_the_test() {
    let failed = simulated(0..5, |sim| {
        sim.faults(Faults::at("misspelt").panic());
    });
    let text = failed.expect_err("it shows nothing").to_string();
    assert!(
        text.starts_with("with 5 seeds these faults never struck: panic at `misspelt`\nhint: "),
        "{text}"
    );
    let allowed = Sim::seeds(0..5).faults_may_not_fire().try_run(|sim| async move {
        sim.faults(Faults::at("misspelt").panic());
    });
    assert!(allowed.is_ok());
    assert!(matches!(Sim::seeds(0..0).try_run(|_| async {}), Err(SimFailure::NoSeeds)));
}

#[test]
fn each_fault_does_what_it_says_and_is_counted() {
    let pipeline = wide(4);
    let outcome = |fault: crate::Fault| {
        let found = Cell::new(None);
        let report = Sim::seeds(0..1).run(|sim| {
            sim.faults(fault.clone().named("the fault"));
            let (pipeline, found, fault) = (pipeline.clone(), &found, &fault);
            async move {
                let result = sim.run(&pipeline, 1).await;
                assert_eq!(sim.fired("the fault"), 1, "{fault:?}");
                found.set(Some((
                    result.map(|done| *done.output()).map_err(|error| error.code()),
                    sim.elapsed(),
                )));
            }
        });
        assert_eq!(report.fired("the fault"), 1);
        found.take().expect("it ran")
    };
    let at = || Faults::at("part-002");
    let normal = 2.millis() + 2.millis();
    assert_eq!(outcome(at().transient()).0, Err(INJECTED));
    assert_eq!(outcome(at().permanent()).0, Err(INJECTED));
    assert_eq!(outcome(at().exit(|| StageExit::fail("own").code(code::DENIED))).0, Err(code::DENIED));
    assert_eq!(outcome(at().panic()).0, Err(code::PANIC));
    assert_eq!(outcome(at().cancel()).0, Err(code::CANCELLED));
    assert!(outcome(at().delay(1.secs())).1 >= 1.secs());
    let (done, elapsed) = outcome(at().duplicate());
    assert_eq!((done, elapsed >= normal), (Ok(12), true), "the work was done twice");
    assert_eq!(outcome(at().clock_ahead(1.secs())).0, Ok(12));
    assert_eq!(outcome(at().clock_behind(400_000_000.secs())).0, Ok(12));
    assert_eq!(outcome(at().memory(1 << 20)).0, Ok(12));
    assert_eq!(outcome(Faults::when(|call| call.stage_name() == "sum").permanent()).0, Err(INJECTED));
    assert_eq!(outcome(Faults::everywhere().after(2).times(1).permanent()).0, Err(INJECTED));
}

#[test]
fn the_wall_clock_is_virtual_and_can_be_wrong() {
    let walls = std::sync::Mutex::new(Vec::new());
    let pipeline = wide(1);
    Sim::seeds(0..1).run(|sim| {
        sim.faults(Faults::at("head").after(1).times(1).clock_behind(3_600.secs()));
        let (pipeline, walls) = (pipeline.clone(), &walls);
        async move {
            for _ in 0..3 {
                sim.run(&pipeline, 1).await.expect("it completes");
            }
            let starts = sim.recorder().events().into_iter().filter(|event| event.seq() == 1);
            walls.lock().unwrap().extend(starts.map(|event| event.time()));
        }
    });
    let walls = walls.into_inner().unwrap();
    assert_eq!(walls[0], SystemTime::UNIX_EPOCH + 1_767_225_600.secs());
    assert!(walls[1] > walls[0] && walls[2] < walls[0], "{walls:?}");
}

#[test]
fn memory_has_a_limit() {
    let report = simulated(0..50, |sim| {
        sim.memory_limit(3 << 10)
            .faults(Faults::of_kind(StageKind::Enrich).memory(1 << 10).named("pressure"));
    });
    assert_eq!(
        report.expect("no check in there fails").fired("pressure"),
        50 * 4,
        "three fit, the fourth fails, and the run with it"
    );
    let pipeline = wide(8);
    Sim::seeds(0..20).run(|sim| {
        sim.memory_limit(3 << 10).faults(Faults::of_kind(StageKind::Enrich).memory(1 << 10));
        let pipeline = pipeline.clone();
        async move {
            let error = sim.run(&pipeline, 1).await.map(drop).expect_err("eight do not fit");
            assert_eq!(error.code(), OUT_OF_MEMORY);
        }
    });
}

/// Stages that talk to each other through channels, and one that takes its input for itself.
#[test]
fn channels_timers_and_owned_inputs_work() {
    Sim::seeds(0..100).twice().run(|sim| async move {
        let (sender, receiver) = mpsc::channel::<u64>(1);
        let receiver = Arc::new(tokio::sync::Mutex::new(receiver));
        let mut p = Pipeline::builder("channel");
        let input = p.input();
        let sent = p.stage(
            "send",
            stage_fn(move |_: StageContext, n: Owned<Vec<u64>>| {
                let sender = sender.clone();
                async move {
                    for n in n.0 {
                        tokio::time::sleep(Duration::from_millis(n)).await;
                        sender.send(n).await?;
                    }
                    Ok(())
                }
            }),
        );
        sent.inputs(input);
        let received = p.stage(
            "receive",
            stage_fn(move |_: StageContext, (): ()| {
                let receiver = Arc::clone(&receiver);
                async move {
                    let (mut receiver, mut sum) = (receiver.lock().await, 0);
                    while sum < 6 {
                        sum += receiver.recv().await.unwrap_or(6);
                    }
                    Ok(sum)
                }
            }),
        );
        let sum = received.inputs(());
        let pipeline = p.build(sum).expect("a pipeline");
        sim.latency("send", 1.millis()..5.millis()).latency("receive", 1.millis()..9.millis());
        assert_eq!(*sim.run(&pipeline, vec![1, 2, 3]).await.expect("it completes").output(), 6);
    });
}

#[test]
fn latencies_follow_their_distributions() {
    let random = stageflow_core::time::SeededRandom::new(11);
    let mean = |latency: Latency| {
        let sum: f64 = (0..20_000).map(|_| latency.draw(&random).as_secs_f64()).sum();
        sum / 20_000.0
    };
    // Seven standard errors either way: a false alarm is less likely than one in 10^11.
    assert!((mean(Latency::Uniform(1.secs()..3.secs())) - 2.0).abs() < 7.0 * 0.577 / 141.0);
    assert!((mean(Latency::Exponential { mean: 2.secs() }) - 2.0).abs() < 7.0 * 2.0 / 141.0);
    let (mut drawn, log_normal): (Vec<_>, _) =
        (Vec::new(), Latency::LogNormal { median: 1.secs(), sigma: 1.0 });
    drawn.extend((0..20_000).map(|_| log_normal.draw(&random)));
    let below = drawn.iter().filter(|drawn| **drawn < 1.secs()).count();
    assert!((9_505..10_495).contains(&below), "{below} of 20,000 are below the median");
    assert_eq!(Latency::Uniform(2.secs()..1.secs()).draw(&random), 2.secs());
}

/// A pipeline that holds things across its waits, and leaks one of them if `leaks`.
fn holding(leaks: bool) -> Pipeline<u64, u64> {
    let mut p = Pipeline::builder("holding");
    let input = p.input();
    let hold = |name: &'static str| {
        stage_fn(move |ctx: StageContext, n: Arc<u64>| async move {
            let ledger = Ledger::of(&ctx);
            let _lease = ledger.acquire("a lease");
            ledger.until_clean_up(&ctx, name, tokio::time::sleep(5.millis()));
            tokio::task::yield_now().await;
            if leaks {
                std::mem::forget(ledger.acquire("a socket"));
            }
            tokio::time::sleep(1.millis()).await;
            Ok(*n + 1)
        })
    };
    let first = p.stage("first", hold("a file")).inputs(input);
    let second = p.stage("second", hold("a table")).inputs(first);
    let beside = p.stage("beside", hold("a lock")).inputs(first);
    let sum = p.stage("sum", stage_fn(sum)).inputs(vec![second, beside]);
    p.build(sum).expect("a pipeline")
}

#[test]
fn a_clean_pipeline_is_clean_at_every_poll() {
    let report = Sim::cancel_at_every_poll(&holding(false), 1).seeds(0..4).assert_clean();
    assert!(report.polls() >= 10 && report.runs() >= 4 * (3 * report.polls() + 2), "{report}");
    assert!(report.acquired() > 0 && report.clean_ups() > 0, "{report}");
}

#[test]
fn a_leak_and_a_task_that_is_left_are_found() {
    let problems = Sim::cancel_at_every_poll(&holding(true), 1).check().expect_err("it leaks");
    assert!(problems[0].to_string().contains("`a socket` was never given back"), "{}", problems[0]);

    let mut p = Pipeline::builder("spawning");
    let input = p.input();
    let stage = stage_fn(|_: StageContext, n: Arc<u64>| async move {
        tokio::spawn(std::future::pending::<()>());
        tokio::task::yield_now().await;
        Ok(*n)
    });
    let spawning = p.stage("spawning", stage).inputs(input);
    let problems = Sim::cancel_at_every_poll(&p.build(spawning).expect("a pipeline"), 1_u64).check();
    let problems = problems.expect_err("it leaves a task");
    assert!(problems[0].what().contains("1 tasks are left behind"), "{}", problems[0]);
}

#[test]
fn a_stage_that_turns_a_cancellation_into_a_failure_is_found() {
    let mut p = Pipeline::builder("stubborn");
    let input = p.input();
    let stage = stage_fn(|ctx: StageContext, n: Arc<u64>| async move {
        tokio::select! {
            biased;
            () = ctx.cancelled() => Err(StageExit::fail("somebody interrupted me")),
            () = tokio::time::sleep(3.millis()) => Ok(*n),
        }
    });
    let stubborn = p.stage("stubborn", stage).grace(1.secs()).inputs(input);
    let pipeline = p.build(stubborn).expect("a pipeline");
    // The cause of the end is the cancellation, whatever the stage says of it.
    let report = Sim::cancel_at_every_poll(&pipeline, 1_u64).assert_clean();
    assert_eq!(report.acquired(), 0, "nothing was said about resources");
}

#[test]
fn ten_thousand_seeds_take_no_minutes() {
    let pipeline = wide(18);
    let runs = AtomicUsize::new(0);
    let report = Sim::seeds(0..10_000).run(|sim| {
        runs.fetch_add(1, Ordering::Relaxed);
        let pipeline = pipeline.clone();
        async move {
            sim.faults(Faults::everywhere().rate(0.01).permanent()).latency("head", 1.millis()..9.secs());
            let _may_fail = sim.run(&pipeline, 1).await;
        }
    });
    assert_eq!((report.seeds(), runs.load(Ordering::Relaxed)), (10_000, 10_000));
    let mut most: HashMap<bool, u64> = HashMap::new();
    *most.entry(true).or_default() += report.fired("permanent failure everywhere");
    assert!(most[&true] > 500, "{report}");
}

#[test]
fn traces_differ_in_what_happened_as_well_as_in_when() {
    let trace = |name: &'static str, delay: u64| {
        let mut p = Pipeline::builder("one");
        let input = p.input();
        let only = p.stage(name, stage_fn(plus)).inputs(input);
        let pipeline = p.build(only).expect("a pipeline");
        let kept = std::cell::RefCell::new(None);
        Sim::seeds(0..1).run(|sim| {
            sim.latency(name, Duration::from_millis(delay));
            let (pipeline, kept) = (pipeline.clone(), &kept);
            async move {
                sim.run(&pipeline, 1).await.expect("it completes");
                kept.replace(Some(sim.trace()));
            }
        });
        kept.into_inner().expect("it ran")
    };
    let (one, same, named, late) = (trace("a", 1), trace("a", 1), trace("b", 1), trace("a", 2));
    assert_eq!((one.hash(), one.first_difference(&same)), (same.hash(), None));
    assert!(one.hash() != named.hash() && one.hash() != late.hash());
    let (index, first, second) = one.first_difference(&named).expect("the name");
    assert_eq!(index, 1);
    assert!(first.is_some_and(|line| line.ends_with("stage.started a")), "{first:?}");
    assert!(second.is_some_and(|line| line.ends_with("stage.started b")), "{second:?}");
}

#[test]
fn a_clean_up_that_never_ran_is_a_problem() {
    let ledger = Ledger::new();
    // A context of no run: nobody awaits its clean-ups.
    ledger.until_clean_up(&StageContext::for_test(), "a table", async {});
    assert_eq!(
        ledger.problems(),
        ["`a table` was never given back", "the clean-up of `a table` ran 0 times"]
    );
}

#[test]
fn a_seed_that_is_no_number_is_said_to_be_none() {
    assert_eq!(super::seeds::parse(" 17\n"), Ok(17));
    for text in ["", "-1", "1e3", "18446744073709551616", "seventeen"] {
        let problem = super::seeds::parse(text).expect_err("no number");
        assert_eq!(
            problem,
            format!("STAGEFLOW_SEED is `{text}`, which is no number from 0 to 18446744073709551615")
        );
    }
}

#[tokio::test]
#[should_panic(expected = "a simulation has a runtime of its own: call it in a `#[test]`")]
async fn a_simulation_inside_of_a_runtime_says_where_it_belongs() {
    Sim::seeds(0..1).run(|_| async {});
}

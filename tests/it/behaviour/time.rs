//! Timeouts, deadlines and the time that remains (rules S-14, S-15; W35).

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use stageflow::{Clock, ErrorClass, FailurePolicy, RunOutcome, code, prelude::*};

use super::{
    child::parent_of,
    kit::{
        Log, Switch, error_of, exits_after, gives, logging, naps, never, pipeline, report_of, same, solo,
        statuses, sum,
    },
};

/// A stage that says what time it has.
fn remains() -> impl Stage<Input = (), Output = Option<Duration>> {
    stage_fn(|ctx: StageContext, (): ()| async move { Ok(ctx.remaining()) })
}

/// S-15: one stage, two timeouts, each with its own code.
#[tokio::test(start_paused = true)]
async fn the_shorter_timeout_ends_a_stage_with_its_own_code() {
    for (stage, attempt, expected, after) in [
        (Some(20), None, code::STAGE_TIMEOUT, 20),
        (None, Some(30), code::ATTEMPT_TIMEOUT, 30),
        (Some(20), Some(30), code::STAGE_TIMEOUT, 20),
        (Some(30), Some(20), code::ATTEMPT_TIMEOUT, 20),
    ] {
        for limited in [false, true] {
            let timed = pipeline(|p| {
                if limited {
                    p.max_in_flight(1);
                }
                let mut only = p.stage("only", never());
                if let Some(stage) = stage {
                    only = only.timeout(Duration::from_millis(stage));
                }
                if let Some(attempt) = attempt {
                    only = only.attempt_timeout(Duration::from_millis(attempt));
                }
                only.inputs(())
            });
            let error = error_of(timed.run(())).await;
            let failure = error.failure().unwrap();
            assert_eq!((failure.code(), failure.class()), (expected, ErrorClass::Timeout));
            assert_eq!(error.report().unwrap().duration(), Duration::from_millis(after));
            assert!(
                error.recoverable() && failure.message().contains(&format!("{after}ms")),
                "{}",
                failure.message()
            );
        }
    }
}

/// S-15: a timeout is of one stage; who is in time is left alone.
#[tokio::test(start_paused = true)]
async fn a_timeout_is_of_one_stage() {
    let two = pipeline(|p| {
        p.on_failure(FailurePolicy::Continue);
        let quick = p.stage("quick", naps(10.millis(), 1)).timeout(10.millis()).inputs(());
        p.stage("late", naps(11.millis(), 1)).timeout(10.millis()).inputs(());
        let slow = p.stage("slow", naps(50.millis(), 2)).inputs(());
        p.stage("sum", sum()).inputs([quick, slow])
    });
    let done = two.run(()).await.unwrap();
    assert_eq!((*done.output(), done.report().failures().len()), (3, 1));
    assert_eq!(done.report().stage("late").unwrap().ran, Some(10.millis()));
}

/// S-15: the deadline ends the run as `TimedOut`, whatever else it waits for.
#[tokio::test(start_paused = true)]
async fn a_deadline_ends_the_run() {
    let chain = pipeline(|p| {
        let a = p.stage("a", naps(30.millis(), 41)).inputs(());
        let b = p.stage("b", stage_fn(|_, _: Arc<u32>| std::future::pending::<StageResult<u32>>())).inputs(a);
        p.stage("c", same()).inputs(b)
    });
    let error = error_of(chain.run(()).deadline(100.millis())).await;
    assert_eq!((error.outcome(), error.code()), (Some(RunOutcome::TimedOut), code::DEADLINE_EXCEEDED));
    let report = error.report().unwrap();
    let expected = ["a: completed", "b: cancelled: the deadline passed", "c: cancelled: the deadline passed"];
    assert_eq!((report.duration(), statuses(&report)), (100.millis(), expected.map(str::to_owned).to_vec()));
    assert_eq!(*report.output_of::<u32>("a").unwrap(), 41);
    assert!(error.recoverable() && error.to_string() == "pipeline `test` used up its time");
    assert!(report.to_string().contains("help: raise the run's deadline"));
}

/// The deadline of a run goes before that of its pipeline.
#[tokio::test(start_paused = true)]
async fn a_run_may_set_its_own_deadline() {
    let limited = pipeline(|p| {
        p.deadline(10.millis());
        p.stage("only", naps(20.millis(), 1)).inputs(())
    });
    assert_eq!(report_of(limited.run(())).await.duration(), 10.millis());
    assert_eq!(report_of(limited.run(()).deadline(5.millis())).await.duration(), 5.millis());
    assert_eq!(limited.run(()).deadline(30.millis()).await.unwrap().report().duration(), 20.millis());
}

/// S-15: what remains is the least of deadline, stage timeout and attempt timeout, here and in a child.
#[tokio::test(start_paused = true)]
async fn what_remains_is_the_least_of_all() {
    let with = |stage: Option<u64>, attempt: Option<u64>, limited: bool| {
        pipeline(move |p| {
            if limited {
                p.max_in_flight(1);
            }
            let waits = p.stage("waits", naps(1.secs(), 1)).inputs(());
            let mut only = p.stage("only", remains()).after(waits);
            if let Some(stage) = stage {
                only = only.timeout(stage.secs());
            }
            if let Some(attempt) = attempt {
                only = only.attempt_timeout(attempt.secs());
            }
            only.inputs(())
        })
    };
    let cases = [
        (None, None, None, None),
        (Some(10), None, None, Some(9)),
        (None, Some(5), None, Some(5)),
        (None, None, Some(4), Some(4)),
        (Some(3), Some(5), Some(4), Some(2)),
        (Some(10), Some(3), Some(5), Some(3)),
        (Some(10), Some(5), Some(3), Some(3)),
    ];
    for (deadline, stage, attempt, expected) in cases {
        for limited in [false, true] {
            let pipeline = with(stage, attempt, limited);
            let run = pipeline.run(());
            let run = match deadline {
                Some(deadline) => run.deadline(Duration::from_secs(deadline)),
                None => run,
            };
            let what = format!("{deadline:?} {stage:?} {attempt:?} {limited}");
            assert_eq!(run.await.unwrap().output(), &expected.map(Duration::from_secs), "{what}");
        }
    }
    let child = |own: Option<u64>| {
        parent_of(pipeline(move |p| {
            if let Some(own) = own {
                p.deadline(own.secs());
            }
            p.stage("only", remains()).inputs(())
        }))
    };
    assert_eq!(child(None).run(()).deadline(7.secs()).await.unwrap().output(), &Some(7.secs()));
    assert_eq!(child(Some(3)).run(()).deadline(7.secs()).await.unwrap().output(), &Some(3.secs()));
    assert_eq!(child(Some(9)).run(()).deadline(7.secs()).await.unwrap().output(), &Some(7.secs()));
    assert_eq!(child(None).run(()).await.unwrap().output(), &None);
}

/// `checkpoint` leaves once the time is up, for code that computes without an await.
#[tokio::test(start_paused = true)]
async fn a_checkpoint_leaves_when_the_time_is_up() {
    let log = Log::default();
    let computes = logging(&log, |log, ctx| async move {
        assert!(ctx.checkpoint().is_ok());
        tokio::time::sleep(9.millis()).await;
        log.add(format!("{:?}", ctx.remaining()));
        ctx.checkpoint()?;
        Ok(1_u32)
    });
    solo(computes).run(()).deadline(10.millis()).await.unwrap();
    assert_eq!(log.lines(), ["Some(1ms)"]);
}

struct Manual(Arc<AtomicU64>);

impl Clock for Manual {
    fn monotonic_nanos(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// S-15: nothing starts after the deadline, on no worker, even while the run's own task is kept busy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_starts_after_the_deadline() {
    let (clock, ran) = (Arc::new(AtomicU64::new(1)), Arc::new(AtomicBool::new(false)));
    let (busy, passed) = (Switch::default(), Arc::clone(&clock));
    let engine = Engine::builder().clock(Manual(clock)).build().unwrap();
    let (spins, spy) = (busy.clone(), Arc::clone(&ran));
    let two = pipeline(|p| {
        // One of the two workers spins; the other goes past the deadline, and may not go on.
        let busy = p.stage(
            "busy",
            stage_fn(move |_, (): ()| {
                spins.spin();
                std::future::ready(Ok(1_u32))
            }),
        );
        let busy = busy.inputs(());
        let first = p.stage(
            "first",
            stage_fn(move |_, (): ()| {
                passed.store(10_000_000_000, Ordering::SeqCst);
                std::future::ready(Ok(1_u32))
            }),
        );
        let first = first.inputs(());
        let second = p.stage(
            "second",
            stage_fn(move |_, n: Arc<u32>| {
                spy.store(true, Ordering::SeqCst);
                std::future::ready(Ok(*n))
            }),
        );
        let second = second.inputs(first);
        p.stage("sum", sum()).inputs([busy, second])
    });
    let run = engine.run(&two, ()).deadline(1.secs()).start();
    busy.reached().await;
    while run.explain().unwrap().stopping().is_none() && !ran.load(Ordering::SeqCst) {
        tokio::task::yield_now().await;
    }
    busy.open();
    let report = error_of(run).await.report().unwrap();
    assert_eq!((report.outcome(), ran.load(Ordering::SeqCst)), (RunOutcome::TimedOut, false), "{report}");
}

/// S-14: durations follow the runtime's clock, also where several runtimes with paused time share an engine.
#[test]
fn each_runtime_has_its_own_time() {
    let runtime =
        || tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let before = runtime();
    let engine = runtime().block_on(async {
        tokio::time::advance(3_600.secs()).await;
        Engine::builder().build().unwrap()
    });
    let nap = solo(stage_fn(|ctx: StageContext, (): ()| async move {
        tokio::time::sleep(10.secs()).await;
        Ok(ctx.elapsed())
    }));
    for runtime in [before, runtime()] {
        let done = runtime.block_on(async { engine.run(&nap, ()).deadline(20.secs()).await }).unwrap();
        assert_eq!((*done.output(), done.report().duration()), (10.secs(), 10.secs()));
    }
}

/// S-8: a failure at the very moment of the deadline does not make the outcome a matter of luck.
#[tokio::test(start_paused = true)]
async fn the_deadline_and_a_failure_at_once_have_one_outcome() {
    let mut outcomes = Vec::new();
    for _ in 0..20 {
        let at_once = solo(exits_after(10.millis(), || StageExit::fail("x")));
        outcomes.push(report_of(at_once.run(()).deadline(10.millis())).await.outcome());
    }
    outcomes.dedup();
    assert_eq!(outcomes.len(), 1, "{outcomes:?}");
}

/// S-15: a deadline that is far away costs nothing and ends nothing.
#[tokio::test(start_paused = true)]
async fn who_is_in_time_is_left_alone() {
    let done = solo(gives(1_u32)).run(()).deadline(1.millis()).await.unwrap();
    assert_eq!(done.outcome(), RunOutcome::Completed);
    let done = solo(naps(10.millis(), 1)).run(()).deadline(11.millis()).await.unwrap();
    assert_eq!(done.outcome(), RunOutcome::Completed);
}

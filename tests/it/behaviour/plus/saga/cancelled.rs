//! A saga whose stage is dropped: the clean-up of the run undoes it, within its budget.

use std::sync::Arc;

use stageflow::{
    EventClass, IntoStage as _, RunOutcome, code,
    plus::saga::{Saga, SagaDesk, SagaScope, StepState},
    prelude::*,
    testing::{Ledger, Sim},
};

use super::trip;
use crate::behaviour::kit::{Log, Switch, error_of, idle, naps, pipeline, recorded, solo};

/// At any moment: while something is done, while something is undone, and however the run is ended.
#[tokio::test(start_paused = true)]
async fn what_was_done_is_undone_once_whenever_and_however_the_run_ends() {
    for how in 0..4_u64 {
        for at in 1..36_u64 {
            let log = Log::default();
            let stage = trip(&Saga::new("trip"), &log, |_| std::future::ready(Err(StageExit::fail("no"))));
            let (engine, recorder) = recorded();
            let pipeline = pipeline(|p| {
                let timeout = (how == 3).then(|| (at + 1).millis());
                p.stage("trip", stage).attempt_timeout(timeout).inputs(())
            });
            let run = engine.run(&pipeline, ());
            let run = if how == 1 { run.deadline((at + 1).millis()) } else { run }.start();
            // sleeps: on paused time
            tokio::time::sleep(at.millis()).await;
            match how {
                0 => run.cancel("by the test"),
                2 => drop(run),
                _ => {}
            }
            // sleeps: on paused time
            tokio::time::sleep(1.secs()).await;
            engine.drain(1.secs()).await;
            let lines = log.lines();
            let (done, undone) = lines.split_at(lines.iter().filter(|line| line.starts_with("do ")).count());
            let expected: Vec<_> = done.iter().rev().map(|line| line.replace("do ", "undo ")).collect();
            assert_eq!(undone, expected, "ended by {how} at {at}");
            // What was on its way was done as well.
            let begun = usize::try_from((at + how % 2) / 5 + 1).expect("small").min(3);
            assert!(
                done.len() >= begun.min(3) - usize::from(at % 5 == 0 || at % 5 == 4),
                "ended by {how} at {at}: {lines:?}"
            );
            let ends = recorder.events().iter().filter(|event| event.name() == "saga.rolled_back").count();
            assert_eq!(ends, 1, "ended by {how} at {at}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_clean_up_has_no_time_for_is_stuck_and_said_so() {
    let (log, desk) = (Log::default(), SagaDesk::new(8));
    let saga = Saga::new("trip").desk(&desk);
    let stage = trip(&saga, &log, |_| std::future::pending());
    let (engine, recorder) = recorded();
    let pipeline = pipeline(|p| {
        p.cleanup_budget(7.millis());
        p.stage("trip", stage).inputs(())
    });
    let run = engine.run(&pipeline, ()).start();
    // sleeps: on paused time
    tokio::time::sleep(20.millis()).await;
    run.cancel("by the test");
    let error = error_of(run).await;
    assert_eq!(error.outcome(), Some(RunOutcome::Cancelled));
    assert_eq!(log.lines(), ["do a", "do b", "do c", "undo c"]);
    let report = error.report().expect("a report");
    assert_eq!(report.clean_up_failures()[0].code, code::CLEANUP_TIMEOUT);
    let reports = desk.reports();
    assert_eq!(reports[0].in_state(StepState::Stuck).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(reports[0].in_state(StepState::Undone).collect::<Vec<_>>(), ["c"]);
    let events = recorder.events();
    let stuck = events.iter().position(|event| event.name() == "saga.stuck").expect("an event");
    assert_eq!(events[stuck].kind().class(), EventClass::Terminal);
    assert!(stuck < events.len() - 1, "it is told before the end of the run");
    // It goes on from there.
    let report = desk.take_next().expect("it is on the desk").resume().await;
    assert_eq!(report.in_state(StepState::Undone).count(), 3);
    assert_eq!(log.lines(), ["do a", "do b", "do c", "undo c", "undo b", "undo a"]);
}

#[tokio::test(start_paused = true)]
async fn a_saga_that_gets_stuck_in_a_clean_up_is_a_failure_of_it() {
    let saga = Saga::new("trip").undo_attempts(1);
    let stage = stage_fn(move |ctx: StageContext, (): ()| {
        let saga = saga.clone();
        async move {
            let body = |scope: SagaScope| async move {
                let undo = |_| std::future::ready(Err(StageExit::fail("no answer")));
                scope.step("hotel", async { Ok(()) }, undo).await?;
                std::future::pending::<StageResult<u32>>().await
            };
            saga.run(&ctx, body).await
        }
    });
    let run = solo(stage).run(()).start();
    idle().await;
    run.cancel("by the test");
    let report = error_of(run).await.report().expect("a report");
    let failures = report.clean_up_failures();
    assert_eq!((failures.len(), failures[0].code), (1, code::CLEANUP_FAILED));
    assert_eq!(failures[0].error, "the saga `trip` is stuck: it could not undo hotel");
    assert!(report.to_string().contains("could not undo hotel"), "{report}");
}

/// Blocking work of an action goes on when its stage is dropped, and is undone when it has ended.
#[tokio::test]
async fn blocking_work_of_an_action_ends_and_is_undone() {
    let (log, switch) = (Log::default(), Switch::default());
    let (own, spins) = (log.clone(), switch.clone());
    let stage = stage_fn(move |ctx: StageContext, (): ()| {
        let (log, undoes, spins) = (own.clone(), own.clone(), spins.clone());
        async move {
            let works = ctx.clone();
            let body = |scope: SagaScope| async move {
                let action = async move {
                    let work = blocking(move |_, (): ()| {
                        spins.spin();
                        log.add("do");
                        Ok(1_u32)
                    });
                    work.run(&works, ()).await
                };
                let undo = move |_| {
                    undoes.add("undo");
                    std::future::ready(Ok(()))
                };
                scope.step("thread", action, undo).await?;
                Ok(1_u32)
            };
            Saga::new("trip").run(&ctx, body).await
        }
    });
    let run = solo(stage).run(()).start();
    switch.reached().await;
    run.cancel("by the test");
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(log.lines().is_empty(), "the stage is gone, and its thread is not");
    switch.open();
    error_of(run).await;
    assert_eq!(log.lines(), ["do", "undo"]);
}

/// A child run of an action is cancelled with its parent: it has not been done.
#[tokio::test(start_paused = true)]
async fn a_child_run_of_an_action_is_cancelled_with_its_parent() {
    let log = Log::default();
    let own = log.clone();
    let child = solo(naps(1.mins(), 1));
    let stage = stage_fn(move |ctx: StageContext, (): ()| {
        let (log, child) = (own.clone(), child.clone());
        async move {
            let parent = ctx.clone();
            let body = |scope: SagaScope| async move {
                let action = async move { child.into_stage().run(&parent, Arc::new(())).await };
                let undo = move |_| {
                    log.add("undo");
                    std::future::ready(Ok(()))
                };
                scope.step("child", action, undo).await?;
                Ok(1_u32)
            };
            Saga::new("trip").run(&ctx, body).await
        }
    });
    let run = solo(stage).run(()).start();
    idle().await;
    run.cancel("by the test");
    let error = error_of(run).await;
    assert_eq!(error.outcome(), Some(RunOutcome::Cancelled));
    assert!(log.lines().is_empty() && error.report().expect("a report").clean_up_failures().is_empty());
}

/// Work that would keep the clean-up from beginning does not: after a while it is dropped, and an undo is called again.
#[tokio::test(start_paused = true)]
async fn what_keeps_a_hold_does_not_keep_the_run_for_ever() {
    for is_undo in [false, true] {
        let (log, desk) = (Log::default(), SagaDesk::new(1));
        let saga = Saga::new("trip").desk(&desk).undo_timeout(1.mins());
        let own = log.clone();
        let stage = stage_fn(move |ctx: StageContext, (): ()| {
            let (saga, log) = (saga.clone(), own.clone());
            async move {
                let (acts, undoes) = (ctx.clone(), ctx.clone());
                let body = |scope: SagaScope| async move {
                    let action = async move {
                        if !is_undo {
                            let _hold = acts.hold();
                            std::future::pending::<()>().await;
                        }
                        Ok(())
                    };
                    let undo = move |_| {
                        let (ctx, log) = (undoes.clone(), log.clone());
                        async move {
                            log.add("undo");
                            if log.lines().len() == 1 {
                                let _hold = ctx.hold();
                                std::future::pending::<()>().await;
                            }
                            Ok(())
                        }
                    };
                    scope.step("holds", action, undo).await?;
                    Err::<u32, _>(StageExit::fail("no"))
                };
                saga.run(&ctx, body).await
            }
        });
        let run = solo(stage).run(()).start();
        idle().await;
        run.cancel("by the test");
        let report = error_of(run).await.report().expect("a report");
        assert!(report.duration() < 3.secs(), "{report}");
        if is_undo {
            assert_eq!((log.lines(), desk.len()), (vec!["undo".to_owned(); 2], 0));
        } else {
            assert_eq!(desk.reports()[0].in_state(StepState::InDoubt).collect::<Vec<_>>(), ["holds"]);
        }
    }
}

/// What a step holds from its action to its undo is not held any more, wherever the run was ended.
#[test]
fn nothing_is_left_at_any_poll() {
    let stage = stage_fn(|ctx: StageContext, (): ()| async move {
        let ledger = Ledger::of(&ctx);
        let body = |scope: SagaScope| async move {
            for name in ["a", "b", "c"] {
                let ledger = ledger.clone();
                let action = async move {
                    tokio::task::yield_now().await;
                    let lease = ledger.acquire("a booking");
                    tokio::task::yield_now().await;
                    Ok(Arc::new(std::sync::Mutex::new(Some(lease))))
                };
                let undo = |lease: Arc<Arc<std::sync::Mutex<Option<_>>>>| async move {
                    tokio::task::yield_now().await;
                    drop(lease.lock().expect("a lease").take());
                    Ok(())
                };
                scope.step(name, action, undo).await?;
            }
            Err::<u32, _>(StageExit::fail("no"))
        };
        Saga::new("trip").run(&ctx, body).await
    });
    let report = Sim::cancel_at_every_poll(&solo(stage), ()).seeds(0..2).assert_clean();
    assert!(report.polls() >= 10 && report.acquired() > 0, "{report}");
}

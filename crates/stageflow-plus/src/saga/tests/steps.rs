//! Steps at the same time, steps that nobody waits for, what is in doubt, and sagas that are resumed.

use std::{
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use stageflow_core::{ErrorClass, StageContext, StageExit, StageResult, code};
use tokio::time::sleep;

use super::super::{OnStuck, Saga, SagaDesk, SagaEnd, SagaReport, SagaScope, StepState};

const MS: Duration = Duration::from_millis(1);

type Log = Arc<Mutex<Vec<String>>>;

fn lines(log: &Log) -> Vec<String> {
    log.lock().expect("a log").clone()
}

async fn act(log: Log, name: &'static str, time: u32) -> StageResult<&'static str> {
    // sleeps: on paused time
    sleep(time * MS).await;
    log.lock().expect("a log").push(format!("do {name}"));
    Ok(name)
}

async fn undo(log: Log, name: &'static str) -> StageResult<()> {
    log.lock().expect("a log").push(format!("undo {name}"));
    Ok(())
}

fn step(scope: &SagaScope, log: &Log, name: &'static str, time: u32) -> super::super::Step<&'static str> {
    let (does, undoes) = (Arc::clone(log), Arc::clone(log));
    scope.step(name, act(does, name, time), move |done: Arc<&'static str>| undo(Arc::clone(&undoes), *done))
}

fn ended(reports: &Arc<Mutex<Vec<SagaReport>>>) -> Saga {
    let reports = Arc::clone(reports);
    Saga::new("trip").on_end(move |report| reports.lock().expect("reports").push(report.clone()))
}

fn fails() -> StageExit {
    StageExit::fail("no car is left").class(ErrorClass::Transient)
}

#[tokio::test(start_paused = true)]
async fn steps_at_the_same_time_are_undone_in_reverse_order_of_completion() {
    let (log, ctx) = (Log::default(), StageContext::for_test());
    let own = Arc::clone(&log);
    let body = |scope: SagaScope| async move {
        let (slow, fast) = tokio::join!(step(&scope, &own, "slow", 5), step(&scope, &own, "fast", 1));
        let (_slow, _fast) = (slow?, fast?);
        Err::<(), _>(fails())
    };
    let exit = Saga::new("trip").run(&ctx, body).await.expect_err("it fails");
    // As it was, so that it can be tried again.
    assert_eq!(
        (exit.error_code(), exit.error_class()),
        (Some(code::STAGE_FAILED), Some(ErrorClass::Transient))
    );
    assert_eq!(lines(&log), ["do fast", "do slow", "undo slow", "undo fast"]);
}

#[tokio::test(start_paused = true)]
async fn a_step_that_nobody_waits_for_ends_and_is_undone_with_a_saga_that_is_committed() {
    let (log, reports) = (Log::default(), Arc::default());
    let own = Arc::clone(&log);
    let body = |scope: SagaScope| async move {
        step(&scope, &own, "kept", 0).await?;
        // Given up after a millisecond.
        assert!(tokio::time::timeout(MS, step(&scope, &own, "late", 9).into_future()).await.is_err());
        Ok(())
    };
    ended(&reports).run(&StageContext::for_test(), body).await.expect("committed");
    assert_eq!(lines(&log), ["do kept", "do late", "undo late"]);
    let reports = reports.lock().expect("reports");
    assert_eq!(reports[0].end, SagaEnd::Committed);
    assert_eq!(reports[0].in_state(StepState::Done).collect::<Vec<_>>(), ["kept"]);
}

#[tokio::test(start_paused = true)]
async fn an_action_that_does_not_end_in_time_is_in_doubt() {
    let (log, reports) = (Log::default(), Arc::default());
    let own = Arc::clone(&log);
    let body = |scope: SagaScope| async move {
        step(&scope, &own, "flight", 0).await?;
        let hangs = scope.step("hotel", pending::<StageResult<()>>(), |_| async { Ok(()) });
        tokio::time::timeout(MS, hangs.into_future()).await.map_err(|_| fails())??;
        Ok(())
    };
    let saga = ended(&reports).finish_within(100 * MS);
    let exit = saga.run(&StageContext::for_test(), body).await.expect_err("stuck");
    assert_eq!(
        (exit.error_code(), exit.error_class()),
        (Some(code::SAGA_STUCK), Some(ErrorClass::Permanent))
    );
    assert_eq!(exit.to_string(), "failed: the saga `trip` is stuck: it does not know of hotel");
    assert_eq!(lines(&log), ["do flight", "undo flight"]);
    assert_eq!(
        reports.lock().expect("reports")[0].step("hotel").map(|step| step.state),
        Some(StepState::InDoubt)
    );
}

#[tokio::test(start_paused = true)]
async fn an_undo_that_hangs_is_stuck_and_can_be_resumed() {
    let (log, desk) = (Log::default(), SagaDesk::new(1));
    let is_well = Arc::new(AtomicBool::new(false));
    let (own, well) = (Arc::clone(&log), Arc::clone(&is_well));
    let body = |scope: SagaScope| async move {
        step(&scope, &own, "flight", 0).await?;
        let hotel = scope.step("hotel", async { Ok(17) }, move |id| {
            let is_well = well.load(Ordering::SeqCst);
            async move { if is_well && *id == 17 { Ok(()) } else { pending().await } }
        });
        hotel.reference(|id| format!("booking {id}")).await?;
        Err::<(), _>(StageExit::deny("not you"))
    };
    let saga = Saga::new("trip").desk(&desk).undo_attempts(2).undo_timeout(10 * MS);
    let exit = saga.run(&StageContext::for_test(), body).await.expect_err("stuck");
    // A denial stays one.
    assert_eq!((exit.error_code(), exit.error_class()), (Some(code::SAGA_STUCK), Some(ErrorClass::Denied)));
    let reports = desk.reports();
    assert_eq!(
        reports[0].to_string(),
        "the saga `trip` of the stage `test` is stuck, because not you\n  \
         flight  done\n  \
         hotel   stuck after 2 attempts, booking 17: the undo took longer than 10ms"
    );

    // Still ill: it is on the desk again.
    let stuck = desk.take(reports[0].run_id).expect("it is on the desk");
    assert_eq!(stuck.resume().await.end, SagaEnd::Stuck);
    assert_eq!((desk.len(), desk.dropped()), (1, 0));
    assert_eq!(lines(&log), ["do flight"]);
    is_well.store(true, Ordering::SeqCst);
    let report = desk.take_next().expect("it is on the desk").resume().await;
    assert_eq!((report.end, desk.is_empty()), (SagaEnd::RolledBack, true));
    assert_eq!(lines(&log), ["do flight", "undo flight"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_undone_by_hand_is_not_undone_again() {
    let (log, desk) = (Log::default(), SagaDesk::new(1));
    for on_stuck in [OnStuck::Stop, OnStuck::GoOn] {
        let own = Arc::clone(&log);
        let body = |scope: SagaScope| async move {
            step(&scope, &own, "flight", 0).await?;
            let undo = |_| async { Err(StageExit::fail("never").class(ErrorClass::Permanent)) };
            scope.step("hotel", async { Ok(()) }, undo).await?;
            Err::<(), _>(fails())
        };
        let saga = Saga::new("trip").desk(&desk).on_stuck(on_stuck);
        saga.run(&StageContext::for_test(), body).await.expect_err("stuck");
    }
    assert_eq!(lines(&log), ["do flight", "do flight", "undo flight"]);
    assert_eq!(desk.dropped(), 1);
    let mut stuck = desk.take_next().expect("the second");
    assert!(!stuck.mark_undone("flight") && stuck.mark_undone("hotel") && !stuck.mark_undone("car"));
    assert_eq!(stuck.resume().await.end, SagaEnd::RolledBack);
    assert_eq!(lines(&log).len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_step_for_good_stays_and_a_step_after_the_end_is_refused() {
    let (log, reports) = (Log::default(), Arc::default());
    let kept = Arc::new(Mutex::new(None));
    let (own, keeps) = (Arc::clone(&log), Arc::clone(&kept));
    let body = |scope: SagaScope| async move {
        *keeps.lock().expect("a scope") = Some(scope.clone());
        scope.step_for_good("mail", act(Arc::clone(&own), "mail", 0)).await?;
        step(&scope, &own, "flight", 0).await?;
        Err::<(), _>(StageExit::skip("no need"))
    };
    let exit = ended(&reports).run(&StageContext::for_test(), body).await.expect_err("skipped");
    assert!(exit.is_skip());
    assert_eq!(lines(&log), ["do mail", "do flight", "undo flight"]);
    assert_eq!(reports.lock().expect("reports")[0].end, SagaEnd::RolledBack);
    let scope = kept.lock().expect("a scope").take().expect("it was kept");
    let exit = step(&scope, &log, "late", 0).await.expect_err("it has ended");
    assert_eq!(exit.to_string(), "failed: the saga of this step has ended: steps belong into its body");
}

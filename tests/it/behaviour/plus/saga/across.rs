//! A saga across the stages of a run: committed if the run completes, and undone by its clean-up if it does not.

use std::sync::Arc;

use stageflow::{
    FailurePolicy, RunOutcome, code,
    interceptors::Retry,
    plus::saga::{RunSaga, Saga, SagaEnd, SagaReport, StepState, UndoExt},
    prelude::*,
    testing::{Ledger, Sim},
};

use crate::behaviour::kit::{Log, error_of, report_of, within};

/// Books after so many milliseconds.
fn book(log: &Log, name: &'static str, millis: u64) -> impl Stage<Input = (), Output = String> + use<> {
    let log = log.clone();
    stage_fn(move |_, (): ()| {
        let log = log.clone();
        async move {
            // sleeps: on paused time
            tokio::time::sleep(millis.millis()).await;
            log.add(format!("do {name}"));
            Ok(name.to_owned())
        }
    })
}

fn cancels(
    log: &Log,
) -> impl Fn(StageContext, Arc<String>) -> std::future::Ready<StageResult<()>> + Send + Sync + 'static + use<>
{
    let log = log.clone();
    move |_, booking| {
        log.add(format!("undo {booking}"));
        std::future::ready(Ok(()))
    }
}

type Reports = Arc<std::sync::Mutex<Vec<SagaReport>>>;

fn trip() -> (RunSaga, Reports) {
    let reports = Reports::default();
    let told = Arc::clone(&reports);
    let saga = Saga::new("trip").on_end(move |report| told.lock().expect("reports").push(report.clone()));
    (RunSaga::new(saga), reports)
}

/// Two bookings at the same time and one after them, and then a stage that ends as it is told.
fn travel(trip: &RunSaga, log: &Log, end: fn(StageContext) -> StageResult<u32>) -> Pipeline<(), u32> {
    let mut p = Pipeline::builder("travel");
    let slow = p.stage("slow", book(log, "slow", 9)).undo(trip, cancels(log)).inputs(());
    let fast = p.stage("fast", book(log, "fast", 3)).undo(trip, cancels(log)).inputs(());
    let car = stage_fn({
        let log = log.clone();
        move |_, _: (Arc<String>, Arc<String>)| {
            log.add("do car");
            std::future::ready(Ok("car".to_owned()))
        }
    });
    let car = p.stage("car", car).undo_with_reference(trip, cancels(log), |car| format!("ref {car}"));
    let car = car.inputs((slow, fast));
    let pay = stage_fn(move |ctx: StageContext, _: Arc<String>| std::future::ready(end(ctx)));
    let paid = p.stage("pay", pay).inputs(car);
    p.build(paid).expect("it builds")
}

#[tokio::test(start_paused = true)]
async fn a_run_that_completes_keeps_everything() {
    let (log, (trip, reports)) = (Log::default(), trip());
    within(travel(&trip, &log, |_| Ok(1)).run(())).await.expect("it completes");
    assert_eq!(log.lines(), ["do fast", "do slow", "do car"]);
    let reports = reports.lock().expect("reports");
    assert_eq!((reports.len(), reports[0].end, trip.open()), (1, SagaEnd::Committed, 0));
}

#[tokio::test(start_paused = true)]
async fn at_every_other_end_it_is_undone_in_reverse_order_of_completion() {
    type End = fn(StageContext) -> StageResult<u32>;
    let ends: [(End, RunOutcome); 4] = [
        (|_| Err(StageExit::fail("no")), RunOutcome::Failed),
        (|_| panic!("no"), RunOutcome::Failed),
        (|_| Err(StageExit::deny("no")), RunOutcome::Denied),
        (|_| Err(StageExit::cancel("no")), RunOutcome::Cancelled),
    ];
    for (end, outcome) in ends {
        let (log, (trip, reports)) = (Log::default(), trip());
        let report = report_of(travel(&trip, &log, end).run(())).await;
        assert_eq!(report.outcome(), outcome);
        assert_eq!(log.lines(), ["do fast", "do slow", "do car", "undo car", "undo slow", "undo fast"]);
        let reports = reports.lock().expect("reports");
        assert_eq!((reports.len(), reports[0].end, trip.open()), (1, SagaEnd::RolledBack, 0));
        assert_eq!(reports[0].because.as_deref(), Some(&*format!("the run ended as {outcome}")));
        assert_eq!(reports[0].step("car").and_then(|step| step.reference.as_deref()), Some("ref car"));
    }
}

/// A stage that was dropped on its way is in doubt, unless a grace lets it end.
#[tokio::test(start_paused = true)]
async fn a_stage_that_is_interrupted_is_in_doubt() {
    for has_grace in [false, true] {
        let (log, (trip, reports)) = (Log::default(), trip());
        let mut p = Pipeline::builder("travel");
        let stage = p.stage("slow", book(&log, "slow", 9)).undo(&trip, cancels(&log));
        let slow = if has_grace { stage.grace(1.secs()) } else { stage }.inputs(());
        let pipeline = p.build(slow).expect("it builds");
        let report = report_of(pipeline.run(()).deadline(5.millis())).await;
        assert_eq!(report.outcome(), RunOutcome::TimedOut);
        let reports = reports.lock().expect("reports");
        let state = reports[0].steps[0].state;
        if has_grace {
            assert_eq!((reports[0].end, state), (SagaEnd::RolledBack, StepState::Undone));
            assert_eq!(log.lines(), ["do slow", "undo slow"]);
        } else {
            assert_eq!((reports[0].end, state), (SagaEnd::Stuck, StepState::InDoubt));
            assert_eq!(report.clean_up_failures()[0].code, code::CLEANUP_FAILED);
        }
    }
}

/// A failure that is tolerated takes nothing back, and one that comes after attempts of a stage takes back the one that succeeded.
#[tokio::test(start_paused = true)]
async fn what_counts_is_how_the_run_ends() {
    let (log, (trip, reports)) = (Log::default(), trip());
    for is_tolerated in [true, false] {
        let mut p = Pipeline::builder("travel");
        p.on_failure(if is_tolerated { FailurePolicy::TolerateCount(1) } else { FailurePolicy::FailFast });
        let own = log.clone();
        let flaky = stage_fn(move |ctx: StageContext, (): ()| {
            own.add(format!("attempt {}", ctx.attempt()));
            std::future::ready(if ctx.attempt() == 1 {
                Err("reset").transient()
            } else {
                Ok("hotel".to_owned())
            })
        });
        let retry = Retry::constant(1.millis()).no_jitter();
        let hotel = p.stage("hotel", flaky).undo(&trip, cancels(&log)).retry(retry).inputs(());
        let fails =
            stage_fn(|_, _: Arc<String>| std::future::ready(StageResult::<u32>::Err(StageExit::fail("no"))));
        let extra = p.stage("extra", fails).inputs(hotel);
        let both = stage_fn(|_, _: (Arc<String>, Option<Arc<u32>>)| std::future::ready(Ok(1_u32)));
        let both = p.stage("both", both).inputs((hotel, extra.optional()));
        let pipeline = p.build(both).expect("it builds");
        let report = report_of(pipeline.run(())).await;
        let expected = if is_tolerated { RunOutcome::CompletedWithFailures } else { RunOutcome::Failed };
        assert_eq!(report.outcome(), expected);
    }
    let lines = ["attempt 1", "attempt 2", "attempt 1", "attempt 2", "undo hotel"];
    assert_eq!(log.lines(), lines);
    let reports = reports.lock().expect("reports");
    let states = |report: &SagaReport| report.steps.iter().map(|step| step.state).collect::<Vec<_>>();
    assert_eq!(states(&reports[0]), [StepState::Failed, StepState::Done]);
    assert_eq!(states(&reports[1]), [StepState::Failed, StepState::Undone]);
}

/// A child run has a saga of its own: what completed in it stays, and the stage it stands for has an undo of its own.
#[tokio::test(start_paused = true)]
async fn a_child_run_is_undone_by_its_parents_stage() {
    let (log, (trip, reports)) = (Log::default(), trip());
    let mut p = Pipeline::builder("child");
    let flight = p.stage("flight", book(&log, "flight", 1)).undo(&trip, cancels(&log)).inputs(());
    let child = p.build(flight).expect("it builds");
    let mut p = Pipeline::builder("parent");
    let own = log.clone();
    let input = p.input();
    let flight = p
        .stage("child", child)
        .undo(&trip, move |_, booking: Arc<String>| {
            own.add(format!("undo all of {booking}"));
            std::future::ready(Ok(()))
        })
        .inputs(input);
    let fails =
        stage_fn(|_, _: Arc<String>| std::future::ready(StageResult::<u32>::Err(StageExit::fail("no"))));
    let pay = p.stage("pay", fails).inputs(flight);
    let error = error_of(p.build(pay).expect("it builds").run(())).await;
    assert_eq!(error.code(), code::STAGE_FAILED);
    assert_eq!(log.lines(), ["do flight", "undo all of flight"]);
    let ends: Vec<_> = reports.lock().expect("reports").iter().map(|report| report.end).collect();
    assert_eq!((ends, trip.open()), (vec![SagaEnd::Committed, SagaEnd::RolledBack], 0));
}

#[test]
fn nothing_is_left_at_any_poll() {
    type Lease = std::sync::Mutex<Option<Box<dyn std::any::Any + Send>>>;
    let (trip, reports) = trip();
    let mut p = Pipeline::builder("travel");
    let books = || {
        stage_fn(|ctx: StageContext, (): ()| async move {
            let ledger = Ledger::of(&ctx);
            let lease: Box<dyn std::any::Any + Send> = Box::new(ledger.acquire("a booking"));
            tokio::task::yield_now().await;
            Ok(Lease::new(Some(lease)))
        })
    };
    let undo = |_: StageContext, lease: Arc<Lease>| async move {
        tokio::task::yield_now().await;
        drop(lease.lock().expect("a lease").take());
        Ok(())
    };
    let one = p.stage("one", books()).undo(&trip, undo).inputs(());
    let two = p.stage("two", books()).undo(&trip, undo).inputs(());
    let fails = stage_fn(|_, _: (Arc<Lease>, Arc<Lease>)| async {
        tokio::task::yield_now().await;
        StageResult::<u32>::Err(StageExit::fail("no"))
    });
    let pay = p.stage("pay", fails).inputs((one, two));
    let report = Sim::cancel_at_every_poll(&p.build(pay).expect("it builds"), ()).seeds(0..2).assert_clean();
    assert!(report.polls() > 3 && report.acquired() > 0, "{report}");
    assert_eq!(trip.open(), 0);
    assert!(reports.lock().expect("reports").iter().all(|report| report.end != SagaEnd::Committed));
}

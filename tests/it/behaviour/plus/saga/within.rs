//! A saga within a stage: rolled back before the stage leaves, committed, tried again, stuck.

use std::sync::Arc;

use stageflow::{
    ErrorClass, EventClass, EventKind, FieldValue, RunOutcome, WaitReason, code,
    interceptors::Retry,
    plus::saga::{OnStuck, Saga, SagaDesk, SagaScope, SagaStuck, StepState, saga_step},
    prelude::*,
};

use super::{step, trip};
use crate::behaviour::{
    kit::{Log, error_of, pipeline, recorded, solo, within},
    plus::batch::custom,
};

const ALL: [&str; 3] = ["do a", "do b", "do c"];

#[tokio::test(start_paused = true)]
async fn committed_sagas_stay_done() {
    let log = Log::default();
    let (engine, recorder) = recorded();
    let stage = trip(&Saga::new("trip"), &log, |_| std::future::ready(Ok(7)));
    let run = within(engine.run(&solo(stage), ())).await.expect("committed");
    assert_eq!((*run.output(), log.lines()), (7, ALL.map(str::to_owned).to_vec()));
    let events = custom(&recorder);
    assert_eq!(events.len(), 1);
    assert_eq!((events[0].name(), events[0].field("done")), ("saga.committed", Some(&FieldValue::Int(3))));
}

/// Whatever way it leaves by, it is undone before the stage ends, and the way out stays what it was.
#[tokio::test(start_paused = true)]
async fn every_other_way_out_rolls_back_first() {
    type End = fn(StageContext) -> std::future::Ready<StageResult<u32>>;
    let ends: [(End, RunOutcome, code::Code); 5] = [
        (|_| std::future::ready(Err(StageExit::fail("no"))), RunOutcome::Failed, code::STAGE_FAILED),
        (|_| panic!("no"), RunOutcome::Failed, code::PANIC),
        (|_| std::future::ready(Err(StageExit::cancel("no"))), RunOutcome::Cancelled, code::CANCELLED),
        (|_| std::future::ready(Err(StageExit::deny("no"))), RunOutcome::Denied, code::DENIED),
        (|_| std::future::ready(Err(StageExit::skip("no"))), RunOutcome::Completed, code::NO_OUTPUT),
    ];
    for (end, outcome, code) in ends {
        let log = Log::default();
        let (engine, recorder) = recorded();
        let error = error_of(engine.run(&solo(trip(&Saga::new("trip"), &log, end)), ())).await;
        assert_eq!((error.outcome(), error.code()), (Some(outcome), code));
        assert_eq!(log.lines(), ["do a", "do b", "do c", "undo c", "undo b", "undo a"]);
        let names: Vec<_> = recorder.events().iter().map(|event| event.name().into_owned()).collect();
        let rolled_back =
            names.iter().position(|name| name == "saga.rolled_back").expect("it was rolled back");
        let ended = names.iter().position(|name| name.starts_with("stage.") && name != "stage.started");
        assert!(ended.is_some_and(|ended| rolled_back < ended), "{names:?}");
        assert_eq!(names.iter().filter(|name| *name == "saga.undone").count(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_begins_when_the_last_one_is_undone() {
    let log = Log::default();
    let stage = trip(&Saga::new("trip"), &log, |ctx| {
        std::future::ready(if ctx.attempt() == 1 { Err("reset").transient() } else { Ok(1) })
    });
    let retry = Retry::constant(1.millis()).no_jitter();
    let run = within(pipeline(|p| p.stage("trip", stage).retry(retry).inputs(())).run(())).await;
    run.expect("the second attempt");
    let lines = ["do a", "do b", "do c", "undo c", "undo b", "undo a", "do a", "do b", "do c"];
    assert_eq!(log.lines(), lines);
}

fn stuck(log: &Log, saga: &Saga) -> impl Stage<Input = (), Output = u32> + use<> {
    let (saga, log) = (saga.clone(), log.clone());
    stage_fn(move |ctx: StageContext, (): ()| {
        let (saga, log) = (saga.clone(), log.clone());
        async move {
            let body = |scope: SagaScope| async move {
                step(&scope, &log, "flight").await?;
                let undo = move |_| {
                    log.add("undo hotel");
                    std::future::ready(Err(StageExit::fail("no answer").class(ErrorClass::Transient)))
                };
                scope.step("hotel", async { Ok(17) }, undo).reference(|id| format!("booking {id}")).await?;
                Err(StageExit::fail("no car").class(ErrorClass::Transient))
            };
            saga.run(&ctx, body).await
        }
    })
}

#[tokio::test(start_paused = true)]
async fn a_stuck_saga_fails_for_good_and_says_what_is_left() {
    for on_stuck in [OnStuck::Stop, OnStuck::GoOn] {
        let (log, desk) = (Log::default(), SagaDesk::new(8));
        let saga = Saga::new("trip").on_stuck(on_stuck).desk(&desk);
        let (engine, recorder) = recorded();
        let retry = Retry::constant(1.millis()).max_attempts(3);
        let pipeline = pipeline(|p| p.stage("trip", stuck(&log, &saga)).retry(retry).inputs(()));
        let error = error_of(engine.run(&pipeline, ()).tenant("acme")).await;
        let failure = error.failure().expect("a failure");
        assert_eq!(
            (failure.code(), failure.class(), failure.attempts()),
            (code::SAGA_STUCK, ErrorClass::Permanent, 1)
        );
        let left = if on_stuck == OnStuck::Stop { "; it has left done flight" } else { "" };
        assert_eq!(
            failure.message(),
            format!("the saga `trip` is stuck: it could not undo hotel (booking 17){left}")
        );
        let cause = failure.cause().downcast_ref::<SagaStuck>().expect("a stuck saga");
        assert_eq!(std::error::Error::source(cause).expect("the reason").to_string(), "no car");
        let report = cause.report();
        assert_eq!(report.step("hotel").map(|step| step.undo_attempts), Some(3));
        assert_eq!(desk.reports(), std::slice::from_ref(report));
        let json = serde_json::to_value(report).expect("JSON");
        assert_eq!((&json["tenant"], &json["end"]), (&"acme".into(), &"stuck".into()));
        assert_eq!(
            (&json["steps"][1]["state"], &json["steps"][1]["reference"]),
            (&"stuck".into(), &"booking 17".into())
        );

        let mut expected = vec!["do flight", "undo hotel", "undo hotel", "undo hotel"];
        expected.extend((on_stuck == OnStuck::GoOn).then_some("undo flight"));
        assert_eq!(log.lines(), expected);
        let event =
            recorder.events().into_iter().find(|event| event.name() == "saga.stuck").expect("an event");
        assert_eq!(event.kind().class(), EventClass::Terminal);
        let EventKind::Custom(custom) = event.kind() else { panic!("{event:?}") };
        assert_eq!(custom.field("stuck"), Some(&FieldValue::Text("hotel (booking 17)".to_owned())));
    }
}

#[tokio::test(start_paused = true)]
async fn explain_says_what_is_being_undone() {
    let log = Log::default();
    let stage = trip(&Saga::new("trip"), &log, |_| std::future::ready(Err(StageExit::fail("no"))));
    let run = solo(stage).run(()).start();
    // sleeps: on paused time
    tokio::time::sleep(22.millis()).await;
    let undoes = WaitReason::Undo { saga: "trip".to_owned(), step: "b".to_owned() };
    let explained = run.explain().expect("it runs");
    assert_eq!(explained.reason("only"), Some(&undoes), "{explained}");
    assert!(explained.to_string().contains("undoes the step `b` of `trip`"), "{explained}");
    error_of(run).await;
}

#[tokio::test(start_paused = true)]
async fn a_sequence_of_typed_steps_is_a_stage() {
    let reports = Arc::new(std::sync::Mutex::new(Vec::new()));
    let told = Arc::clone(&reports);
    let log = Log::default();
    let undoes = |log: &Log| {
        let log = log.clone();
        move |_: StageContext, done: Arc<String>| {
            log.add(format!("undo {done}"));
            std::future::ready(Ok(()))
        }
    };
    let order = Saga::new("order")
        .on_end(move |report| told.lock().expect("reports").push(report.clone()))
        .first(
            "reserve",
            saga_step(|_, n: Arc<u32>| std::future::ready(Ok(format!("{n} pieces"))), undoes(&log)),
        )
        .then(
            "charge",
            saga_step(
                |_, what: Arc<String>| {
                    let is_too_much = what.starts_with('9');
                    std::future::ready(if is_too_much {
                        Err(StageExit::fail("no money"))
                    } else {
                        Ok(format!("{what}, paid"))
                    })
                },
                undoes(&log),
            ),
        )
        .then(
            "mail",
            saga_step(
                |_, what: Arc<String>| std::future::ready(Ok(what.len())),
                |_, _| std::future::ready(Ok(())),
            ),
        );
    let mut p = Pipeline::builder("shop");
    let input = p.input();
    let done = p.stage("order", order).inputs(input);
    let shop = p.build(done).expect("it builds");
    assert_eq!(*within(shop.run(3_u32)).await.expect("committed").output(), "3 pieces, paid".len());
    let error = error_of(shop.run(9)).await;
    assert_eq!(error.code(), code::STAGE_FAILED);
    assert_eq!(log.lines(), ["undo 9 pieces"]);
    let reports = reports.lock().expect("reports");
    let states: Vec<_> = reports[1].steps.iter().map(|step| step.state).collect();
    assert_eq!(states, [StepState::Undone, StepState::Failed, StepState::NotStarted]);
}

/// Each has a journal of its own.
#[tokio::test(start_paused = true)]
async fn a_hundred_sagas_at_a_time_do_not_mix() {
    let log = Log::default();
    let stage = trip(&Saga::new("trip"), &log, |ctx| {
        let fails = ctx.identity().user_id().is_some();
        std::future::ready(if fails { Err(StageExit::fail("no")) } else { Ok(1) })
    });
    let pipeline = solo(stage);
    let runs: Vec<_> = (0..100)
        .map(|n| if n % 2 == 0 { pipeline.run(()).start() } else { pipeline.run(()).user("u").start() })
        .collect();
    for (n, run) in runs.into_iter().enumerate() {
        assert_eq!(within(run).await.is_ok(), n % 2 == 0);
    }
    for name in ["a", "b", "c"] {
        let count = |line: String| log.lines().iter().filter(|known| **known == line).count();
        assert_eq!((count(format!("do {name}")), count(format!("undo {name}"))), (100, 50));
    }
}

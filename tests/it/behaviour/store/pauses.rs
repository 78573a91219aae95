//! Stages that wait for an answer from outside (issue 7, part 3).

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use stageflow::{
    Engine, Recorder, RunId, code,
    durable::{Answered, Pause},
    interceptors::Retry,
    prelude::*,
    store::MemoryStore,
};

use super::support::{Calls, chain, engine, killed, runtime};

#[derive(Serialize, Deserialize)]
struct Approval {
    by: u32,
}

const APPROVAL: Pause<Approval> = Pause::new("approval");

fn asks(calls: &Calls, pause: &Pause<Approval>) -> impl Stage<Input = Arc<u32>, Output = u32> + use<> {
    let (calls, pause) = (calls.clone(), pause.clone());
    stage_fn(move |ctx: StageContext, n: Arc<u32>| {
        calls.add(ctx.stage_name());
        let pause = pause.clone();
        async move { Ok(*n + ctx.pause(&pause).await?.by) }
    })
}

#[test]
fn a_stage_waits_for_its_answer() {
    let (store, calls) = (MemoryStore::new(), Calls::default());
    let pipeline = chain(|p, n| p.stage("ask", asks(&calls, &APPROVAL)).durable().inputs(n));
    runtime().block_on(async {
        let ours = engine(store.clone());
        let run = ours.run(&pipeline, 1).tenant("acme").start();
        let id = run.run_id().expect("it was let in");
        while ours.pauses("acme", id).await.expect("they are listed").is_empty() {
            tokio::task::yield_now().await;
        }
        let explained = run.explain().expect("it runs").to_string();
        assert!(explained.contains("waits for the answer of its pause `approval`"), "{explained}");
        let none = ours.answer("globex", id, &APPROVAL, Approval { by: 1 }).await.expect("it is asked");
        assert_eq!(none, Answered::NotWaiting, "it is no other tenant's");
        let first = ours.answer("acme", id, &APPROVAL, Approval { by: 7 }).await.expect("it is answered");
        let second = ours.answer("acme", id, &APPROVAL, Approval { by: 8 }).await.expect("it is asked");
        assert_eq!((first, second), (Answered::Taken, Answered::AlreadyAnswered));
        assert_eq!(*run.await.expect("it completes").output(), 8);
        assert!(ours.pauses("acme", id).await.expect("they are listed").is_empty());
    });
    assert_eq!(calls.of("ask"), 1);
}

#[test]
fn an_answer_that_comes_while_no_process_has_the_run_is_there_when_it_goes_on() {
    let (store, calls) = (MemoryStore::new(), Calls::default());
    let pipeline = chain(|p, n| {
        let a = p.stage("a", calls.plus_one()).durable().inputs(n);
        let one = p.stage("one", asks(&calls, &APPROVAL)).inputs(a);
        let two = p.stage("two", asks(&calls, &APPROVAL.named("second approval"))).inputs(a);
        p.stage("sum", calls.gives(|(one, two): (Arc<u32>, Arc<u32>)| *one + *two)).inputs((one, two))
    });
    let tokens = |id: RunId| {
        let store = store.clone();
        async move {
            let pauses = engine(store).pauses("acme", id).await.expect("they are listed");
            pauses.into_iter().map(|pause| pause.token).collect::<Vec<_>>()
        }
    };
    let open = calls.clone();
    let id = killed(&store, &pipeline, 1, move || open.of("one") + open.of("two") == 2);
    runtime().block_on(async {
        let mut waiting = tokens(id).await;
        waiting.sort();
        assert_eq!(waiting, ["approval", "second approval"], "several at once");
        let ours = engine(store.clone());
        for (pause, by) in [(APPROVAL, 100), (APPROVAL.named("second approval"), 1_000)] {
            let taken = ours.answer("acme", id, &pause, Approval { by }).await.expect("it is answered");
            assert_eq!(taken, Answered::Taken);
        }
        let recorder = Recorder::new();
        let next = Engine::builder().journal(store.clone()).sink(recorder.clone()).build();
        let next = next.expect("it builds");
        let run = next.resume(&pipeline, "acme", id).await.expect("it is resumable").await;
        assert_eq!(*run.expect("it completes").output(), 1_104);
        let told = |name: &str| recorder.events().iter().filter(|event| event.name() == name).count();
        assert_eq!(
            (told("pause.opened"), told("pause.answered")),
            (0, 2),
            "nobody waits for an answer that is there"
        );
    });
    assert_eq!((calls.of("a"), calls.of("one"), calls.of("two")), (1, 2, 2));
}

#[test]
fn a_pause_that_nobody_answers_ends() {
    let (store, calls) = (MemoryStore::new(), Calls::default());
    let pipeline =
        chain(|p, n| p.stage("ask", asks(&calls, &APPROVAL.expires_in(20.millis()))).durable().inputs(n));
    let real = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    real.block_on(async {
        let error = engine(store.clone()).run(&pipeline, 1).tenant("acme").await.expect_err("nobody answers");
        assert_eq!(error.code(), code::PAUSE_EXPIRED);
        let failure = error.failure().expect("a stage failed");
        assert_eq!(failure.message(), "nobody answered the pause `approval` in 20ms");
    });
}

#[test]
fn a_pause_that_has_ended_is_no_reason_to_try_again() {
    let (store, calls) = (MemoryStore::new(), Calls::default());
    let pause = APPROVAL.expires_in(20.millis());
    let pipeline = chain(|p, n| {
        p.stage("ask", asks(&calls, &pause)).retry(Retry::exponential(1.millis())).durable().inputs(n)
    });
    let real = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    real.block_on(async {
        let error = engine(store.clone()).run(&pipeline, 1).tenant("acme").await.expect_err("nobody answers");
        assert_eq!(error.code(), code::PAUSE_EXPIRED);
        assert!(!error.recoverable(), "it has ended, and stays so");
    });
    assert_eq!(calls.of("ask"), 1);
}

#[test]
fn an_answer_of_another_type_fails_the_stage_with_the_reason() {
    let (store, calls) = (MemoryStore::new(), Calls::default());
    let pipeline = chain(|p, n| p.stage("ask", asks(&calls, &APPROVAL)).durable().inputs(n));
    runtime().block_on(async {
        let ours = engine(store.clone());
        let run = ours.run(&pipeline, 1).tenant("acme").start();
        let id = run.run_id().expect("it was let in");
        while ours.pauses("acme", id).await.expect("they are listed").is_empty() {
            tokio::task::yield_now().await;
        }
        const OTHER: Pause<String> = Pause::new("approval");
        let taken = ours.answer("acme", id, &OTHER, "yes".to_owned()).await.expect("it is answered");
        assert_eq!(taken, Answered::Taken);
        let error = run.await.expect_err("it is no approval");
        assert_eq!(error.code(), code::NOT_READABLE);
    });
}

#[test]
fn without_a_journal_nobody_could_answer() {
    let calls = Calls::default();
    let mut p = Pipeline::builder("asks");
    let n = p.input();
    let asked = p.stage("ask", asks(&calls, &APPROVAL)).inputs(n);
    let pipeline = p.build(asked).expect("it builds");
    runtime().block_on(async {
        let error = pipeline.run(1).await.expect_err("it has no journal");
        assert_eq!(error.code(), code::NO_JOURNAL);
    });
}

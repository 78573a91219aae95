//! What is written of a run, and what follows when it cannot be (issue 7, part 2; rules S-10, S-26, S-32).

use std::{
    sync::{Arc, atomic::Ordering},
    task::Poll,
};

use stageflow::{
    CancelCause, Engine, Quota, Recorder, RunOutcome, StageKind, TenantQuotas, code,
    durable::{Durability, JournalErrorKind, OnLoss},
    prelude::*,
    store::MemoryStore,
    testing::{assert_completed, fails},
};

use super::support::{Calls, Door, Troubled, chain, engine, written};

#[tokio::test(start_paused = true)]
async fn a_run_with_durable_stages_is_written_from_its_beginning_to_its_end() {
    let (store, calls) = (MemoryStore::new(), Calls::default());
    let pipeline = chain(|p, n| {
        let a = p.stage("a", calls.plus_one()).durable().inputs(n);
        let b = p.stage("b", calls.plus_one()).inputs(a);
        p.stage("c", calls.plus_one()).durable().inputs(b)
    });
    let run = engine(store.clone()).run(&pipeline, 1).tenant("acme").await.expect("it completes");
    assert_eq!(*run.output(), 4);
    assert_eq!(
        written(&store, run.run_id()).await,
        [
            "attempt_started a",
            "stage_ended a",
            "attempt_started b",
            "stage_ended b",
            "attempt_started c",
            "stage_ended c",
            "run_ended"
        ]
    );
    assert!(!run.report().is_resumable());
}

#[tokio::test(start_paused = true)]
async fn without_a_durable_stage_nothing_is_written_unless_every_run_is() {
    let (store, calls) = (MemoryStore::new(), Calls::default());
    let pipeline = chain(|p, n| p.stage("a", calls.plus_one()).inputs(n));
    let quiet = engine(store.clone()).run(&pipeline, 1).tenant("acme").await.expect("it completes");
    let every = engine(Durability::new(store.clone()).every_run());
    let told = every.run(&pipeline, 1).tenant("acme").await.expect("it completes");
    assert!(every.journaled("acme", quiet.run_id()).await.expect("it is asked").is_none());
    assert_eq!(written(&store, told.run_id()).await, ["attempt_started a", "stage_ended a", "run_ended"]);
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_input_is_not_kept_does_not_say_that_it_can_be_resumed() {
    let calls = Calls::default();
    let mut p = Pipeline::builder("unkept");
    let n = p.input();
    let a = p.stage("a", calls.behind(&Door::shut())).inputs(n);
    let unkept: Pipeline<u32, u32> = p.build(a).expect("it builds");
    let ours = engine(Durability::new(MemoryStore::new()).every_run());
    let run = ours.run(&unkept, 1).tenant("acme").start();
    while calls.of("a") == 0 {
        tokio::task::yield_now().await;
    }
    assert!(ours.shutdown(1.secs()).await.resumable().is_empty());
    let error = run.await.expect_err("it was stopped");
    assert!(!error.report().expect("it ran").is_resumable());
}

#[tokio::test(start_paused = true)]
async fn nobody_reads_an_output_before_it_is_in_the_journal() {
    let (calls, door) = (Calls::default(), Door::shut());
    let journal = Troubled { door: Some(door.clone()), ..Troubled::new() };
    let pipeline = chain(|p, n| {
        let a = p.stage("a", calls.plus_one()).durable().inputs(n);
        p.stage("b", calls.plus_one()).inputs(a)
    });
    let run = engine(journal).run(&pipeline, 1).tenant("acme").start();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!((calls.of("a"), calls.of("b")), (1, 0));
    let waits = run.explain().expect("it runs").to_string();
    assert!(waits.contains("waits for the journal, which writes what it gave"), "{waits}");
    door.open();
    assert_eq!(*run.await.expect("it completes").output(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_durable_run_needs_a_journal_a_tenant_and_an_input_that_is_kept() {
    let (store, calls) = (MemoryStore::new(), Calls::default());
    let pipeline = chain(|p, n| p.stage("a", calls.plus_one()).durable().inputs(n));
    let error = pipeline.run(1).await.expect_err("it has no journal");
    assert_eq!(error.code(), code::NO_JOURNAL);
    assert_eq!(error.to_string(), "`chain` has durable stages, and the engine has no journal [NO_JOURNAL]");
    assert_eq!(format!("{error:?}"), error.to_string(), "the code is said once");

    let error = engine(store.clone()).run(&pipeline, 1).await.expect_err("it has no tenant");
    assert_eq!((error.code(), error.outcome()), (code::TENANT_REQUIRED, Some(RunOutcome::Failed)));
    let ours = engine(Durability::new(store.clone()).default_tenant("acme"));
    let run = ours.run(&pipeline, 1).await.expect("it is acme's");
    assert_eq!(run.report().snapshot().identity().tenant_id().map(stageflow::TenantId::as_str), Some("acme"));

    let mut p = Pipeline::builder("unkept");
    let n = p.input();
    let a = p.stage("a", calls.plus_one()).durable().inputs(n);
    let unkept = p.build(a).expect("it builds");
    let error = engine(store.clone()).run(&unkept, 1).tenant("acme").await.expect_err("it cannot resume");
    assert_eq!(error.code(), code::INPUT_NOT_DURABLE);

    let off = Engine::builder().journal(store).without_journal().build().expect("it builds");
    assert_completed!(off.run(&pipeline, 1).await);
    assert_eq!(calls.of("a"), 2);
}

#[tokio::test(start_paused = true)]
async fn s_26_a_guard_is_not_durable() {
    let mut p = Pipeline::builder("guarded");
    let n = p.durable_input();
    let calls = Calls::default();
    let a = p.stage("check", calls.plus_one()).kind(StageKind::Guard).durable().inputs(n);
    let error = p.build(a).expect_err("a guard decides anew");
    assert!(error.has(code::INVALID_POLICY));
    assert!(
        error.to_string().contains("guard `check` cannot be durable: a guard decides anew each time"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_dead_journal_stops_a_run_before_its_first_stage() {
    let calls = Calls::default();
    let journal = Troubled::new();
    journal.is_dead.store(true, Ordering::SeqCst);
    let pipeline = chain(|p, n| p.stage("a", calls.plus_one()).durable().inputs(n));
    let error = engine(journal).run(&pipeline, 1).tenant("acme").await.expect_err("the journal is dead");
    assert_eq!((error.code(), error.outcome()), (code::STORE_UNAVAILABLE, Some(RunOutcome::Failed)));
    assert!(error.recoverable());
    assert_eq!(calls.of("a"), 0);
    let report = error.report().expect("it was let in");
    assert_eq!(report.journal_lost().map(ToString::to_string).as_deref(), Some("the server is dead"));
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_stops_a_run_at_the_stage_whose_output_is_not_written() {
    for policy in [FailurePolicy::FailFast, FailurePolicy::Continue] {
        let calls = Calls::default();
        // The attempt of `a`, the output of `a`, the attempt of `b`, and then no more.
        let journal = Troubled::new().fails_after(3, JournalErrorKind::Full);
        let pipeline = chain(|p, n| {
            p.on_failure(policy);
            let a = p.stage("a", calls.plus_one()).durable().inputs(n);
            let b = p.stage("b", calls.plus_one()).durable().inputs(a);
            p.stage("c", calls.gives(|b: Option<Arc<u32>>| b.map_or(0, |b| *b))).inputs(b.optional())
        });
        let error = engine(journal.clone()).run(&pipeline, 1).tenant("acme").await.expect_err("it is full");
        assert_eq!(
            (error.code(), error.outcome()),
            (code::STORE_FULL, Some(RunOutcome::Failed)),
            "{policy:?}"
        );
        assert_eq!((calls.of("b"), calls.of("c")), (1, 0), "{policy:?}");
        let report = error.report().expect("it ran");
        assert!(report.is_resumable());
        let printed = report.to_string();
        assert!(printed.contains("journal lost: no space left on device [STORE_FULL]"), "{printed}");

        // With room it goes on, and `a` is not called again.
        *journal.fails.lock().expect("no test panics here") = None;
        let goes_on =
            engine(journal).resume(&pipeline, "acme", report.run_id()).await.expect("it is resumable");
        assert_eq!(*goes_on.await.expect("it completes").output(), 3);
        assert_eq!((calls.of("a"), calls.of("b")), (1, 2));
    }
}

#[tokio::test(start_paused = true)]
async fn told_to_go_on_a_run_completes_without_its_journal_and_says_so() {
    let calls = Calls::default();
    let recorder = Recorder::new();
    let journal = Troubled::new().fails_after(1, JournalErrorKind::Unavailable);
    let pipeline = chain(|p, n| {
        let a = p.stage("a", calls.plus_one()).durable().inputs(n);
        p.stage("b", calls.plus_one()).durable().inputs(a)
    });
    let engine = Engine::builder()
        .journal(Durability::new(journal).on_loss(OnLoss::GoOn))
        .sink(recorder.clone())
        .build()
        .expect("it builds");
    let run = engine.run(&pipeline, 1).tenant("acme").await.expect("it goes on");
    assert_eq!(*run.output(), 3);
    assert_eq!(
        run.report().journal_lost().map(stageflow::durable::JournalError::code),
        Some(code::STORE_UNAVAILABLE)
    );
    let lost = recorder.events().iter().filter(|event| event.name() == "journal.lost").count();
    assert_eq!(lost, 1);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_another_process_has_taken_over_stops() {
    let (calls, door) = (Calls::default(), Door::shut());
    let store = MemoryStore::new();
    let pipeline = chain(|p, n| {
        let a = p.stage("a", calls.behind(&door)).durable().inputs(n);
        p.stage("b", calls.plus_one()).durable().inputs(a)
    });
    let first = engine(store.clone());
    let run = first.run(&pipeline, 1).tenant("acme").start();
    while calls.of("a") == 0 {
        tokio::task::yield_now().await;
    }
    store.expire_leases();
    let id = run.run_id().expect("it was let in");
    let second = engine(store.clone()).resume(&pipeline, "acme", id).await.expect("its lease is over");
    door.open();
    let error = run.await.expect_err("it was taken over");
    let report = error.report().expect("it ran");
    assert_eq!(report.cancelled(), Some(CancelCause::TakenOver));
    assert_eq!(*second.await.expect("it completes").output(), 3);
    assert_eq!(calls.of("b"), 1, "only the owner of the lease goes on");
}

#[tokio::test(start_paused = true)]
async fn a_failed_run_is_written_with_its_failure_and_has_ended() {
    let store = MemoryStore::new();
    let pipeline = chain(|p, n| p.stage("a", fails::<Arc<u32>, u32>(9)).durable().inputs(n));
    let ours = engine(store.clone());
    let error = ours.run(&pipeline, 1).tenant("acme").await.expect_err("it fails");
    let id = error.report().expect("it ran").run_id();
    assert_eq!(written(&store, id).await, ["attempt_started a", "stage_ended a", "run_ended"]);
    let refused = ours.resume(&pipeline, "acme", id).await.expect_err("it has ended");
    assert_eq!(refused.code(), code::RUN_ENDED);
}

/// It goes nowhere.
#[derive(Debug)]
struct Secret;
impl serde::Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("not today"))
    }
}
impl<'de> serde::Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Ok(Self)
    }
}

#[tokio::test(start_paused = true)]
async fn an_output_that_cannot_be_written_fails_its_stage() {
    let calls = Calls::default();
    let pipeline = chain(|p, n| {
        let a = p.stage("a", calls.gives(|_: Arc<u32>| Secret)).durable().inputs(n);
        p.stage("b", calls.gives(|_: Arc<Secret>| 1)).inputs(a)
    });
    let error = engine(MemoryStore::new()).run(&pipeline, 1).tenant("acme").await.expect_err("it is no JSON");
    assert_eq!(error.code(), code::NOT_STORABLE);
    let failure = error.failure().expect("a stage failed");
    assert_eq!(
        (failure.stage(), failure.message().as_str()),
        ("a", "a `Secret` cannot be written: not today")
    );
}

#[tokio::test(start_paused = true)]
async fn dropped_and_shut_down_runs_stay_resumable_and_a_cancelled_one_does_not() {
    let (store, calls, door) = (MemoryStore::new(), Calls::default(), Door::shut());
    let pipeline = chain(|p, n| {
        let a = p.stage("a", calls.plus_one()).durable().inputs(n);
        p.stage("b", calls.behind(&door)).durable().inputs(a)
    });
    let ours = engine(store.clone());
    let mut runs = Vec::new();
    for n in 1..=3 {
        let run = ours.run(&pipeline, 1).tenant("acme").start();
        while calls.of("b") < n {
            tokio::task::yield_now().await;
        }
        runs.push((run.run_id().expect("it was let in"), run));
    }
    let ids: Vec<_> = runs.iter().map(|(id, _)| *id).collect();
    let mut runs = runs.into_iter().map(|(_, run)| run);
    drop(runs.next());
    let cancelled = runs.next().expect("there are three");
    cancelled.cancel("not wanted any more");
    let error = cancelled.await.expect_err("it was cancelled");
    assert!(!error.report().expect("it ran").is_resumable());
    let stopped = ours.wind_down(1.secs(), 1.secs()).await;
    assert_eq!(stopped.resumable(), [ids[2]], "{stopped}");

    let next = engine(store.clone());
    let left = next.unfinished("acme", None, 10).await.expect("they are listed");
    // By their ids, which are random within a millisecond.
    let mut expected = [ids[0], ids[2]];
    expected.sort();
    assert_eq!(left.iter().map(|run| run.key.run()).collect::<Vec<_>>(), expected);
    door.open();
    for id in [ids[0], ids[2]] {
        let run = next.resume(&pipeline, "acme", id).await.expect("it is resumable").await;
        assert_eq!(*run.expect("it completes").output(), 3);
    }
    assert_eq!(calls.of("a"), 3, "one for each run");
    let refused = next.resume(&pipeline, "acme", ids[1]).await.expect_err("it was cancelled for good");
    assert_eq!(refused.code(), code::RUN_ENDED);
    drop(runs);
}

#[tokio::test(start_paused = true)]
async fn wound_down_an_engine_lets_runs_end_by_themselves_first() {
    let (calls, door) = (Calls::default(), Door::shut());
    let pipeline = chain(|p, n| p.stage("a", calls.behind(&door)).durable().inputs(n));
    let ours = engine(MemoryStore::new());
    let run = ours.run(&pipeline, 1).tenant("acme").start();
    while calls.of("a") == 0 {
        tokio::task::yield_now().await;
    }
    let mut winding = Box::pin(ours.wind_down(10.secs(), 1.secs()));
    std::future::poll_fn(|cx| {
        assert!(winding.as_mut().poll(cx).is_pending());
        Poll::Ready(())
    })
    .await;
    let late = ours.run(&pipeline, 1).tenant("acme").await.expect_err("no run is let in any more");
    assert_eq!(late.code(), code::SHUTTING_DOWN);
    door.open();
    let report = winding.await;
    assert_eq!((report.ended(), report.resumable()), (1, &[][..]), "{report}");
    assert_completed!(run.await);
}

#[tokio::test(start_paused = true)]
async fn a_tenant_that_has_stored_what_it_may_begins_no_durable_run() {
    let (store, calls) = (MemoryStore::new(), Calls::default());
    let pipeline = chain(|p, n| p.stage("a", calls.plus_one()).durable().inputs(n));
    let quotas = TenantQuotas::new(Quota::new()).with("acme", Quota::new().stored_bytes(100));
    let ours = Engine::builder().journal(store).tenant_quota(quotas).build().expect("it builds");
    assert_completed!(ours.run(&pipeline, 1).tenant("acme").await);
    let error = ours.run(&pipeline, 1).tenant("acme").await.expect_err("it has stored more");
    assert_eq!((error.code(), error.outcome()), (code::QUOTA_EXCEEDED, Some(RunOutcome::Failed)));
    let failure = error.failure().expect("it was not begun").message().clone();
    assert!(failure.starts_with("tenant `acme`: "), "{failure}");
    assert_completed!(ours.run(&pipeline, 1).tenant("globex").await);
    assert_eq!(calls.of("a"), 2);
}

//! What broke durable runs once, and what could (issue 7, parts 1 and 3).

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use stageflow::{
    BackpressureMonitor, Budget, Engine, Event, EventKind, FailurePolicy, Keep, Recorder, RunOutcome,
    StageOutcome, code,
    durable::{Durability, JournalErrorKind, Pause, RunKey},
    interceptors::Retry,
    prelude::*,
    store::MemoryStore,
};

use super::{
    scripted::{Act, Op, Scripted},
    support::{Calls, Door, chain, engine, killed, runtime, written},
};

/// Whether an operation of the journal is the one that is meant.
type When = fn(&Op<'_>) -> bool;

async fn settled() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(60.secs(), what).await.expect("it does not hang")
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_the_engine_has_granted_is_written_before_it_is_read() {
    let (store, calls) = (MemoryStore::new(), Calls::default());
    let counted = calls.clone();
    let flaky = stage_fn(move |ctx: StageContext, n: Arc<u32>| {
        counted.add("flaky");
        async move { if ctx.attempt() == 1 { Err(StageExit::retry("503")) } else { Ok(*n + 1) } }
    });
    let pipeline = chain(|p, n| {
        let flaky = p.stage("flaky", flaky).durable().inputs(n);
        p.stage("last", calls.plus_one()).inputs(flaky)
    });
    let run = engine(store.clone()).run(&pipeline, 1).tenant("acme").await.expect("it completes");
    let lines = written(&store, run.run_id()).await;
    assert!(lines.contains(&"stage_ended flaky".to_owned()), "{lines:?}");
}

/// A pipeline whose child pipeline has a durable stage, and which goes on without its output.
fn around(calls: &Calls, retry: bool) -> Pipeline<u32, u32> {
    let inner = {
        let mut p = Pipeline::builder("inner");
        let n = p.input();
        let x = p.stage("x", calls.plus_one()).durable().inputs(n);
        p.build(x).expect("it builds")
    };
    chain(|p, n| {
        p.on_failure(FailurePolicy::Continue);
        let mut inner = p.stage("inner", inner);
        if retry {
            inner = inner.retry(Retry::constant(1.millis()));
        }
        let inner = inner.inputs(n);
        p.stage("last", calls.gives(|n: Option<Arc<u32>>| n.map_or(0, |n| *n))).inputs(inner.optional())
    })
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_is_lost_in_a_child_run_stops_the_whole_run() {
    for retry in [false, true] {
        let (store, calls) = (MemoryStore::new(), Calls::default());
        let journal = Scripted::new(&store, |op| match op.ends("inner/x") {
            true => Act::Fail(JournalErrorKind::Full),
            false => Act::Pass,
        });
        let pipeline = around(&calls, retry);
        let error = engine(journal).run(&pipeline, 1).tenant("acme").await.expect_err("it is full");
        assert_eq!((error.code(), error.outcome()), (code::STORE_FULL, Some(RunOutcome::Failed)), "{retry}");
        assert_eq!((calls.of("x"), calls.of("last")), (1, 0), "{retry}");
        let report = error.report().expect("it ran");
        assert!(report.is_resumable(), "{report}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_taken_over_in_a_child_run_is_told_so() {
    let (store, calls) = (MemoryStore::new(), Calls::default());
    let journal = Scripted::new(&store, |op| match op.ends("inner/x") {
        true => Act::Fail(JournalErrorKind::LeaseLost),
        false => Act::Pass,
    });
    let error = engine(journal).run(&around(&calls, false), 1).tenant("acme").await.expect_err("it is lost");
    let cancelled = error.report().expect("it ran").cancelled();
    assert_eq!(cancelled, Some(stageflow::CancelCause::TakenOver));
}

#[test]
fn a_journal_that_panics_ends_the_run_and_nothing_else() {
    let whens: [(&str, When); 5] = [
        ("begin", |op| matches!(op, Op::Begin)),
        ("attempt", |op| matches!(op, Op::Append(_)) && !op.ends("a") && !op.ends_run()),
        ("commit", |op| op.ends("b")),
        ("end", |op| op.ends_run()),
        ("release", |op| matches!(op, Op::Release)),
    ];
    for (when, is_when) in whens {
        for act in [Act::Panic, Act::PanicLater] {
            for threads in [1, 2] {
                let (store, calls) = (MemoryStore::new(), Calls::default());
                let journal = Scripted::new(&store, move |op| if is_when(&op) { act } else { Act::Pass });
                let pipeline = chain(|p, n| {
                    p.on_failure(FailurePolicy::Continue);
                    let a = p.stage("a", calls.plus_one()).durable().inputs(n);
                    let b = p.stage("b", calls.plus_one()).durable().inputs(a);
                    p.stage("c", calls.plus_one()).inputs(b)
                });
                let mut builder = tokio::runtime::Builder::new_multi_thread();
                let runtime = builder.worker_threads(threads).enable_time().build().expect("a runtime");
                let ours = engine(journal);
                let result = runtime
                    .block_on(async { soon(ours.run(&pipeline, 1).tenant("acme").start()).await })
                    .map(|run| (*run.output(), run.report().journal_lost().is_some()));
                match (when, result) {
                    ("release", Ok(result)) => assert_eq!(result, (4, false), "{when} {act:?}"),
                    ("end", Ok(result)) => assert_eq!(result, (4, true), "{when} {act:?}"),
                    (_, Err(error)) => {
                        assert_eq!(error.code(), code::STORE_UNAVAILABLE, "{when} {act:?} {error}");
                        assert_eq!(calls.of("c"), 0);
                    }
                    (_, result) => panic!("{when} {act:?}: {result:?}"),
                }
                let left = runtime.block_on(ours.shutdown(1.secs()));
                assert_eq!(left.abandoned().len(), 0, "{when} {act:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_the_journal_that_panics_when_it_is_dropped_hurts_nobody() {
    let whens: [fn(&Op<'_>) -> bool; 3] =
        [|op| matches!(op, Op::Begin), |op| op.ends("a"), |op| op.ends_run()];
    for is_when in whens {
        let (store, calls) = (MemoryStore::new(), Calls::default());
        let journal =
            Scripted::new(&store, move |op| if is_when(&op) { Act::PanicDropped } else { Act::Pass });
        let pipeline = chain(|p, n| p.stage("a", calls.plus_one()).durable().inputs(n));
        let ours = engine(journal);
        let run = ours.run(&pipeline, 1).tenant("acme").start();
        settled().await;
        run.cancel("not wanted");
        let _ended = soon(run).await;
        let left = soon(ours.shutdown(1.secs())).await;
        assert_eq!(left.abandoned().len(), 0, "{left}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_never_answers_keeps_nobody_from_ending_a_run() {
    let whens: [(&str, When); 4] = [
        ("begin", |op| matches!(op, Op::Begin)),
        ("commit", |op| op.ends("a")),
        ("end", |op| op.ends_run()),
        ("all", |_| true),
    ];
    for (when, is_when) in whens {
        for how in ["cancel", "deadline", "drop", "shutdown"] {
            let (store, calls, door) = (MemoryStore::new(), Calls::default(), Door::shut());
            let journal = Scripted::new(&store, move |op| if is_when(&op) { Act::Hang } else { Act::Pass });
            let pipeline = chain(|p, n| {
                let a = p.stage("a", calls.plus_one()).durable().inputs(n);
                p.stage("b", calls.behind(&door)).inputs(a)
            });
            let ours = engine(journal);
            let mut run = ours.run(&pipeline, 1).tenant("acme");
            if how == "deadline" {
                run = run.deadline(1.secs());
            }
            let run = run.start();
            settled().await;
            match how {
                "cancel" => run.cancel("not wanted"),
                "drop" => drop(run),
                _ => {}
            }
            let stopped = soon(ours.wind_down(30.secs(), 30.secs())).await;
            assert_eq!(stopped.abandoned().len(), 0, "{when} {how}: {stopped}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_cancelled_while_it_is_begun_does_not_come_back() {
    for (how, comes_back) in [("cancel", false), ("drop", true)] {
        let (calls, begun) = (Calls::default(), Arc::new(tokio::sync::Notify::new()));
        let store = MemoryStore::new();
        let pipeline = chain(|p, n| p.stage("a", calls.plus_one()).durable().inputs(n));
        let ours = engine(Scripted::new(&store, |_| Act::Pass).begins_after(Arc::clone(&begun)));
        let run = ours.run(&pipeline, 1).tenant("acme").start();
        let id = run.run_id().expect("it was let in");
        settled().await;
        if how == "cancel" {
            run.cancel("not wanted");
            soon(run).await.expect_err("it was cancelled");
        } else {
            drop(run);
        }
        begun.notify_one();
        settled().await;
        let again = engine(store.clone()).resume(&pipeline, "acme", id).await;
        match again {
            Ok(run) => {
                assert!(comes_back, "{how}");
                run.await.expect("it completes");
            }
            Err(error) => {
                assert!(!comes_back, "{how} {error}");
                assert_eq!(error.code(), code::RUN_ENDED, "{how}");
            }
        }
    }
}

#[test]
fn a_child_run_that_is_tried_again_does_not_fail_as_it_has_failed_before() {
    let (store, calls) = (MemoryStore::new(), Calls::default());
    let counted = calls.clone();
    let fails = stage_fn(move |_: StageContext, n: Arc<u32>| {
        let nth = counted.add("fails");
        async move {
            if nth < 3 {
                Err(StageExit::fail("503").class(stageflow::ErrorClass::Transient))
            } else {
                Ok(*n + 1)
            }
        }
    });
    let inner = {
        let mut p = Pipeline::builder("inner");
        let n = p.input();
        let x = p.stage("x", calls.plus_one()).durable().inputs(n);
        let fails = p.stage("fails", fails).durable().inputs(x);
        p.build(fails).expect("it builds")
    };
    let retry = Retry::constant(10.secs()).no_jitter().max_attempts(4);
    let pipeline = chain(|p, n| {
        let inner = p.stage("inner", inner).retry(retry).inputs(n);
        // What it writes takes along what was written before.
        let other = p
            .stage(
                "other",
                stage_fn(|_: StageContext, n: Arc<u32>| async move {
                    tokio::time::sleep(5.secs()).await;
                    Ok(*n)
                }),
            )
            .durable()
            .inputs(n);
        let last = p.stage("late", calls.plus_one()).inputs(other);
        p.stage("last", calls.gives(|(a, b): (Arc<u32>, Arc<u32>)| *a + *b)).inputs((inner, last))
    });
    let id = killed(&store, &pipeline, 1, || calls.of("late") == 1 && calls.of("fails") == 1);
    let output = runtime().block_on(async {
        let run = engine(store.clone()).resume(&pipeline, "acme", id).await.expect("it is resumable").await;
        run.map(|run| *run.output())
    });
    assert_eq!(output.expect("its third attempt completes"), 5);
    assert_eq!(calls.of("fails"), 3);
}

#[test]
fn a_stage_whose_name_has_a_slash_is_not_that_of_a_child_run() {
    let (store, calls, door) = (MemoryStore::new(), Calls::default(), Door::shut());
    let inner = {
        let mut p = Pipeline::builder("inner");
        let n = p.input();
        let b = p.stage("b", calls.gives(|n: Arc<u32>| *n + 10)).durable().inputs(n);
        let hangs = p.stage("hangs", calls.behind(&door)).inputs(b);
        p.build(hangs).expect("it builds")
    };
    let pipeline = chain(|p, n| {
        let slash = p.stage("a/b", calls.gives(|n: Arc<u32>| *n + 100)).durable().inputs(n);
        let tilde = p.stage("a~1b", calls.gives(|n: Arc<u32>| *n + 1_000)).durable().inputs(n);
        let inner = p.stage("a", inner).inputs(n);
        p.stage("last", calls.gives(|(a, b, c): (Arc<u32>, Arc<u32>, Arc<u32>)| *a + *b + *c))
            .inputs((slash, tilde, inner))
    });
    let id = killed(&store, &pipeline, 1, || calls.of("hangs") == 1 && calls.of("a~1b") == 1);
    door.open();
    let output = runtime().block_on(async {
        let ours = engine(store.clone());
        let run = ours.resume(&pipeline, "acme", id).await.expect("it is resumable").await;
        let output = *run.expect("it completes").output();
        let branch = ours.branch(&pipeline, "acme", id, "a").await.expect("it branches").await;
        assert_eq!(*branch.expect("it completes").output(), output);
        output
    });
    assert_eq!(output, 101 + 1_001 + 12);
    assert_eq!(["a/b", "a~1b", "b"].map(|stage| calls.of(stage)), [1, 1, 2]);
}

#[test]
fn a_unit_is_an_input_that_comes_back() {
    let (store, calls, door) = (MemoryStore::new(), Calls::default(), Door::shut());
    let mut p = Pipeline::builder("unit");
    let n = p.input();
    let a = p.stage("a", calls.gives(|_: Arc<()>| 1_u32)).durable().inputs(n);
    let b = p.stage("b", calls.behind(&door)).after(n).inputs(a);
    let pipeline = p.build(b).expect("it builds");
    let id = killed(&store, &pipeline, (), || calls.of("b") == 1);
    door.open();
    runtime().block_on(async {
        let run = engine(store.clone()).resume(&pipeline, "acme", id).await.expect("it is resumable").await;
        assert_eq!(*run.expect("it completes").output(), 2);
    });
    assert_eq!(calls.of("a"), 1);
}

#[test]
fn a_run_that_was_not_let_in_again_can_still_be_resumed() {
    let (store, calls, door) = (MemoryStore::new(), Calls::default(), Door::shut());
    let pipeline = chain(|p, n| p.stage("a", calls.behind(&door)).durable().inputs(n));
    let id = killed(&store, &pipeline, 1, || calls.of("a") == 1);
    runtime().block_on(async {
        let monitor =
            BackpressureMonitor::builder().max_active(1).queue_limit(1).queue_timeout(1.secs()).build();
        let busy = Engine::builder()
            .journal(store.clone())
            .backpressure(monitor.expect("the limits are right"))
            .build()
            .expect("the engine builds");
        let first = busy.run(&pipeline, 1).tenant("acme").start();
        settled().await;
        let shed = busy.resume(&pipeline, "acme", id).await.expect("it is resumable").start();
        let error = soon(shed).await.expect_err("there is no room");
        assert_eq!(error.code(), code::OVERLOADED);
        door.open();
        soon(first).await.expect("it completes");
        drop(error);
        let run = busy.resume(&pipeline, "acme", id).await.expect("it is still resumable").await;
        assert_eq!(*run.expect("it completes").output(), 2);
    });
}

#[test]
fn a_branch_has_the_durable_stages_of_a_child_run() {
    let (store, calls) = (MemoryStore::new(), Calls::default());
    let inner = {
        let mut p = Pipeline::builder("inner");
        let n = p.input();
        let x = p.stage("x", calls.plus_one()).durable().inputs(n);
        p.build(x).expect("it builds")
    };
    let pipeline = chain(|p, n| {
        let inner = p.stage("inner", inner).inputs(n);
        p.stage("last", calls.plus_one()).inputs(inner)
    });
    runtime().block_on(async {
        let ours = engine(store.clone());
        let run = ours.run(&pipeline, 1).tenant("acme").await.expect("it completes");
        let branch = ours.branch(&pipeline, "acme", run.run_id(), "last").await.expect("it branches").await;
        assert_eq!(*branch.expect("it completes").output(), 3);
    });
    assert_eq!((calls.of("x"), calls.of("last")), (1, 2));
}

#[test]
fn a_stage_that_others_only_come_after_is_not_called_again() {
    let (store, calls, door) = (MemoryStore::new(), Calls::default(), Door::shut());
    let pipeline = chain(|p, n| {
        let sent = p.stage("sent", calls.plus_one()).inputs(n);
        let kept = p.stage("kept", calls.plus_one()).durable().after(sent).inputs(n);
        p.stage("last", calls.behind(&door)).after(sent).inputs(kept)
    });
    let id = killed(&store, &pipeline, 1, || calls.of("last") == 1);
    door.open();
    runtime().block_on(async {
        let run = engine(store.clone()).resume(&pipeline, "acme", id).await.expect("it is resumable").await;
        assert_eq!(*run.expect("it completes").output(), 3);
    });
    assert_eq!(["sent", "kept", "last"].map(|stage| calls.of(stage)), [1, 1, 2]);
}

#[test]
fn a_decision_with_a_number_that_is_none_can_be_read_again() {
    let (store, calls, door) = (MemoryStore::new(), Calls::default(), Door::shut());
    let decides = stage_fn(|ctx: StageContext, n: Arc<u32>| async move {
        ctx.emit("route.scored", [("score", f64::NAN), ("best", f64::INFINITY)]);
        Ok(*n + 1)
    });
    let pipeline = chain(|p, n| {
        let a = p.stage("a", decides).durable().inputs(n);
        p.stage("b", calls.behind(&door)).inputs(a)
    });
    let id = killed(&store, &pipeline, 1, || calls.of("b") == 1);
    door.open();
    runtime().block_on(async {
        let run = engine(store.clone()).resume(&pipeline, "acme", id).await.expect("it is resumable").await;
        assert_eq!(*run.expect("it completes").output(), 3);
    });
}

const APPROVAL: Pause<u32> = Pause::new("approval");

fn asks(calls: &Calls) -> impl Stage<Input = Arc<u32>, Output = u32> + use<> {
    let calls = calls.clone();
    stage_fn(move |ctx: StageContext, n: Arc<u32>| {
        calls.add(ctx.stage_name());
        async move { Ok(*n + ctx.pause(&APPROVAL).await?) }
    })
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_while_the_pause_is_looked_at_is_not_missed() {
    let (store, calls) = (MemoryStore::new(), Calls::default());
    let gate = Arc::new(tokio::sync::Notify::new());
    let journal =
        Scripted::new(&store, |_| Act::Pass).poll_interval(3_600.secs()).pauses_after(Arc::clone(&gate));
    let pipeline = chain(|p, n| p.stage("ask", asks(&calls)).durable().inputs(n));
    let ours = engine(journal);
    let run = ours.run(&pipeline, 1).tenant("acme").start();
    let id = run.run_id().expect("it was let in");
    while ours.pauses("acme", id).await.expect("they are listed").is_empty() {
        tokio::task::yield_now().await;
    }
    ours.answer("acme", id, &APPROVAL, 7).await.expect("it is answered");
    gate.notify_one();
    assert_eq!(*soon(run).await.expect("it completes").output(), 8);
}

#[tokio::test(start_paused = true)]
async fn a_pause_outlives_a_journal_that_is_away_for_a_while() {
    let (store, calls) = (MemoryStore::new(), Calls::default());
    let away = Arc::new(AtomicBool::new(true));
    let is_away = Arc::clone(&away);
    let journal = Scripted::new(&store, move |op| match op {
        Op::PauseState if is_away.load(Ordering::SeqCst) => Act::Fail(JournalErrorKind::Unavailable),
        _ => Act::Pass,
    });
    let pipeline = chain(|p, n| p.stage("ask", asks(&calls)).durable().inputs(n));
    let ours = engine(journal);
    let run = ours.run(&pipeline, 1).tenant("acme").start();
    let id = run.run_id().expect("it was let in");
    tokio::time::sleep(1.secs()).await;
    assert!(!run.is_ended());
    away.store(false, Ordering::SeqCst);
    ours.answer("acme", id, &APPROVAL, 7).await.expect("it is answered");
    assert_eq!(*soon(run).await.expect("it completes").output(), 8);
}

#[tokio::test(start_paused = true)]
async fn whoever_has_lost_the_run_does_not_go_on_behind_a_pause() {
    let (store, calls) = (MemoryStore::new(), Calls::default());
    let pipeline = chain(|p, n| {
        let asked = p.stage("ask", asks(&calls)).inputs(n);
        let sent = p.stage("sent", calls.plus_one()).inputs(asked);
        p.stage("last", calls.plus_one()).durable().inputs(sent)
    });
    let (one, other) = (engine(store.clone()), engine(store.clone()));
    let first = one.run(&pipeline, 1).tenant("acme").start();
    let id = first.run_id().expect("it was let in");
    settled().await;
    store.expire_leases();
    let second = other.resume(&pipeline, "acme", id).await.expect("its lease is over").start();
    settled().await;
    assert_eq!(calls.of("ask"), 2);
    other.answer("acme", id, &APPROVAL, 7).await.expect("it is answered");
    assert_eq!(*soon(second).await.expect("it completes").output(), 10);
    let error = soon(first).await.expect_err("it was taken over");
    let cancelled = error.report().expect("it ran").cancelled();
    assert_eq!(cancelled, Some(stageflow::CancelCause::TakenOver));
    assert_eq!((calls.of("sent"), calls.of("last")), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_was_given_free_writes_nothing_more() {
    let (store, calls, door) = (MemoryStore::new(), Calls::default(), Door::shut());
    let kept: Arc<Mutex<Option<StageContext>>> = Arc::default();
    let keeps = Arc::clone(&kept);
    let leaks = stage_fn(move |ctx: StageContext, n: Arc<u32>| {
        *keeps.lock().expect("no test panics here") = Some(ctx);
        async move { Ok(*n) }
    });
    let pipeline = chain(|p, n| {
        let a = p.stage("a", leaks).durable().inputs(n);
        p.stage("b", calls.behind(&door)).inputs(a)
    });
    let ours = engine(store.clone());
    let run = ours.run(&pipeline, 1).tenant("acme").start();
    let id = run.run_id().expect("it was let in");
    settled().await;
    drop(run);
    settled().await;
    let ctx = kept.lock().expect("no test panics here").clone().expect("it was called");
    for _ in 0..1_000 {
        ctx.emit("route.late", [("n", 1)]);
    }
    let lines = written(&store, id).await;
    assert!(!lines.iter().any(|line| line.starts_with("decided")), "{lines:?}");
    door.open();
    let run = ours.resume(&pipeline, "acme", id).await.expect("it is free").await;
    assert_eq!(*run.expect("it completes").output(), 2);
}

#[test]
fn retries_that_were_made_are_paid_though_nothing_was_completed_since() {
    let (store, calls) = (MemoryStore::new(), Calls::default());
    let counted = calls.clone();
    let flaky = stage_fn(move |_: StageContext, _: Arc<u32>| {
        let nth = counted.add("flaky");
        async move {
            if nth == 3 {
                std::future::pending::<()>().await;
            }
            StageResult::<u32>::Err(StageExit::fail("503").class(stageflow::ErrorClass::Transient))
        }
    });
    let retry = Retry::constant(1.millis()).max_attempts(10);
    let pipeline = chain(|p, n| {
        p.budget(Budget::new().retries(0.0, 3));
        p.stage("flaky", flaky).retry(retry).durable().inputs(n)
    });
    let id = killed(&store, &pipeline, 1, || calls.of("flaky") == 3);
    runtime().block_on(async {
        let run = engine(store.clone()).resume(&pipeline, "acme", id).await.expect("it is resumable").await;
        let error = run.expect_err("all of its attempts fail");
        let budget = error.report().and_then(|report| report.budget()).expect("it has one");
        assert_eq!(budget.retries, 3, "two before, and one after");
    });
    assert_eq!(calls.of("flaky"), 5, "the first attempt in each process is no retry");
}

/// Tells when it is dropped.
struct Told(Arc<AtomicU32>);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl serde::Serialize for Told {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

thread_local! {
    static DROPPED: Arc<AtomicU32> = Arc::default();
}

impl<'de> serde::Deserialize<'de> for Told {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <()>::deserialize(deserializer)?;
        Ok(Self(DROPPED.with(Arc::clone)))
    }
}

#[test]
fn what_was_restored_leaves_with_its_last_reader() {
    let (store, calls, door) = (MemoryStore::new(), Calls::default(), Door::shut());
    let dropped = DROPPED.with(Arc::clone);
    let pipeline = chain(|p, n| {
        p.keep(Keep::Output);
        let gives = stage_fn(|_: StageContext, _: Arc<u32>| async { Ok(Told(DROPPED.with(Arc::clone))) });
        let large = p.stage("large", gives).durable().inputs(n);
        let read = p.stage("read", calls.gives(|_: Arc<Told>| 1_u32)).durable().inputs(large);
        p.stage("last", calls.behind(&door)).inputs(read)
    });
    let id = killed(&store, &pipeline, 1, || calls.of("last") == 1);
    let before = dropped.load(Ordering::SeqCst);
    runtime().block_on(async {
        let run = engine(store.clone()).resume(&pipeline, "acme", id).await.expect("it is resumable").start();
        settled().await;
        assert_eq!(calls.of("last"), 2);
        assert_eq!(dropped.load(Ordering::SeqCst), before + 1);
        door.open();
        run.await.expect("it completes");
    });
}

/// It is written, and cannot be read.
#[derive(serde::Serialize)]
struct Broken;

impl<'de> serde::Deserialize<'de> for Broken {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        panic!("no such version")
    }
}

#[test]
fn an_output_whose_reading_panics_refuses_the_run_and_gives_it_free() {
    let (store, calls, door) = (MemoryStore::new(), Calls::default(), Door::shut());
    let pipeline = chain(|p, n| {
        let a = p.stage("a", calls.gives(|_: Arc<u32>| Broken)).durable().inputs(n);
        let b = p.stage("b", calls.gives(|_: Arc<Broken>| 1)).inputs(a);
        p.stage("c", calls.behind(&door)).inputs(b)
    });
    let id = killed(&store, &pipeline, 1, || calls.of("c") == 1);
    runtime().block_on(async {
        let ours = engine(store.clone());
        for _ in 0..2 {
            let error = ours.resume(&pipeline, "acme", id).await.expect_err("it cannot be read");
            assert_eq!(error.code(), code::NOT_READABLE, "{error}");
            assert!(error.to_string().contains("no such version"), "{error}");
        }
    });
}

#[test]
fn a_runtime_that_is_gone_gives_its_runs_free() {
    let (store, calls, door) = (MemoryStore::new(), Calls::default(), Door::shut());
    let pipeline = chain(|p, n| p.stage("a", calls.behind(&door)).durable().inputs(n));
    let gone = runtime();
    let mut run = None;
    gone.block_on(async {
        run = Some(engine(store.clone()).run(&pipeline, 1).tenant("acme").start());
        settled().await;
    });
    drop(gone);
    let id = run.as_ref().and_then(stageflow::RunHandle::run_id).expect("it was let in");
    door.open();
    runtime().block_on(async {
        let resumed = engine(store.clone()).resume(&pipeline, "acme", id).await.expect("it is free").await;
        assert_eq!(*resumed.expect("it completes").output(), 2);
    });
    drop(run);
}

#[test]
fn events_of_a_resumed_run_have_one_end_for_each_stage_and_numbers_without_gaps() {
    let (store, calls, door) = (MemoryStore::new(), Calls::default(), Door::shut());
    let pipeline = chain(|p, n| {
        p.on_failure(FailurePolicy::Continue);
        let fails = stage_fn(|_, _: Arc<u32>| async { StageResult::<u32>::Err(StageExit::fail("no")) });
        let all = p.parallel("shard", 0..50, |_| calls.plus_one()).durable().inputs(n);
        let fails = p.stage("fails", fails).inputs(n);
        let blocked = p.stage("blocked", calls.plus_one()).inputs(fails);
        let not = p.stage("not", calls.plus_one()).when(n, |n| *n > 1).inputs(n);
        let sum = p
            .stage("sum", calls.gives(|all: Vec<Arc<u32>>| all.iter().map(|n| **n).sum::<u32>()))
            .durable()
            .inputs(all);
        let joined = p
            .stage("joined", calls.gives(|(n, _, _): (Arc<u32>, Option<Arc<u32>>, Option<Arc<u32>>)| *n))
            .durable()
            .inputs((sum, blocked.optional(), not.optional()));
        p.stage("last", calls.behind(&door)).inputs(joined)
    });
    let id = killed(&store, &pipeline, 1, || calls.of("last") == 1);
    door.open();
    for threads in [1, 3] {
        let recorder = Recorder::new();
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(threads).enable_time().build().expect("a runtime");
        let last = runtime.block_on(async {
            let ours = Engine::builder()
                .journal(store.clone())
                .sink(recorder.clone())
                .build()
                .expect("the engine builds");
            let run = if threads == 1 {
                ours.branch(&pipeline, "acme", id, "last").await
            } else {
                ours.resume(&pipeline, "acme", id).await
            };
            let run = run.expect("it goes on").await.expect("it completes");
            ours.flush().await;
            assert!(serde_json::to_string(&run.report()).expect("it is written").contains("restored"));
            run
        });
        assert_eq!(*last.output(), 101);
        let events = recorder.events();
        let mut numbers: Vec<_> = events.iter().map(Event::seq).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
        for stage in last.report().stages() {
            let of = events.iter().filter(|event| event.stage() == Some(&*stage.name));
            let ends: Vec<_> = of.clone().filter(|event| event.kind().is_terminal()).collect();
            assert_eq!(ends.len(), 1, "{}", stage.name);
            let restored = of.clone().filter(|event| event.name() == "stage.restored").count();
            let started = of.filter(|event| matches!(event.kind(), EventKind::StageStarted)).count();
            let of_last = usize::from(stage.name == "last");
            assert_eq!((restored, started), (1 - of_last, of_last), "{}", stage.name);
            // It is no attempt of this process: nobody waits for its start.
            assert_eq!(ends[0].attempt().is_some(), stage.name == "last", "{}", stage.name);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_durable_at_once_waits_for_nothing_and_says_so() {
    let (store, calls) = (MemoryStore::new(), Calls::default());
    let pipeline = chain(|p, n| p.stage("a", calls.plus_one()).durable().inputs(n));
    let run = engine(store).run(&pipeline, 1).tenant("acme").await.expect("it completes");
    assert_eq!(run.report().stage("a").map(|stage| stage.waits.len()), Some(0));
}

#[tokio::test(start_paused = true)]
async fn a_run_of_an_id_that_is_taken_is_refused_and_leaves_the_other_alone() {
    let (store, calls, door) = (MemoryStore::new(), Calls::default(), Door::shut());
    let pipeline = chain(|p, n| p.stage("a", calls.behind(&door)).durable().inputs(n));
    let ours = engine(Durability::new(store.clone()).on_loss(stageflow::durable::OnLoss::GoOn));
    let first = ours.run(&pipeline, 1).tenant("acme").start();
    let id = first.run_id().expect("it was let in");
    settled().await;
    let second = ours.run(&pipeline, 1).tenant("acme").with(|snapshot| snapshot.run(id)).await;
    let error = second.expect_err("there is such a run");
    assert_eq!(error.code(), code::RUN_EXISTS);
    assert!(!error.report().expect("it was let in").is_resumable());
    drop(error);
    door.open();
    assert_eq!(*first.await.expect("it completes").output(), 2);
    let key = RunKey::new("acme", id);
    assert!(stageflow::durable::Journal::load(&store, &key).await.expect("it is read").is_some());
    assert_eq!(calls.of("a"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_resume_that_is_not_waited_for_gives_the_run_free() {
    let (store, calls, door) = (MemoryStore::new(), Calls::default(), Door::shut());
    let pipeline = chain(|p, n| p.stage("a", calls.behind(&door)).durable().inputs(n));
    let run = engine(store.clone()).run(&pipeline, 1).tenant("acme").start();
    let id = run.run_id().expect("it was let in");
    settled().await;
    drop(run);
    settled().await;
    let gate = Arc::new(tokio::sync::Notify::new());
    let slow = engine(Scripted::new(&store, |_| Act::Pass).claims_after(Arc::clone(&gate)));
    let timed = tokio::time::timeout(1.secs(), slow.resume(&pipeline, "acme", id)).await;
    assert!(timed.is_err());
    gate.notify_one();
    settled().await;
    door.open();
    let run = engine(store).resume(&pipeline, "acme", id).await.expect("it is free").await;
    assert_eq!(*run.expect("it completes").output(), 2);
}

#[tokio::test(start_paused = true)]
async fn outcomes_that_are_restored_are_those_of_the_run_under_every_rule() {
    for policy in [FailurePolicy::FailFast, FailurePolicy::Continue] {
        let (store, calls) = (MemoryStore::new(), Calls::default());
        let denies = || stage_fn(|_, _: Arc<u32>| async { StageResult::<u32>::Err(StageExit::deny("no")) });
        let pipeline = chain(|p, n| {
            p.on_failure(policy);
            let denied = p.stage("denied", denies()).inputs(n);
            p.stage("last", calls.plus_one()).durable().inputs(denied)
        });
        // It dies before the end of the run is written.
        let journal = Scripted::new(&store, |op| if op.ends_run() { Act::Hang } else { Act::Pass });
        let run = engine(journal).run(&pipeline, 1).tenant("acme").start();
        let id = run.run_id().expect("it was let in");
        settled().await;
        std::mem::forget(run);
        store.expire_leases();
        let resumed = engine(store.clone()).resume(&pipeline, "acme", id).await.expect("it is resumable");
        let error = soon(resumed.start()).await.expect_err("it is denied");
        assert_eq!(error.outcome(), Some(RunOutcome::Denied), "{policy:?}");
        let outcome = error.report().and_then(|report| report.stage("denied")).map(|stage| stage.outcome);
        assert!(matches!(outcome, Some(StageOutcome::Failed(_))), "{outcome:?}");
    }
}

#[test]
fn many_stages_that_are_committed_on_many_threads_are_written_in_order() {
    const SHARDS: u32 = 2_000;
    let (store, calls) = (MemoryStore::new(), Calls::default());
    let pipeline = chain(|p, n| {
        let shards = p.parallel("shard", 0..SHARDS as usize, |_| calls.plus_one()).durable().inputs(n);
        let sum = calls.gives(|all: Vec<Arc<u32>>| all.iter().map(|n| **n).sum::<u32>());
        let sum = p.stage("sum", sum).inputs(shards);
        p.stage("last", calls.plus_one()).durable().inputs(sum)
    });
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(4).enable_time().build().expect("a runtime");
    runtime.block_on(async {
        let ours = engine(store.clone());
        let run = soon(ours.run(&pipeline, 1).tenant("acme").start()).await.expect("it completes");
        assert_eq!(*run.output(), 2 * SHARDS + 1);
        let branch = ours.branch(&pipeline, "acme", run.run_id(), "last").await.expect("it branches");
        let branch = soon(branch.start()).await.expect("it completes");
        assert_eq!(*branch.output(), 2 * SHARDS + 1);
    });
    assert_eq!((calls.of("shard-0000"), calls.of("sum"), calls.of("last")), (1, 2, 2));
}

#[tokio::test(start_paused = true)]
async fn the_time_of_a_stage_goes_on_while_its_output_is_written() {
    let (store, calls) = (MemoryStore::new(), Calls::default());
    let journal = Scripted::new(&store, |op| if op.ends("a") { Act::Hang } else { Act::Pass });
    let pipeline = chain(|p, n| {
        let a = p.stage("a", calls.plus_one()).timeout(1.secs()).durable().inputs(n);
        p.stage("b", calls.plus_one()).inputs(a)
    });
    let error = soon(engine(journal).run(&pipeline, 1).tenant("acme").start()).await.expect_err("it is slow");
    assert_eq!((error.code(), calls.of("b")), (code::STAGE_TIMEOUT, 0));
}

#[test]
fn a_child_run_waits_for_its_answer_over_the_death_of_its_process() {
    let (store, calls) = (MemoryStore::new(), Calls::default());
    let inner = {
        let mut p = Pipeline::builder("inner");
        let n = p.input();
        let x = p.stage("x", calls.plus_one()).durable().inputs(n);
        let asked = p.stage("ask", asks(&calls)).inputs(x);
        p.build(asked).expect("it builds")
    };
    let pipeline = chain(|p, n| {
        p.on_failure(FailurePolicy::Continue);
        let inner = p.stage("inner", inner).inputs(n);
        p.stage("last", calls.plus_one()).inputs(inner)
    });
    let id = killed(&store, &pipeline, 1, || calls.of("ask") == 1);
    runtime().block_on(async {
        let ours = engine(store.clone());
        let pauses = ours.pauses("acme", id).await.expect("they are listed");
        assert_eq!(pauses[0].stage, "inner/ask");
        let run = ours.resume(&pipeline, "acme", id).await.expect("it is resumable").start();
        settled().await;
        ours.answer("acme", id, &APPROVAL, 7).await.expect("it is answered");
        assert_eq!(*soon(run).await.expect("it completes").output(), 10);
    });
    assert_eq!((calls.of("x"), calls.of("ask")), (1, 2));
}

#[test]
fn inputs_that_are_joined_in_another_way_are_a_change_of_the_pipeline() {
    let (store, calls, door) = (MemoryStore::new(), Calls::default(), Door::shut());
    let built = |joined_in_one: bool| {
        chain(|p, n| {
            let [a, b, c, d] = ["a", "b", "c", "d"].map(|name| p.stage(name, calls.plus_one()).inputs(n));
            let joined = if joined_in_one {
                let one = calls.gives(|n: Arc<u32>| *n);
                p.stage("joined", one).durable().inputs(a.or(b).or(c).or(d))
            } else {
                let two = calls.gives(|(n, m): (Arc<u32>, Arc<u32>)| *n + *m);
                p.stage("joined", two).durable().inputs((a.or(b), c.or(d)))
            };
            p.stage("last", calls.behind(&door)).inputs(joined)
        })
    };
    let id = killed(&store, &built(false), 1, || calls.of("last") == 1);
    runtime().block_on(async {
        let ours = engine(store.clone());
        let error = ours.resume(&built(true), "acme", id).await.expect_err("it has changed");
        assert_eq!(error.code(), code::PIPELINE_CHANGED, "{error}");
        drop(ours.resume(&built(false), "acme", id).await.expect("it is as it was"));
    });
}

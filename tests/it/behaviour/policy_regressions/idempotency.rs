//! §18.7: one key, one call, and what comes of it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use stageflow::{
    Keep, RunOutcome, StageOutcome, code,
    interceptors::{Fingerprint, Idempotency, IdempotencyKey, InMemoryStore},
    prelude::*,
};
use tokio::time::Instant;

use super::super::kit::{error_of, idle, pipeline, within};

/// Calls that take a second, and how many there were.
#[derive(Clone, Default)]
struct Calls(Arc<AtomicU32>);

/// What a call gives, by its number.
type Script = fn(u32) -> StageResult<u32>;

impl Calls {
    fn stage(&self, script: Script) -> impl Stage<Input = Arc<u32>, Output = u32> + use<> {
        let counted = Arc::clone(&self.0);
        stage_fn(move |_: StageContext, _: Arc<u32>| {
            let call = counted.fetch_add(1, Ordering::SeqCst) + 1;
            async move {
                // sleeps: on paused time
                tokio::time::sleep(1.secs()).await;
                script(call)
            }
        })
    }

    fn count(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }
}

fn once(store: &InMemoryStore) -> Idempotency {
    Idempotency::new(store.clone()).fingerprint(|inputs| Some(Fingerprint::of(&*inputs.input::<u32>(0)?)))
}

/// A pipeline of one stage whose calls are made once for each key.
fn charge(store: &InMemoryStore, calls: &Calls, script: Script) -> Pipeline<u32, u32> {
    let mut p = Pipeline::builder("billing");
    let cents = p.input();
    let charged = p.stage("charge", calls.stage(script)).intercept(once(store)).inputs(cents);
    p.build(charged).expect("a pipeline")
}

fn key() -> IdempotencyKey {
    IdempotencyKey::new("order-17")
}

async fn output(pipeline: &Pipeline<u32, u32>, cents: u32) -> Option<u32> {
    within(pipeline.run(cents).extension(key())).await.ok().map(|run| *run.output())
}

#[tokio::test(start_paused = true)]
async fn item_188_without_a_key_calls_pass_and_nothing_is_stored() {
    let (store, calls) = (InMemoryStore::new(), Calls::default());
    let charge = charge(&store, &calls, Ok);
    for call in 1..=3 {
        assert_eq!(*charge.run(1).await.expect("it passes").output(), call);
    }
    assert!(store.is_empty());
}

#[tokio::test(start_paused = true)]
async fn item_189_a_stored_answer_is_given_without_a_call() {
    let (store, calls) = (InMemoryStore::new(), Calls::default());
    let charge = charge(&store, &calls, Ok);
    charge.run(1).extension(key()).await.expect("the first");
    let began = Instant::now();
    let again = charge.run(1).extension(key()).await.expect("it is answered");
    assert_eq!((*again.output(), began.elapsed(), calls.count(), store.len()), (1, 0.secs(), 1, 1));
    assert_eq!(again.report().stage("charge").expect("the stage").attempts, 0);
    // The store was asked with the key, not with the stage alone.
    let other = charge.run(1).extension(IdempotencyKey::new("order-18")).await.expect("another");
    assert_eq!((*other.output(), store.len()), (2, 2));
}

/// The message holds neither inputs nor their hashes: these are the callers' own.
#[tokio::test(start_paused = true)]
async fn item_190_the_same_key_with_other_inputs_is_a_mismatch() {
    let (store, calls) = (InMemoryStore::new(), Calls::default());
    let charge = charge(&store, &calls, Ok);
    assert_eq!(output(&charge, 500).await, Some(1));
    let error = error_of(charge.run(900).extension(key())).await;
    let failure = error.failure().expect("of the stage");
    assert_eq!((failure.code(), calls.count()), (code::IDEMPOTENCY_MISMATCH, 1));
    assert!(!error.recoverable());
    assert_eq!(output(&charge, 500).await, Some(1), "the answer is still there");
}

/// Decided: a fingerprint that cannot be made refuses the call; without one, the key alone decides.
#[tokio::test(start_paused = true)]
async fn item_191_missing_inputs_refuse_the_call() {
    let (store, calls) = (InMemoryStore::new(), Calls::default());
    let missing = Idempotency::new(store.clone()).fingerprint(|_| None::<Fingerprint>);
    let mut p = Pipeline::builder("billing");
    let cents = p.input();
    let charged = p.stage("charge", calls.stage(Ok)).intercept(missing).inputs(cents);
    let charge = p.build(charged).expect("a pipeline");
    error_of(charge.run(1).extension(key())).await;
    assert_eq!((calls.count(), store.len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn item_192_outputs_are_kept_for_their_time_and_failures_are_not() {
    let store = InMemoryStore::new().ttl(60.secs());
    let calls = Calls::default();
    let flaky = charge(&store, &calls, |call| if call == 1 { Err("down".into()) } else { Ok(call) });
    assert_eq!(output(&flaky, 1).await, None);
    assert!(store.is_empty());
    assert_eq!((output(&flaky, 1).await, store.len()), (Some(2), 1));
    tokio::time::sleep(59.secs()).await;
    assert_eq!(output(&flaky, 1).await, Some(2));
}

#[tokio::test(start_paused = true)]
async fn item_193_who_comes_meanwhile_waits_for_the_first_answer() {
    let (store, calls) = (InMemoryStore::new(), Calls::default());
    let charge = charge(&store, &calls, Ok);
    let began = Instant::now();
    let runs: Vec<_> = (0..20).map(|_| charge.run(1).extension(key()).start()).collect();
    for run in runs {
        assert_eq!(*within(run).await.expect("it is answered").output(), 1);
    }
    assert_eq!((calls.count(), began.elapsed()), (1, 1.secs()));
}

/// To the nanosecond of the time it was given for; there is nothing to delete by hand.
#[tokio::test(start_paused = true)]
async fn item_194_what_is_over_is_gone() {
    let store = InMemoryStore::new().ttl(60.secs());
    let calls = Calls::default();
    let charge = charge(&store, &calls, Ok);
    assert_eq!(output(&charge, 1).await, Some(1));
    tokio::time::sleep(60.secs() - Duration::from_millis(1)).await;
    assert_eq!(output(&charge, 1).await, Some(1));
    tokio::time::sleep(1.millis()).await;
    assert_eq!(output(&charge, 1).await, Some(2));
}

/// A failure, a timeout of the stage, and a panic.
#[tokio::test(start_paused = true)]
async fn item_195_a_first_that_fails_gives_the_key_free() {
    let scripts: [Script; 2] = [
        |call| if call == 1 { Err("down".into()) } else { Ok(call) },
        |call| if call == 1 { panic!("down (on purpose)") } else { Ok(call) },
    ];
    for script in scripts {
        let (store, calls) = (InMemoryStore::new(), Calls::default());
        let charge = charge(&store, &calls, script);
        assert_eq!((output(&charge, 1).await, output(&charge, 1).await), (None, Some(2)));
    }
    let (store, calls) = (InMemoryStore::new(), Calls::default());
    let mut p = Pipeline::builder("billing");
    let cents = p.input();
    let late = p.stage("charge", calls.stage(Ok)).timeout(500.millis()).intercept(once(&store)).inputs(cents);
    let late = p.build(late).expect("a pipeline");
    for call in 1..=2 {
        assert_eq!(error_of(late.run(1).extension(key())).await.code(), code::STAGE_TIMEOUT);
        assert_eq!(calls.count(), call);
    }
}

#[tokio::test(start_paused = true)]
async fn item_196_two_stages_under_one_key_both_run_w09() {
    let (store, calls) = (InMemoryStore::new(), Calls::default());
    let mut p = Pipeline::builder("billing");
    p.intercept(once(&store));
    let cents = p.input();
    let one = p.stage("one", calls.stage(|call| Ok(call * 10))).inputs(cents);
    let two = p.stage("two", calls.stage(|call| Ok(call * 100))).inputs(one);
    let both = p.build(two).expect("a pipeline");
    for _ in 0..3 {
        let run = both.run(1).keep(Keep::All).extension(key()).await.expect("it completes");
        let outputs = ["one", "two"].map(|stage| run.report().output_of::<u32>(stage).map(|output| *output));
        assert_eq!((outputs, calls.count()), ([Some(10), Some(200)], 2));
    }
}

/// The guard denies the second run, whatever the key has answered before.
#[tokio::test(start_paused = true)]
async fn item_197_a_guard_runs_under_every_key_w09() {
    let (store, calls, asked) = (InMemoryStore::new(), Calls::default(), Arc::new(AtomicU32::new(0)));
    let guard = {
        let asked = Arc::clone(&asked);
        stage_fn(move |_: StageContext, n: Arc<u32>| {
            let before = asked.fetch_add(1, Ordering::SeqCst);
            async move { if before == 0 { Ok(*n) } else { Err(StageExit::deny("not any more")) } }
        })
    };
    let mut p = Pipeline::builder("billing");
    p.intercept(once(&store));
    let cents = p.input();
    let allowed = p.stage("allowed", guard).kind(StageKind::Guard).inputs(cents);
    let charged = p.stage("charge", calls.stage(Ok)).inputs(allowed);
    let guarded = p.build(charged).expect("a pipeline");
    assert_eq!(output(&guarded, 1).await, Some(1));
    let error = error_of(guarded.run(1).extension(key())).await;
    assert_eq!((error.outcome(), asked.load(Ordering::SeqCst)), (Some(RunOutcome::Denied), 2));
}

/// An answer with parts of its own is given back whole, and is the very same each time.
#[tokio::test(start_paused = true)]
async fn item_198_and_200_the_fourth_answer_is_the_first_whole_w16() {
    #[derive(Debug, PartialEq)]
    struct Receipt {
        version: u32,
        artifacts: Vec<String>,
    }
    let makes = stage_fn(|ctx: StageContext, (): ()| async move {
        let artifacts = vec![ctx.identity().run_id().to_string(), "receipt.pdf".to_owned()];
        Ok(Receipt { version: 3, artifacts })
    });
    let store = InMemoryStore::new();
    let made = pipeline(|p| p.stage("makes", makes).intercept(Idempotency::new(store)).inputs(()));
    let first = made.run(()).extension(key()).await.expect("the first");
    assert_eq!((first.output().version, first.output().artifacts.len()), (3, 2));
    for call in 2..=4 {
        let again = made.run(()).extension(key()).await.expect("it is answered");
        assert!(std::ptr::eq(again.output(), first.output()), "call {call}");
        let report = again.report();
        assert_eq!(report.stage("makes").expect("the stage").outcome, StageOutcome::Completed, "call {call}");
    }
}

/// They are not stored, so the call is made again and says the same: as a skip and as a cancellation.
#[tokio::test(start_paused = true)]
async fn item_199_a_skip_and_a_cancellation_stay_what_they_are_w16() {
    let scripts: [(Script, RunOutcome); 2] = [
        (|_| Err(StageExit::skip("nothing to do")), RunOutcome::Failed),
        (|_| Err(StageExit::cancel("enough")), RunOutcome::Cancelled),
    ];
    for (script, _) in scripts {
        let (store, calls) = (InMemoryStore::new(), Calls::default());
        let charge = charge(&store, &calls, script);
        let mut ends = Vec::new();
        for _ in 0..3 {
            let error = error_of(charge.run(1).extension(key())).await;
            let outcome = error.report().expect("it ran").stage("charge").expect("the stage").outcome.clone();
            ends.push(format!("{:?} {outcome}", error.outcome()));
        }
        assert!(ends.iter().all(|end| *end == ends[0] && !end.contains("completed")), "{ends:?}");
        assert_eq!((calls.count(), store.len()), (3, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn item_201_a_first_that_is_cancelled_or_dropped_gives_the_key_free_w17() {
    for dropped in [false, true] {
        let (store, calls) = (InMemoryStore::new(), Calls::default());
        let charge = charge(&store, &calls, Ok);
        let first = charge.run(1).extension(key()).start();
        idle().await;
        let other = charge.run(1).extension(key()).start();
        idle().await;
        assert_eq!(calls.count(), 1);
        if dropped {
            drop(first);
        } else {
            first.cancel("changed my mind");
            error_of(first).await;
        }
        assert_eq!(*within(other).await.expect("it is the first now").output(), 2, "{dropped}");
    }
}

/// Stages beside each other hold keys of their own: none waits for another, and all are given free.
#[tokio::test(start_paused = true)]
async fn item_202_stages_beside_each_other_hold_keys_of_their_own_w17() {
    let (store, calls) = (InMemoryStore::new(), Calls::default());
    let mut p = Pipeline::builder("billing");
    p.intercept(once(&store));
    let cents = p.input();
    let parts = p.parallel("part", 0..8, |_| calls.stage(Ok)).inputs(cents);
    let sum = stage_fn(|_, all: Vec<Arc<u32>>| async move { Ok(all.iter().map(|n| **n).sum::<u32>()) });
    let sum = p.stage("sum", sum).kind(StageKind::Guard).inputs(parts);
    let wide = p.build(sum).expect("a pipeline");
    // Cut off while all eight are in flight: nothing is left behind.
    let first = wide.run(1).extension(key()).start();
    idle().await;
    assert_eq!((calls.count(), store.len()), (8, 8));
    first.cancel("changed my mind");
    error_of(first).await;
    assert!(store.is_empty());
    let began = Instant::now();
    for _ in 0..2 {
        assert_eq!(output(&wide, 1).await, Some((9..=16).sum()));
    }
    assert_eq!((began.elapsed(), calls.count(), store.len()), (1.secs(), 16, 8));
}

/// A pipeline that holds `inner` as a stage of each of these names, one after the other.
fn holding(name: &str, inner: &Pipeline<u32, u32>, stages: &[&str]) -> Pipeline<u32, u32> {
    let mut p = Pipeline::builder(name);
    let input = p.input();
    let ports: Vec<_> = stages.iter().map(|stage| p.stage(*stage, inner.clone()).inputs(input)).collect();
    let sum = stage_fn(|_, all: Vec<Arc<u32>>| async move { Ok(all.iter().map(|n| **n).sum::<u32>()) });
    let sum = p.stage("sum", sum).inputs(ports);
    p.build(sum).expect("it builds")
}

/// S-26: an answer belongs to its place, however deep, under its root pipeline, and without a tenant to its user.
#[tokio::test(start_paused = true)]
async fn s_26_an_answer_belongs_to_the_whole_way_to_its_stage_and_to_who_asks() {
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let charge =
        stage_fn(move |_, _: Arc<u32>| std::future::ready(Ok(1 + counted.fetch_add(1, Ordering::Relaxed))));
    let mut p = Pipeline::builder("inner");
    let input = p.input();
    let once = Idempotency::new(InMemoryStore::new());
    let charged = p.stage("charge", charge).intercept(once).inputs(input);
    let inner = p.build(charged).expect("it builds");
    let mid = holding("mid", &inner, &["y"]);
    let (orders, refunds) = (holding("orders", &mid, &["ada", "bob"]), holding("refunds", &mid, &["ada"]));
    let key = || IdempotencyKey::new("k");

    // Two places, two calls: 1 + 2; repeated, the same answers.
    for _ in 0..2 {
        assert_eq!(*orders.run(1).tenant("acme").extension(key()).await.expect("both run").output(), 3);
    }
    assert_eq!(*refunds.run(1).tenant("acme").extension(key()).await.expect("its own").output(), 3);
    for (user, answer) in [("ada", 4), ("bob", 5), ("ada", 4)] {
        assert_eq!(
            *inner.run(1).user(user).extension(key()).await.expect("it runs").output(),
            answer,
            "{user}"
        );
    }
}

//! What S-26 promises, run by run.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use stageflow_core::{
    ClassifyExt as _, DurationExt as _, ErrorClass, Owned, RunOutcome, StageContext, StageExit, StageKind,
    WaitReason, code, stage_fn,
};
use stageflow_dag::Pipeline;
use stageflow_exec::PipelineExt as _;
use tokio::time::Instant;

use super::kit::{Kit, Script, input, message, output, within};
use crate::{Idempotency, IdempotencyKey, InMemoryStore};

/// Gives its number.
const COUNTS: Script = Ok;

fn once() -> Idempotency {
    Idempotency::new(InMemoryStore::new())
}

#[tokio::test(start_paused = true)]
async fn s_26_a_hundred_runs_with_one_key_make_one_call() {
    let kit = Kit::new(once().required(), COUNTS);
    let began = Instant::now();
    let runs: Vec<_> = (0..100).map(|_| kit.spawn("order-17")).collect();
    for run in runs {
        assert_eq!(output(&run.await.unwrap()), Some(1));
    }
    assert_eq!((kit.calls(), began.elapsed()), (1, 1.secs()));
    assert_eq!((kit.told("idempotency.waited"), kit.told("idempotency.replayed")), (99, 99));
    // Later ones do not wait.
    let run = kit.run("order-17", 1).await;
    assert_eq!((output(&run), kit.calls(), began.elapsed()), (Some(1), 1, 1.secs()));
    assert_eq!(run.unwrap().report().stage("charge").unwrap().attempts, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn s_26_on_real_threads_as_well() {
    let kit = Kit::new(once(), COUNTS);
    let runs: Vec<_> = (0..200).map(|_| kit.spawn("order-17")).collect();
    for run in runs {
        assert_eq!(output(&run.await.unwrap()), Some(1));
    }
    assert_eq!(kit.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn s_26_the_same_key_with_another_input_is_a_mismatch_in_flight_and_later() {
    let kit = Kit::new(once(), COUNTS);
    let first = kit.spawn("order-17");
    tokio::time::sleep(500.millis()).await;
    for _ in 0..2 {
        let error = kit.run("order-17", 2).await.unwrap_err();
        assert_eq!(error.code(), code::IDEMPOTENCY_MISMATCH);
        assert_eq!(error.failure().unwrap().class(), ErrorClass::Permanent);
        tokio::time::sleep(1.secs()).await;
    }
    assert_eq!((output(&first.await.unwrap()), kit.calls()), (Some(1), 1));
    assert_eq!(kit.told("idempotency.mismatch"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_first_that_is_dropped_lets_one_of_the_others_be_the_first() {
    let kit = Kit::new(once(), COUNTS);
    let first = kit.spawn("order-17");
    tokio::time::sleep(500.millis()).await;
    let others: Vec<_> = (0..10).map(|_| kit.spawn("order-17")).collect();
    tokio::time::sleep(100.millis()).await;
    let began = Instant::now();
    first.abort();
    for other in others {
        assert_eq!(output(&other.await.unwrap()), Some(2));
    }
    assert_eq!((kit.calls(), began.elapsed()), (2, 1.secs()));
}

#[tokio::test(start_paused = true)]
async fn a_waiting_run_that_goes_disturbs_nobody() {
    let kit = Kit::new(once(), COUNTS);
    let first = kit.spawn("order-17");
    tokio::time::sleep(100.millis()).await;
    let waiting = kit.spawn("order-17");
    tokio::time::sleep(100.millis()).await;
    waiting.abort();
    assert_eq!((output(&first.await.unwrap()), output(&kit.run("order-17", 1).await)), (Some(1), Some(1)));
    assert_eq!(kit.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_gives_no_output_is_not_stored() {
    let scripts: [Script; 6] = [
        |call| if call == 1 { Err("reset").transient() } else { Ok(call) },
        |call| if call == 1 { Err(StageExit::deny("no")) } else { Ok(call) },
        |call| if call == 1 { Err(StageExit::skip("no")) } else { Ok(call) },
        |call| if call == 1 { Err(StageExit::cancel("no")) } else { Ok(call) },
        |call| if call == 1 { panic!("no (on purpose)") } else { Ok(call) },
        // Granted by the engine within the run.
        |call| if call == 1 { Err(StageExit::retry("no")) } else { Ok(call) },
    ];
    for (index, script) in scripts.into_iter().enumerate() {
        let kit = Kit::new(once(), script);
        let began = Instant::now();
        let (first, other) = (kit.spawn("order-17"), kit.spawn("order-17"));
        let ends = [output(&first.await.unwrap()), output(&other.await.unwrap())];
        assert!(ends.contains(&Some(2)) && kit.calls() == 2, "script {index}: {ends:?}");
        assert_eq!(
            began.elapsed(),
            2.secs(),
            "script {index}: the key is free at once, and not when its lease ends"
        );
        assert_eq!(output(&kit.run("order-17", 1).await), Some(2), "script {index}");
    }
}

#[tokio::test(start_paused = true)]
async fn failures_are_stored_if_asked_and_denials_never() {
    let kit = Kit::new(once().store_failures(), |_| Err(StageExit::fail("broke").hint("earn some")));
    for call in 0..3 {
        let ended = kit.run("order-17", 1).await;
        assert_eq!((message(&ended).as_str(), kit.calls()), ("broke", 1), "call {call}");
        assert_eq!(ended.unwrap_err().failure().unwrap().hint(), Some("earn some"));
    }
    assert_eq!(kit.told("idempotency.replayed"), 2);
    let scripts: [Script; 2] = [|_| Err(StageExit::deny("no")), |_| Err(StageExit::skip("no"))];
    for script in scripts {
        let kit = Kit::new(once().store_failures(), script);
        for call in 1..3 {
            assert!(kit.run("order-17", 1).await.is_err());
            assert_eq!(kit.calls(), call);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_first_that_hangs_ends_with_its_lease() {
    let store = InMemoryStore::new().lease(500.millis());
    let kit = Kit::new(Idempotency::new(store), COUNTS);
    let began = Instant::now();
    let (first, other) = (kit.spawn("order-17"), kit.spawn("order-17"));
    let first = first.await.unwrap();
    assert_eq!(began.elapsed(), 500.millis());
    assert_eq!(message(&first), "the call took longer than the lease of its idempotency key, 500ms");
    let error = first.unwrap_err();
    assert_eq!((error.code(), error.failure().unwrap().class()), (code::STAGE_TIMEOUT, ErrorClass::Timeout));
    assert!(other.await.unwrap().is_err());
    assert_eq!((kit.calls(), began.elapsed()), (2, 1.secs()));
}

#[tokio::test(start_paused = true)]
async fn tenants_pipelines_and_keys_never_share() {
    let once = once();
    let kit = Kit::new(once.clone(), COUNTS);
    let told = [kit.run_for("acme", "k").await, kit.run_for("umbrella", "k").await, kit.run("k", 1).await];
    assert_eq!(told.map(|run| output(&run)), [Some(1), Some(2), Some(3)]);
    assert_eq!(output(&kit.run_for("acme", "k").await), Some(1));
    assert_eq!(output(&kit.run("other", 1).await), Some(4));
    let elsewhere = Kit::named("refunds", StageKind::Work, once, COUNTS);
    assert_eq!((output(&elsewhere.run("k", 2).await), elsewhere.calls()), (Some(1), 1));
}

#[tokio::test(start_paused = true)]
async fn s_26_a_guard_is_never_answered_from_a_store() {
    let kit = Kit::named("billing", StageKind::Guard, once().required(), COUNTS);
    for call in 1..4 {
        assert_eq!(output(&kit.run("order-17", 1).await), Some(call));
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_key_a_run_passes_or_is_refused() {
    let kit = Kit::new(once(), COUNTS);
    assert_eq!(output(&kit.run_without_key().await), Some(1));
    assert_eq!(output(&kit.run_without_key().await), Some(2));
    assert_eq!(kit.run("", 1).await.unwrap_err().code(), code::INVALID_INPUT);
    let kit = Kit::new(once().required(), COUNTS);
    let ended = kit.run_without_key().await;
    assert_eq!((message(&ended).as_str(), kit.calls()), ("the run has no idempotency key", 0));
    assert_eq!(ended.unwrap_err().failure().unwrap().class(), ErrorClass::Invalid);
}

/// A pipeline that is used twice as a stage does its work twice, and once for each place.
#[tokio::test(start_paused = true)]
async fn the_place_of_a_child_run_is_part_of_the_key() {
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let charge = stage_fn(move |_: StageContext, n: Owned<u32>| {
        counted.fetch_add(1, Ordering::SeqCst);
        async move { Ok(n.0 * 10) }
    });
    let mut p = Pipeline::builder("charge");
    let n = p.input();
    let out = p.stage("charge", charge).intercept(once().fingerprint(input)).inputs(n);
    let child = p.build(out).unwrap();

    let mut p = Pipeline::builder("shop");
    let n = p.input();
    let one = p.stage("one", child.clone()).inputs(n);
    let two = p.stage("two", child).inputs(one);
    let shop = p.build(two).unwrap();
    for _ in 0..2 {
        let run = shop.run(1).extension(IdempotencyKey::new("order-17")).await.unwrap();
        assert_eq!((*run.output(), calls.load(Ordering::SeqCst)), (100, 2));
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_explained_and_a_first_that_is_cancelled_gives_way() {
    let kit = Kit::new(once(), COUNTS);
    let (first, other) = (kit.start("order-17"), kit.start("order-17"));
    tokio::time::sleep(500.millis()).await;
    let waits = [&first, &other].map(|run| {
        let waits = run.explain().unwrap();
        waits.waits().iter().any(|wait| wait.reason == WaitReason::Permit { limit: "idempotency", key: None })
    });
    assert_eq!(waits, [false, true]);
    first.cancel("changed my mind");
    assert_eq!(first.await.unwrap_err().outcome(), Some(RunOutcome::Cancelled));
    let began = Instant::now();
    assert_eq!((output(&within(other).await), kit.calls()), (Some(2), 2));
    assert_eq!(began.elapsed(), 1.secs(), "the key is free at once");
}

#[tokio::test(start_paused = true)]
async fn a_fingerprint_that_misses_its_input_refuses_the_call() {
    let mut p = Pipeline::builder("billing");
    let n = p.input();
    let charge = stage_fn(async |_: StageContext, n: Arc<u32>| Ok(*n));
    let once = once().fingerprint(|inputs| Some(inputs.input::<String>(0)?.len() as u64));
    let out = p.stage("charge", charge).intercept(once).inputs(n);
    let ended = p.build(out).unwrap().run(1).extension(IdempotencyKey::new("order-17")).await;
    assert_eq!(message(&ended), "the inputs are not those that the fingerprint is made of");
}

/// A fallback stands inside: what it answers is the answer.
#[cfg(feature = "fallback")]
#[tokio::test(start_paused = true)]
async fn the_answer_of_a_fallback_is_kept_if_asked_for() {
    let mut p = Pipeline::builder("billing");
    let n = p.input();
    let charge = stage_fn(async |_: StageContext, _: Arc<u32>| -> stageflow_core::StageResult<u32> {
        Err("reset".into())
    });
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let fallback = crate::Fallback::to(move |_, _, _| {
        let call = counted.fetch_add(1, Ordering::SeqCst);
        async move { Ok(call) }
    });
    let out = p.stage("charge", charge).intercept(fallback).intercept(once().store_fallbacks()).inputs(n);
    let billing = p.build(out).unwrap();
    for _ in 0..2 {
        let run = billing.run(1).extension(IdempotencyKey::new("order-17")).await.unwrap();
        assert_eq!((*run.output(), calls.load(Ordering::SeqCst)), (0, 1));
    }
}

//! Runs that are replayed from their journals, and compared (issue 7, part 3).

use std::{
    hash::{BuildHasher, RandomState},
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use stageflow::{
    Code, Engine, ErrorClass, FailurePolicy, Pipeline, RunId, RunOutcome,
    durable::{Durability, JournaledRun, RunDiff},
    interceptors::{Fallback, Retry},
    plus::router::{Route, Router},
    prelude::*,
    store::MemoryStore,
    testing::{Replay, TraceHash},
};
use tokio::runtime::{Builder, Runtime};

use super::support::{Calls, Door, chain, engine, killed, runtime};

/// Chance that no seed is the reason of: as real as a dependency's.
fn chance(of: u64) -> u64 {
    RandomState::new().hash_one(0) % of
}

async fn nap(most_micros: u64) {
    // sleeps: what takes time in production does so on a real clock.
    tokio::time::sleep(Duration::from_micros(chance(most_micros))).await;
}

fn threads() -> Runtime {
    Builder::new_multi_thread().worker_threads(4).enable_time().build().expect("a runtime")
}

/// What is there or not.
type Rest = (Option<Arc<u32>>, Option<Arc<u32>>, Option<Arc<u32>>, Option<Arc<u32>>);

/// Everything that makes the order of a run and its outcome hard to foresee. `calls` counts what costs money.
fn support(calls: &Calls, retry: Retry) -> Pipeline<u32, String> {
    let mut c = Pipeline::builder("checking");
    let text = c.input();
    let words = c
        .stage(
            "words",
            stage_fn(|_, n: Arc<u32>| async move {
                nap(500).await;
                Ok(*n + 1)
            }),
        )
        .inputs(text);
    let tone = stage_fn(|_, n: Arc<u32>| async move {
        nap(700).await;
        if chance(3) == 0 { Err(StageExit::fail("no tone").class(ErrorClass::Transient)) } else { Ok(*n * 2) }
    });
    let tone = c.stage("tone", tone).retry(retry.clone()).durable().inputs(words);
    let checking = c.build(tone).expect("it is sound");

    let mut p = Pipeline::builder("support");
    p.on_failure(FailurePolicy::Continue);
    let n = p.durable_input();
    let triage = Router::new(["fast", "careful"], |n: &u32| match n % 3 {
        0 => Some(Route::to("fast").because("a third of them")),
        _ => Some(Route::to("careful")),
    });
    let path = p.stage("triage", triage.named("triage")).inputs(n);
    let fast = p.stage("fast", stage_fn(|_, n: Arc<u32>| async move { Ok(*n) }));
    let fast = fast.when(path, |route| route.is("fast")).inputs(n);
    let asks = calls.clone();
    let careful = stage_fn(move |ctx: StageContext, n: Arc<u32>| {
        let asks = asks.clone();
        async move {
            asks.add("careful");
            nap(1_500).await;
            ctx.emit("rate.asked", [("nothing", *n)]);
            match chance(4) {
                0 => Err(StageExit::fail("busy").class(ErrorClass::Transient).code(Code::new("BUSY"))),
                1 => Err(StageExit::retry("not yet").after(Duration::from_millis(1))),
                _ => Ok(u32::try_from(chance(1_000)).expect("it is small")),
            }
        }
    });
    let careful = p.stage("careful", careful).retry(retry.clone()).durable();
    let careful = careful.when(path, |route| route.is("careful")).inputs(n);
    let search = stage_fn(|_, (): ()| async {
        nap(900).await;
        if chance(2) == 0 { Err(StageExit::fail("no index")) } else { Ok(7_u32) }
    });
    let search = p.stage("search", search).intercept(Fallback::value(0_u32)).durable().inputs(());
    let memory = stage_fn(|_, n: Arc<u32>| async move {
        nap(900).await;
        match chance(3) {
            0 => Err(StageExit::fail("forgotten")),
            1 => Err(StageExit::skip("nothing to remember")),
            _ => Ok(*n),
        }
    });
    let memory = p.stage("memory", memory).durable().inputs(n);
    let slow = stage_fn(|_, (): ()| async {
        // sleeps: the run is one of production, in real time.
        tokio::time::sleep(Duration::from_millis(if chance(2) == 0 { 60 } else { 1 })).await;
        Ok(1_u32)
    });
    let slow =
        p.stage("slow", slow).attempt_timeout(Duration::from_millis(8)).retry(retry).durable().inputs(());
    let checked = p.stage("check", checking).inputs(n);
    let parts: Vec<_> = (0..50)
        .map(|part| {
            let stage = stage_fn(move |ctx: StageContext, n: Arc<u32>| async move {
                nap(400).await;
                Ok(*n + part + u32::try_from(ctx.random_u64() % 10).expect("it is small"))
            });
            p.stage(format!("part {part}"), stage).inputs(n)
        })
        .collect();
    let sum = stage_fn(|_, parts: Vec<Arc<u32>>| async move { Ok(parts.iter().map(|n| **n).sum::<u32>()) });
    let sum = p.stage("sum", sum).inputs(parts);
    let answer = stage_fn(|_, (path, rest, sum): (Arc<u32>, Arc<Rest>, Arc<u32>)| async move {
        Ok(format!("{path} {rest:?} {sum}"))
    });
    let rest = (search.optional(), memory.optional(), slow.optional(), checked.optional());
    let rest = p.stage("rest", stage_fn(|_, rest: Rest| async move { Ok(rest) })).inputs(rest);
    let all = (fast.or(careful), rest, sum);
    let answer = p.stage("answer", answer).durable().inputs(all);
    p.build(answer).expect("it is sound")
}

fn retry() -> Retry {
    Retry::exponential(Duration::from_millis(2)).max_attempts(3)
}

/// Runs a pipeline so many times at once, on threads and in real time, and gives the journals.
fn recorded<O: Send + Sync + 'static>(pipeline: &Pipeline<u32, O>, runs: u32) -> Vec<JournaledRun> {
    threads().block_on(async {
        let engine = engine(Durability::new(MemoryStore::new()).every_run().default_tenant("acme"));
        let mut begun = Vec::new();
        for n in 0..runs {
            begun.push(engine.run(pipeline, n).start());
        }
        let mut journals = Vec::new();
        for run in begun {
            let id = run.run_id().expect("it was let in");
            let _ended = run.await;
            journals.push(engine.journaled("acme", id).await.expect("it is read").expect("it is there"));
        }
        journals
    })
}

#[test]
fn what_threads_did_is_replayed_with_the_same_hash() {
    let calls = Calls::default();
    let pipeline = support(&calls, retry());
    let runs = recorded(&pipeline, 240);
    let (asked, mut retried, mut failed, mut hashes) = (calls.of("careful"), 0, 0, Vec::new());
    for run in &runs {
        let replayed = Replay::of(run).run(&pipeline).expect("it begins");
        replayed.assert_same();
        assert_eq!(replayed.hash(), TraceHash::of_journal(run));
        assert!(replayed.diff().is_same(), "{}", replayed.diff());
        retried += run
            .entries
            .iter()
            .filter(|entry| entry.kind.decision().is_some_and(|line| line.contains("retry_scheduled")))
            .count();
        failed += u32::from(run.outcome() == Some(RunOutcome::CompletedWithFailures));
        hashes.push(replayed.hash());
    }
    hashes.sort_unstable();
    hashes.dedup();
    assert!(hashes.len() > 200, "they did it in {} orders", hashes.len());
    assert!(retried > 100 && failed > 50, "{retried} retries, {failed} runs with failures");
    assert_eq!(calls.of("careful"), asked, "nobody is asked again");
}

#[test]
fn what_if_the_retry_policy_were_another() {
    let calls = Calls::default();
    let runs = recorded(&support(&calls, retry()), 30);
    let impatient = support(&calls, Retry::exponential(Duration::from_millis(2)).max_attempts(1));
    let asked = calls.of("careful");
    let mut named = 0;
    for run in &runs {
        let replayed = Replay::of(run).what_if().run(&impatient).expect("it begins");
        let attempts = |run: &JournaledRun| RunDiff::of(run, run).stage("careful").map(|_| ());
        assert_eq!(attempts(run), None, "a run does the same as itself");
        let tried = run.entries.iter().filter(|entry| {
            entry.kind.name() == "attempt_started"
                && entry.kind.stage().is_some_and(|stage| &**stage == "careful")
        });
        match replayed.diff().stage("careful") {
            Some(diff) => {
                named += 1;
                let attempts = diff.attempts.as_ref().expect("it is tried once");
                assert!(attempts.before > 1 && attempts.after == 1, "{diff:?}");
                assert!(diff.no_longer_decided.iter().any(|line| line.starts_with("stage.retry_scheduled")));
                assert!(replayed.diff().to_string().contains("`careful`"), "{}", replayed.diff());
                // Under the order of the journal it is a mismatch, at the first retry that is not made.
                let strict = Replay::of(run).run(&impatient).expect("it begins");
                let mismatch = strict.mismatch().expect("it is not the same").to_string();
                assert!(mismatch.contains("stage.retry_"), "{mismatch}");
            }
            None => assert!(tried.count() <= 1, "{}", replayed.diff()),
        }
    }
    assert!(named > 3, "{named}");
    assert_eq!(calls.of("careful"), asked, "fewer attempts need no other answers");
}

/// A stage that asks something else than its run for chance.
#[test]
fn what_is_not_under_control_is_named() {
    let turn = Arc::new(AtomicU32::new(0));
    let routes = ["a", "b"];
    let pipeline = chain(|p, n| {
        let turn = Arc::clone(&turn);
        let router = Router::new(routes, move |_: &u32| {
            Some(Route::to(routes[turn.fetch_add(1, Ordering::Relaxed) as usize % 2]))
        });
        let path = p.stage("pick", router.named("pick")).inputs(n);
        let a = p.stage("on a", stage_fn(|_, n: Arc<u32>| async move { Ok(*n) }));
        let a = a.when(path, |route| route.is("a")).inputs(n);
        let b = p.stage("on b", stage_fn(|_, n: Arc<u32>| async move { Ok(*n + 1) }));
        let b = b.when(path, |route| route.is("b")).inputs(n);
        p.stage("last", stage_fn(|_, n: Arc<u32>| async move { Ok(*n) })).inputs(a.or(b))
    });
    let run = &recorded(&pipeline, 1)[0];
    let replayed = Replay::of(run).run(&pipeline).expect("it begins");
    let mismatch = replayed.mismatch().expect("the router decides by turns");
    let (journal, replay) = (mismatch.expected.as_deref(), mismatch.actual.as_deref());
    let decided = "pick: attempt 1 decides route.decided router=pick route=";
    assert!(journal.is_some_and(|line| line.starts_with(&format!("{decided}a "))), "{mismatch}");
    assert!(replay.is_some_and(|line| line.starts_with(&format!("{decided}b "))), "{mismatch}");
    assert_ne!(replayed.hash(), TraceHash::of_journal(run));
    let diff = replayed.diff();
    assert!(diff.stage("on b").is_some() && diff.stage("pick").is_some(), "{diff}");
    let told = std::panic::catch_unwind(AssertUnwindSafe(|| replayed.assert_same()))
        .expect_err("it is not the same");
    assert!(told.downcast_ref::<String>().is_some_and(|told| told.contains(decided)));
}

#[test]
fn a_run_that_was_killed_and_resumed_is_replayed_as_two_processes() {
    let (store, calls, door) = (MemoryStore::new(), Calls::default(), Door::shut());
    let pipeline = chain(|p, n| {
        let a = p.stage("a", calls.plus_one()).durable().inputs(n);
        let b = p.stage("b", calls.plus_one()).inputs(a);
        let tried = stage_fn(|ctx: StageContext, n: Arc<u32>| async move {
            if ctx.attempt() < 2 {
                Err(StageExit::fail("not yet").class(ErrorClass::Transient))
            } else {
                Ok(*n)
            }
        });
        let c = p.stage("c", tried).retry(retry()).durable().inputs(b);
        let d = p.stage("d", calls.behind(&door)).durable().inputs(c);
        p.stage("e", calls.plus_one()).durable().inputs(d)
    });
    let id = killed(&store, &pipeline, 1, || calls.of("d") == 1);
    door.open();
    let run = runtime().block_on(async {
        let engine = engine(store.clone());
        let run = engine.resume(&pipeline, "acme", id).await.expect("it is resumable");
        assert_eq!(run.await.expect("it completes").output(), &5);
        engine.journaled("acme", id).await.expect("it is read").expect("it is there")
    });
    assert!(run.entries.iter().any(|entry| entry.kind.name() == "resumed"));
    let before = calls.of("b");
    let replayed = Replay::of(&run).run(&pipeline).expect("it begins");
    replayed.assert_same();
    assert_eq!(replayed.hash(), TraceHash::of_journal(&run));
    assert_eq!(replayed.result().expect("it ended").as_ref().expect("it completed").output(), &5);
    assert_eq!((calls.of("a"), calls.of("d"), calls.of("e")), (1, 2, 1), "what is durable is not called");
    assert_eq!(calls.of("b"), before + 1, "what is not, is called for the process that called it");
}

#[test]
fn ends_from_outside_are_replayed() {
    let calls = Calls::default();
    let counted = calls.clone();
    let pipeline = chain(|p, n| {
        let quick = p.stage("quick", stage_fn(|_, n: Arc<u32>| async move { Ok(*n) })).inputs(n);
        let hangs = stage_fn(move |_, _: Arc<u32>| {
            counted.add("hangs");
            std::future::pending::<StageResult<u32>>()
        });
        p.stage("hangs", hangs).inputs(quick)
    });
    let (cancelled, late) = threads().block_on(async {
        let engine = engine(Durability::new(MemoryStore::new()).every_run());
        let (one, other) = (RunId::new(), RunId::new());
        let run = engine.run(&pipeline, 1).tenant("acme").run(one).start();
        while calls.of("hangs") == 0 {
            // sleeps: until the stage is called that hangs.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        run.cancel("enough");
        let _cancelled = run.await;
        let run = engine.run(&pipeline, 1).tenant("acme").run(other).deadline(Duration::from_millis(20));
        let _late = run.await;
        let load = async |id| engine.journaled("acme", id).await.expect("it is read").expect("it is there");
        (load(one).await, load(other).await)
    });
    for (run, outcome) in [(&cancelled, RunOutcome::Cancelled), (&late, RunOutcome::TimedOut)] {
        assert_eq!(run.outcome(), Some(outcome));
        let replayed = Replay::of(run).run(&pipeline).expect("it begins");
        replayed.assert_same();
        assert_eq!(replayed.hash(), TraceHash::of_journal(run));
        assert_eq!(replayed.journal().outcome(), Some(outcome));
    }
}

#[test]
fn a_repaired_stage_is_tried_on_the_run_that_it_failed() {
    let divides = |by: fn(u32) -> Option<u32>| {
        let mut p = Pipeline::builder("divides");
        let n = p.input();
        let stage = stage_fn(move |_, n: Arc<u32>| async move {
            by(*n).ok_or_else(|| StageExit::fail("division by zero"))
        });
        let half = p.stage("half", stage).inputs(n);
        let last = p.stage("last", stage_fn(|_, n: Arc<u32>| async move { Ok(*n + 1) })).inputs(half);
        p.build(last).expect("it is sound")
    };
    let broken = divides(|n| 12_u32.checked_div(n));
    let run = threads().block_on(async {
        let engine = engine(Durability::new(MemoryStore::new()).every_run().default_tenant("acme"));
        let run = engine.run(&broken, 0).start();
        let id = run.run_id().expect("it was let in");
        let _failed = run.await;
        engine.journaled("acme", id).await.expect("it is read").expect("it is there")
    });
    let refused = Replay::of(&run).run(&broken).expect_err("its input is not in the journal");
    assert_eq!(refused.reason().code().as_str(), "PIPELINE_CHANGED");
    let replayed = Replay::of(&run).input(0_u32).run(&broken).expect("it begins");
    replayed.assert_same();

    let repaired = divides(|n| Some(12_u32.checked_div(n).unwrap_or(0)));
    let again = Replay::of(&run).input(0_u32).run(&repaired).expect("it begins");
    again.assert_same();
    let tried = Replay::of(&run).input(0_u32).rerun(["half"]).run(&repaired).expect("it begins");
    assert_eq!(tried.result().expect("it ended").as_ref().expect("it completes").output(), &1);
    let mismatch = tried.mismatch().expect("it does not fail any more").to_string();
    assert!(mismatch.contains("half: failed with division by zero"), "{mismatch}");
    assert!(mismatch.contains("half: completed after 1 attempts"), "{mismatch}");
}

#[tokio::test]
async fn a_replay_in_a_runtime_has_a_thread_of_its_own() {
    let pipeline = chain(|p, n| p.stage("one", stage_fn(|_, n: Arc<u32>| async move { Ok(*n) })).inputs(n));
    let engine = Engine::builder()
        .journal(Durability::new(MemoryStore::new()).every_run())
        .build()
        .expect("it builds");
    let id = RunId::new();
    engine.run(&pipeline, 1).tenant("acme").run(id).await.expect("it completes");
    let run = engine.journaled("acme", id).await.expect("it is read").expect("it is there");
    Replay::of(&run).run(&pipeline).expect("it begins").assert_same();
}

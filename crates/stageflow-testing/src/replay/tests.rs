//! Replays of small runs, with the order and the times that are forced.

mod kept;

use std::{
    collections::BTreeSet,
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use stageflow_core::{
    Code, ErrorClass, FailurePolicy, RunId, RunOutcome, StageContext, StageExit, StageResult,
    durable::{AttemptEnd, EntryKind, JournaledRun, RunKey, StageEnd},
    stage_fn,
};
use stageflow_dag::{Builder, Pipeline, Port};
use stageflow_exec::EngineBuilder;
use tokio::time::{Instant, sleep};

use self::kept::{recorded, recorded_with};
use super::{Replay, script::acts};
use crate::{fails, trace::TraceHash};

fn chain(build: impl FnOnce(&mut Builder<u32>, Port<u32>) -> Port<u32>) -> Pipeline<u32, u32> {
    let mut p = Pipeline::builder("chain");
    p.on_failure(FailurePolicy::Continue);
    let n = p.durable_input();
    let last = build(&mut p, n);
    p.build(last).expect("it is sound")
}

fn same(run: &JournaledRun, pipeline: &Pipeline<u32, u32>) {
    let replayed = Replay::of(run).run(pipeline).expect("it begins");
    replayed.assert_same();
    assert_eq!(replayed.hash(), TraceHash::of_journal(run));
    assert!(replayed.diff().is_same(), "{}", replayed.diff());
}

async fn plus_one(_: StageContext, n: Arc<u32>) -> StageResult<u32> {
    Ok(*n + 1)
}

#[test]
fn a_run_is_replayed_to_the_same_hash() {
    let pipeline = chain(|p, n| {
        let a = p.stage("a", stage_fn(plus_one)).inputs(n);
        p.stage("b", stage_fn(plus_one)).durable().inputs(a)
    });
    let run = recorded(&pipeline, 1);
    assert_eq!(run.outcome(), Some(RunOutcome::Completed));
    same(&run, &pipeline);
}

#[test]
fn stages_that_race_are_replayed_in_the_order_in_which_they_ended() {
    // On the clock of the machine, and on its threads: which is first is another thing each time.
    let pipeline = chain(|p, n| {
        let race = |_: StageContext, n: Arc<u32>| async move {
            sleep(Duration::from_millis(RandomState::new().hash_one(0) % 4)).await;
            Ok(*n)
        };
        let all: Vec<_> =
            (0..20).map(|i| p.stage(format!("racer {i}"), stage_fn(race)).durable().inputs(n)).collect();
        p.stage("all", stage_fn(|_, all: Vec<Arc<u32>>| async move { Ok(*all[0]) })).inputs(all)
    });
    let mut hashes = BTreeSet::new();
    let (mut late, mut all) = (0, 0);
    for n in 0..50 {
        let run = recorded(&pipeline, n);
        same(&run, &pipeline);
        hashes.insert(TraceHash::of_journal(&run));
        let replayed = Replay::of(&run).run(&pipeline).expect("it begins");
        assert_eq!(replayed.early(), 0, "each waits for its turn");
        for (then, now) in run.entries.iter().zip(replayed.journal().entries.iter()) {
            // Timers go by milliseconds.
            late += u32::from(then.at.abs_diff(now.at) > 2_000_000);
            all += 1;
        }
    }
    // The machine may have stopped once between two entries.
    assert!(late * 10 < all, "{late} of {all} are at another time");
    assert!(hashes.len() > 25, "{} orders in 50 runs", hashes.len());
}

#[test]
fn attempts_are_called_in_the_order_in_which_they_began() {
    let order = Arc::new(Mutex::new(Vec::new()));
    let pipeline = chain(|p, n| {
        let mut all = Vec::new();
        for i in 0..10 {
            let first = |_: StageContext, n: Arc<u32>| async move {
                sleep(Duration::from_millis(RandomState::new().hash_one(0) % 6)).await;
                Ok(*n)
            };
            let first = p.stage(format!("first {i}"), stage_fn(first)).inputs(n);
            let order = Arc::clone(&order);
            let second = stage_fn(move |ctx: StageContext, n: Arc<u32>| {
                order.lock().expect("no test panics here").push(ctx.stage_name().to_owned());
                async move { Ok(*n) }
            });
            all.push(p.stage(format!("second {i}"), second).inputs(first));
        }
        p.stage("all", stage_fn(|_, all: Vec<Arc<u32>>| async move { Ok(*all[0]) })).inputs(all)
    });
    for n in 0..20 {
        let run = recorded(&pipeline, n);
        order.lock().expect("no test panics here").clear();
        same(&run, &pipeline);
        let began = run.entries.iter().filter_map(|entry| match &entry.kind {
            EntryKind::AttemptStarted { stage, .. } if stage.starts_with("second") => Some(stage.to_string()),
            _ => None,
        });
        assert_eq!(*order.lock().expect("no test panics here"), began.collect::<Vec<_>>());
    }
}

#[test]
fn a_hash_is_that_of_what_was_done_in_its_order() {
    let pipeline = chain(|p, n| {
        let a = p.stage("a", stage_fn(plus_one)).inputs(n);
        p.stage("b", stage_fn(plus_one)).inputs(a)
    });
    let run = recorded(&pipeline, 1);
    let hash = TraceHash::of_journal(&run);
    let mut later = run.clone();
    for entry in &mut later.entries {
        entry.at += 7_000_000;
        if let EntryKind::StageEnded { took, .. } = &mut entry.kind {
            *took *= 2;
        }
    }
    later.header.key = RunKey::new("acme", RunId::new());
    assert_eq!(TraceHash::of_journal(&later), hash);
    let mut swapped = run.clone();
    swapped.entries.swap(1, 2);
    assert_ne!(TraceHash::of_journal(&swapped), hash);
    let mut shorter = run;
    shorter.entries.pop();
    assert_ne!(TraceHash::of_journal(&shorter), hash);
}

#[test]
fn failures_keep_codes_and_classes_that_the_engine_does_not_know() {
    let pipeline = chain(|p, n| {
        let busy = stage_fn(|_, _: Arc<u32>| async {
            Err::<u32, _>(StageExit::fail("no room").code(Code::new("MY_BUSY")).class(ErrorClass::Invalid))
        });
        p.stage("busy", busy).inputs(n)
    });
    let run = recorded(&pipeline, 1);
    let replayed = Replay::of(&run).run(&pipeline).expect("it begins");
    replayed.assert_same();
    let failed = replayed.journal().entries.iter().find_map(|entry| match &entry.kind {
        EntryKind::StageEnded { end: StageEnd::Failed(failure), .. } => Some(failure.clone()),
        _ => None,
    });
    let failed = failed.expect("it failed");
    assert_eq!((&*failed.code, failed.class, &*failed.message), ("MY_BUSY", ErrorClass::Invalid, "no room"));
}

#[test]
fn a_stage_that_asks_for_retries_waits_as_long_in_a_replay() {
    let pipeline = chain(|p, n| {
        let stage = stage_fn(|ctx: StageContext, n: Arc<u32>| async move {
            if ctx.attempt() < 3 { Err(StageExit::retry("not yet")) } else { Ok(*n) }
        });
        p.stage("again", stage).inputs(n)
    });
    let run = recorded(&pipeline, 1);
    let asked = run
        .entries
        .iter()
        .filter(|entry| matches!(entry.kind, EntryKind::AttemptEnded { end: AttemptEnd::Retry { .. }, .. }));
    assert_eq!(asked.count(), 2);
    same(&run, &pipeline);
}

#[test]
fn an_attempt_that_timed_out_times_out_again() {
    let pipeline = chain(|p, n| {
        let hangs = stage_fn(|_, _: Arc<u32>| std::future::pending::<StageResult<u32>>());
        let hangs = p.stage("hangs", hangs).timeout(Duration::from_millis(3)).inputs(n);
        p.stage("last", stage_fn(|_, n: Option<Arc<u32>>| async move { Ok(n.map_or(0, |n| *n)) }))
            .inputs(hangs.optional())
    });
    let run = recorded(&pipeline, 1);
    assert_eq!(run.outcome(), Some(RunOutcome::CompletedWithFailures));
    same(&run, &pipeline);
}

#[test]
fn limits_are_replayed_with_whoever_was_first() {
    let pipeline = chain(|p, n| {
        let nap = |_: StageContext, n: Arc<u32>| async move {
            sleep(Duration::from_micros(300)).await;
            Ok(*n)
        };
        let all: Vec<_> = (0..12).map(|i| p.stage(format!("s{i}"), stage_fn(nap)).inputs(n)).collect();
        p.max_in_flight(2);
        p.stage("all", stage_fn(|_, all: Vec<Arc<u32>>| async move { Ok(*all[0]) })).inputs(all)
    });
    let furnish = |engine: EngineBuilder| engine.max_in_flight(3);
    for n in 0..20 {
        let run = recorded_with(furnish, &pipeline, n);
        let replayed = Replay::of(&run).furnish(furnish).run(&pipeline).expect("it begins");
        replayed.assert_same();
    }
}

#[test]
fn the_first_failure_ends_the_run_after_what_was_under_way() {
    let mut p = Pipeline::builder("fast");
    let n = p.durable_input();
    let fails = p.stage("fails", fails::<Arc<u32>, u32>(1)).inputs(n);
    let race = |_: StageContext, n: Arc<u32>| async move { Ok(*n) };
    let mut all: Vec<_> = (0..40).map(|i| p.stage(format!("s{i}"), stage_fn(race)).inputs(n)).collect();
    all.push(fails);
    let last = p.stage("all", stage_fn(|_, all: Vec<Arc<u32>>| async move { Ok(*all[0]) })).inputs(all);
    let pipeline = p.build(last).expect("it is sound");
    for n in 0..50 {
        same(&recorded(&pipeline, n), &pipeline);
    }
}

#[test]
fn what_a_stage_decides_by_itself_is_named() {
    let turns = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&turns);
    let pipeline = chain(|p, n| {
        let decides = stage_fn(move |ctx: StageContext, n: Arc<u32>| {
            ctx.emit("route.decided", [("turn", counted.fetch_add(1, Ordering::Relaxed))]);
            async move { Ok(*n) }
        });
        let decided = p.stage("decides", decides).inputs(n);
        p.stage("last", stage_fn(plus_one)).inputs(decided)
    });
    let run = recorded(&pipeline, 1);
    let replayed = Replay::of(&run).run(&pipeline).expect("it begins");
    let expected = "entry 2 is another
  journal: decides: attempt 1 decides route.decided turn=0
  replay:  decides: attempt 1 decides route.decided turn=1";
    assert_eq!(replayed.mismatch().expect("it is another turn").to_string(), expected);
    assert_eq!(replayed.journal().outcome(), Some(RunOutcome::Completed), "it comes to its end all the same");
}

#[test]
fn an_attempt_that_ended_after_its_time_does_so_again() {
    // The thread is busy when the time of the attempt is up, and looks at its end first.
    let pipeline = chain(|p, n| {
        let late = stage_fn(|_, n: Arc<u32>| async move {
            tokio::task::yield_now().await;
            let busy = Instant::now();
            while busy.elapsed() < Duration::from_millis(15) {
                std::hint::spin_loop();
            }
            Ok(*n)
        });
        p.stage("late", late).attempt_timeout(Duration::from_millis(5)).durable().inputs(n)
    });
    let run = recorded(&pipeline, 1);
    assert_eq!(run.outcome(), Some(RunOutcome::Completed));
    same(&run, &pipeline);
}

#[test]
fn a_pipeline_in_the_place_of_a_stage_fails_with_its_stage() {
    let inner = chain(|p, n| {
        let first = p.stage("first", stage_fn(plus_one)).inputs(n);
        p.stage("fails", fails::<Arc<u32>, u32>(9)).inputs(first)
    });
    let pipeline = chain(|p, n| {
        let inner = p.stage("inner", inner).inputs(n);
        p.stage("last", stage_fn(|_, n: Option<Arc<u32>>| async move { Ok(n.map_or(7, |n| *n)) }))
            .inputs(inner.optional())
    });
    let run = recorded(&pipeline, 1);
    let stages: BTreeSet<_> =
        run.entries.iter().filter_map(|entry| entry.kind.stage()).map(|it| &**it).collect();
    assert_eq!(stages.into_iter().collect::<Vec<_>>(), ["inner", "inner/fails", "inner/first", "last"]);
    same(&run, &pipeline);
}

#[test]
fn conditions_that_panic_end_the_run_together() {
    let mut p = Pipeline::builder("conditions");
    let n = p.durable_input();
    let mut all: Vec<_> = (0..40).map(|i| p.stage(format!("s{i}"), stage_fn(plus_one)).inputs(n)).collect();
    for i in 0..3 {
        let panics = p.stage(format!("panics {i}"), stage_fn(plus_one));
        all.push(panics.when(n, |_| panic!("on purpose")).inputs(n));
    }
    let last = p.stage("all", stage_fn(|_, all: Vec<Arc<u32>>| async move { Ok(*all[0]) })).inputs(all);
    let pipeline = p.build(last).expect("it is sound");
    for n in 0..30 {
        same(&recorded(&pipeline, n), &pipeline);
    }
}

#[test]
fn a_hanging_replay_gives_up() {
    let of = |hangs: bool| {
        chain(|p, n| {
            let stage = stage_fn(move |_, n: Arc<u32>| async move {
                if hangs {
                    std::future::pending::<()>().await;
                }
                Ok(*n)
            });
            p.stage("only", stage).inputs(n)
        })
    };
    let run = recorded(&of(false), 1);
    let replayed = Replay::of(&run).time_limit(Duration::from_secs(60)).run(&of(true)).expect("it begins");
    let mismatch = replayed.mismatch().expect("it hangs");
    assert_eq!(mismatch.expected.as_deref().map(|line| line.starts_with("only: completed")), Some(true));
    assert_eq!((mismatch.place, &mismatch.actual), (2, &None));
    assert!(replayed.result().is_none());
}

#[test]
fn what_if_takes_as_long_as_it_took() {
    let pipeline = chain(|p, n| {
        let slow = stage_fn(|_, n: Arc<u32>| async move {
            sleep(Duration::from_millis(30)).await;
            Ok(*n)
        });
        let slow = p.stage("slow", slow).durable().inputs(n);
        p.stage("last", stage_fn(plus_one)).after(slow).inputs(n)
    });
    let run = recorded(&pipeline, 1);
    let strict = chain(|p, n| {
        let slow = p.stage("slow", stage_fn(plus_one)).durable().timeout(Duration::from_millis(20)).inputs(n);
        p.stage("last", stage_fn(plus_one)).after(slow).inputs(n)
    });
    let what_if = Replay::of(&run).what_if().run(&strict).expect("it begins");
    assert!(what_if.mismatch().is_none());
    let slow = what_if.diff().stage("slow").expect("it has no time any more");
    let end = slow.end.as_ref().expect("it ends in another way");
    assert!(end.before == "completed" && end.after.starts_with("failed [STAGE_TIMEOUT]"), "{end:?}");
    let same = Replay::of(&run).what_if().run(&pipeline).expect("it begins");
    assert!(same.diff().is_same(), "{}", same.diff());
    let took = &same.diff().times.iter().find(|times| times.stage == "slow").expect("both have it").took;
    assert!(took.after >= Duration::from_millis(29), "{took:?}");
}

#[test]
fn a_journal_has_an_act_for_each_process() {
    let pipeline = chain(|p, n| p.stage("only", stage_fn(plus_one)).inputs(n));
    let mut run = recorded(&pipeline, 1);
    let mut resumed = run.entries[0].clone();
    (resumed.kind, resumed.at) = (EntryKind::Resumed, resumed.at + 5_000_000_000);
    run.entries.insert(1, resumed);
    let acts = acts(&run, false);
    let of: Vec<_> =
        acts.iter().map(|act| (act.before.entries.len(), act.steps.len(), act.is_last)).collect();
    assert_eq!(of, [(0, 1, false), (1, 2, true)]);
    assert!(acts[1].base >= Duration::from_secs(5) && acts[1].steps[0].at == Duration::ZERO);
    assert_eq!(super::script::acts(&run, true).len(), 1);
}

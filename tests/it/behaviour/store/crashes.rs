//! A process that dies before or after any of the operations of its journal (issue 7, part 3).

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use stageflow::{
    FailurePolicy, RunId, StageInput,
    durable::{EntryKind, StageEnd},
    prelude::*,
    store::MemoryStore,
};
use tokio::{runtime::Runtime, sync::Notify};

use super::{
    scripted::{Act, Op, Scripted},
    support::{engine, runtime, written},
};

/// When a process dies: at which operation of its journal, and whether that is done before.
#[derive(Clone, Copy, Debug)]
struct Death {
    at: u32,
    is_done: bool,
}

/// What is known over all processes.
#[derive(Clone, Default)]
struct Witness(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    /// The durable stages whose outputs were acknowledged.
    acked: HashSet<String>,
    calls: u32,
    twice: Vec<String>,
}

impl Witness {
    fn called(&self, path: &str) {
        let mut seen = self.0.lock().expect("no test panics here");
        seen.calls += 1;
        if seen.acked.contains(path) {
            seen.twice.push(path.to_owned());
        }
    }

    fn stage<I, O, F>(&self, path: &'static str, give: F) -> impl Stage<Input = I, Output = O> + use<I, O, F>
    where
        I: StageInput,
        O: Send + Sync + 'static,
        F: Fn(I, u32) -> StageResult<O> + Copy + Send + Sync + 'static,
    {
        let seen = self.clone();
        stage_fn(move |ctx: StageContext, input: I| {
            seen.called(path);
            async move {
                // Others get their turn, so that a process has more than one thing under way when it dies.
                tokio::task::yield_now().await;
                give(input, ctx.attempt())
            }
        })
    }
}

/// Retries, a branch, a join, an optional input of what failed, a child pipeline, and stages that are not durable between those that are.
fn pipeline(seen: &Witness) -> Pipeline<u32, u32> {
    let inner = {
        let mut p = Pipeline::builder("inner");
        let n = p.input();
        let x = p.stage("x", seen.stage("inner/x", |n: Arc<u32>, _| Ok(*n + 1))).durable().inputs(n);
        let y = p.stage("y", seen.stage("inner/y", |n: Arc<u32>, _| Ok(*n * 2))).inputs(x);
        let z = p
            .stage("z", seen.stage("inner/z", |(x, y): (Arc<u32>, Arc<u32>), _| Ok(*x + *y)))
            .durable()
            .inputs((x, y));
        p.build(z).expect("it builds")
    };
    let mut p = Pipeline::builder("whole");
    p.on_failure(FailurePolicy::Continue);
    let n = p.durable_input();
    let a = p.stage("a", seen.stage("a", |n: Arc<u32>, _| Ok(*n + 1))).durable().inputs(n);
    let flaky = p
        .stage(
            "flaky",
            seen.stage("flaky", |n: Arc<u32>, attempt| match attempt {
                1 => Err(StageExit::retry("503").after(Duration::from_millis(3))),
                _ => Ok(*n * 10),
            }),
        )
        .durable()
        .inputs(a);
    let route = p.stage("route", seen.stage("route", |n: Arc<u32>, _| Ok(*n % 2))).inputs(a);
    let yes = p
        .stage("yes", seen.stage("yes", |n: Arc<u32>, _| Ok(*n + 100)))
        .when(route, |n| *n == 0)
        .durable()
        .inputs(a);
    let no =
        p.stage("no", seen.stage("no", |n: Arc<u32>, _| Ok(*n + 900))).when(route, |n| *n == 1).inputs(a);
    let fails = p
        .stage("fails", seen.stage("fails", |_: Arc<u32>, _| StageResult::<u32>::Err(StageExit::fail("no"))))
        .inputs(n);
    let joined = p
        .stage(
            "joined",
            seen.stage("joined", |(n, flaky, fails): (Arc<u32>, Arc<u32>, Option<Arc<u32>>), _| {
                Ok(*n + *flaky + fails.map_or(7, |n| *n))
            }),
        )
        .durable()
        .inputs((yes.or(no), flaky, fails.optional()));
    let inner = p.stage("inner", inner).inputs(joined);
    let last = p
        .stage("last", seen.stage("last", |(a, b): (Arc<u32>, Arc<u32>), _| Ok(*a + *b)))
        .inputs((inner, route));
    p.build(last).expect("it builds")
}

/// What comes of the pipeline over 1: `a` 2, `flaky` 20, `yes` 102, `joined` 129, `x` 130, `y` 260, `z` 390.
const RESULT: u32 = 390;

/// One process: begins the run, or goes on with it, and dies as it is told, or ends. Gives how many operations there were.
fn process(
    runtime: Runtime,
    store: &MemoryStore,
    seen: &Witness,
    known: &mut Option<RunId>,
    death: Option<Death>,
) -> (u32, Option<Result<u32, String>>) {
    let ops = Arc::new(AtomicU32::new(0));
    let died = Arc::new(Notify::new());
    let journal = {
        let (ops, died) = (Arc::clone(&ops), Arc::clone(&died));
        Scripted::new(store, move |op| {
            let nth = ops.fetch_add(1, Ordering::SeqCst) + 1;
            let Some(death) = death else { return Act::Pass };
            match nth.cmp(&death.at) {
                std::cmp::Ordering::Less => Act::Pass,
                std::cmp::Ordering::Equal => {
                    died.notify_one();
                    if death.is_done && !matches!(op, Op::Claim) { Act::PassAndHang } else { Act::Hang }
                }
                std::cmp::Ordering::Greater => Act::Hang,
            }
        })
    };
    let witness = seen.clone();
    let journal = journal.acked(move |entries| {
        for entry in entries {
            if let EntryKind::StageEnded { stage, end: StageEnd::Completed, .. } = &entry.kind
                && entry.payload.is_some()
            {
                witness.0.lock().expect("no test panics here").acked.insert(stage.to_string());
            }
        }
    });
    let whole = pipeline(seen);
    let id = *known.get_or_insert_with(RunId::new);
    let result = runtime.block_on(async {
        let began = engine(store.clone()).journaled("acme", id).await.expect("it is read").is_some();
        let ours = engine(journal);
        let builder = async {
            if began {
                ours.resume(&whole, "acme", id).await
            } else {
                Ok(ours.run(&whole, 1).tenant("acme").with(|snapshot| snapshot.run(id)))
            }
        };
        let mut run = tokio::select! {
            builder = builder => match builder {
                Ok(builder) => builder.start(),
                Err(error) => return Some(Err(error.to_string())),
            },
            () = died.notified() => return None,
        };
        let result = tokio::select! {
            biased;
            result = &mut run => Some(result.map(|run| *run.output()).map_err(|error| error.to_string())),
            () = died.notified() => None,
            // sleeps: on paused time, or as a bound
            () = tokio::time::sleep(Duration::from_secs(20)) => Some(Err("it hangs".to_owned())),
        };
        // Whoever is killed runs no `Drop`.
        std::mem::forget(run);
        result
    });
    runtime.shutdown_timeout(Duration::from_secs(10));
    store.expire_leases();
    (ops.load(Ordering::SeqCst), result)
}

/// Lets processes die as they are told, one after the other, and the last one end.
fn lives(runtime: impl Fn() -> Runtime, deaths: &[Death]) -> u32 {
    let (store, seen, mut id) = (MemoryStore::new(), Witness::default(), None);
    let mut result = None;
    for death in deaths {
        result = process(runtime(), &store, &seen, &mut id, Some(*death)).1;
        if result.is_some() {
            break;
        }
    }
    let mut ops = 0;
    if result.is_none() {
        (ops, result) = process(runtime(), &store, &seen, &mut id, None);
    }
    let ended = "RUN_ENDED";
    match result {
        Some(Ok(output)) => assert_eq!(output, RESULT, "{deaths:?}"),
        // It died after the last thing that it had to write.
        Some(Err(error)) if error.contains(ended) => {}
        other => panic!("{deaths:?}: {other:?}"),
    }
    let twice = seen.0.lock().expect("no test panics here").twice.clone();
    assert_eq!(twice, Vec::<String>::new(), "{deaths:?}");
    let id = id.expect("it was begun");
    let lines = self::runtime().block_on(written(&store, id));
    assert_eq!(lines.iter().filter(|line| *line == "run_ended").count(), 1, "{deaths:?}: {lines:?}");
    ops
}

fn deaths(ops: u32) -> impl Iterator<Item = Death> {
    (1..=ops).flat_map(|at| [false, true].map(|is_done| Death { at, is_done }))
}

#[test]
fn whenever_a_process_dies_the_next_one_ends_the_run_and_calls_no_stage_again_that_was_acknowledged() {
    let ops = lives(runtime, &[]);
    assert!(ops > 12, "{ops}");
    for first in deaths(ops) {
        let rest = lives(runtime, &[first]);
        for second in deaths(rest.max(1)) {
            lives(runtime, &[first, second]);
        }
    }
}

#[test]
fn so_it_is_on_several_threads() {
    let threads = || {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(2).enable_time().build().expect("a runtime")
    };
    let ops = lives(threads, &[]);
    for round in 0..3_u32 {
        for first in deaths(ops + 1) {
            let second = Death { at: 1 + (first.at * 7 + round * 5) % 9, is_done: round % 2 == 0 };
            lives(threads, &[first, second]);
        }
    }
}

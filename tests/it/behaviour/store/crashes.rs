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
    FailurePolicy, RunId, StageInput, StageOutcome,
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

/// What the last stage of a random pipeline reads.
type Three = (Option<Arc<u32>>, Option<Arc<u32>>, Option<Arc<u32>>);

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

/// Whatever a seed makes of it: stages that complete, fail, are skipped or ask for another attempt, joined in every way, durable or not, with
/// child pipelines among them.
fn random(seen: &Witness, seed: u64) -> Pipeline<u32, u32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut below = move |most: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % most).expect("it is small")
    };
    let mut p = Pipeline::builder("random");
    p.on_failure(FailurePolicy::Continue);
    let mut ports = vec![p.durable_input()];
    for nth in 0..8 {
        let name = format!("s{nth}");
        let path: &'static str = PATHS[nth];
        let mut any = || ports[below(ports.len() as u64)];
        let (a, b, c) = (any(), any(), any());
        let (shape, fate, is_durable) = (below(6), below(8), below(3) > 0);
        let what = move |n: u32, attempt: u32| match fate {
            0 => Err(StageExit::fail("no")),
            1 => Err(StageExit::skip("not this time")),
            2 if attempt == 1 => Err(StageExit::retry("503").after(Duration::from_millis(2))),
            _ => Ok(n.wrapping_mul(31).wrapping_add(1)),
        };
        macro_rules! add {
            ($give:expr, $inputs:expr) => {{
                let mut stage = p.stage(name, seen.stage(path, $give));
                if is_durable {
                    stage = stage.durable();
                }
                if below(4) == 0 {
                    stage = stage.when(c, |n| *n % 2 == 0);
                }
                if below(5) == 0 {
                    stage = stage.after(c);
                }
                stage.inputs($inputs)
            }};
        }
        let port = match shape {
            0 => add!(move |n: Arc<u32>, attempt| what(*n, attempt), a),
            1 => add!(
                move |all: Vec<Arc<u32>>, attempt| what(all.iter().fold(0, |sum, n| sum ^ **n), attempt),
                vec![a, b]
            ),
            2 => add!(
                move |(n, m): (Arc<u32>, Option<Arc<u32>>), attempt| what(
                    *n + m.map_or(5, |m| *m % 100),
                    attempt
                ),
                (a, b.optional())
            ),
            3 => add!(move |n: Arc<u32>, attempt| what(*n, attempt), a.or(b)),
            4 => add!(
                move |n: Option<Arc<u32>>, attempt| what(n.map_or(3, |n| *n % 1_000), attempt),
                a.optional()
            ),
            _ => {
                let mut inner = Pipeline::builder("inner");
                let n = inner.input();
                let x = seen.stage(INNER[nth], move |n: Arc<u32>, attempt| what(*n, attempt));
                let x = inner.stage("x", x).durable().inputs(n);
                let y = inner.stage("y", seen.stage("y", |n: Arc<u32>, _| Ok(*n / 2))).inputs(x);
                p.stage(name, inner.build(y).expect("it builds")).inputs(a)
            }
        };
        ports.push(port);
    }
    let [.., a, b, c] = ports[..] else { unreachable!("there are nine") };
    let last = p
        .stage(
            "last",
            seen.stage("last", |(a, b, c): Three, _| {
                Ok([a, b, c].into_iter().flatten().fold(1, |sum, n| sum ^ *n))
            }),
        )
        .inputs((a.optional(), b.optional(), c.optional()));
    p.build(last).expect("it builds")
}

const PATHS: [&str; 8] = ["s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7"];
const INNER: [&str; 8] = ["s0/x", "s1/x", "s2/x", "s3/x", "s4/x", "s5/x", "s6/x", "s7/x"];

/// What a run came to: its output, and in a word how each stage ended.
type Came = (u32, Vec<&'static str>);

fn came(run: &stageflow::Completed<u32>) -> Came {
    let report = run.report();
    let words = report.stages().map(|stage| match stage.outcome {
        StageOutcome::Completed => "completed",
        StageOutcome::Skipped(_) => "skipped",
        StageOutcome::Failed(_) => "failed",
        StageOutcome::Blocked { .. } => "blocked",
        _ => "cancelled",
    });
    (*run.output(), words.collect())
}

/// What comes of the pipeline over 1: `a` 2, `flaky` 20, `yes` 102, `joined` 129, `x` 130, `y` 260, `z` 390.
const RESULT: u32 = 390;

/// One process: begins the run, or goes on with it, and dies as it is told, or ends. Gives how many operations there were.
fn process(
    runtime: Runtime,
    store: &MemoryStore,
    seen: &Witness,
    whole: &Pipeline<u32, u32>,
    known: &mut Option<RunId>,
    death: Option<Death>,
) -> (u32, Option<Result<Came, String>>) {
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
    let id = *known.get_or_insert_with(RunId::new);
    let result = runtime.block_on(async {
        let began = engine(store.clone()).journaled("acme", id).await.expect("it is read").is_some();
        let ours = engine(journal);
        let builder = async {
            if began {
                ours.resume(whole, "acme", id).await
            } else {
                Ok(ours.run(whole, 1).tenant("acme").with(|snapshot| snapshot.run(id)))
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
            result = &mut run => Some(result.map(|run| came(&run)).map_err(|error| error.to_string())),
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

/// Lets processes die as they are told, one after the other, and the last one end. Gives how many operations that one had, and what the
/// run came to, if a process was left to see it.
fn lives(
    runtime: impl Fn() -> Runtime,
    built: impl Fn(&Witness) -> Pipeline<u32, u32>,
    deaths: &[Death],
) -> (u32, Option<Came>) {
    let (store, seen, mut id) = (MemoryStore::new(), Witness::default(), None);
    let whole = built(&seen);
    let mut result = None;
    for death in deaths {
        result = process(runtime(), &store, &seen, &whole, &mut id, Some(*death)).1;
        if result.is_some() {
            break;
        }
    }
    let mut ops = 0;
    if result.is_none() {
        (ops, result) = process(runtime(), &store, &seen, &whole, &mut id, None);
    }
    let came = match result {
        Some(Ok(came)) => Some(came),
        // It died after the last thing that it had to write.
        Some(Err(error)) if error.contains("RUN_ENDED") => None,
        other => panic!("{deaths:?}: {other:?}"),
    };
    let twice = seen.0.lock().expect("no test panics here").twice.clone();
    assert_eq!(twice, Vec::<String>::new(), "{deaths:?}");
    let id = id.expect("it was begun");
    let lines = self::runtime().block_on(written(&store, id));
    assert_eq!(lines.iter().filter(|line| *line == "run_ended").count(), 1, "{deaths:?}: {lines:?}");
    (ops, came)
}

/// The same of the pipeline that is known.
fn of_known(runtime: impl Fn() -> Runtime, deaths: &[Death]) -> u32 {
    let (ops, came) = lives(runtime, pipeline, deaths);
    assert!(came.is_none_or(|(output, _)| output == RESULT), "{deaths:?}");
    ops
}

fn deaths(ops: u32) -> impl Iterator<Item = Death> {
    (1..=ops).flat_map(|at| [false, true].map(|is_done| Death { at, is_done }))
}

#[test]
fn whenever_a_process_dies_the_next_one_ends_the_run_and_calls_no_stage_again_that_was_acknowledged() {
    let ops = of_known(runtime, &[]);
    assert!(ops > 12, "{ops}");
    for first in deaths(ops) {
        let rest = of_known(runtime, &[first]);
        for second in deaths(rest.max(1)) {
            of_known(runtime, &[first, second]);
        }
    }
    // Those that die more often, at operations of which each takes its turn.
    for round in 0..100_u32 {
        let deaths =
            [3, 5, 7, 11].map(|step| Death { at: 1 + round * step % 9, is_done: round & step == step });
        of_known(runtime, &deaths);
    }
}

#[test]
fn whatever_the_pipeline_is_a_run_that_died_comes_to_the_same() {
    for seed in 1..=24 {
        let built = |seen: &Witness| random(seen, seed);
        let (ops, came) = lives(runtime, built, &[]);
        for first in deaths(ops) {
            let second = Death { at: 1 + (first.at * 5) % 7, is_done: first.at % 2 == 0 };
            for deaths in [&[first][..], &[first, second]] {
                let (_, again) = lives(runtime, built, deaths);
                assert!(again.is_none() || again == came, "seed {seed}, {deaths:?}: {again:?}, not {came:?}");
            }
        }
    }
}

#[test]
fn so_it_is_on_several_threads() {
    let threads = || {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(2).enable_time().build().expect("a runtime")
    };
    let ops = of_known(threads, &[]);
    for round in 0..3_u32 {
        for first in deaths(ops + 1) {
            let second = Death { at: 1 + (first.at * 7 + round * 5) % 9, is_done: round % 2 == 0 };
            of_known(threads, &[first, second]);
        }
    }
}

//! Runs that outlive their process, and answers that are given once: on a file of SQLite.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use stageflow::{
    Engine, RunId, StageInput, code,
    interceptors::{Fingerprint, Idempotency, IdempotencyKey},
    prelude::*,
    store::SqliteStore,
};

use super::common::{Counter, load};
use crate::harness::{
    bench::{Bench, Fault},
    clock::Moment,
    lock,
    rng::Rng,
    scenario::{Control, Scenario, Step},
};

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "recovery.killed",
        suites: &["fri", "chaos"],
        answers: &["SEED2-30", "SEED2-34"],
        about: "Runs whose process is killed at random instants are resumed: each comes to its end with the right output, and no durable stage whose output was read is called again.",
        parameters: "40 processes of 25 runs each, killed after 0 to 20 ms; 6 stages, 5 of them durable; SQLite with fsync",
        faults: &["kill"],
        controls: &[
            Control::new("nothing is durable", &["no stage is called again once its output was read"]),
            Control::new("nobody resumes", &["each run comes to its end"]),
            Control::new("outputs are mixed up", &["each output is the right one"]),
        ],
        body: Step::Run(|bench| Box::pin(killed(bench))),
    },
    Scenario {
        name: "idempotency.duplicates",
        suites: &["fri", "daily"],
        answers: &["T23"],
        about: "Of concurrent requests with one key one has an effect, over several stores on one file, and all get its answer; the same key with other inputs is refused.",
        parameters: "1, 10, 50 and 1,000 requests with one key over 4 stores; 20 requests with other inputs",
        faults: &["another input"],
        controls: &[
            Control::new("a key for each request", &["there is one effect", "all get the same answer"]),
            Control::new("inputs are not looked at", &["other inputs are refused"]),
        ],
        body: Step::Run(|bench| Box::pin(duplicates(bench))),
    },
];

/// A folder that goes with the scenario.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("stageflow-stress-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).context("a folder for the store")?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left is in the folder for temporary files.
        let _removed = std::fs::remove_dir_all(&self.0);
    }
}

/// What the stages of each run have done, in their order.
#[derive(Clone, Default)]
struct Effects(Arc<Mutex<HashMap<RunId, Vec<&'static str>>>>);

impl Effects {
    fn stage<I: StageInput, F>(
        &self,
        name: &'static str,
        give: F,
    ) -> impl Stage<Input = I, Output = u64> + use<I, F>
    where
        F: Fn(I) -> u64 + Copy + Send + Sync + 'static,
    {
        let effects = self.clone();
        stage_fn(move |ctx: StageContext, input: I| {
            let effects = effects.clone();
            async move {
                tokio::time::sleep(Duration::from_micros(ctx.random_u64() % 2_000)).await;
                lock(&effects.0).entry(ctx.identity().run_id()).or_default().push(name);
                tokio::task::yield_now().await;
                Ok(give(input))
            }
        })
    }
}

fn orders(effects: &Effects, durable: bool) -> Result<Pipeline<u64, u64>> {
    let mut p = Pipeline::builder("orders");
    let n = p.durable_input();
    macro_rules! stage {
        ($name:literal, $give:expr, $inputs:expr) => {{
            let stage = p.stage($name, effects.stage($name, $give));
            if durable { stage.durable().inputs($inputs) } else { stage.inputs($inputs) }
        }};
    }
    let a = stage!("a", |n: Arc<u64>| *n + 1, n);
    let b = stage!("b", |n: Arc<u64>| *n * 2, a);
    let c = stage!("c", |n: Arc<u64>| *n * 3, a);
    let d = p.stage("d", effects.stage("d", |n: Arc<u64>| *n + 100)).inputs(a);
    let e = stage!("e", |(b, c, d): (Arc<u64>, Arc<u64>, Arc<u64>)| *b + *c + *d, (b, c, d));
    // Always durable, so that the run is written down.
    let f = p.stage("f", effects.stage("f", |n: Arc<u64>| *n)).durable().inputs(e);
    Ok(p.build(f)?)
}

/// The stages whose outputs a stage reads.
fn reads(stage: &str) -> &'static [&'static str] {
    match stage {
        "b" | "c" | "d" => &["a"],
        "e" => &["b", "c"],
        "f" => &["e"],
        _ => &[],
    }
}

/// Whether a stage did something after its output had been read.
fn is_repeated(effects: &[&'static str]) -> bool {
    let mut read = Vec::new();
    effects.iter().any(|stage| {
        let again = read.contains(stage);
        read.extend_from_slice(reads(stage));
        again
    })
}

/// What the processes of the scenario share.
struct World {
    file: PathBuf,
    effects: Effects,
    durable: bool,
    /// Whether each run is taken for the one after it.
    mixes: bool,
    begun: Mutex<HashMap<RunId, u64>>,
    ended: Mutex<HashMap<RunId, u64>>,
}

/// One process: goes on with the runs of those before it, begins some of its own, and is killed after a while, if at all.
fn process(world: &Arc<World>, runs: u64, resumes: bool, lives: Option<Duration>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let store = SqliteStore::open(&world.file)?;
    let alive = {
        let (world, store) = (Arc::clone(world), store.clone());
        async move {
            let engine = Engine::builder().journal(store).build()?;
            let pipeline = orders(&world.effects, world.durable)?;
            let mut going = Vec::new();
            for left in if resumes { engine.unfinished("acme", None, 10_000).await? } else { Vec::new() } {
                going.push(engine.resume(&pipeline, "acme", left.key.run()).await?.start());
            }
            for n in 0..runs {
                let run = engine.run(&pipeline, n).tenant("acme").start();
                if let Some(id) = run.run_id() {
                    lock(&world.begun).insert(id, n);
                }
                going.push(run);
            }
            for run in going {
                let run = run.await?;
                lock(&world.ended).insert(run.run_id(), *run.output() + u64::from(world.mixes));
            }
            Ok(())
        }
    };
    let ended = runtime.block_on(async move {
        match lives {
            Some(time) => {
                tokio::time::timeout(time, tokio::spawn(alive)).await.ok().transpose()?.unwrap_or(Ok(()))
            }
            None => alive.await,
        }
    });
    // Its tasks are dropped where they stand; what the store has taken is written, as it would be by the system.
    runtime.shutdown_timeout(Duration::from_secs(10));
    drop(store);
    ended
}

async fn killed(bench: Arc<Bench>) -> Result<()> {
    let folder = Folder::new("recovery")?;
    let kill = bench.fault("kill");
    let world = Arc::new(World {
        file: folder.0.join("runs.db"),
        effects: Effects::default(),
        durable: !bench.is_broken("nothing is durable"),
        mixes: bench.is_broken("outputs are mixed up"),
        begun: Mutex::default(),
        ended: Mutex::default(),
    });
    let resumes = !bench.is_broken("nobody resumes");
    let (processes, runs) = (bench.size(40, 8), 25);
    let rng = bench.rng(0);
    let (shared, began) = (Arc::clone(&world), Moment::now());
    tokio::task::spawn_blocking(move || live_and_die(&shared, processes, runs, resumes, &kill, rng))
        .await??;
    bench.figures("time until all runs have ended", "").times(&[began.elapsed()], Duration::ZERO);
    let (begun, ended) = (lock(&world.begun).clone(), lock(&world.ended).clone());
    let left = SqliteStore::open(&world.file)?;
    let engine = Engine::builder().journal(left).build()?;
    let left = engine.unfinished("acme", None, 10_000).await?.len();
    bench.equal("each run comes to its end", format!("{} runs", begun.len()), 0, left);
    let oracle = |n: u64| 6 * (n + 1) + 100;
    let wrong = ended.iter().filter(|(run, output)| begun.get(run).is_none_or(|n| oracle(*n) != **output));
    bench.equal("each output is the right one", format!("{} outputs", ended.len()), 0, wrong.count());
    let effects = lock(&world.effects.0);
    let repeated = effects.values().filter(|effects| is_repeated(effects)).count();
    bench.equal("no stage is called again once its output was read", "", 0, repeated);
    Ok(())
}

fn live_and_die(
    world: &Arc<World>,
    processes: usize,
    runs: u64,
    resumes: bool,
    kill: &Fault,
    mut rng: Rng,
) -> Result<()> {
    for _ in 0..processes {
        let lives = Duration::from_micros(rng.next() % 20_000);
        process(world, runs, resumes, kill.fires(true).then_some(lives))?;
    }
    process(world, 0, resumes, None)
}

fn charge(effects: &Arc<AtomicU32>, once: Idempotency) -> Result<Pipeline<u64, String>> {
    let mut p = Pipeline::builder("billing");
    let cents = p.input();
    let effects = Arc::clone(effects);
    let charge = stage_fn(move |_: StageContext, cents: Arc<u64>| {
        let effects = Arc::clone(&effects);
        async move {
            let nth = effects.fetch_add(1, Ordering::SeqCst) + 1;
            tokio::time::sleep(Duration::from_millis(5)).await;
            Ok(format!("receipt {nth} for {cents}"))
        }
    });
    let receipt = p.stage("charge", charge).stored().intercept(once).inputs(cents);
    Ok(p.build(receipt)?)
}

/// Engines of several processes, as far as the store goes: each has opened the file by itself.
fn shops(file: &Path, effects: &Arc<AtomicU32>, looks: bool) -> Result<Vec<Pipeline<u64, String>>> {
    let shop = |_| {
        let once = Idempotency::new(SqliteStore::open(file)?.answers());
        let once = once.fingerprint(move |inputs| {
            let cents = *inputs.input::<u64>(0)?;
            Some(Fingerprint::from(if looks { cents } else { 0 }))
        });
        charge(effects, once)
    };
    (0..4).map(shop).collect()
}

async fn duplicates(bench: Arc<Bench>) -> Result<()> {
    let folder = Folder::new("answers")?;
    let file = folder.0.join("answers.db");
    let other = bench.fault("another input");
    let (same_key, looks) =
        (!bench.is_broken("a key for each request"), !bench.is_broken("inputs are not looked at"));
    let effects = Arc::new(AtomicU32::new(0));
    let shops = shops(&file, &effects, looks)?;
    let sizes = bench.sizes(&[50, 1, 10, 1_000]);
    for &requests in &sizes {
        effects.store(0, Ordering::SeqCst);
        let began = Moment::now();
        let answers = load(requests, requests, |index| {
            let key =
                if same_key { format!("order-{requests}") } else { format!("order-{requests}-{index}") };
            let run = shops[index % shops.len()].run(500).tenant("acme").extension(IdempotencyKey::new(key));
            async move { run.await.map(|run| run.output().clone()).ok() }
        });
        let mut answers = answers.await?;
        bench.figures("time until all have their answer", requests).times(&[began.elapsed()], Duration::ZERO);
        bench.equal("there is one effect", requests, 1, effects.load(Ordering::SeqCst) as usize);
        answers.sort();
        answers.dedup();
        let one = answers.len() == 1 && answers.iter().all(Option::is_some);
        bench.check("all get the same answer", requests, 1, answers.len(), one);
    }
    let refused = Counter::default();
    for index in 0..20_u64 {
        let cents = if other.fires(true) { 501 + index } else { 500 };
        let key = IdempotencyKey::new(format!("order-{}", sizes[0]));
        let shop = &shops[usize::try_from(index)? % shops.len()];
        match shop.run(cents).tenant("acme").extension(key).await {
            Err(error) if error.code() == code::IDEMPOTENCY_MISMATCH => refused.add(),
            _ => 0,
        };
    }
    bench.equal("other inputs are refused", "", 20, refused.get());
    Ok(())
}

//! S-24: however retries, fan-outs and pipelines are nested, attempts and cost stay within the budget of the run.
//!
//! An attempt is a `stage.started` of the run or of a run within it, stages that are pipelines included.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use proptest::{prelude::*, sample::Index};
use stageflow::{
    Budget, BudgetReport, Engine, ErrorClass, FailurePolicy, Pipeline, Recorder, RunId, RunReport,
    StageContext, StageExit, StageResult, interceptors::Retry, stage_fn,
};
use tokio::runtime::Builder;

/// The stages of each pipeline, those within it included, and its own budget.
type Notes = HashMap<String, (u64, Option<(u32, u32)>)>;

/// A pipeline to be.
#[derive(Clone, Debug)]
struct Tree {
    /// How many attempts of a call of each stage fail, and how many its policy makes.
    leaves: Vec<(u32, u32)>,
    /// Pipelines in the place of stages, and how many attempts the policies around them make.
    children: Vec<(Self, u32)>,
    /// Thousandths and floor of a budget of its own.
    own: Option<(u32, u32)>,
}

impl Tree {
    fn stages(&self) -> u64 {
        (self.leaves.len() + self.children.len()) as u64
            + self.children.iter().map(|(it, _)| it.stages()).sum::<u64>()
    }

    /// Builds the pipeline, and notes the stages and the own budget of each.
    fn build(&self, name: &str, notes: &mut Notes) -> Pipeline<(), u32> {
        notes.insert(name.to_owned(), (self.stages(), self.own));
        let mut p = Pipeline::builder(name);
        p.on_failure(FailurePolicy::Continue);
        if let Some(own) = self.own {
            p.budget(budget(own));
        }
        let input = p.input();
        let mut ports = Vec::new();
        for (index, (fails, attempts)) in self.leaves.iter().copied().enumerate() {
            let stage = stage_fn(move |ctx: StageContext, (): ()| {
                let fails = ctx.attempt() <= fails;
                async move {
                    if fails { Err(StageExit::fail("down").class(ErrorClass::Transient)) } else { Ok(1) }
                }
            });
            ports.push(p.stage(format!("leaf-{index}"), stage).retry(retry(attempts)).inputs(()));
        }
        for (index, (child, attempts)) in self.children.iter().enumerate() {
            let child = child.build(&format!("{name}/{index}"), notes);
            ports.push(p.stage(format!("child-{index}"), child).retry(retry(*attempts)).inputs(input));
        }
        p.build(ports[0]).expect("a pipeline")
    }
}

fn budget((share, floor): (u32, u32)) -> Budget {
    Budget::new().retries(f64::from(share) / 1e3, floor)
}

fn retry(attempts: u32) -> Retry {
    Retry::constant(Duration::from_millis(1)).max_attempts(attempts)
}

#[derive(Clone, Copy, Debug)]
enum Mode {
    Seed(u64),
    Threads,
}

/// Runs to the end: the attempts of each run and of those within it, with the name of its pipeline, and what was used.
fn run(pipeline: &Pipeline<(), u32>, budget: Budget, mode: Mode) -> (Vec<(String, u64)>, u64, BudgetReport) {
    let recorder = Recorder::new();
    let engine = Engine::builder().sink(recorder.clone());
    let (engine, runtime) = match mode {
        Mode::Seed(seed) => {
            (engine.seed(seed), Builder::new_current_thread().enable_time().start_paused(true).build())
        }
        Mode::Threads => (engine, Builder::new_multi_thread().worker_threads(3).enable_time().build()),
    };
    let engine = engine.build().expect("an engine");
    let report: RunReport = runtime.expect("a runtime").block_on(async {
        let ended = engine.run(pipeline, ()).budget(budget).await;
        engine.flush().await;
        ended.map_or_else(|error| error.report().expect("it ran"), |done| done.report())
    });
    let mut runs: HashMap<RunId, (String, Option<RunId>, u64)> = HashMap::new();
    for event in recorder.events() {
        let parent = event.run().snapshot().parent().map(|parent| parent.run);
        runs.entry(event.run_id()).or_insert_with(|| (event.pipeline().to_owned(), parent, 0));
        let mut within = (event.name() == "stage.started").then(|| event.run_id());
        while let Some(run) = within {
            let (_, parent, attempts) = runs.get_mut(&run).expect("a parent starts before its child");
            (*attempts, within) = (*attempts + 1, *parent);
        }
    }
    let all = runs[&report.run_id()].2;
    (
        runs.into_values().map(|(name, _, attempts)| (name, attempts)).collect(),
        all,
        report.budget().unwrap_or_default(),
    )
}

fn most(stages: u64, (share, floor): (u32, u32)) -> u64 {
    stages + stages * u64::from(share) / 1_000 + u64::from(floor)
}

/// Thirty-two child runs with three attempts each, and in each of them a stage and a child run, with three attempts each.
fn scatter() -> Tree {
    let down = (u32::MAX, 3);
    let inner = Tree { leaves: vec![down, down], children: vec![], own: None };
    let middle = Tree { leaves: vec![down], children: vec![(inner, 3)], own: None };
    Tree { leaves: vec![down], children: vec![(middle, 3); 32], own: None }
}

#[test]
fn s_24_a_total_failure_of_nested_retries_is_bounded_by_the_budget() {
    let tree = scatter();
    let pipeline = tree.build("scatter", &mut HashMap::new());
    let stages = tree.stages();
    assert_eq!(stages, 1 + 32 * (1 + 2 + 2));
    let modes = (1..=8).map(Mode::Seed).chain([Mode::Threads; 8]);
    for mode in modes {
        for limits in [(200, 10), (200, 3), (0, 0), (1_000, 0)] {
            let (_, attempts, used) = run(&pipeline, budget(limits), mode);
            assert!(
                attempts <= most(stages, limits),
                "{attempts} attempts of {stages} stages: {mode:?}, {limits:?}"
            );
            assert_eq!(
                used.retries,
                most(stages, limits) - stages,
                "all of it was used: {mode:?}, {limits:?}"
            );
            // A retry may be taken for a child run whose first stage finds none left.
            assert!(
                attempts <= stages + used.retries && 2 * attempts > stages,
                "{attempts}: {mode:?}, {limits:?}"
            );
        }
    }
    // The control: what the budget keeps away.
    let (_, attempts, _) = run(&pipeline, Budget::new().unlimited_retries(), Mode::Seed(1));
    assert_eq!(attempts, 3 + 32 * 3 * (1 + 3 + 3 * (1 + 2 * 3)), "three times three times three");
}

fn trees() -> impl Strategy<Value = Tree> {
    let leaf = (prop_oneof![Just(0), 1_u32..4, Just(u32::MAX)], 1_u32..5);
    let leaves = prop::collection::vec(leaf, 1..4);
    let own = prop::option::weighted(0.3, (0_u32..1_500, 0_u32..4));
    let tip = (leaves.clone(), own.clone()).prop_map(|(leaves, own)| Tree { leaves, children: vec![], own });
    tip.prop_recursive(3, 12, 3, move |inner| {
        let children = prop::collection::vec((inner, 1_u32..5), 0..3);
        (leaves.clone(), children, own.clone()).prop_map(|(leaves, children, own)| Tree {
            leaves,
            children,
            own,
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Each run is within its own budget, and within those of the runs around it.
    #[test]
    fn s_24_random_trees_of_pipelines_stay_within_their_budgets(
        tree in trees(), limits in (0_u32..1_500, 0_u32..6), seed in any::<u64>(), threads in any::<bool>(),
    ) {
        let mut notes = HashMap::new();
        let pipeline = tree.build("tree", &mut notes);
        notes.insert("tree".to_owned(), (tree.stages(), Some(limits)));
        let mode = if threads { Mode::Threads } else { Mode::Seed(seed) };
        let (runs, _, _) = run(&pipeline, budget(limits), mode);
        for (name, attempts) in runs {
            let (stages, own) = notes[&name];
            if let Some(own) = own {
                prop_assert!(attempts <= most(stages, own), "{name}: {attempts} attempts of {stages} stages");
            }
        }
    }

    /// Stages that reserve, settle, drop and are cancelled at the same time: what is spent is what they say, and no more than
    /// there is, but for estimates that were too low.
    #[test]
    fn s_24_cost_is_conserved_under_cancellation(
        calls in prop::collection::vec((0_u64..50, 0_u8..4, 0_u64..60, 0_u64..6), 1..12),
        limit in 0_u64..300, end in 0_u64..8, estimate in 0_u64..9, threads in any::<bool>(), settles in any::<Index>(),
    ) {
        let ledger = Arc::new([const { AtomicU64::new(0) }; 2]);
        let mut p = Pipeline::builder("costs");
        p.on_failure(FailurePolicy::Continue);
        let settles = settles.index(calls.len());
        let seen = Arc::clone(&ledger);
        let count = calls.len();
        let parts = p.parallel("part", 0..count, move |index| {
            let (call, ledger) = (calls[index], Arc::clone(&seen));
            stage_fn(move |ctx: StageContext, (): ()| call_of(ctx, call, index <= settles, estimate, Arc::clone(&ledger)))
        });
        let parts = parts.cost(estimate).inputs(());
        let pipeline = p.build(parts[0]).expect("a pipeline");
        let runtime = if threads {
            Builder::new_multi_thread().worker_threads(3).enable_time().build()
        } else {
            Builder::new_current_thread().enable_time().start_paused(true).build()
        };
        let report = runtime.expect("a runtime").block_on(async {
            let handle = Engine::builder().build().expect("an engine").run(&pipeline, ()).budget(Budget::new().cost(limit));
            let handle = handle.start();
            let mut handle = std::pin::pin!(handle);
            // sleeps: on paused time, or a few milliseconds in which stages are cut off wherever they are
            let first = tokio::time::timeout(Duration::from_millis(end), &mut handle).await;
            let ended = match first {
                Ok(ended) => ended,
                Err(_) => {
                    handle.cancel("enough");
                    handle.await
                }
            };
            ended.map_or_else(|error| error.report().expect("it ran"), |done| done.report())
        });
        let budget = report.budget().unwrap_or_default();
        let [spent, error] = [&ledger[0], &ledger[1]].map(|word| word.load(Relaxed));
        prop_assert_eq!((budget.cost_spent, budget.cost_reserved), (spent, 0), "{}", report);
        prop_assert!(spent <= limit + error);
    }
}

/// Writes into the ledger what it costs, whenever and however it ends, and by how much it was above its estimates.
struct Costs(Arc<[AtomicU64; 2]>, u64, u64);

impl Drop for Costs {
    fn drop(&mut self) {
        self.0[0].fetch_add(self.1, Relaxed);
        self.0[1].fetch_add(self.2, Relaxed);
    }
}

async fn call_of(
    ctx: StageContext,
    (amount, how, actual, pause): (u64, u8, u64, u64),
    settles: bool,
    estimate: u64,
    ledger: Arc<[AtomicU64; 2]>,
) -> StageResult<u32> {
    // The estimate counts, unless something else is said.
    let mut costs = Costs(ledger, estimate, 0);
    let held = ctx.budget().reserve(amount)?;
    costs.1 += amount;
    tokio::task::yield_now().await;
    // sleeps: on paused time, or to be cut off
    tokio::time::sleep(Duration::from_millis(pause)).await;
    match how {
        0 => drop(held),
        1 => {
            costs.1 -= amount;
            held.release();
        }
        _ => {
            (costs.1, costs.2) = (costs.1 - amount + actual, actual.saturating_sub(amount));
            held.settle(actual);
        }
    }
    if settles {
        (costs.1, costs.2) = (costs.1 - estimate + actual, costs.2 + actual.saturating_sub(estimate));
        ctx.budget().settle(actual);
    }
    Ok(1)
}

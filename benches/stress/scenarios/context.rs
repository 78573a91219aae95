//! Context and data flow: runs of one pipeline share nothing, and values arrive as they were sent.

use std::{
    sync::{Arc, Mutex, atomic::AtomicUsize, atomic::Ordering},
    time::Duration,
};

use anyhow::Result;
use serde_json::json;
use stageflow::prelude::*;

use super::common::load;
use crate::harness::{
    bench::Bench,
    clock::Moment,
    lock,
    rng::mix,
    scenario::{Control, Scenario, Step},
};

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "snapshot.isolation",
        suites: &["daily", "mon"],
        answers: &["SEED2-17", "SEED2-27", "SEED1-29"],
        about: "Runs of one pipeline at the same time see their own snapshot only, and who changes a value changes his own.",
        parameters: "5,000 runs, 100 at a time, with metadata, extension, user and a list of their own",
        faults: &[],
        controls: &[
            Control::new("shared bag", &["each run sees its own snapshot"]),
            Control::new("shared list", &["who changes a value changes his own"]),
        ],
        body: Step::Run(|bench| Box::pin(isolation(bench))),
    },
    Scenario {
        name: "context.flow",
        suites: &["mon"],
        answers: &["SEED2-38"],
        about: "A value goes through a long chain in order, and nothing of it is left when the run is dropped.",
        parameters: "a chain of 1,000 stages, 200 runs, 10 at a time",
        faults: &[],
        controls: &[
            Control::new("wrong order", &["the value went through all stages in order"]),
            Control::new("leaked value", &["nothing is left of the values"]),
        ],
        body: Step::Run(|bench| Box::pin(flow(bench))),
    },
];

struct Own(usize);

/// A list that a copy has for itself, and one that copies share, which only the double changes.
#[derive(Clone, Default)]
struct List {
    own: Vec<u64>,
    shared: Arc<Mutex<Vec<u64>>>,
}

async fn isolation(bench: Arc<Bench>) -> Result<()> {
    let (bag, shares) = (bench.is_broken("shared bag"), bench.is_broken("shared list"));
    let last = Arc::new(AtomicUsize::new(0));
    let mut p = Pipeline::builder("isolated");
    let list = p.input();
    let look = move |ctx: StageContext, _list: Arc<List>| {
        let last = Arc::clone(&last);
        async move {
            let own = |ctx: &StageContext| ctx.extension::<Own>().map_or(0, |own| own.0);
            last.store(own(&ctx), Ordering::SeqCst);
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
            let index = if bag { last.load(Ordering::SeqCst) } else { own(&ctx) };
            let user = ctx.identity().user_id().map(|user| user.as_str().to_owned());
            Ok(ctx.snapshot().metadata("index") == Some(&json!(index))
                && user == Some(format!("user-{index}")))
        }
    };
    let looks = p.parallel("look", 0..4, |_| stage_fn(look.clone())).inputs(list);
    let change = stage_fn(move |_ctx, Owned(mut list): Owned<List>| async move {
        if shares {
            lock(&list.shared).push(666);
        }
        list.own.push(666);
        Ok(list.own.len())
    });
    let changed = p.stage("change", change).inputs(list);
    let count = stage_fn(|_ctx, (_, looks, list): (Arc<usize>, Vec<Arc<bool>>, Arc<List>)| async move {
        let lists = (list.own.clone(), lock(&list.shared).clone());
        Ok((looks.iter().all(|right| **right), lists))
    });
    let output = p.stage("count", count).inputs((changed, looks, list));
    let pipeline = p.build(output)?;

    let engine = Engine::builder().build()?;
    let runs = bench.size(5_000, 200);
    let answers = load(runs, 100, |index| {
        let own = vec![index as u64; 3];
        let list = List { own: own.clone(), shared: Arc::new(Mutex::new(own.clone())) };
        let run = engine.run(&pipeline, list).metadata("index", index).extension(Own(index));
        let run = run.user(format!("user-{index}"));
        async move {
            let (is_own, lists) = run.await.map(|run| run.output().clone()).unwrap_or_default();
            (is_own, lists == (own.clone(), own))
        }
    });
    let answers = answers.await?;
    bench.equal("each run sees its own snapshot", "", runs, answers.iter().filter(|(own, _)| *own).count());
    let right = answers.iter().filter(|(_, unchanged)| *unchanged).count();
    bench.equal("who changes a value changes his own", "", runs, right);
    Ok(())
}

/// A value that is counted while it lives.
struct Counted {
    value: u64,
    live: Arc<AtomicUsize>,
}

impl Counted {
    fn new(value: u64, live: &Arc<AtomicUsize>) -> Self {
        live.fetch_add(1, Ordering::SeqCst);
        Self { value, live: Arc::clone(live) }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.live.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn flow(bench: Arc<Bench>) -> Result<()> {
    let length = bench.size(1_000, 50);
    let kept: Arc<Mutex<Vec<Arc<Counted>>>> = Arc::default();
    let leaks = bench.is_broken("leaked value");
    let mut p = Pipeline::builder("chain");
    let mut port = p.input();
    let mut order: Vec<u64> = (0..length as u64).collect();
    if bench.is_broken("wrong order") {
        order.swap(3, 4);
    }
    for step in order {
        let kept = Arc::clone(&kept);
        let stage = stage_fn(move |_ctx, before: Arc<Counted>| {
            if leaks && step == 9 {
                lock(&kept).push(Arc::clone(&before));
            }
            async move { Ok(Counted::new(mix(before.value ^ step), &before.live)) }
        });
        port = p.stage(format!("step-{step}"), stage).inputs(port);
    }
    let pipeline = p.build(port)?;
    let engine = Engine::builder().build()?;
    let (runs, live) = (bench.size(200, 10), Arc::new(AtomicUsize::new(0)));
    let answers = load(runs, 10, |index| {
        let run = engine.run(&pipeline, Counted::new(index as u64, &live));
        async move {
            let started = Moment::now();
            let value = run.await.map(|run| run.output().value).ok();
            (
                value == Some((0..length as u64).fold(index as u64, |value, step| mix(value ^ step))),
                started.elapsed(),
            )
        }
    });
    let answers = answers.await?;
    let right = answers.iter().filter(|(right, _)| *right).count();
    bench.equal("the value went through all stages in order", "", runs, right);
    bench.equal("nothing is left of the values", "", 0, live.load(Ordering::SeqCst));
    let times: Vec<Duration> = answers.into_iter().map(|(_, time)| time).collect();
    bench.figures("time of a run", format!("{length} stages")).times(&times, Duration::ZERO);
    Ok(())
}

//! A pipeline that has a bit of everything: chains, a fan-out, branches that join, a child run, a thread, a grace, clean-ups.

use std::{sync::Arc, time::Duration};

use stageflow::{Builder, Pipeline, Port, StageContext, StageKind, StageResult, blocking, stage_fn};

use super::{super::pause::yield_once, ledger::Scope, world::World};

/// How many stages there are, those of the child aside.
pub(crate) const STAGES: usize = 14;

/// How many stages the child has.
pub(crate) const CHILD_STAGES: usize = 4;

/// What a stage of these pipelines does between its input and its output.
#[derive(Clone, Copy)]
struct Work {
    scope: Scope,
    yields: u8,
    millis: u8,
    /// It acquires something for the rest of the run; the clean-up takes so many milliseconds.
    until_the_end: Option<u8>,
}

const PARENT: Work = Work { scope: Scope::Parent, yields: 0, millis: 0, until_the_end: None };
const CHILD: Work = Work { scope: Scope::Child, ..PARENT };

async fn work(world: Arc<World>, ctx: StageContext, work: Work, input: u64) -> StageResult<u64> {
    let _lease = world.ledger.acquire("a lease of a stage");
    if let Some(millis) = work.until_the_end {
        world.until_the_end(&ctx, work.scope, "what a clean-up releases", millis);
    }
    for _ in 0..work.yields {
        yield_once().await;
    }
    if work.millis > 0 {
        let _second = world.ledger.acquire("a lease across a timer");
        world.time.pass(work.millis).await;
    }
    Ok(input + 1)
}

/// Adds stages that work.
struct Adding<'a> {
    p: &'a mut Builder<u64>,
    world: &'a Arc<World>,
}

impl Adding<'_> {
    fn stage(&mut self, name: impl Into<String>, from: Port<u64>, how: Work) -> Port<u64> {
        let world = Arc::clone(self.world);
        let stage = stage_fn(move |ctx: StageContext, input: Arc<u64>| {
            world.watch(how.scope, work(Arc::clone(&world), ctx, how, *input))
        });
        self.p.stage(name, stage).inputs(from)
    }

    fn sum(&mut self, how: Work, parts: Vec<Port<u64>>) -> Port<u64> {
        let world = Arc::clone(self.world);
        let stage = stage_fn(move |ctx: StageContext, parts: Vec<Arc<u64>>| {
            let sum = parts.iter().map(|part| **part).sum();
            world.watch(how.scope, work(Arc::clone(&world), ctx, how, sum))
        });
        self.p.stage("sum", stage).inputs(parts)
    }
}

fn child(world: &Arc<World>) -> Pipeline<u64, u64> {
    let mut p = Pipeline::builder("child");
    let input = p.input();
    let mut add = Adding { p: &mut p, world };
    let first = add.stage("first", input, Work { yields: 1, until_the_end: Some(0), ..CHILD });
    let second = add.stage("second", first, Work { millis: 1, ..CHILD });
    let beside = add.stage("beside", input, Work { millis: 2, until_the_end: Some(2), ..CHILD });
    let sum = add.sum(CHILD, vec![second, beside]);
    p.build(sum).expect("a pipeline")
}

pub(crate) fn pipeline(world: &Arc<World>) -> Pipeline<u64, u64> {
    let child = child(world);
    let mut p = Pipeline::builder("parent");
    let input = p.input();
    let mut add = Adding { p: &mut p, world };

    let head = add.stage("head", input, Work { yields: 2, until_the_end: Some(1), ..PARENT });
    let middle = add.stage("middle", head, Work { millis: 2, until_the_end: Some(0), ..PARENT });
    let tail = add.stage("tail", middle, Work { yields: 1, ..PARENT });

    let mut parts = vec![tail];
    for (index, (yields, millis)) in [(0, 0), (1, 0), (0, 1), (1, 3)].into_iter().enumerate() {
        let until_the_end = index.is_multiple_of(2).then_some(1);
        let work = Work { yields, millis, until_the_end, ..PARENT };
        parts.push(add.stage(format!("fan-{index}"), head, work));
    }

    let taken = branch(&mut add, "taken", middle, true);
    let left = branch(&mut add, "left", middle, false);
    parts.push(join(&mut add, taken, left));
    parts.push(add.p.stage("child", child).inputs(tail));
    parts.push(thread(&mut add, head));
    parts.push(graceful(&mut add, head));
    let sum = add.sum(Work { yields: 1, until_the_end: Some(0), ..PARENT }, parts);
    p.build(sum).expect("a pipeline")
}

fn branch(add: &mut Adding<'_>, name: &str, route: Port<u64>, taken: bool) -> Port<u64> {
    let (world, how) = (Arc::clone(add.world), Work { millis: 1, until_the_end: Some(0), ..PARENT });
    let stage = stage_fn(move |ctx: StageContext, input: Arc<u64>| {
        world.watch(how.scope, work(Arc::clone(&world), ctx, how, *input))
    });
    add.p.stage(name, stage).kind(StageKind::Route).when(route, move |_| taken).inputs(route)
}

fn join(add: &mut Adding<'_>, taken: Port<u64>, left: Port<u64>) -> Port<u64> {
    let world = Arc::clone(add.world);
    let stage = stage_fn(move |ctx: StageContext, input: Arc<u64>| {
        world.watch(Scope::Parent, work(Arc::clone(&world), ctx, PARENT, *input))
    });
    add.p.stage("join", stage).inputs(left.or(taken))
}

/// Holds something on a thread of its own.
fn thread(add: &mut Adding<'_>, from: Port<u64>) -> Port<u64> {
    let world = Arc::clone(add.world);
    let stage = blocking(move |ctx: StageContext, input: Arc<u64>| {
        let _live = world.ledger.live(Scope::Parent);
        let _lease = world.ledger.acquire("a lease of a thread");
        world.until_the_end(&ctx, Scope::Parent, "what a thread leaves to its clean-up", 0);
        (0..100).for_each(|_| std::thread::yield_now());
        Ok(*input)
    });
    add.p.stage("thread", stage).inputs(from)
}

/// Ends by itself when the run is cancelled, within its grace.
fn graceful(add: &mut Adding<'_>, from: Port<u64>) -> Port<u64> {
    let world = Arc::clone(add.world);
    let stage = stage_fn(move |ctx: StageContext, input: Arc<u64>| {
        let inner = Arc::clone(&world);
        world.watch(Scope::Parent, async move {
            let lease = inner.ledger.acquire("a lease that is given back in time");
            tokio::select! {
                biased;
                () = ctx.cancelled() => yield_once().await,
                () = inner.time.pass(3) => {}
            }
            drop(lease);
            inner.until_the_end(&ctx, Scope::Parent, "what comes late", 0);
            Ok(*input)
        })
    });
    add.p.stage("graceful", stage).grace(Duration::from_secs(1)).inputs(from)
}

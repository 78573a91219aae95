//! S-4, S-10: a stage that blocks its worker holds up no ready stage while another worker is idle.
//!
//! In each pipeline here one stage spins until others have run, on a runtime with two workers: if one of these waits where only
//! the blocked worker would find it, the run never ends.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use stageflow::{Pipeline, PipelineExt as _, Stage, StageContext, StageResult, stage_fn};
use tokio::{runtime, sync::Notify};

/// How many runs of each pipeline: what goes wrong here goes wrong only now and then.
const ROUNDS: usize = 300;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Counts stages that have run, and lets one spin for them.
#[derive(Clone, Default)]
struct Latch {
    count: Arc<AtomicUsize>,
    given_up: Arc<AtomicBool>,
    woken: Arc<Notify>,
}

impl Latch {
    /// A stage that counts itself.
    fn counting(&self) -> impl Stage<Input = (), Output = ()> + use<> {
        let latch = self.clone();
        stage_fn(move |_: StageContext, (): ()| {
            let latch = latch.clone();
            async move { latch.arrive() }
        })
    }

    fn arrive(&self) -> StageResult<()> {
        self.count.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    /// A stage that blocks its worker until so many others have run.
    fn blocking_for(&self, others: usize) -> impl Stage<Input = (), Output = ()> + use<> {
        let latch = self.clone();
        stage_fn(move |_: StageContext, (): ()| {
            let latch = latch.clone();
            async move { latch.spin(others) }
        })
    }

    fn spin(&self, others: usize) -> StageResult<()> {
        while self.count.load(Ordering::SeqCst) < others {
            if self.given_up.load(Ordering::Relaxed) {
                return Err("nobody ran the others".into());
            }
            thread::yield_now();
        }
        Ok(())
    }
}

/// Runs what `build` makes, many times, on two workers, from inside and from outside of them.
fn runs_to_the_end(build: impl Fn(&Latch) -> Pipeline<(), ()> + Send + 'static) {
    let latch = Latch::default();
    let (ended, end) = mpsc::channel();
    let work = {
        let latch = latch.clone();
        thread::spawn(move || {
            let runtime = runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
            let pipeline = build(&latch);
            for round in 0..ROUNDS {
                latch.count.store(0, Ordering::SeqCst);
                let run = pipeline.run(());
                let ran = if round % 2 == 0 {
                    runtime.block_on(async { run.start().await })
                } else {
                    runtime.block_on(async { tokio::spawn(run.into_future()).await.expect("no panic") })
                };
                if ran.is_err() {
                    return ended.send(Some(round));
                }
            }
            ended.send(None)
        })
    };
    let stuck = end.recv_timeout(PATIENCE);
    latch.given_up.store(true, Ordering::SeqCst);
    work.join().expect("no panic").expect("the test still listens");
    assert_eq!(stuck.or_else(|_| end.recv()), Ok(None), "the round in which a ready stage was left alone");
}

async fn nothing(_: StageContext, (): ()) -> StageResult<()> {
    Ok(())
}

#[test]
fn s_4_a_sibling_of_a_blocked_stage_runs_whichever_comes_first() {
    for blocked_first in [true, false] {
        runs_to_the_end(move |latch| {
            let mut p = Pipeline::builder("siblings");
            let source = p.stage("source", stage_fn(nothing)).inputs(());
            if blocked_first {
                p.stage("blocked", latch.blocking_for(1)).after(source).inputs(());
            }
            p.stage("sibling", latch.counting()).after(source).inputs(());
            if !blocked_first {
                p.stage("blocked", latch.blocking_for(1)).after(source).inputs(());
            }
            p.build(source).expect("a pipeline")
        });
    }
}

#[test]
fn s_4_roots_run_beside_a_blocked_root() {
    runs_to_the_end(|latch| {
        let mut p = Pipeline::builder("roots");
        let blocked = p.stage("blocked", latch.blocking_for(2)).inputs(());
        p.stage("second", latch.counting()).inputs(());
        p.stage("third", latch.counting()).inputs(());
        p.build(blocked).expect("a pipeline")
    });
}

/// Wide enough to be claimed from a row, and to be split.
#[test]
fn s_4_a_hundred_siblings_run_beside_a_blocked_one() {
    runs_to_the_end(|latch| {
        let mut p = Pipeline::builder("wide");
        let source = p.stage("source", stage_fn(nothing)).inputs(());
        p.stage("blocked", latch.blocking_for(100)).after(source).inputs(());
        p.parallel("sibling", 0..100, |_| latch.counting()).after(source).inputs(());
        p.build(source).expect("a pipeline")
    });
}

/// Wide enough that workers hold its edges back.
#[test]
fn s_4_a_wide_fan_in_runs_beside_a_blocked_stage() {
    runs_to_the_end(|latch| {
        let mut p = Pipeline::builder("fan-in");
        let parts = p.parallel("part", 0..40, |_| latch.counting()).inputs(());
        p.stage("blocked", latch.blocking_for(41)).after(parts[39]).inputs(());
        let sum = p.stage("sum", Sum(latch.clone())).inputs(parts);
        p.build(sum).expect("a pipeline")
    });
}

struct Sum(Latch);

impl Stage for Sum {
    type Input = Vec<Arc<()>>;
    type Output = ();

    async fn run(&self, _: &StageContext, _: Vec<Arc<()>>) -> StageResult<()> {
        self.0.arrive()
    }
}

/// The first worker has nothing to do and rests, while the second makes work and then blocks: whoever is called has to be called to
/// where the other thread finds it.
#[test]
fn s_4_a_worker_that_rests_is_called_to_the_side_of_one_that_blocks() {
    runs_to_the_end(|latch| {
        let mut p = Pipeline::builder("resting");
        let short = p.stage("short", latch.counting()).inputs(());
        let long = p.stage("long", Long(latch.clone())).inputs(());
        p.stage("blocked", latch.blocking_for(2)).after(long).inputs(());
        p.stage("sibling", latch.counting()).after(long).inputs(());
        p.build(short).expect("a pipeline")
    });
}

/// As above, with a stage that has been waiting in the place of a new one.
#[test]
fn s_4_a_worker_that_rests_is_called_to_the_side_of_one_that_wakes_and_blocks() {
    runs_to_the_end(|latch| {
        let mut p = Pipeline::builder("resting");
        let woken = p.stage("woken", Woken(latch.clone())).inputs(());
        let short = p.stage("short", latch.counting()).inputs(());
        let long = p.stage("long", Long(latch.clone())).inputs(());
        p.stage("waking", WakingAndBlocking(latch.clone())).after(long).inputs(());
        p.stage("last", latch.counting()).after(woken).inputs(());
        p.build(short).expect("a pipeline")
    });
}

struct WakingAndBlocking(Latch);

impl Stage for WakingAndBlocking {
    type Input = ();
    type Output = ();

    async fn run(&self, _: &StageContext, (): ()) -> StageResult<()> {
        self.0.woken.notify_one();
        self.0.spin(2)
    }
}

struct Long(Latch);

impl Stage for Long {
    type Input = ();
    type Output = ();

    async fn run(&self, _: &StageContext, (): ()) -> StageResult<()> {
        self.0.spin(1)?;
        // Time enough for the other worker to come to rest.
        (0..1_000).for_each(|_| thread::yield_now());
        Ok(())
    }
}

/// A stage that was waiting is woken at the moment at which another becomes ready, and then blocks: at whatever turn of its
/// worker that happens.
#[test]
fn s_4_a_stage_that_became_ready_runs_beside_a_woken_one_that_blocks() {
    for before in 0..4 {
        runs_to_the_end(move |latch| {
            let mut p = Pipeline::builder("woken");
            let woken = p.stage("woken", Woken(latch.clone())).inputs(());
            let chain = p.parallel("chain", 0..1, |_| stage_fn(nothing)).inputs(());
            let mut last = chain[0];
            for link in 0..before {
                last = p.stage(format!("link-{link}"), stage_fn(nothing)).after(last).inputs(());
            }
            let waking = p.stage("waking", Waking(latch.clone())).after(last).inputs(());
            p.stage("ready", latch.counting()).after(waking).inputs(());
            p.build(woken).expect("a pipeline")
        });
    }
}

struct Woken(Latch);

impl Stage for Woken {
    type Input = ();
    type Output = ();

    async fn run(&self, _: &StageContext, (): ()) -> StageResult<()> {
        self.0.woken.notified().await;
        self.0.spin(1)
    }
}

struct Waking(Latch);

impl Stage for Waking {
    type Input = ();
    type Output = ();

    async fn run(&self, _: &StageContext, (): ()) -> StageResult<()> {
        self.0.woken.notify_one();
        Ok(())
    }
}

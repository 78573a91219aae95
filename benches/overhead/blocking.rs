//! A stage that blocks its worker must not hold up a ready sibling while another worker is idle.
//!
//! One of two siblings spins for 50 ms. Measured is how long the other one, which is ready all the while, has to wait: once
//! when both became ready together, and once when a timer wakes it in the middle of the blockade. The same is measured with
//! a `JoinSet`, which tells how much of it is the machine.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Result;
use stageflow::PipelineExt;
use stageflow_benches::{
    graph::Shape,
    hand::{self, Program},
    ours,
    report::runtime,
    stopwatch::Stopwatch,
    work::Work,
};

const BLOCKADE: Duration = Duration::from_millis(50);
const TIMER: Duration = Duration::from_millis(10);
const TRIES: usize = 20;
/// So many tries may be worse.
const OUTLIERS: usize = 2;

/// How long ready stages had to wait.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub(crate) struct Waits {
    pub(crate) ours: Pair,
    pub(crate) joinset: Pair,
}

#[derive(Clone, Copy, Debug, serde::Serialize)]
pub(crate) struct Pair {
    /// Both were ready at once.
    pub(crate) together: Wait,
    /// The sibling was woken while its worker was blocked.
    pub(crate) woken: Wait,
}

#[derive(Clone, Copy, Debug, serde::Serialize)]
pub(crate) struct Wait {
    /// In nine of ten tries it was this or less.
    pub(crate) most: Duration,
    pub(crate) worst: Duration,
}

pub(crate) fn measure() -> Result<Waits> {
    let ours = |blockade: &Blockade| {
        let pipeline = ours::units(&Shape::FanOut(2).graph(), blockade);
        async move { drop(pipeline.run(()).await) }
    };
    let joinset = |blockade: &Blockade| hand::join_set(Program::new(Shape::FanOut(2).graph(), blockade));
    let waits = Waits {
        ours: Pair { together: tries(false, ours)?, woken: tries(true, ours)? },
        joinset: Pair { together: tries(false, joinset)?, woken: tries(true, joinset)? },
    };
    print(&waits);
    Ok(waits)
}

fn print(waits: &Waits) {
    crate::say(
        "\nwait of a ready stage whose sibling blocks a worker for 50 ms: nine of ten tries, and the worst",
    );
    for (row, pair) in [("ours", waits.ours), ("joinset", waits.joinset)] {
        for (how, Wait { most, worst }) in
            [("ready together", pair.together), ("woken meanwhile", pair.woken)]
        {
            crate::say(format_args!("  {row:<8} {how:<16} {most:>9.1?} {worst:>9.1?}"));
        }
    }
}

fn tries<F>(by_timer: bool, run: impl Fn(&Blockade) -> F) -> Result<Wait>
where
    F: Future<Output = ()> + Send + 'static,
{
    let runtime = runtime(2)?;
    let mut waits = Vec::with_capacity(TRIES);
    for _ in 0..TRIES {
        let blockade = Blockade { by_timer, shared: Arc::default() };
        runtime.block_on(runtime.spawn(run(&blockade)))?;
        waits.push(blockade.lock().waited.unwrap_or(BLOCKADE));
    }
    waits.sort_unstable();
    Ok(Wait { most: waits[TRIES - 1 - OUTLIERS], worst: waits[TRIES - 1] })
}

/// The first of two siblings blocks, the other one measures. With `by_timer` the one that measures sleeps first.
#[derive(Clone)]
struct Blockade {
    by_timer: bool,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    since: Option<Stopwatch>,
    waited: Option<Duration>,
}

impl Blockade {
    fn lock(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn block() {
        let watch = Stopwatch::start();
        while watch.elapsed() < BLOCKADE {
            std::hint::spin_loop();
        }
    }

    async fn ready_together(self) {
        let is_first = {
            let mut shared = self.lock();
            match &shared.since {
                None => {
                    shared.since = Some(Stopwatch::start());
                    true
                }
                Some(since) => {
                    let waited = since.elapsed();
                    shared.waited = Some(waited);
                    false
                }
            }
        };
        if is_first {
            Self::block();
        }
    }

    async fn sleep_and_measure(self) {
        let watch = Stopwatch::start();
        tokio::time::sleep(TIMER).await;
        self.lock().waited = Some(watch.elapsed().saturating_sub(TIMER));
    }
}

impl Work for Blockade {
    fn call(&self, stage: u32) -> impl Future<Output = ()> + Send + use<> {
        let this = self.clone();
        async move {
            match (stage, this.by_timer) {
                (1 | 2, false) => this.ready_together().await,
                // The order in which siblings start is not ours to choose, so one of them gives way once.
                (1, true) => this.sleep_and_measure().await,
                (2, true) => {
                    tokio::task::yield_now().await;
                    Self::block();
                }
                _ => {}
            }
        }
    }
}

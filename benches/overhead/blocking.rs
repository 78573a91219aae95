//! A stage that blocks its worker must not hold up a ready sibling while another worker is idle.
//!
//! One of two siblings spins for 50 ms. Measured is how long the other one, which is ready all the while, has to wait: once
//! when both became ready together, and once when a timer wakes it in the middle of the blockade.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Result;
use stageflow::PipelineExt;
use stageflow_benches::{graph::Shape, ours, stopwatch::Stopwatch, work::Work};

use crate::campaign::runtime;

const BLOCKADE: Duration = Duration::from_millis(50);
const TIMER: Duration = Duration::from_millis(10);
const TRIES: usize = 10;

/// The longest wait of several tries.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub(crate) struct Waits {
    /// Both were ready at once.
    pub(crate) together: Duration,
    /// The sibling was woken while its worker was blocked.
    pub(crate) woken: Duration,
}

pub(crate) fn measure() -> Result<Waits> {
    Ok(Waits { together: worst(false)?, woken: worst(true)? })
}

fn worst(by_timer: bool) -> Result<Duration> {
    let runtime = runtime(2)?;
    let mut worst = Duration::ZERO;
    for _ in 0..TRIES {
        let blockade = Blockade { by_timer, shared: Arc::default() };
        let pipeline = ours::units(&Shape::FanOut(2).graph(), &blockade);
        runtime.block_on(runtime.spawn(async move { pipeline.run(()).await }))??;
        worst = worst.max(blockade.lock().waited.unwrap_or(BLOCKADE));
    }
    Ok(worst)
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

//! What stages do: the four bodies of the bench. Every row awaits the same async blocks.

use std::{fmt, future::Future, hint::black_box, sync::OnceLock, time::Duration};

use crate::stopwatch::Stopwatch;

/// The body of a stage. `stage` is its number; only the check of the rows looks at it.
pub trait Work: Clone + Send + Sync + 'static {
    /// Does the work.
    fn call(&self, stage: u32) -> impl Future<Output = ()> + Send + use<Self>;
}

/// Is ready at the first poll.
#[derive(Clone, Debug)]
pub struct Noop;

impl Work for Noop {
    fn call(&self, _: u32) -> impl Future<Output = ()> + Send + use<> {
        async {}
    }
}

/// Is pending once and has woken itself by then.
#[derive(Clone, Debug)]
pub struct Yield;

impl Work for Yield {
    fn call(&self, _: u32) -> impl Future<Output = ()> + Send + use<> {
        tokio::task::yield_now()
    }
}

/// Waits for a timer of one millisecond.
#[derive(Clone, Debug)]
pub struct Sleep;

impl Work for Sleep {
    fn call(&self, _: u32) -> impl Future<Output = ()> + Send + use<> {
        async { tokio::time::sleep(Duration::from_millis(1)).await }
    }
}

/// Computes for about 19 µs, without a point to yield at.
#[derive(Clone, Debug)]
pub struct Cpu;

impl Work for Cpu {
    fn call(&self, stage: u32) -> impl Future<Output = ()> + Send + use<> {
        async move {
            black_box(multiply(u64::from(stage), rounds()));
        }
    }
}

/// Multiplications of which each needs the result of the one before.
fn multiply(seed: u64, rounds: u64) -> u64 {
    (0..rounds).fold(seed | 1, |value, round| black_box(value.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ round))
}

/// How many multiplications take 19 µs here; measured once, so that rows are compared on the same work.
fn rounds() -> u64 {
    const SAMPLE: u64 = 100_000;
    static ROUNDS: OnceLock<u64> = OnceLock::new();
    *ROUNDS.get_or_init(|| {
        let best = (0..20).map(|seed| {
            let watch = Stopwatch::start();
            black_box(multiply(seed, SAMPLE));
            watch.elapsed()
        });
        let nanos = best.min().map_or(1, |best| best.as_nanos()).max(1);
        u64::try_from(u128::from(SAMPLE) * 19_000 / nanos).unwrap_or(SAMPLE)
    })
}

/// The bodies by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Body {
    /// [`Noop`].
    Noop,
    /// [`Yield`].
    Yield,
    /// [`Sleep`].
    Sleep,
    /// [`Cpu`].
    Cpu,
}

impl fmt::Display for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Noop => "noop",
            Self::Yield => "yield",
            Self::Sleep => "sleep",
            Self::Cpu => "cpu",
        })
    }
}

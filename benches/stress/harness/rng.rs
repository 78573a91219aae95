//! Random numbers from a seed: the same seed gives the same numbers, on every machine.

use std::time::Duration;

use stageflow::{Randomness as _, SeededRandom};

/// The generator of the engine.
#[derive(Debug)]
pub(crate) struct Rng(SeededRandom);

impl Rng {
    /// The generator of one part of a scenario; parts with different salts are independent.
    pub(crate) fn new(seed: u64, salt: u64) -> Self {
        let mut rng = Self(SeededRandom::new(seed ^ salt.wrapping_mul(0x9E37_79B9_7F4A_7C15)));
        rng.next();
        rng
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Below a bound, which is not zero.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % (bound.max(1) as u64)).unwrap_or(0)
    }

    /// True with a chance of so many percent.
    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }

    /// A time between zero and a bound.
    pub(crate) fn time_below(&mut self, bound: Duration) -> Duration {
        let nanos = u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.next() % nanos.max(1))
    }
}

/// Spreads the bits of a number.
pub(crate) fn mix(number: u64) -> u64 {
    let mut z = number;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

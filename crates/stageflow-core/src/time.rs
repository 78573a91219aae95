//! Time and chance, both injectable, and durations that read well.

use std::{
    fmt,
    sync::OnceLock,
    time::{Duration, Instant, SystemTime},
};

/// Where a run reads its time.
///
/// Durations come from [`monotonic_nanos`](Self::monotonic_nanos) alone; of a run, [`wall`](Self::wall) appears in
/// records only and decides nothing. It decides where others have written a time of day down, as in a token.
pub trait Clock: Send + Sync + 'static {
    /// Nanoseconds since an origin of the clock's choice; never goes back.
    fn monotonic_nanos(&self) -> u64;

    /// The time of day.
    fn wall(&self) -> SystemTime {
        wall_now()
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the time of day")]
pub(crate) fn wall_now() -> SystemTime {
    SystemTime::now()
}

/// The moment from which engines and policies count the nanoseconds that they compare with each other: a constant of the
/// process, two days before it is first asked for where the system's clock reaches back that far.
#[doc(hidden)]
pub fn epoch() -> Instant {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    *EPOCH.get_or_init(|| {
        #[expect(
            clippy::disallowed_methods,
            reason = "virtual time may run ahead, so it is no base for others"
        )]
        let now = Instant::now();
        // A clock that was paused before now stands still in the past: the base has to be older.
        let ages = [172_800, 86_400, 3_600, 60].map(Duration::from_secs);
        ages.into_iter().find_map(|age| now.checked_sub(age)).unwrap_or(now)
    })
}

/// Where a run takes its random numbers.
pub trait Randomness: Send + Sync + 'static {
    /// The next 64 random bits.
    fn next_u64(&self) -> u64;
}

/// Random numbers of the current thread's generator.
#[derive(Clone, Copy, Debug, Default)]
pub struct ThreadRandom;

impl Randomness for ThreadRandom {
    fn next_u64(&self) -> u64 {
        rand::random()
    }
}

/// Random numbers from a seed: the same seed gives the same numbers, in the order of the calls.
///
/// The generator is SplitMix64 (Steele, Lea, Flood: *Fast splittable pseudorandom number generators*, 2014).
///
/// ```
/// use stageflow_core::{Randomness, time::SeededRandom};
/// let (a, b) = (SeededRandom::new(7), SeededRandom::new(7));
/// assert_eq!([a.next_u64(), a.next_u64()], [b.next_u64(), b.next_u64()]);
/// ```
#[derive(Debug)]
pub struct SeededRandom(std::sync::atomic::AtomicU64);

impl SeededRandom {
    /// A generator that starts at `seed`.
    pub fn new(seed: u64) -> Self {
        Self(std::sync::atomic::AtomicU64::new(seed))
    }
}

impl Randomness for SeededRandom {
    fn next_u64(&self) -> u64 {
        const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;
        let state = self.0.fetch_add(GAMMA, std::sync::atomic::Ordering::Relaxed);
        let mut z = state.wrapping_add(GAMMA);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

/// Durations that read like prose.
///
/// ```
/// use stageflow_core::DurationExt;
/// assert_eq!(2.secs(), std::time::Duration::from_secs(2));
/// assert_eq!(5.millis(), std::time::Duration::from_millis(5));
/// ```
pub trait DurationExt {
    /// So many seconds.
    fn secs(self) -> Duration;
    /// So many milliseconds.
    fn millis(self) -> Duration;
    /// So many microseconds.
    fn micros(self) -> Duration;
    /// So many minutes.
    fn mins(self) -> Duration;
    /// So many hours.
    fn hours(self) -> Duration;
}

impl DurationExt for u64 {
    fn secs(self) -> Duration {
        Duration::from_secs(self)
    }

    fn millis(self) -> Duration {
        Duration::from_millis(self)
    }

    fn micros(self) -> Duration {
        Duration::from_micros(self)
    }

    fn mins(self) -> Duration {
        Duration::from_secs(self.saturating_mul(60))
    }

    fn hours(self) -> Duration {
        Duration::from_secs(self.saturating_mul(3_600))
    }
}

/// Evenly below `width`, of 64 random bits.
#[doc(hidden)]
pub fn below(random: u64, width: u128) -> u64 {
    // The high half of the product is even, but for less than one part in 2^64 of the width.
    u64::try_from((u128::from(random) * width) >> 64).unwrap_or(u64::MAX)
}

/// Nanoseconds of `duration`, saturating.
#[doc(hidden)]
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Prints a duration with at most three significant digits and a unit: `950ns`, `1.2ms`, `3m05s`, `5h02m`, `9d01h`.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Human(pub Duration);

impl fmt::Display for Human {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        let text = match nanos {
            0..1_000 => format!("{nanos}ns"),
            1_000..1_000_000 => scaled(nanos, 1_000, "µs"),
            1_000_000..1_000_000_000 => scaled(nanos, 1_000_000, "ms"),
            1_000_000_000..60_000_000_000 => scaled(nanos, 1_000_000_000, "s"),
            _ => match self.0.as_secs() {
                secs @ 0..3_600 => format!("{}m{:02}s", secs / 60, secs % 60),
                secs @ 3_600..86_400 => format!("{}h{:02}m", secs / 3_600, secs / 60 % 60),
                secs => format!("{}d{:02}h", secs / 86_400, secs / 3_600 % 24),
            },
        };
        f.pad(&text)
    }
}

fn scaled(nanos: u128, unit: u128, name: &str) -> String {
    let tenths = nanos * 10 / unit;
    if tenths < 100 {
        format!("{}.{}{name}", tenths / 10, tenths % 10)
    } else {
        format!("{}{name}", tenths / 10)
    }
}

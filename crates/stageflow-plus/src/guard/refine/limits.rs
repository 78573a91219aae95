//! When a loop ends: a state machine of what was rejected and when, without a clock.

use std::{collections::VecDeque, fmt, time::Duration};

/// How many rejections are known.
const KNOWN: usize = 1_024;

/// How far a loop goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) attempts: u32,
    pub(super) repetitions: Option<u32>,
    pub(super) patience: Option<u32>,
    pub(super) deadline: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { attempts: 3, repetitions: None, patience: None, deadline: None }
    }
}

/// Why a loop has ended without an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WhyExhausted {
    /// The time is up, or too little of it is left.
    Timeout,
    /// Attempts come to what was there before, or do not get better.
    Stagnation,
    /// All attempts were made.
    MaxAttempts,
}

impl WhyExhausted {
    /// As one word, as in events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Stagnation => "stagnation",
            Self::MaxAttempts => "max_attempts",
        }
    }
}

impl fmt::Display for WhyExhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a loop knows of its rejections.
#[derive(Debug)]
pub(super) struct Loop {
    limits: Limits,
    /// What an attempt takes at least, as far as that is known.
    least: Duration,
    quickest: Option<Duration>,
    seen: VecDeque<u64>,
    repeated: u32,
    best: Option<f64>,
    not_better: u32,
}

impl Loop {
    pub(super) fn new(limits: Limits, least: Duration) -> Self {
        Self { limits, least, quickest: None, seen: VecDeque::new(), repeated: 0, best: None, not_better: 0 }
    }

    /// How many attempts in a row have come to nothing new, or nothing better.
    pub(super) fn stagnation_hits(&self) -> u32 {
        self.repeated.max(self.not_better)
    }

    /// An attempt was rejected: why there is no other, if so. `elapsed` is the time of the loop, and `left` that of its stage.
    pub(super) fn rejected(
        &mut self,
        number: u32,
        key: Option<u64>,
        score: Option<f64>,
        took: Duration,
        elapsed: Duration,
        left: Option<Duration>,
    ) -> Option<WhyExhausted> {
        self.quickest = Some(self.quickest.map_or(took, |quickest| quickest.min(took)));
        if let Some(key) = key {
            self.see(key);
        }
        if let Some(score) = score {
            if self.best.is_some_and(|best| score <= best) {
                self.not_better = self.not_better.saturating_add(1);
            } else {
                (self.best, self.not_better) = (Some(score), 0);
            }
        }
        let reaches = |count: u32, limit: Option<u32>| limit.is_some_and(|limit| count >= limit);
        if self.is_out_of_time(elapsed, left) {
            return Some(WhyExhausted::Timeout);
        }
        if reaches(self.repeated, self.limits.repetitions) || reaches(self.not_better, self.limits.patience) {
            return Some(WhyExhausted::Stagnation);
        }
        (number >= self.limits.attempts).then_some(WhyExhausted::MaxAttempts)
    }

    fn see(&mut self, key: u64) {
        if self.seen.contains(&key) {
            self.repeated = self.repeated.saturating_add(1);
            return;
        }
        self.repeated = 0;
        if self.seen.len() == KNOWN {
            self.seen.pop_front();
        }
        self.seen.push_back(key);
    }

    fn is_out_of_time(&self, elapsed: Duration, left: Option<Duration>) -> bool {
        let of_loop = self.limits.deadline.map(|all| all.saturating_sub(elapsed));
        let Some(left) = of_loop.into_iter().chain(left).min() else { return false };
        let takes = self.quickest.unwrap_or_default().max(self.least);
        left.is_zero() || left < takes
    }
}

//! [`TruncationTracker`]: what was cut, why, how much of it, and how.

use std::{
    fmt,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use serde::Serialize;
use stageflow_core::{FieldValue, StageContext};

use super::shorten::CutUnit;

/// How many records are kept; those beyond are counted.
pub(crate) const MAX_RECORDS: usize = 1_000;

/// How many ranges an event names.
const MAX_RANGES: usize = 16;

/// Something was cut: what, why, how much, where and how. It has nothing of what was cut in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Truncation {
    /// What was cut: the name of a stage, or what you call it.
    pub what: String,
    /// Why.
    pub why: String,
    /// The name of the strategy.
    pub strategy: String,
    /// What `removed` counts.
    pub unit: CutUnit,
    /// How many tokens it was.
    pub before: usize,
    /// How many tokens are left.
    pub after: usize,
    /// What of the original was taken out, ascending.
    pub removed: Vec<Range<usize>>,
    /// The name of the counter.
    pub counter: String,
    /// When, by the clock of the run.
    pub at: SystemTime,
}

impl Truncation {
    /// How many tokens were cut.
    pub fn cut(&self) -> usize {
        self.before.saturating_sub(self.after)
    }

    /// The share of the tokens that is left; 1 if there were none.
    pub fn kept_share(&self) -> f64 {
        if self.before == 0 { 1.0 } else { self.after as f64 / self.before as f64 }
    }

    fn fields(&self) -> Vec<(&'static str, FieldValue)> {
        let first: Vec<_> = self
            .removed
            .iter()
            .take(MAX_RANGES)
            .map(|range| format!("{}..{}", range.start, range.end))
            .collect();
        let more = if self.removed.len() > MAX_RANGES { ", …" } else { "" };
        let pieces: usize = self.removed.iter().map(ExactSizeIterator::len).sum();
        vec![
            ("what", self.what.as_str().into()),
            ("why", self.why.as_str().into()),
            ("strategy", self.strategy.as_str().into()),
            ("unit", self.unit.to_string().into()),
            ("before", self.before.into()),
            ("after", self.after.into()),
            ("removed", format!("{}{more}", first.join(", ")).into()),
            ("pieces", pieces.into()),
            ("counter", self.counter.as_str().into()),
        ]
    }
}

impl fmt::Display for Truncation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} cut from {} to {} tokens by {}: {}",
            self.what, self.before, self.after, self.strategy, self.why
        )
    }
}

/// The record of what was cut. Clones share it.
///
/// Each run has one, `ctx.truncations()`: everything that a context window or a [`Fit`](super::Fit) cuts is in it, and is still there
/// after the run, as `report.snapshot().truncations()`. Each record leaves the event `context.truncated`.
///
/// It keeps the first 1,000 records and counts the others.
#[derive(Clone, Debug, Default)]
pub struct TruncationTracker(Arc<Mutex<Records>>);

#[derive(Debug, Default)]
struct Records {
    kept: Vec<Truncation>,
    count: usize,
    cut: usize,
}

impl TruncationTracker {
    /// One of its own, for use without a run.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, Records> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a cut.
    pub fn record(&self, truncation: Truncation) {
        let mut records = self.lock();
        records.count += 1;
        records.cut = records.cut.saturating_add(truncation.cut());
        if records.kept.len() < MAX_RECORDS {
            records.kept.push(truncation);
        }
    }

    /// Records a cut, and tells it as an event of the stage.
    pub fn record_in(&self, ctx: &StageContext, truncation: Truncation) {
        ctx.emit("context.truncated", truncation.fields());
        self.record(truncation);
    }

    /// The first 1,000 records, in the order in which things were cut.
    pub fn records(&self) -> Vec<Truncation> {
        self.lock().kept.clone()
    }

    /// How often something was cut.
    pub fn count(&self) -> usize {
        self.lock().count
    }

    /// How many tokens were cut in all.
    pub fn cut(&self) -> usize {
        self.lock().cut
    }
}

//! What has become of the items of a map.

use std::{any::Any, collections::VecDeque, fmt};

use serde::Serialize;
use stageflow_core::Failure;

use super::limiter::RefusedBy;

/// How one item ended.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ItemOutcome<O> {
    /// It gave an output.
    Completed(O),
    /// It left itself out, for this reason.
    Skipped(String),
    /// It failed. The failure's stage is that of the map, with the number of the item: `embed[17]`.
    Failed(Failure),
    /// Its limiter dropped it, which is no failure.
    Dropped(RefusedBy),
}

impl<O> ItemOutcome<O> {
    /// As one word: `completed`, `skipped`, `failed` or `dropped`.
    pub fn status(&self) -> &'static str {
        match self {
            Self::Completed(_) => "completed",
            Self::Skipped(_) => "skipped",
            Self::Failed(_) => "failed",
            Self::Dropped(_) => "dropped",
        }
    }

    /// The output, if there is one.
    pub fn output(&self) -> Option<&O> {
        match self {
            Self::Completed(output) => Some(output),
            _ => None,
        }
    }

    /// The failure, if it is one.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Failed(failure) => Some(failure),
            _ => None,
        }
    }
}

/// How many items ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct MapSummary {
    /// How many items there are, if that was known before the end.
    pub total: Option<usize>,
    /// Items that gave an output.
    pub completed: usize,
    /// Items that failed, with those that a limiter refused.
    pub failed: usize,
    /// Items that left themselves out.
    pub skipped: usize,
    /// Items that a limiter dropped.
    pub dropped: usize,
    /// Items that ran when the map was cancelled.
    pub cancelled: usize,
    /// Items that were never begun, as far as their number is known.
    pub not_begun: usize,
    /// The most that ran at any moment.
    pub peak_in_flight: usize,
}

impl fmt::Display for MapSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all =
            self.completed + self.failed + self.skipped + self.dropped + self.cancelled + self.not_begun;
        write!(f, "{} of {all} completed", self.completed)?;
        let rest = [
            (self.failed, "failed"),
            (self.skipped, "skipped"),
            (self.dropped, "dropped"),
            (self.cancelled, "cancelled"),
            (self.not_begun, "not begun"),
        ];
        rest.iter()
            .filter(|(count, _)| *count > 0)
            .try_for_each(|(count, what)| write!(f, ", {count} {what}"))
    }
}

/// What a map gives that tolerates failures: the outcome of each item, in the order of the input.
///
/// ```
/// # use stageflow_plus::fan_out::Mapped;
/// fn report(mapped: &Mapped<usize>) {
///     println!("{}", mapped.summary()); // 490 of 500 completed, 10 failed
///     for (index, failure) in mapped.failures() {
///         println!("item {index}: {} ({})", failure.message(), failure.code());
///     }
/// }
/// # let _ = report;
/// ```
#[derive(Clone, Debug)]
pub struct Mapped<O> {
    pub(super) outcomes: Vec<ItemOutcome<O>>,
    pub(super) summary: MapSummary,
}

impl<O> Mapped<O> {
    /// The outcome of each item.
    pub fn outcomes(&self) -> &[ItemOutcome<O>] {
        &self.outcomes
    }

    /// The outcomes themselves.
    pub fn into_outcomes(self) -> Vec<ItemOutcome<O>> {
        self.outcomes
    }

    /// The outputs, with the numbers of their items.
    pub fn outputs(&self) -> impl Iterator<Item = (usize, &O)> {
        self.outcomes.iter().enumerate().filter_map(|(at, outcome)| Some((at, outcome.output()?)))
    }

    /// The outputs themselves, in the order of the input.
    pub fn into_outputs(self) -> Vec<O> {
        let output = |outcome| match outcome {
            ItemOutcome::Completed(output) => Some(output),
            _ => None,
        };
        self.outcomes.into_iter().filter_map(output).collect()
    }

    /// The failures, with the numbers of their items.
    pub fn failures(&self) -> impl Iterator<Item = (usize, &Failure)> {
        self.outcomes.iter().enumerate().filter_map(|(at, outcome)| Some((at, outcome.failure()?)))
    }

    /// How many items ended how.
    pub fn summary(&self) -> &MapSummary {
        &self.summary
    }
}

/// What a map makes of the outcomes.
pub trait Shape: Send + Sync + 'static {
    #[doc(hidden)]
    type Kept<O: Any + Send + Sync>: Send;
    #[doc(hidden)]
    type Output<O: Any + Send + Sync>: Any + Send + Sync;
    #[doc(hidden)]
    fn keep<O: Any + Send + Sync>(outcome: ItemOutcome<O>) -> Option<Self::Kept<O>>;
    #[doc(hidden)]
    fn finish<O: Any + Send + Sync>(kept: Vec<Self::Kept<O>>, summary: MapSummary) -> Self::Output<O>;
}

/// The outputs alone: no failure is tolerated.
#[derive(Clone, Copy, Debug)]
pub struct Outputs(());

/// The outcome of each item.
#[derive(Clone, Copy, Debug)]
pub struct Outcomes(());

impl Shape for Outputs {
    type Kept<O: Any + Send + Sync> = O;
    type Output<O: Any + Send + Sync> = Vec<O>;

    fn keep<O: Any + Send + Sync>(outcome: ItemOutcome<O>) -> Option<O> {
        match outcome {
            ItemOutcome::Completed(output) => Some(output),
            _ => None,
        }
    }

    fn finish<O: Any + Send + Sync>(kept: Vec<O>, _: MapSummary) -> Vec<O> {
        kept
    }
}

impl Shape for Outcomes {
    type Kept<O: Any + Send + Sync> = ItemOutcome<O>;
    type Output<O: Any + Send + Sync> = Mapped<O>;

    fn keep<O: Any + Send + Sync>(outcome: ItemOutcome<O>) -> Option<ItemOutcome<O>> {
        Some(outcome)
    }

    fn finish<O: Any + Send + Sync>(outcomes: Vec<ItemOutcome<O>>, summary: MapSummary) -> Mapped<O> {
        Mapped { outcomes, summary }
    }
}

/// Values that come in any order, put into that of their numbers. Keeps back only what came before its turn.
pub(super) struct Ordered<T> {
    pub(super) done: Vec<T>,
    next: usize,
    early: VecDeque<Option<Option<T>>>,
}

impl<T> Ordered<T> {
    pub(super) fn new(expected: usize) -> Self {
        Self { done: Vec::with_capacity(expected), next: 0, early: VecDeque::new() }
    }

    /// The value of that number, or that it has none.
    pub(super) fn put(&mut self, number: usize, value: Option<T>) {
        if number == self.next && self.early.is_empty() {
            self.done.extend(value);
            self.next += 1;
            return;
        }
        let at = number - self.next;
        if at >= self.early.len() {
            self.early.resize_with(at + 1, || None);
        }
        if let Some(place) = self.early.get_mut(at) {
            *place = Some(value);
        }
        while let Some(Some(_)) = self.early.front() {
            self.done.extend(self.early.pop_front().flatten().flatten());
            self.next += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Ordered;

    proptest! {
        #[test]
        fn any_order_becomes_the_order_of_the_numbers(order in Just((0..40_usize).collect::<Vec<_>>()).prop_shuffle()) {
            let mut ordered = Ordered::new(0);
            for number in order {
                ordered.put(number, (number % 7 != 0).then_some(number));
            }
            prop_assert_eq!(ordered.done, (0..40).filter(|n| n % 7 != 0).collect::<Vec<_>>());
            prop_assert!(ordered.early.is_empty());
        }
    }
}

//! [`ItemCut`]: making a list fit by leaving whole items out.

use std::{fmt, ops::Range, sync::Arc};

use super::{
    counter::TokenCounter,
    measure::{Measure, sum},
    shorten::{CutUnit, Shorten, Shortened},
};

enum Drops<T> {
    Oldest,
    Newest,
    Middle,
    Priority(Arc<dyn Fn(&T) -> i64 + Send + Sync>),
}

impl<T> Clone for Drops<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Oldest => Self::Oldest,
            Self::Newest => Self::Newest,
            Self::Middle => Self::Middle,
            Self::Priority(of) => Self::Priority(Arc::clone(of)),
        }
    }
}

/// Leaves whole items of a `Vec` out until the rest fits. What is left is in the order in which it was, and no item is ever cut: where
/// no item fits, the list is empty.
///
/// An item takes what its [`Measure`] says, and a list what its items take together; each item is measured once.
///
/// ```
/// use stageflow_plus::enrich::{EstimatedTokens, ItemCut, Shorten as _};
///
/// let history = vec!["one".to_owned(), "three".to_owned(), "four".to_owned()];
/// let bytes = EstimatedTokens::upper_bound();
/// let cut = ItemCut::oldest_first().shorten(&history, 9, &bytes).expect("an empty list always fits");
/// assert_eq!(cut.value, ["three", "four"]);
/// assert_eq!(cut.removed, [0..1]);
///
/// let longest = ItemCut::lowest_priority_first(|text: &String| text.len() as i64);
/// let cut = longest.shorten(&history, 8, &bytes).expect("an empty list always fits");
/// assert_eq!(cut.value, ["one", "three"]);
/// ```
#[must_use = "a cut does nothing until it is asked to shorten something"]
pub struct ItemCut<T> {
    drops: Drops<T>,
}

impl<T> ItemCut<T> {
    /// Leaves items at the front out, one after the other: where the oldest is first.
    pub fn oldest_first() -> Self {
        Self { drops: Drops::Oldest }
    }

    /// Leaves items at the back out, one after the other: where the best is first.
    pub fn newest_first() -> Self {
        Self { drops: Drops::Newest }
    }

    /// Keeps items at both ends, from the front and from the back in turn, and leaves out what is between.
    pub fn middle_out() -> Self {
        Self { drops: Drops::Middle }
    }

    /// Keeps items from the highest priority down, each one that still fits; of the same priority, those before others.
    pub fn lowest_priority_first(priority: impl Fn(&T) -> i64 + Send + Sync + 'static) -> Self {
        Self { drops: Drops::Priority(Arc::new(priority)) }
    }

    /// Which items stay, of those that take so many tokens.
    fn keeps(&self, items: &[T], tokens: &[usize], limit: usize) -> Vec<bool> {
        let count = items.len();
        let order: Vec<usize> = match &self.drops {
            Drops::Oldest => (0..count).rev().collect(),
            Drops::Newest => (0..count).collect(),
            Drops::Middle => {
                let each = (0..count).map(|at| if at % 2 == 0 { at / 2 } else { count - 1 - at / 2 });
                each.collect()
            }
            Drops::Priority(priority) => {
                let mut order: Vec<usize> = (0..count).collect();
                order.sort_by_cached_key(|at| std::cmp::Reverse(priority(&items[*at])));
                order
            }
        };
        let (mut stays, mut room) = (vec![false; count], limit);
        for at in order {
            match room.checked_sub(tokens[at]) {
                Some(left) => (stays[at], room) = (true, left),
                None if matches!(self.drops, Drops::Priority(_)) => {}
                None => break,
            }
        }
        stays
    }
}

impl<T: Measure + Clone + Send + Sync + 'static> Shorten<Vec<T>> for ItemCut<T> {
    fn strategy(&self) -> &str {
        match self.drops {
            Drops::Oldest => "oldest_first",
            Drops::Newest => "newest_first",
            Drops::Middle => "middle_out",
            Drops::Priority(_) => "lowest_priority_first",
        }
    }

    fn shorten(&self, value: &Vec<T>, limit: usize, counter: &dyn TokenCounter) -> Option<Shortened<Vec<T>>> {
        let tokens: Vec<_> = value.iter().map(|item| item.measure(counter)).collect();
        if sum(tokens.iter().copied()) <= limit {
            return Some(Shortened { value: value.clone(), unit: CutUnit::Items, removed: Vec::new() });
        }
        let stays = self.keeps(value, &tokens, limit);
        let kept = value.iter().zip(&stays).filter(|(_, stays)| **stays).map(|(item, _)| item.clone());
        Some(Shortened { value: kept.collect(), unit: CutUnit::Items, removed: gaps(&stays) })
    }
}

/// The places of those that do not stay, as ranges.
fn gaps(stays: &[bool]) -> Vec<Range<usize>> {
    let mut gaps: Vec<Range<usize>> = Vec::new();
    for (at, _) in stays.iter().enumerate().filter(|(_, stays)| !**stays) {
        match gaps.last_mut() {
            Some(last) if last.end == at => last.end += 1,
            _ => gaps.push(at..at + 1),
        }
    }
    gaps
}

impl<T> Clone for ItemCut<T> {
    fn clone(&self) -> Self {
        Self { drops: self.drops.clone() }
    }
}

impl<T> fmt::Debug for ItemCut<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.drops {
            Drops::Oldest => "ItemCut(oldest first)",
            Drops::Newest => "ItemCut(newest first)",
            Drops::Middle => "ItemCut(middle out)",
            Drops::Priority(_) => "ItemCut(lowest priority first)",
        })
    }
}

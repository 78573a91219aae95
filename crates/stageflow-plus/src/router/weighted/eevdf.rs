//! [`Eevdf`]: turns by weight, never more than one turn away from the ideal share.

use std::{cmp::Ordering, cmp::Reverse, collections::BinaryHeap};

/// Gives out turns by weight, in an order that is always the same.
///
/// After `k` turns a member of weight `w` of the total `W` has had `k·w/W` turns, give or take less than one, for every `k`; after `W`
/// turns (divided by what all weights have in common) exactly its share, and the order begins anew.
///
/// Of the members that have had no more than their ideal share it takes the one whose next turn is due first: the earliest eligible
/// virtual deadline first, for requests of one turn each (Stoica and Abdel-Wahab, 1995). A turn takes time logarithmic in the members.
///
/// ```
/// use stageflow_plus::router::Eevdf;
///
/// let mut order = Eevdf::new([3, 1]);
/// let turns: Vec<_> = std::iter::repeat_with(|| order.next_turn()).flatten().take(8).collect();
/// assert_eq!(turns, [0, 1, 0, 0, 0, 1, 0, 0]);
/// ```
#[derive(Clone, Debug)]
pub struct Eevdf {
    weights: Box<[u64]>,
    total: u64,
    turns: u64,
    /// Those that have had no more than their share, by when their next turn is due.
    ready: BinaryHeap<Reverse<Fraction>>,
    /// The others, by when they have had no more than their share.
    ahead: BinaryHeap<Reverse<Fraction>>,
}

/// A time in turns, as a share of the total, of a member.
#[derive(Clone, Copy, Debug)]
struct Fraction {
    numerator: u64,
    weight: u64,
    member: usize,
}

impl Ord for Fraction {
    fn cmp(&self, other: &Self) -> Ordering {
        let left = u128::from(self.numerator) * u128::from(other.weight);
        let right = u128::from(other.numerator) * u128::from(self.weight);
        left.cmp(&right).then(self.member.cmp(&other.member))
    }
}

impl PartialOrd for Fraction {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Fraction {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Fraction {}

impl Eevdf {
    /// Members by their weights, numbered from 0; those of weight 0 get no turn.
    pub fn new(weights: impl IntoIterator<Item = u32>) -> Self {
        Self::scaled(weights.into_iter().map(u64::from))
    }

    /// The same for weights that were multiplied: below 2^40 each.
    pub(crate) fn scaled(weights: impl IntoIterator<Item = u64>) -> Self {
        let mut weights: Box<[u64]> = weights.into_iter().collect();
        let common = weights.iter().copied().fold(0, gcd).max(1);
        weights.iter_mut().for_each(|weight| *weight /= common);
        let total = weights.iter().sum();
        let mut order = Self { weights, total, turns: 0, ready: BinaryHeap::new(), ahead: BinaryHeap::new() };
        order.begin();
        order
    }

    /// After so many turns the order begins anew.
    pub fn cycle(&self) -> u64 {
        self.total
    }

    fn begin(&mut self) {
        self.turns = 0;
        self.ahead.clear();
        let members = self.weights.iter().enumerate().filter(|(_, weight)| **weight > 0);
        self.ready =
            members.map(|(member, &weight)| Reverse(Fraction { numerator: 1, weight, member })).collect();
    }

    /// Whose turn it is; `None` if all weights are 0.
    pub fn next_turn(&mut self) -> Option<usize> {
        while let Some(Reverse(first)) = self.ahead.peek()
            && u128::from(first.numerator) * u128::from(self.total)
                <= u128::from(self.turns) * u128::from(first.weight)
        {
            let Reverse(first) = self.ahead.pop()?;
            self.ready.push(Reverse(Fraction { numerator: first.numerator + 1, ..first }));
        }
        let Reverse(turn) = self.ready.pop()?;
        self.ahead.push(Reverse(turn));
        self.turns += 1;
        if self.turns == self.total {
            self.begin();
        }
        Some(turn.member)
    }
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

//! Which routes take part with which weight, as a function of time.

use std::{borrow::Cow, sync::Arc};

use super::{alias::AliasTable, eevdf::Eevdf};

/// In how many steps a route comes back.
const STEPS: u64 = 10;

/// Orders up to this long are written down: then a turn is a look into a table.
const WRITTEN: u64 = 4_096;

/// What is passed over, by its place, and why.
pub(super) type PassedOver = Arc<[(usize, Cow<'static, str>)]>;

/// Weights as they were set, as they are, and what follows from them.
#[derive(Debug)]
pub(super) struct State {
    set: Vec<u32>,
    ejected: Vec<Option<(u64, Cow<'static, str>)>>,
    /// Since when a route comes back.
    back_since: Vec<Option<u64>>,
    weights: Vec<u64>,
    /// The places of those with a weight.
    members: Vec<usize>,
    order: Option<Order>,
    alias: Option<Option<AliasTable>>,
    passed_over: Option<PassedOver>,
    panic: bool,
    pub(super) slow_start: u64,
    pub(super) max_ejected: f64,
    pub(super) panic_threshold: f64,
}

/// The turns.
#[derive(Debug)]
pub(super) enum Order {
    Cycle { turns: Box<[u16]>, at: usize },
    Live(Eevdf),
}

impl Order {
    fn new(weights: &[u64]) -> Self {
        let mut order = Eevdf::scaled(weights.iter().copied());
        if order.cycle() > WRITTEN {
            return Self::Live(order);
        }
        let turns = (0..order.cycle()).filter_map(|_| order.next_turn());
        // No order that short has so many members that a place does not fit.
        let turns = turns.map(|turn| u16::try_from(turn).ok()).collect::<Option<Box<[u16]>>>();
        turns.map_or(Self::Live(order), |turns| Self::Cycle { turns, at: 0 })
    }
}

impl State {
    pub(super) fn new(set: Vec<u32>) -> Self {
        let count = set.len();
        let mut state = Self {
            set,
            ejected: vec![None; count],
            back_since: vec![None; count],
            weights: Vec::new(),
            members: Vec::new(),
            order: None,
            alias: None,
            passed_over: None,
            panic: false,
            slow_start: 30_000_000_000,
            max_ejected: 0.5,
            panic_threshold: 0.5,
        };
        state.refresh(0);
        state
    }

    pub(super) fn set_weight(&mut self, at: usize, weight: u32, now: u64) -> bool {
        self.back_since[at] = match (self.set[at], weight) {
            (0, 1..) => Some(now),
            (_, 0) => None,
            _ => self.back_since[at],
        };
        self.set[at] = weight;
        true
    }

    pub(super) fn eject(&mut self, at: usize, until: u64, why: Cow<'static, str>) -> bool {
        let others = self.ejected.iter().enumerate().filter(|(other, known)| *other != at && known.is_some());
        let most = self.max_ejected * self.set.len() as f64;
        if (others.count() + 1) as f64 > most {
            return false;
        }
        self.ejected[at] = Some((until, why));
        self.back_since[at] = None;
        true
    }

    pub(super) fn restore(&mut self, at: usize, now: u64) -> bool {
        let was = self.ejected[at].take().is_some();
        if was {
            self.back_since[at] = Some(now);
        }
        was
    }

    /// Works the weights out for a time, and says when they change by themselves next.
    pub(super) fn refresh(&mut self, now: u64) -> u64 {
        let mut next = u64::MAX;
        for at in 0..self.set.len() {
            match &self.ejected[at] {
                Some((until, _)) if *until <= now => self.back_since[at] = Some(*until),
                Some((until, _)) => {
                    next = next.min(*until);
                    continue;
                }
                None => continue,
            }
            self.ejected[at] = None;
        }
        let candidates = self.set.iter().filter(|weight| **weight > 0).count();
        let well = (0..self.set.len()).filter(|at| self.set[*at] > 0 && self.ejected[*at].is_none()).count();
        let ejected = well < candidates;
        self.panic = ejected && (well as f64) < self.panic_threshold * candidates as f64;

        let mut weights = Vec::with_capacity(self.set.len());
        let mut passed = Vec::new();
        for at in 0..self.set.len() {
            let (step, change) = self.step(at, now);
            next = next.min(change);
            let weight = match (&self.ejected[at], self.set[at]) {
                (_, 0) => {
                    passed.push((at, Cow::Borrowed("drained")));
                    0
                }
                (Some((_, why)), _) if !self.panic => {
                    passed.push((at, Cow::Owned(format!("ejected: {why}"))));
                    0
                }
                (_, weight) => u64::from(weight) * step,
            };
            weights.push(weight);
        }
        if weights != self.weights {
            self.members = (0..weights.len()).filter(|at| weights[*at] > 0).collect();
            self.weights = weights;
            self.order = None;
            self.alias = None;
        }
        self.passed_over = (!passed.is_empty()).then(|| passed.into());
        next
    }

    /// Which step a route stands on, and when it takes the next.
    fn step(&mut self, at: usize, now: u64) -> (u64, u64) {
        let Some(since) = self.back_since[at] else { return (STEPS, u64::MAX) };
        let passed = now.saturating_sub(since);
        if passed >= self.slow_start {
            self.back_since[at] = None;
            return (STEPS, u64::MAX);
        }
        let wide = u128::from(passed) * u128::from(STEPS - 1) / u128::from(self.slow_start);
        let step = u64::try_from(wide).unwrap_or(0);
        let next = (u128::from(self.slow_start) * u128::from(step + 1)).div_ceil(u128::from(STEPS - 1));
        (step + 1, since.saturating_add(u64::try_from(next).unwrap_or(u64::MAX)))
    }

    pub(super) fn weights(&self) -> &[u64] {
        &self.weights
    }

    /// The weights, in the units in which they were set.
    pub(super) fn shares(&self) -> impl Iterator<Item = f64> {
        self.weights.iter().map(|weight| *weight as f64 / STEPS as f64)
    }

    pub(super) fn order(&mut self) -> &mut Order {
        self.order.get_or_insert_with(|| Order::new(&self.weights))
    }

    pub(super) fn alias(&mut self) -> Option<&AliasTable> {
        self.alias.get_or_insert_with(|| AliasTable::scaled(self.weights.iter().copied())).as_ref()
    }

    /// Two different routes by chance; twice the same where there is only one.
    pub(super) fn two(&self, random: u64) -> Option<(usize, usize)> {
        let count = self.members.len() as u64;
        let draw = |bits: u64, below: u64| usize::try_from((bits * below) >> 32).unwrap_or(0);
        let first = draw(random & 0xFFFF_FFFF, count);
        let mut second = draw(random >> 32, count.saturating_sub(1));
        if count > 1 && second >= first {
            second += 1;
        }
        Some((*self.members.get(first)?, *self.members.get(second)?))
    }

    pub(super) fn panic(&self) -> bool {
        self.panic
    }

    pub(super) fn passed_over(&self) -> Option<PassedOver> {
        self.passed_over.clone()
    }
}

//! How a rate decides: GCRA in whole numbers, as a pure function of the time, a cost and a state.
//!
//! The generic cell rate algorithm in its *continuous-state leaky bucket* form (ITU-T I.371, Annex A), which admits exactly what
//! the form with a theoretical arrival time admits: each admitted cost raises a level, the level sinks at the rate, and a cost
//! conforms if the level stays within the burst. The level is counted in cost × nanoseconds of the period, so that a cost raises it
//! by `cost × period` and a nanosecond lowers it by `limit`: nothing is ever rounded. All of it fits into 128 bits for any limit,
//! period, burst and cost of 64; only a debt saturates.
//!
//! What a response says about the quota stands beside the level and only ever makes it stricter, for one period at most.

/// So much cost per period, and so much at once. None of them is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    pub limit: u64,
    /// In nanoseconds.
    pub period: u64,
    pub burst: u64,
}

/// How much of a quota is used. The default is the state of one that is not used at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauge {
    /// In cost × nanoseconds, as of `at`; above the burst it is a debt.
    level: u128,
    /// In nanoseconds.
    at: u64,
    /// All that was given back so far, wrapping.
    returned: u128,
    /// A lower limit until a time.
    slow: Option<(u64, u64)>,
    /// What cost is left until a time.
    left: Option<(u64, u64)>,
}

/// What becomes of a cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It conforms.
    Go,
    /// It conforms in so many nanoseconds, if nothing else is admitted until then.
    Wait(u64),
    /// It is above the burst.
    Never,
}

/// What is remembered of an admitted cost to give some of it back.
#[derive(Clone, Copy, Debug)]
pub struct Receipt {
    level: u128,
    at: u64,
    returned: u128,
}

impl Receipt {
    /// What came later has given so much back, which is none of what this stands for.
    pub fn ignore(&mut self, back: u128) {
        self.returned = self.returned.wrapping_add(back);
    }
}

impl Quota {
    fn units(self, cost: u64) -> u128 {
        u128::from(cost) * u128::from(self.period)
    }

    /// What sinks between two times.
    fn sunk(self, slow: Option<(u64, u64)>, from: u64, to: u64) -> u128 {
        let at_rate =
            |from: u64, to: u64, limit: u64| u128::from(to.saturating_sub(from)) * u128::from(limit);
        match slow {
            Some((limit, until)) if from < until => {
                let turn = to.min(until);
                at_rate(from, turn, limit) + at_rate(turn, to, self.limit)
            }
            _ => at_rate(from, to, self.limit),
        }
    }

    /// How long from `from` until so much has sunk.
    fn time_to_sink(self, slow: Option<(u64, u64)>, from: u64, amount: u128) -> u64 {
        let at_rate =
            |amount: u128, limit: u64| u64::try_from(amount.div_ceil(u128::from(limit))).unwrap_or(u64::MAX);
        match slow {
            Some((limit, until)) if from < until => {
                let slowly = self.sunk(slow, from, until);
                if amount <= slowly {
                    at_rate(amount, limit)
                } else {
                    (until - from).saturating_add(at_rate(amount - slowly, self.limit))
                }
            }
            _ => at_rate(amount, self.limit),
        }
    }

    fn level(self, gauge: &Gauge, now: u64) -> u128 {
        gauge.level.saturating_sub(self.sunk(gauge.slow, gauge.at, now))
    }

    /// What becomes of a cost at a time. A cost of 0 always conforms.
    pub fn decide(self, gauge: &Gauge, now: u64, cost: u64) -> Decision {
        if cost == 0 {
            return Decision::Go;
        }
        if cost > self.burst {
            return Decision::Never;
        }
        let now = now.max(gauge.at);
        // In this order nothing overflows.
        let over = self.level(gauge, now).saturating_sub(self.units(self.burst - cost));
        let level = if over == 0 { 0 } else { self.time_to_sink(gauge.slow, now, over) };
        let window = match gauge.left {
            Some((left, until)) if now < until && cost > left => until - now,
            _ => 0,
        };
        match level.max(window) {
            0 => Decision::Go,
            wait => Decision::Wait(wait),
        }
    }

    /// The state after a cost was taken at a time, whether it conforms or not.
    pub fn take(self, gauge: &Gauge, now: u64, cost: u64) -> (Gauge, Receipt) {
        let mut after = self.advanced(gauge, now);
        after.level = after.level.saturating_add(self.units(cost));
        if let Some((left, _)) = &mut after.left {
            *left = left.saturating_sub(cost);
        }
        (after, Receipt { level: after.level, at: after.at, returned: after.returned })
    }

    /// Takes a cost at a time if it conforms: [`decide`](Self::decide) and [`take`](Self::take) in one.
    #[inline]
    pub fn take_if_it_conforms(self, gauge: &mut Gauge, now: u64, cost: u64) -> Option<Receipt> {
        // Most of the time no response has said anything.
        if gauge.slow.is_none() && gauge.left.is_none() {
            let at = gauge.at.max(now);
            let sunk = u128::from(at - gauge.at) * u128::from(self.limit);
            let level = gauge.level.saturating_sub(sunk);
            let room = self.burst.checked_sub(cost).is_some_and(|rest| level <= self.units(rest));
            if cost > 0 && !room {
                return None;
            }
            (gauge.level, gauge.at) = (level.saturating_add(self.units(cost)), at);
            return Some(Receipt { level: gauge.level, at, returned: gauge.returned });
        }
        self.take_under_a_hint(gauge, now, cost)
    }

    #[cold]
    fn take_under_a_hint(self, gauge: &mut Gauge, now: u64, cost: u64) -> Option<Receipt> {
        let mut after = self.advanced(gauge, now);
        let room = self.burst.checked_sub(cost).is_some_and(|rest| after.level <= self.units(rest));
        let is_left = after.left.is_none_or(|(left, _)| cost <= left);
        if cost > 0 && !(room && is_left) {
            return None;
        }
        after.level = after.level.saturating_add(self.units(cost));
        if let Some((left, _)) = &mut after.left {
            *left = left.saturating_sub(cost);
        }
        *gauge = after;
        Some(Receipt { level: after.level, at: after.at, returned: after.returned })
    }

    /// The state after some of an admitted cost was given back, and how much that was.
    ///
    /// Only what has not sunk yet comes back: otherwise others, who took what had become free meanwhile, would have had it too,
    /// and more than the quota would be in use. What others have given back since counts as sunk: that of those who came before has
    /// moved this cost to the front, and that of those who came after is counted with it, because a receipt does not know their
    /// order. So it is at times too little that comes back, and never too much.
    pub fn give_back(self, gauge: &Gauge, now: u64, cost: u64, receipt: &Receipt) -> (Gauge, u128) {
        let mut after = self.advanced(gauge, now);
        let sunk = self.sunk(None, receipt.at, after.at);
        let since = after.returned.wrapping_sub(receipt.returned);
        let still_there = receipt.level.saturating_sub(sunk).saturating_sub(since);
        let back = self.units(cost).min(still_there).min(after.level);
        after.level -= back;
        after.returned = after.returned.wrapping_add(back);
        (after, back)
    }

    /// The state after a response said something about the quota.
    pub fn learn(
        self,
        gauge: &Gauge,
        now: u64,
        (limit, remaining, reset_after): (Option<u64>, Option<u64>, Option<u64>),
    ) -> Gauge {
        let mut after = self.advanced(gauge, now);
        let until = after.at.saturating_add(reset_after.unwrap_or(self.period).min(self.period));
        if let Some(limit) = limit.filter(|limit| *limit > 0) {
            after.slow = (limit < self.limit).then_some((limit, until));
        }
        if let Some(remaining) = remaining.filter(|_| reset_after.is_some()) {
            after.left = Some((remaining, until));
        }
        after
    }

    /// How much cost conforms at a time.
    pub fn available(self, gauge: &Gauge, now: u64) -> u64 {
        let room = self.units(self.burst).saturating_sub(self.level(gauge, now));
        let room = u64::try_from(room / u128::from(self.period)).unwrap_or(u64::MAX);
        match gauge.left {
            Some((left, until)) if now < until => room.min(left),
            _ => room,
        }
    }

    /// Whether a state decides as a new one does.
    pub fn is_idle(self, gauge: &Gauge, now: u64) -> bool {
        let over = |until: Option<(u64, u64)>| until.is_none_or(|(_, until)| until <= now);
        self.level(gauge, now) == 0 && over(gauge.slow) && over(gauge.left)
    }

    /// The same state as of a later time. Time that goes back stands still.
    fn advanced(self, gauge: &Gauge, now: u64) -> Gauge {
        let at = gauge.at.max(now);
        let over = |until: Option<(u64, u64)>| until.filter(|(_, until)| *until > at);
        Gauge {
            level: self.level(gauge, at),
            at,
            returned: gauge.returned,
            slow: over(gauge.slow),
            left: over(gauge.left),
        }
    }
}

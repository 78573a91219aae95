//! The books of one tenant: who is in, who waits, what is left. Events in, decisions out, without locks, wakers or a clock.

use std::{collections::BTreeMap, sync::Arc};

use stageflow_core::{
    Quota, QuotaKind,
    budget::account::Account,
    gcra::{Decision, Gauge, Quota as Rate, Receipt},
    time::nanos,
};

/// No time at which it will do.
pub(crate) const NEVER: u64 = u64::MAX;

/// Of what there is not enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Short {
    pub(crate) quota: QuotaKind,
    pub(crate) limit: u64,
    pub(crate) used: u64,
    /// In how many nanoseconds it will do, [`NEVER`] included; `None` where it depends on others.
    pub(crate) wait: Option<u64>,
}

/// What a run that is in has taken.
#[derive(Clone, Debug, Default)]
pub(crate) struct Taken {
    /// Of the rate, to give it back.
    pub(crate) receipt: Option<Receipt>,
    /// The account that pays for the run as well.
    pub(crate) account: Option<Arc<Account>>,
}

/// What becomes of a run that comes.
#[derive(Clone, Debug)]
pub(crate) enum Offer {
    In(Taken),
    Wait { number: u64, ahead: usize, short: Short },
    Refused(Short),
}

/// What becomes of a run that waits.
#[derive(Clone, Debug)]
pub(crate) enum Turn {
    In(Taken),
    /// It waits on, for so many nanoseconds where they are known.
    Wait(Option<u64>),
}

/// What has happened so far: `offered = admitted + refused + left + waiting` at every instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) offered: u64,
    pub(crate) admitted: u64,
    /// In the order of [`QuotaKind::ALL`].
    pub(crate) refused: [u64; 5],
    /// Gave up while they waited.
    pub(crate) left: u64,
}

/// The runs that begin within one window share an account.
#[derive(Debug)]
struct Window {
    ends_at: u64,
    account: Arc<Account>,
}

/// The books of one tenant. `W` is how one who waits is told.
#[derive(Debug)]
pub(crate) struct Ledger<W> {
    quota: Quota,
    /// Of the quotas, when this one was read.
    version: u64,
    active: u32,
    /// By number: in the order in which they came.
    queue: BTreeMap<u64, W>,
    next: u64,
    gauge: Gauge,
    window: Option<Window>,
    pub(crate) counts: Counts,
}

/// The rate of a quota; `Err` where no run ever begins.
fn rate(quota: &Quota) -> Option<Result<Rate, ()>> {
    let (limit, period, burst) = quota.run_rate()?;
    Some(if limit == 0 { Err(()) } else { Ok(Rate { limit, period: nanos(period), burst }) })
}

impl<W> Ledger<W> {
    pub(crate) fn new() -> Self {
        Self {
            quota: Quota::new(),
            version: 0,
            active: 0,
            queue: BTreeMap::new(),
            next: 0,
            gauge: Gauge::default(),
            window: None,
            counts: Counts::default(),
        }
    }

    pub(crate) fn quota(&self) -> &Quota {
        &self.quota
    }

    pub(crate) fn active(&self) -> u32 {
        self.active
    }

    pub(crate) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// How many stand before a number: in time linear in their number.
    pub(crate) fn ahead(&self, number: u64) -> usize {
        self.queue.range(..number).count()
    }

    /// Goes by another quota from now on; `false` if a later one is known already, or it is the same. What was taken stays taken.
    pub(crate) fn update(&mut self, version: u64, quota: Quota, now: u64) -> bool {
        if version < self.version {
            return false;
        }
        self.version = version;
        if quota == self.quota {
            return false;
        }
        let (before, after) = (rate(&self.quota), rate(&quota));
        if before != after {
            // A gauge is counted in the units of its rate.
            self.gauge = match (before, after) {
                (Some(Ok(before)), Some(Ok(after))) => {
                    let used = before.burst - before.available(&self.gauge, now).min(before.burst);
                    after.take(&Gauge::default(), now, used.min(after.burst)).0
                }
                _ => Gauge::default(),
            };
        }
        if let (Some(window), Some((limit, _))) = (&self.window, quota.cost_limit()) {
            window.account.set_limit(limit);
        }
        self.quota = quota;
        true
    }

    /// A run comes, with a way to be told if it would wait.
    pub(crate) fn offer(&mut self, now: u64, waiter: W) -> Offer {
        self.counts.offered += 1;
        let short = match self.short(now) {
            None if self.queue.is_empty() => return Offer::In(self.take(now)),
            // Nobody passes those who wait, though the first of them has not taken its turn yet.
            None => self.crowded(),
            Some(short) => short,
        };
        if !self.may_wait(&short) {
            self.counts.refused[short.quota as usize] += 1;
            return Offer::Refused(short);
        }
        let (number, ahead) = (self.next, self.queue.len());
        self.next += 1;
        self.queue.insert(number, waiter);
        Offer::Wait { number, ahead, short }
    }

    /// Whether one who comes may stand in the queue: there is a place, and it could go in time as far as anybody knows.
    fn may_wait(&self, short: &Short) -> bool {
        let Some((most, places)) = self.quota.waiting() else { return false };
        let ahead = self.queue.len();
        let behind = match (short.quota, rate(&self.quota)) {
            (QuotaKind::RunRate, Some(Ok(rate))) => (ahead as u64).saturating_mul(rate.period / rate.limit),
            _ => 0,
        };
        let in_time = short.wait.is_none_or(|wait| wait.saturating_add(behind) <= nanos(most));
        ahead < places as usize && in_time && short.wait != Some(NEVER)
    }

    /// One who waits looks; what becomes of one who is not in the queue is that it waits for ever.
    pub(crate) fn turn(&mut self, number: u64, now: u64) -> Turn {
        if self.queue.first_key_value().is_none_or(|(first, _)| *first != number) {
            return Turn::Wait(None);
        }
        match self.short(now) {
            None => {
                self.queue.remove(&number);
                Turn::In(self.take(now))
            }
            Some(short) => Turn::Wait(short.wait.filter(|wait| *wait != NEVER)),
        }
    }

    /// How one who waits is told.
    pub(crate) fn waiter(&mut self, number: u64) -> Option<&mut W> {
        self.queue.get_mut(&number)
    }

    /// How the first of those who wait is told.
    pub(crate) fn first(&mut self) -> Option<&mut W> {
        self.queue.first_entry().map(std::collections::btree_map::OccupiedEntry::into_mut)
    }

    /// One who waits gives up.
    pub(crate) fn leave(&mut self, number: u64) -> Option<W> {
        let waiter = self.queue.remove(&number)?;
        self.counts.left += 1;
        Some(waiter)
    }

    /// One who waits has waited too long, for what there is not enough of.
    pub(crate) fn expire(&mut self, number: u64, now: u64) -> (Short, Option<W>) {
        let short = self.short(now).unwrap_or_else(|| self.crowded());
        let waiter = self.queue.remove(&number);
        self.counts.refused[short.quota as usize] += 1;
        (short, waiter)
    }

    /// One who was in leaves. A run that never began gives back what it took of the rate.
    pub(crate) fn release(&mut self, unused: Option<Receipt>, now: u64) {
        self.active -= 1;
        if let (Some(receipt), Some(Ok(rate))) = (unused, rate(&self.quota)) {
            self.gauge = rate.give_back(&self.gauge, now, 1, &receipt).0;
        }
    }

    /// Of what there is not enough for another run.
    pub(crate) fn short(&self, now: u64) -> Option<Short> {
        self.short_of_places().or_else(|| self.short_of_rate(now)).or_else(|| self.short_of_cost(now))
    }

    fn short_of_places(&self) -> Option<Short> {
        let limit = self.quota.concurrent_runs_limit().filter(|limit| self.active >= *limit)?;
        Some(Short {
            quota: QuotaKind::ConcurrentRuns,
            limit: limit.into(),
            used: self.active.into(),
            wait: (limit == 0).then_some(NEVER),
        })
    }

    fn short_of_rate(&self, now: u64) -> Option<Short> {
        let short = |limit, used, wait| Short { quota: QuotaKind::RunRate, limit, used, wait: Some(wait) };
        let Ok(rate) = rate(&self.quota)? else { return Some(short(0, 0, NEVER)) };
        match rate.decide(&self.gauge, now, 1) {
            Decision::Go => None,
            Decision::Wait(wait) => Some(short(rate.limit, rate.limit, wait)),
            Decision::Never => Some(short(rate.limit, 0, NEVER)),
        }
    }

    fn short_of_cost(&self, now: u64) -> Option<Short> {
        let (limit, _) = self.quota.cost_limit()?;
        let window = self.window.as_ref().filter(|window| window.ends_at > now);
        let used = window.map_or(0, |window| used(&window.account));
        if used < limit {
            return None;
        }
        let wait = window.filter(|_| limit > 0).map_or(NEVER, |window| window.ends_at - now);
        Some(Short { quota: QuotaKind::Cost, limit, used, wait: Some(wait) })
    }

    /// There is enough, but others have waited for it.
    fn crowded(&self) -> Short {
        let (quota, limit) = match (self.quota.concurrent_runs_limit(), self.quota.run_rate()) {
            (Some(limit), _) => (QuotaKind::ConcurrentRuns, limit.into()),
            (None, Some((limit, ..))) => (QuotaKind::RunRate, limit),
            (None, None) => (QuotaKind::Cost, self.quota.cost_limit().map_or(0, |(limit, _)| limit)),
        };
        Short { quota, limit, used: self.active.into(), wait: None }
    }

    fn take(&mut self, now: u64) -> Taken {
        self.counts.admitted += 1;
        self.active += 1;
        let receipt = match rate(&self.quota) {
            Some(Ok(rate)) => {
                let (gauge, receipt) = rate.take(&self.gauge, now, 1);
                self.gauge = gauge;
                Some(receipt)
            }
            _ => None,
        };
        let account = self.quota.cost_limit().map(|(limit, length)| {
            let window = self.window.take().filter(|window| window.ends_at > now);
            let window = window.unwrap_or_else(|| Window {
                ends_at: now.saturating_add(nanos(length)),
                account: Arc::new(Account::of_tenant(limit)),
            });
            Arc::clone(&self.window.insert(window).account)
        });
        Taken { receipt, account }
    }

    /// The account of the window, and when it ends.
    pub(crate) fn window(&self, now: u64) -> Option<(&Account, u64)> {
        let window = self.window.as_ref().filter(|window| window.ends_at > now)?;
        Some((&window.account, window.ends_at - now))
    }

    /// Whether books that are begun anew would decide as these do.
    pub(crate) fn is_idle(&self, now: u64) -> bool {
        let is_slack = match rate(&self.quota) {
            Some(Ok(rate)) => rate.is_idle(&self.gauge, now),
            _ => true,
        };
        let is_unspent = self.window(now).is_none_or(|(account, _)| used(account) == 0);
        self.active == 0 && self.queue.is_empty() && is_slack && is_unspent
    }
}

fn used(account: &Account) -> u64 {
    let costs = account.costs();
    costs.spent.saturating_add(costs.reserved)
}

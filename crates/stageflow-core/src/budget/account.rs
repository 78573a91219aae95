//! The account of a budget: whole numbers, changed by compare-and-swap, each within an account around it.
//!
//! Compiled a second time over the primitives of a model checker, in `tests/model`.

use std::sync::Arc;

use super::sync::{AtomicU64, Ordering::Relaxed};

/// One retry is so much: shares are counted in thousandths.
pub const ONE: u64 = 1_000;
/// No limit.
pub const UNLIMITED: u64 = u64::MAX;

/// What a run and its child runs have used together.
#[derive(Debug)]
pub struct Account {
    /// The account that pays as well.
    outer: Option<Arc<Account>>,
    /// Thousandths of a retry for each stage; [`UNLIMITED`] for no limit.
    share: u64,
    /// Thousandths of a retry beside.
    floor: u64,
    stages: AtomicU64,
    granted: AtomicU64,
    refused: AtomicU64,
    limit: AtomicU64,
    /// What was spent and what is reserved, in one word: it alone decides whether there is enough.
    used: AtomicU64,
    reserved: AtomicU64,
    unaffordable: AtomicU64,
    /// Whether it is a tenant's, for all its runs, and not that of a run.
    is_of_tenant: bool,
    /// Which exhaustions were told, a bit for each kind.
    told: AtomicU64,
}

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Retries,
    Cost,
}

/// What an account says of its cost: `spent + reserved + left = limit + overdrawn`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Costs {
    pub spent: u64,
    pub reserved: u64,
    pub left: u64,
    pub overdrawn: u64,
}

impl Account {
    pub fn new(outer: Option<Arc<Self>>, (share, floor): (u64, u64), limit: u64) -> Self {
        Self {
            outer,
            share,
            floor,
            stages: AtomicU64::new(0),
            granted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            limit: AtomicU64::new(limit),
            used: AtomicU64::new(0),
            reserved: AtomicU64::new(0),
            unaffordable: AtomicU64::new(0),
            is_of_tenant: false,
            told: AtomicU64::new(0),
        }
    }

    /// The account of a tenant, around those of its runs: it limits what they cost together, and no retries.
    pub fn of_tenant(limit: u64) -> Self {
        Self { is_of_tenant: true, ..Self::new(None, (UNLIMITED, 0), limit) }
    }

    /// Whether it is a tenant's.
    pub fn is_of_tenant(&self) -> bool {
        self.is_of_tenant
    }

    /// Changes the limit. What was granted stays granted.
    pub fn set_limit(&self, limit: u64) {
        self.limit.store(limit, Relaxed);
    }

    /// This account, and those around it.
    fn all(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |account| account.outer.as_deref())
    }

    /// A pipeline of so many stages starts: they count for this account and for those around it, up to `end`.
    pub fn add_stages(&self, stages: u64, end: Option<&Self>) {
        let is_end = |account: &Self| end.is_some_and(|end| std::ptr::eq(end, account));
        self.all().take_while(|account| !is_end(account)).for_each(|account| add(&account.stages, stages));
    }

    /// Takes a retry out of this account and of those around it, or out of none: `Err` with the one that has none left.
    pub fn take_retry(&self) -> Result<(), &Self> {
        let take = |account: &Self| {
            // It only grows, so a reading that is late refuses what it might have granted.
            let most = account.most();
            let more = |granted: u64| (granted < most).then(|| granted + 1);
            account.granted.fetch_update(Relaxed, Relaxed, more).is_ok()
        };
        let Some(empty) = self.all().position(|account| !take(account)) else { return Ok(()) };
        self.all().take(empty).for_each(|account| sub(&account.granted, 1));
        self.all().for_each(|account| add(&account.refused, 1));
        self.all().nth(empty).map_or(Ok(()), Err)
    }

    /// How many retries there may be, of the stages so far.
    fn most(&self) -> u64 {
        if self.share == UNLIMITED {
            return UNLIMITED;
        }
        self.stages.load(Relaxed).saturating_mul(self.share).saturating_add(self.floor) / ONE
    }

    /// Sets `amount` aside in this account and in those around it, or in none: `Err` with the one that cannot afford it.
    pub fn reserve(&self, amount: u64) -> Result<(), &Self> {
        let take = |account: &Self| {
            let limit = account.limit();
            let more = |used: u64| Some(used.saturating_add(amount)).filter(|used| *used <= limit);
            account.used.fetch_update(Relaxed, Relaxed, more).is_ok()
        };
        let Some(poor) = self.all().position(|account| !take(account)) else {
            self.all().for_each(|account| add(&account.reserved, amount));
            return Ok(());
        };
        self.all().take(poor).for_each(|account| sub(&account.used, amount));
        self.all().for_each(|account| add(&account.unaffordable, 1));
        self.all().nth(poor).map_or(Ok(()), Err)
    }

    /// What was used before this account was opened, in another process.
    pub fn carry(&self, retries: u64, cost: u64) {
        add(&self.granted, retries);
        add(&self.used, cost);
    }

    /// What was reserved has cost `actual`: gives back the rest, or takes what is missing, whether there is so much or not.
    pub fn settle(&self, reserved: u64, actual: u64) {
        for account in self.all() {
            sub(&account.reserved, reserved);
            if actual < reserved {
                sub(&account.used, reserved - actual);
            } else {
                add(&account.used, actual - reserved);
            }
        }
    }

    /// Whether this is the first call for `kind`.
    pub fn tell(&self, kind: Kind) -> bool {
        let bit = 1 << kind as u64;
        let set = |told: u64| (told & bit == 0).then_some(told | bit);
        self.told.fetch_update(Relaxed, Relaxed, set).is_ok()
    }

    /// How many retries were granted, how many refused, and how many there may be of the stages so far.
    pub fn retries(&self) -> (u64, u64, u64) {
        (self.granted.load(Relaxed), self.refused.load(Relaxed), self.most())
    }

    /// The least that this account and those around it have left.
    pub fn retries_left(&self) -> u64 {
        let left = |account: &Self| match account.most() {
            UNLIMITED => UNLIMITED,
            most => most.saturating_sub(account.granted.load(Relaxed)),
        };
        self.all().map(left).min().unwrap_or(UNLIMITED)
    }

    /// The limit; [`UNLIMITED`] for none.
    pub fn limit(&self) -> u64 {
        self.limit.load(Relaxed)
    }

    /// How often a cost could not be afforded.
    pub fn unaffordable(&self) -> u64 {
        self.unaffordable.load(Relaxed)
    }

    pub fn costs(&self) -> Costs {
        let (used, limit) = (self.used.load(Relaxed), self.limit());
        // What is reserved is taken from `used` first and given back to it last.
        let reserved = self.reserved.load(Relaxed).min(used);
        Costs {
            spent: used - reserved,
            reserved,
            left: limit.saturating_sub(used),
            overdrawn: used.saturating_sub(limit),
        }
    }

    /// The least that this account and those around it have left.
    pub fn cost_left(&self) -> u64 {
        let left = |account: &Self| match account.limit() {
            UNLIMITED => UNLIMITED,
            _ => account.costs().left,
        };
        self.all().map(left).min().unwrap_or(UNLIMITED)
    }
}

fn add(word: &AtomicU64, amount: u64) {
    let _always = word.fetch_update(Relaxed, Relaxed, |now| Some(now.saturating_add(amount)));
}

fn sub(word: &AtomicU64, amount: u64) {
    let _always = word.fetch_update(Relaxed, Relaxed, |now| Some(now.saturating_sub(amount)));
}

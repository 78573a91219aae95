//! A tenant's books behind their lock, and those who wait. Wakers are cloned, woken and dropped outside the lock.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Waker,
    time::Duration,
};

use stageflow_core::{
    Clock, Quota, QuotaExceeded, TenantId, budget::account::Account, gcra::Receipt, time::nanos,
};

use super::{
    ledger::{Ledger, NEVER, Offer, Short, Turn},
    pool::StagePool,
};

/// A tenant that somebody knows something of.
pub(crate) struct Tenant {
    /// `None` for the runs without a tenant.
    id: Option<TenantId>,
    ledger: Mutex<Ledger<Option<Waker>>>,
    stages: Arc<StagePool>,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tenant").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Tenant {
    pub(crate) fn new(id: Option<TenantId>, clock: Arc<dyn Clock>) -> Self {
        Self { id, ledger: Mutex::new(Ledger::new()), stages: Arc::new(StagePool::new()), clock }
    }

    pub(crate) fn id(&self) -> Option<&TenantId> {
        self.id.as_ref()
    }

    pub(crate) fn now(&self) -> u64 {
        self.clock.monotonic_nanos()
    }

    fn lock(&self) -> MutexGuard<'_, Ledger<Option<Waker>>> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn look<R>(&self, at: impl FnOnce(&Ledger<Option<Waker>>) -> R) -> R {
        at(&self.lock())
    }

    /// The permits of its stages, if it has a limit.
    pub(crate) fn stages(&self) -> Option<Arc<StagePool>> {
        let is_limited = self.look(|ledger| ledger.quota().stages_in_flight_limit().is_some());
        is_limited.then(|| Arc::clone(&self.stages))
    }

    pub(crate) fn stages_in_flight(&self) -> u32 {
        self.stages.in_flight()
    }

    /// Goes by another quota from now on.
    pub(crate) fn update(&self, version: u64, quota: Quota) {
        let now = self.now();
        let mut ledger = self.lock();
        if ledger.update(version, quota, now) {
            // Under the lock, so that two changes come in one order to both.
            self.stages.resize(quota.stages_in_flight_limit());
            wake_first(ledger);
        }
    }

    /// A run comes.
    pub(crate) fn offer(self: &Arc<Self>) -> Result<Entered, QuotaExceeded> {
        let now = self.now();
        let mut ledger = self.lock();
        let offer = ledger.offer(now, None);
        let most = ledger.quota().waiting().map_or(0, |(most, _)| nanos(most));
        drop(ledger);
        match offer {
            Offer::In(taken) => Ok(Entered::Permit(self.permit(taken.receipt, taken.account))),
            Offer::Wait { number, ahead, short } => Ok(Entered::Place(Place {
                tenant: Arc::clone(self),
                number,
                ahead,
                short,
                since: now,
                expires_at: now.saturating_add(most),
                is_left: false,
            })),
            Offer::Refused(short) => Err(self.exceeded(&short)),
        }
    }

    fn permit(self: &Arc<Self>, receipt: Option<Receipt>, account: Option<Arc<Account>>) -> RunPermit {
        RunPermit { tenant: Arc::clone(self), unused: receipt, account }
    }

    pub(crate) fn exceeded(&self, short: &Short) -> QuotaExceeded {
        let wait = short.wait.filter(|wait| *wait != NEVER).map(Duration::from_nanos);
        QuotaExceeded::new(self.id.clone(), short.quota, short.limit, short.used).retry_after(wait)
    }
}

/// Tells the first of those who wait that something has changed.
fn wake_first(mut ledger: MutexGuard<'_, Ledger<Option<Waker>>>) {
    let waker = ledger.first().and_then(|waker| waker.clone());
    drop(ledger);
    if let Some(waker) = waker {
        let _panicked = catch_unwind(AssertUnwindSafe(|| waker.wake()));
    }
}

/// What a run that comes is given, unless it is refused.
pub(crate) enum Entered {
    Permit(RunPermit),
    Place(Place),
}

/// The right of a run to be in; given back when dropped.
pub(crate) struct RunPermit {
    tenant: Arc<Tenant>,
    /// What it gives back of the rate if the run never begins.
    unused: Option<Receipt>,
    account: Option<Arc<Account>>,
}

impl RunPermit {
    /// The account that pays for the run as well.
    pub(crate) fn account(&self) -> Option<&Arc<Account>> {
        self.account.as_ref()
    }

    /// The run begins, and counts for the rate.
    pub(crate) fn begin(&mut self) {
        self.unused = None;
    }
}

impl Drop for RunPermit {
    fn drop(&mut self) {
        let now = self.tenant.now();
        let mut ledger = self.tenant.lock();
        ledger.release(self.unused.take(), now);
        wake_first(ledger);
    }
}

/// A place in the queue of a tenant; given back when dropped.
pub(crate) struct Place {
    tenant: Arc<Tenant>,
    number: u64,
    pub(crate) ahead: usize,
    /// What it was for that it had to wait.
    pub(crate) short: Short,
    since: u64,
    pub(crate) expires_at: u64,
    is_left: bool,
}

impl Place {
    pub(crate) fn tenant(&self) -> &Arc<Tenant> {
        &self.tenant
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn waited(&self) -> u64 {
        self.tenant.now().saturating_sub(self.since)
    }

    /// The permit, if its turn has come; else in how many nanoseconds to look again, where that is known. It is told of what changes.
    pub(crate) fn turn(&mut self, waker: &Waker) -> Result<RunPermit, Option<u64>> {
        let now = self.tenant.now();
        let mut waker = Some(waker.clone());
        let mut ledger = self.tenant.lock();
        match ledger.turn(self.number, now) {
            Turn::In(taken) => {
                self.is_left = true;
                // There may be enough for the next one too.
                wake_first(ledger);
                Ok(self.tenant.permit(taken.receipt, taken.account))
            }
            Turn::Wait(wait) => {
                if let Some(known) = ledger.waiter(self.number) {
                    std::mem::swap(known, &mut waker);
                }
                drop(ledger);
                drop(waker);
                Err(wait)
            }
        }
    }

    /// Gives up because it took too long.
    pub(crate) fn expire(&mut self) -> QuotaExceeded {
        let (now, waited) = (self.tenant.now(), self.waited());
        let mut ledger = self.tenant.lock();
        let (short, _waker) = ledger.expire(self.number, now);
        self.is_left = true;
        wake_first(ledger);
        self.tenant.exceeded(&short).waited(Duration::from_nanos(waited))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.is_left {
            return;
        }
        let mut ledger = self.tenant.lock();
        let _waker = ledger.leave(self.number);
        wake_first(ledger);
    }
}

//! [`TenantQuotas`]: which tenant has which quota, changeable while engines and stores go by it.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{Quota, QuotaExceeded, QuotaKind};
use crate::id::TenantId;

/// The quotas of all tenants: one for every tenant, others for some of them, changeable while they are gone by.
///
/// A tenant has the quota that was [`set`](Self::set) for it, else the one that the function of [`look_up`](Self::look_up) knows, else
/// the default. One takes the place of the other as a whole: [`Quota::or`] has it say only what is different. Runs without a tenant
/// are one tenant, whose quota is the default.
///
/// Clones are the same quotas: keep one to change them, give the others to engines and stores. Each engine counts on its own.
/// A change counts at once, for runs that wait as well; what was let in before stays in.
///
/// ```
/// use stageflow_core::{Quota, TenantId, TenantQuotas};
///
/// let quotas = TenantQuotas::new(Quota::concurrent_runs(20)).with("acme", Quota::concurrent_runs(200));
/// let of = |tenant: &str| quotas.of(Some(&TenantId::from(tenant))).concurrent_runs_limit();
/// assert_eq!((of("acme"), of("other")), (Some(200), Some(20)));
///
/// quotas.set("acme", Quota::concurrent_runs(0)); // it has not paid
/// assert_eq!(of("acme"), Some(0));
/// quotas.unset("acme");
/// assert_eq!(of("acme"), Some(20));
/// ```
#[derive(Clone)]
pub struct TenantQuotas(Arc<Shared>);

type Elsewhere = dyn Fn(&TenantId) -> Option<Quota> + Send + Sync;

#[derive(Default)]
struct Shared {
    known: RwLock<Known>,
    version: AtomicU64,
    listeners: Mutex<Vec<Weak<dyn OnQuotaChange>>>,
}

#[derive(Default)]
struct Known {
    default: Quota,
    own: HashMap<TenantId, Quota>,
    elsewhere: Option<Arc<Elsewhere>>,
}

/// Who has to look again when quotas have changed.
#[doc(hidden)]
pub trait OnQuotaChange: Send + Sync {
    fn quotas_changed(&self);
}

impl TenantQuotas {
    /// A quota for every tenant.
    pub fn new(default: Quota) -> Self {
        let known = RwLock::new(Known { default, ..Known::default() });
        Self(Arc::new(Shared { known, ..Shared::default() }))
    }

    /// Sets the quota of one tenant: [`set`](Self::set), in a chain.
    #[must_use]
    pub fn with(self, tenant: impl Into<TenantId>, quota: Quota) -> Self {
        self.set(tenant, quota);
        self
    }

    /// Asks `quota_of` for quotas that are kept elsewhere; `None` is the default.
    ///
    /// It is asked whenever a run is started, so it has to be fast: read from a file or a table, the quotas belong in a map that
    /// somebody else keeps up to date, and who calls [`changed`](Self::changed) then.
    #[must_use]
    pub fn look_up(self, quota_of: impl Fn(&TenantId) -> Option<Quota> + Send + Sync + 'static) -> Self {
        self.change(|known| known.elsewhere = Some(Arc::new(quota_of)));
        self
    }

    /// Sets the quota of one tenant.
    pub fn set(&self, tenant: impl Into<TenantId>, quota: Quota) {
        let tenant = tenant.into();
        self.change(|known| {
            known.own.insert(tenant, quota);
        });
    }

    /// Takes the quota back that was set for a tenant.
    pub fn unset(&self, tenant: impl Into<TenantId>) {
        let tenant = tenant.into();
        self.change(|known| {
            known.own.remove(&tenant);
        });
    }

    /// Sets the quota of all tenants that have no other.
    pub fn set_default(&self, quota: Quota) {
        self.change(|known| known.default = quota);
    }

    /// Says that the function of [`look_up`](Self::look_up) knows other quotas than before, so that those who wait look again.
    pub fn changed(&self) {
        self.0.version.fetch_add(1, Ordering::SeqCst);
        let mut listeners = self.0.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.retain(|listener| listener.strong_count() > 0);
        let all: Vec<_> = listeners.iter().filter_map(Weak::upgrade).collect();
        drop(listeners);
        all.iter().for_each(|listener| listener.quotas_changed());
    }

    /// The quota of a tenant, or of the runs without one.
    pub fn of(&self, tenant: Option<&TenantId>) -> Quota {
        let known = self.known();
        let Some(tenant) = tenant else { return known.default };
        if let Some(own) = known.own.get(tenant) {
            return *own;
        }
        let (default, elsewhere) = (known.default, known.elsewhere.clone());
        // It is somebody else's, and may ask for anything: not under the lock.
        drop(known);
        elsewhere.and_then(|quota_of| quota_of(tenant)).unwrap_or(default)
    }

    /// Whether a tenant that has stored so many bytes may store `more`: for stores, before they write.
    ///
    /// # Errors
    ///
    /// [`QuotaExceeded`] where it would be above its quota.
    pub fn check_stored_bytes(&self, tenant: &TenantId, stored: u64, more: u64) -> Result<(), QuotaExceeded> {
        match self.of(Some(tenant)).stored_bytes_limit() {
            Some(limit) if stored.saturating_add(more) > limit => {
                Err(QuotaExceeded::new(Some(tenant.clone()), QuotaKind::StoredBytes, limit, stored))
            }
            _ => Ok(()),
        }
    }

    /// Grows with every change.
    #[doc(hidden)]
    pub fn version(&self) -> u64 {
        self.0.version.load(Ordering::SeqCst)
    }

    /// Whether a quota may change without anybody saying so.
    #[doc(hidden)]
    pub fn is_elsewhere(&self) -> bool {
        self.known().elsewhere.is_some()
    }

    /// Tells `listener` of changes, as long as it lives.
    #[doc(hidden)]
    pub fn on_change(&self, listener: Weak<dyn OnQuotaChange>) {
        let mut listeners = self.0.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.retain(|known| known.strong_count() > 0);
        listeners.push(listener);
    }

    fn known(&self) -> RwLockReadGuard<'_, Known> {
        self.0.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Known)) {
        change(&mut self.0.known.write().unwrap_or_else(PoisonError::into_inner));
        self.changed();
    }
}

impl From<Quota> for TenantQuotas {
    fn from(default: Quota) -> Self {
        Self::new(default)
    }
}

impl fmt::Display for TenantQuotas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = self.known();
        write!(f, "{}", known.default)?;
        match known.own.len() {
            0 => {}
            1 => f.write_str("; 1 tenant has its own")?,
            others => write!(f, "; {others} tenants have their own")?,
        }
        if known.elsewhere.is_some() { f.write_str("; others are looked up") } else { Ok(()) }
    }
}

impl fmt::Debug for TenantQuotas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TenantQuotas({self})")
    }
}

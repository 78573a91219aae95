//! [`PriorityQueue`]: who goes next, of classes with weights and of tenants with costs.

use std::{sync::Arc, time::Duration};

use stageflow_core::{Priority, TenantId, time::nanos};

use super::tenants::{Item, Tenants};

/// The classes, the most urgent first.
const CLASSES: [Priority; 5] =
    [Priority::Critical, Priority::High, Priority::Normal, Priority::Low, Priority::Background];

/// One dispatch per unit of weight, as a fixed-point number.
const UNIT: u128 = 1 << 64;

fn place(class: Priority) -> usize {
    CLASSES.iter().position(|known| *known == class).unwrap_or(CLASSES.len() - 1)
}

/// How often each class goes, compared to the others: 16, 8, 4, 2, 1 by default.
///
/// ```
/// use stageflow_core::Priority;
/// use stageflow_plus::router::ClassWeights;
///
/// assert_eq!(ClassWeights::default().starvation_bound(Priority::Background), 62);
/// assert_eq!(ClassWeights::default().starvation_bound(Priority::Critical), 4);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassWeights([u32; 5]);

impl Default for ClassWeights {
    fn default() -> Self {
        Self([16, 8, 4, 2, 1])
    }
}

impl ClassWeights {
    /// Weights, the most urgent class first. A weight of 0 counts as 1: no class starves.
    pub fn new(critical: u32, high: u32, normal: u32, low: u32, background: u32) -> Self {
        Self([critical, high, normal, low, background].map(|weight| weight.max(1)))
    }

    /// The weight of a class.
    pub fn of(&self, class: Priority) -> u32 {
        self.0[place(class)]
    }

    /// Fewer than so many others go before the first job of a class: twice the weight of all divided by its own, rounded up.
    pub fn starvation_bound(&self, class: Priority) -> u64 {
        let total: u64 = self.0.iter().map(|weight| u64::from(*weight)).sum();
        (2 * total).div_ceil(u64::from(self.of(class)))
    }
}

/// Decides who goes next: by class, and within a class by tenant. A state machine of the time, which is an argument in nanoseconds of
/// any clock that never goes back; nothing in it waits. [`PriorityGate`](super::PriorityGate) waits for it.
///
/// - Classes share by weight, by the earliest eligible virtual deadline: fewer than
///   [`starvation_bound`](ClassWeights::starvation_bound) others go before the first job of a class, as long as neither
///   [`strict_critical`](Self::strict_critical) nor [`max_wait`](Self::max_wait) is set.
/// - Within a class, tenants share by cost: what two of them were served while both waited differs by no more than the cost of one
///   job of each. Within a tenant, jobs go in the order of arrival.
/// - Whoever was away has saved nothing up.
///
/// Each step takes time logarithmic in the waiting jobs.
///
/// ```
/// use stageflow_core::Priority;
/// use stageflow_plus::router::PriorityQueue;
///
/// let mut queue = PriorityQueue::new();
/// queue.push(0, Priority::Background, None, 1, "report");
/// queue.push(0, Priority::Critical, None, 1, "outage");
/// assert_eq!(queue.pop(0).map(|next| next.job), Some("outage"));
/// assert_eq!(queue.pop(0).map(|next| next.job), Some("report"));
/// ```
#[derive(Debug)]
pub struct PriorityQueue<J> {
    weights: ClassWeights,
    classes: [Class<J>; 5],
    virtual_time: u128,
    strict: Option<u32>,
    /// How many critical jobs went in a row while others waited.
    in_a_row: u32,
    promoted_last: bool,
    next_id: u64,
}

#[derive(Debug)]
struct Class<J> {
    jobs: Tenants<J>,
    /// From when on it has had no more than its share.
    eligible: u128,
    max_wait: Option<u64>,
}

/// A job that goes now.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dispatched<J> {
    /// The job.
    pub job: J,
    /// Its class.
    pub class: Priority,
    /// Whether it goes because it has waited too long.
    pub promoted: bool,
    /// How long it has waited.
    pub waited: Duration,
}

impl<J> Default for PriorityQueue<J> {
    fn default() -> Self {
        Self::new()
    }
}

impl<J> PriorityQueue<J> {
    /// Nothing waits.
    pub fn new() -> Self {
        let class = || Class { jobs: Tenants::new(), eligible: 0, max_wait: None };
        Self {
            weights: ClassWeights::default(),
            classes: [class(), class(), class(), class(), class()],
            virtual_time: 0,
            strict: None,
            in_a_row: 0,
            promoted_last: false,
            next_id: 0,
        }
    }

    /// Other weights.
    #[must_use]
    pub fn weights(mut self, weights: ClassWeights) -> Self {
        self.weights = weights;
        self
    }

    /// Critical jobs go before all others, but no more than `cap` in a row while others wait; after those one of the others goes.
    #[must_use]
    pub fn strict_critical(mut self, cap: u32) -> Self {
        self.strict = Some(cap);
        self
    }

    /// A job of this class that has waited for so long goes next, whatever its weight: the one that is due longest first, and never two
    /// such in a row while others wait, so that a flood of old jobs takes no more than every other turn.
    #[must_use]
    pub fn max_wait(mut self, class: Priority, time: Duration) -> Self {
        self.classes[place(class)].max_wait = Some(nanos(time));
        self
    }

    /// How many jobs wait.
    pub fn len(&self) -> usize {
        self.classes.iter().map(|class| class.jobs.len()).sum()
    }

    /// How many jobs of a class wait.
    pub fn len_of(&self, class: Priority) -> usize {
        self.classes[place(class)].jobs.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.classes.iter().all(|class| class.jobs.is_empty())
    }

    /// A job arrives. A cost of 0 counts as 1. The number is for [`remove`](Self::remove).
    pub fn push(&mut self, now: u64, class: Priority, tenant: Option<&TenantId>, cost: u64, job: J) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        let virtual_time = self.virtual_time;
        let class = &mut self.classes[place(class)];
        if class.jobs.is_empty() {
            class.eligible = class.eligible.max(virtual_time);
        }
        let tenant = tenant.map(|tenant| Arc::from(tenant.as_str()));
        class.jobs.push(id, tenant, Item { job, cost: cost.max(1), arrived: now });
        id
    }

    /// Gives a job up that has not gone yet.
    pub fn remove(&mut self, id: u64) -> Option<J> {
        self.classes.iter_mut().find_map(|class| class.jobs.remove(id)).map(|item| item.job)
    }

    /// Who goes next; `None` if nothing waits.
    pub fn pop(&mut self, now: u64) -> Option<Dispatched<J>> {
        if !self.promoted_last
            && let Some((at, id)) = self.overdue(now)
        {
            self.promoted_last = true;
            let item = self.classes[at].jobs.serve(id)?;
            return Some(Self::dispatched(at, item, now, true));
        }
        self.promoted_last = false;
        let at = self.next_class()?;
        let item = self.classes[at].jobs.pop()?;
        Some(Self::dispatched(at, item, now, false))
    }

    fn dispatched(at: usize, item: Item<J>, now: u64, promoted: bool) -> Dispatched<J> {
        let waited = Duration::from_nanos(now.saturating_sub(item.arrived));
        Dispatched { job: item.job, class: CLASSES[at], promoted, waited }
    }

    /// The job that should have gone first.
    fn overdue(&self, now: u64) -> Option<(usize, u64)> {
        let due = self.classes.iter().enumerate().filter_map(|(at, class)| {
            let (id, arrived) = class.jobs.oldest()?;
            Some((arrived.saturating_add(class.max_wait?), id, at))
        });
        let (due, id, at) = due.min()?;
        (due <= now).then_some((at, id))
    }

    fn next_class(&mut self) -> Option<usize> {
        let critical = place(Priority::Critical);
        let others_wait = self.classes.iter().skip(1).any(|class| !class.jobs.is_empty());
        match self.strict {
            Some(cap) if !self.classes[critical].jobs.is_empty() => {
                if !others_wait || self.in_a_row < cap {
                    self.in_a_row = if others_wait { self.in_a_row + 1 } else { 0 };
                    return Some(critical);
                }
                self.in_a_row = 0;
                self.by_weight(|at| at != critical)
            }
            _ => self.by_weight(|_| true),
        }
    }

    /// Of the classes that have had no more than their share, the one whose next turn is due first.
    fn by_weight(&mut self, takes_part: impl Fn(usize) -> bool) -> Option<usize> {
        let waiting: Vec<usize> =
            (0..CLASSES.len()).filter(|at| takes_part(*at) && !self.classes[*at].jobs.is_empty()).collect();
        let total: u128 = waiting.iter().map(|at| u128::from(self.weights.0[*at])).sum();
        let first = waiting.iter().map(|at| self.classes[*at].eligible).min()?;
        self.virtual_time = self.virtual_time.max(first);
        let due = |at: usize| self.classes[at].eligible + UNIT / u128::from(self.weights.0[at]);
        let eligible = waiting.iter().copied().filter(|at| self.classes[*at].eligible <= self.virtual_time);
        let at = eligible.min_by_key(|at| due(*at))?;
        self.classes[at].eligible = due(at);
        self.virtual_time += UNIT / total;
        Some(at)
    }
}

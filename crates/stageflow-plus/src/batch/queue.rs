//! Who waits for a batch, by tenant: a pure state machine over the time, who comes, and who leaves.

use std::collections::{HashMap, VecDeque};

use stageflow_core::TenantId;

/// Whose items go into one batch; `None` without a tenant, and of all together.
pub(super) type Key = Option<TenantId>;

/// What bounds batches, and those who wait for one. Times are nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) max_size: usize,
    pub(super) max_weight: Option<u64>,
    pub(super) max_wait: u64,
    pub(super) max_queue: usize,
    pub(super) tenant_queue: usize,
    pub(super) max_in_flight: usize,
}

/// Why a batch did not wait for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FlushedBy {
    /// It has as many items as a batch may have.
    Full,
    /// What comes next would make it too heavy, or it is as heavy as a batch may be.
    Weight,
    /// An item has waited as long as one may.
    Time,
    /// An item has too little time to wait that long.
    Deadline,
    /// The batcher was closed, and nothing else comes.
    Closed,
}

impl FlushedBy {
    /// As one word: `full`, `weight`, `time`, `deadline` or `closed`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Weight => "weight",
            Self::Time => "time",
            Self::Deadline => "deadline",
            Self::Closed => "closed",
        }
    }
}

/// Why a batcher took an item not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RefusedBy {
    /// Too many wait.
    QueueFull,
    /// Too many of one tenant wait.
    TenantQueueFull,
    /// It was closed.
    Closed,
}

impl RefusedBy {
    /// As one word: `queue_full`, `tenant_queue_full` or `closed`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::TenantQueueFull => "tenant_queue_full",
            Self::Closed => "closed",
        }
    }
}

#[derive(Debug)]
pub(super) struct Entry<T> {
    pub(super) ticket: u64,
    pub(super) item: T,
    pub(super) weight: u64,
    /// When it came.
    pub(super) at: u64,
    /// When it has waited long enough.
    due: u64,
}

#[derive(Debug)]
struct Lane<T> {
    /// Tickets ascend.
    entries: VecDeque<Entry<T>>,
    weight: u64,
}

impl<T> Lane<T> {
    fn due(&self) -> u64 {
        self.entries.iter().map(|entry| entry.due).min().unwrap_or(u64::MAX)
    }
}

/// A batch that goes now.
#[derive(Debug)]
pub(super) struct Formed<T> {
    pub(super) key: Key,
    /// In the order in which they came; never none.
    pub(super) entries: Vec<Entry<T>>,
    pub(super) weight: u64,
    pub(super) by: FlushedBy,
}

/// The queues of all tenants, and how many batches are on their way.
#[derive(Debug)]
pub(super) struct Queues<T> {
    rules: Rules,
    lanes: HashMap<Key, Lane<T>>,
    /// Tenants with items, by whose turn it is.
    turns: VecDeque<Key>,
    queued: usize,
    in_flight: usize,
    next_ticket: u64,
    is_closed: bool,
}

impl<T> Queues<T> {
    pub(super) fn new(rules: Rules) -> Self {
        Self {
            rules,
            lanes: HashMap::new(),
            turns: VecDeque::new(),
            queued: 0,
            in_flight: 0,
            next_ticket: 0,
            is_closed: false,
        }
    }

    pub(super) fn queued(&self) -> usize {
        self.queued
    }

    pub(super) fn tenants(&self) -> usize {
        self.lanes.len()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// An item comes, which waits for `patience` at most; the ticket by which it leaves.
    pub(super) fn offer(
        &mut self,
        key: &Key,
        item: T,
        weight: u64,
        now: u64,
        patience: u64,
    ) -> Result<u64, (RefusedBy, T)> {
        let of_tenant = self.lanes.get(key).map_or(0, |lane| lane.entries.len());
        let refused = if self.is_closed {
            Some(RefusedBy::Closed)
        } else if self.queued >= self.rules.max_queue {
            Some(RefusedBy::QueueFull)
        } else if of_tenant >= self.rules.tenant_queue {
            Some(RefusedBy::TenantQueueFull)
        } else {
            None
        };
        if let Some(by) = refused {
            return Err((by, item));
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        if !self.lanes.contains_key(key) {
            self.turns.push_back(key.clone());
        }
        let lane =
            self.lanes.entry(key.clone()).or_insert_with(|| Lane { entries: VecDeque::new(), weight: 0 });
        let due = now.saturating_add(self.rules.max_wait.min(patience));
        lane.entries.push_back(Entry { ticket, item, weight, at: now, due });
        lane.weight = lane.weight.saturating_add(weight);
        self.queued += 1;
        Ok(ticket)
    }

    /// One who waits gives up.
    pub(super) fn leave(&mut self, key: &Key, ticket: u64) -> Option<T> {
        let lane = self.lanes.get_mut(key)?;
        let index = lane.entries.binary_search_by_key(&ticket, |entry| entry.ticket).ok()?;
        let entry = lane.entries.remove(index)?;
        lane.weight = lane.entries.iter().fold(0, |sum, entry| u64::saturating_add(sum, entry.weight));
        self.queued -= 1;
        if lane.entries.is_empty() {
            self.lanes.remove(key);
            self.turns.retain(|turn| turn != key);
        }
        Some(entry.item)
    }

    /// Whether nothing keeps the items of a tenant waiting, but the batches that are on their way.
    fn is_due(&self, lane: &Lane<T>, now: u64) -> bool {
        self.is_closed
            || lane.entries.len() >= self.rules.max_size
            || self.rules.max_weight.is_some_and(|most| lane.weight >= most)
            || lane.due() <= now
    }

    /// The next batch of one tenant, if it is due and may go.
    pub(super) fn next_of(&mut self, key: &Key, now: u64) -> Option<Formed<T>> {
        let is_due = self.lanes.get(key).is_some_and(|lane| self.is_due(lane, now));
        (is_due && self.in_flight < self.rules.max_in_flight).then(|| self.form(key, now))?
    }

    /// The batch of the tenant whose turn it is, among those that are due.
    pub(super) fn next(&mut self, now: u64) -> Option<Formed<T>> {
        if self.in_flight >= self.rules.max_in_flight {
            return None;
        }
        let is_due = |key: &&Key| self.lanes.get(*key).is_some_and(|lane| self.is_due(lane, now));
        let key = self.turns.iter().find(is_due)?.clone();
        self.form(&key, now)
    }

    /// A batch is over.
    pub(super) fn release(&mut self) {
        self.in_flight -= 1;
    }

    /// From now on nobody is let in, and nobody waits for more.
    pub(super) fn close(&mut self) {
        self.is_closed = true;
    }

    fn form(&mut self, key: &Key, now: u64) -> Option<Formed<T>> {
        let lane = self.lanes.get_mut(key)?;
        let (mut entries, mut weight, mut is_heavy) = (Vec::new(), 0_u64, false);
        let mut is_due = false;
        let mut is_hurried = false;
        while entries.len() < self.rules.max_size
            && let Some(next) = lane.entries.front()
        {
            let heavier = weight.saturating_add(next.weight);
            if self.rules.max_weight.is_some_and(|most| heavier > most) && !entries.is_empty() {
                is_heavy = true;
                break;
            }
            is_hurried |= next.due <= now && now < next.at.saturating_add(self.rules.max_wait);
            is_due |= now >= next.at.saturating_add(self.rules.max_wait);
            weight = heavier;
            entries.extend(lane.entries.pop_front());
        }
        lane.weight = lane.entries.iter().fold(0, |sum, entry| u64::saturating_add(sum, entry.weight));
        self.queued -= entries.len();
        self.in_flight += 1;
        self.turns.retain(|turn| turn != key);
        if lane.entries.is_empty() {
            self.lanes.remove(key);
        } else {
            self.turns.push_back(key.clone());
        }
        let by = if entries.len() >= self.rules.max_size {
            FlushedBy::Full
        } else if is_heavy || self.rules.max_weight.is_some_and(|most| weight >= most) {
            FlushedBy::Weight
        } else if is_due {
            FlushedBy::Time
        } else if is_hurried {
            FlushedBy::Deadline
        } else {
            FlushedBy::Closed
        };
        Some(Formed { key: key.clone(), entries, weight, by })
    }
}

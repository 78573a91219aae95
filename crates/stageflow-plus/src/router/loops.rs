//! Chains of runs that take the same route again and again, and their end.

use std::{
    collections::{BTreeMap, VecDeque},
    error::Error,
    fmt,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};

use stageflow_core::{RunId, text::OneLine};

use super::bounded::Bounded;

/// How many chains are known at a time.
const CHAINS: usize = 10_000;

/// How many steps of a path are kept for the message.
const STEPS: usize = 24;

/// Counts how often each chain takes each route, and says when it is too often.
///
/// A chain is whatever you say; for routers it is a run together with its child runs. Routes that differ are counted apart, so a chain
/// that takes each route once is no loop, however long it is. Of the chains, the 10,000 that were seen last are known; one that is
/// forgotten begins anew. Clones count together.
///
/// ```
/// use stageflow_plus::router::LoopDetector;
///
/// let detector = LoopDetector::new(2);
/// assert!(detector.take(&"chain", "draft").is_ok());
/// assert!(detector.take(&"chain", "review").is_ok());
/// assert!(detector.take(&"chain", "draft").is_ok());
/// assert!(detector.take(&"other", "draft").is_ok());
///
/// let looped = detector.take(&"chain", "draft").unwrap_err();
/// assert_eq!(looped.to_string(), "route `draft` was taken 3 times, and 2 is the limit: draft → review → draft → draft");
/// ```
#[derive(Debug)]
pub struct LoopDetector<K = RunId> {
    limit: u32,
    chains: Arc<Mutex<Bounded<K, Chain>>>,
}

impl<K> Clone for LoopDetector<K> {
    fn clone(&self) -> Self {
        Self { limit: self.limit, chains: Arc::clone(&self.chains) }
    }
}

/// What one chain has done.
#[derive(Debug, Default)]
struct Chain {
    times: BTreeMap<Arc<str>, u32>,
    path: VecDeque<Arc<str>>,
    steps: u64,
}

impl<K: Clone + Eq + Hash> LoopDetector<K> {
    /// Lets each chain take each route so many times.
    pub fn new(limit: u32) -> Self {
        Self { limit, chains: Arc::new(Mutex::new(Bounded::new(CHAINS))) }
    }

    /// A chain takes a route. Gives how often it has done so.
    ///
    /// # Errors
    ///
    /// It has done so more often than the limit; that counts as well.
    pub fn take(&self, chain: &K, route: &str) -> Result<u32, RouteLoop> {
        let mut chains = self.chains.lock().unwrap_or_else(PoisonError::into_inner);
        let chain = chains.get(chain);
        let name: Arc<str> =
            chain.times.get_key_value(route).map_or_else(|| Arc::from(route), |(name, _)| Arc::clone(name));
        let times = chain.times.entry(Arc::clone(&name)).or_default();
        *times = times.saturating_add(1);
        let times = *times;
        chain.steps += 1;
        if chain.path.len() == STEPS {
            chain.path.pop_front();
        }
        chain.path.push_back(Arc::clone(&name));
        if times <= self.limit {
            return Ok(times);
        }
        let path = chain.path.iter().cloned().collect();
        Err(RouteLoop { route: name, times, limit: self.limit, path, steps: chain.steps })
    }

    /// Forgets a chain.
    pub fn forget(&self, chain: &K) {
        let gone = self.chains.lock().unwrap_or_else(PoisonError::into_inner).remove(chain);
        drop(gone);
    }
}

/// A chain took a route too often: the cause of a failure with the code `ROUTE_LOOP`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteLoop {
    route: Arc<str>,
    times: u32,
    limit: u32,
    path: Vec<Arc<str>>,
    steps: u64,
}

impl RouteLoop {
    /// The route.
    pub fn route(&self) -> &str {
        &self.route
    }

    /// How often it was taken, this time included.
    pub fn times(&self) -> u32 {
        self.times
    }

    /// The last routes of the chain, at most 24, this one included.
    pub fn path(&self) -> impl ExactSizeIterator<Item = &str> {
        self.path.iter().map(|route| &**route)
    }

    /// The path in one line.
    pub(crate) fn line(&self) -> String {
        let cut = if self.steps > self.path.len() as u64 { "… → " } else { "" };
        let steps: Vec<_> = self.path.iter().map(|step| OneLine(step).to_string()).collect();
        format!("{cut}{}", steps.join(" → "))
    }
}

impl fmt::Display for RouteLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { route, times, limit, .. } = self;
        let route = OneLine(route);
        write!(f, "route `{route}` was taken {times} times, and {limit} is the limit: {}", self.line())
    }
}

impl Error for RouteLoop {}

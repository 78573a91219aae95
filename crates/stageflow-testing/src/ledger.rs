//! Who holds what: resources that stages acquire, and that must be back when a run has ended.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fmt,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use stageflow_core::{StageContext, context::CleanUpResult};

/// An account of resources: what was acquired, what was given back, which clean-ups ran.
///
/// A stage under test registers what it holds, and the test asks whether anything is left. Clones are the same ledger.
/// [`Sim::cancel_at_every_poll`](crate::Sim::cancel_at_every_poll) gives each run a ledger of its own, which
/// [`Ledger::of`] finds.
///
/// ```
/// use stageflow_testing::Ledger;
///
/// let ledger = Ledger::new();
/// let lease = ledger.acquire("a connection");
/// assert_eq!(ledger.held(), ["a connection"]);
/// drop(lease);
/// assert!(ledger.problems().is_empty());
/// ```
#[derive(Clone, Default)]
pub struct Ledger(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// What is held, under a number of its own.
    held: BTreeMap<u64, Cow<'static, str>>,
    acquired: u64,
    /// Clean-ups by their numbers, and how often each has run to its end.
    clean_ups: BTreeMap<u64, (Cow<'static, str>, u32)>,
}

/// Something that is held until this is dropped.
#[must_use = "the resource is given back when this is dropped"]
pub struct Lease {
    ledger: Ledger,
    number: u64,
}

impl Ledger {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// The ledger of the run, or one that nobody looks at where the run has none.
    pub fn of(ctx: &StageContext) -> Self {
        ctx.snapshot().extension::<Self>().cloned().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, what: Cow<'static, str>) -> u64 {
        let mut state = self.lock();
        state.acquired += 1;
        let number = state.acquired;
        state.held.insert(number, what);
        number
    }

    fn give_back(&self, number: u64) {
        self.lock().held.remove(&number);
    }

    /// Acquires something for as long as the lease lives.
    pub fn acquire(&self, what: impl Into<Cow<'static, str>>) -> Lease {
        Lease { number: self.take(what.into()), ledger: self.clone() }
    }

    /// Acquires something that a clean-up of the run gives back, and registers that clean-up. It must run to its end
    /// exactly once.
    pub fn until_clean_up<Fut>(&self, ctx: &StageContext, what: impl Into<Cow<'static, str>>, clean_up: Fut)
    where
        Fut: Future<Output: CleanUpResult> + Send + 'static,
    {
        let what = what.into();
        let number = self.take(what.clone());
        self.lock().clean_ups.insert(number, (what, 0));
        let ledger = self.clone();
        ctx.on_cleanup(async move {
            let done = clean_up.await.into_result();
            ledger.give_back(number);
            if let Some((_, ran)) = ledger.lock().clean_ups.get_mut(&number) {
                *ran += 1;
            }
            done
        });
    }

    /// What is held at this moment, in the order of acquisition.
    pub fn held(&self) -> Vec<String> {
        self.lock().held.values().map(|what| what.clone().into_owned()).collect()
    }

    /// How much was acquired so far.
    pub fn acquired(&self) -> u64 {
        self.lock().acquired
    }

    /// How many clean-ups were registered so far.
    pub fn clean_ups(&self) -> usize {
        self.lock().clean_ups.len()
    }

    /// What is not as it should be once a run has ended: things that are held, clean-ups that did not run exactly once.
    pub fn problems(&self) -> Vec<String> {
        let state = self.lock();
        let held = state.held.values().map(|what| format!("`{what}` was never given back"));
        let wrong = state.clean_ups.values().filter(|(_, ran)| *ran != 1);
        held.chain(wrong.map(|(what, ran)| format!("the clean-up of `{what}` ran {ran} times"))).collect()
    }

    /// Asserts that nothing is held and that every clean-up ran exactly once.
    ///
    /// # Panics
    ///
    /// With a list of everything that is not so.
    #[track_caller]
    pub fn assert_empty(&self) {
        let problems = self.problems();
        assert!(problems.is_empty(), "the ledger is not empty:\n  {}", problems.join("\n  "));
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.ledger.give_back(self.number);
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lease").field(&self.number).finish()
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger").field("held", &self.held()).finish_non_exhaustive()
    }
}

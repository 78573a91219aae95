//! Who holds what: every resource that a stage or a clean-up acquires and releases, and the order of the clean-ups.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use stageflow::StageContext;

/// The run, or the child run within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scope {
    Parent,
    Child,
}

#[derive(Debug, Default)]
pub(crate) struct Ledger(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// What is held, under a number of its own.
    held: BTreeMap<usize, &'static str>,
    acquired: usize,
    /// Stages whose futures or functions exist.
    live: BTreeMap<Scope, usize>,
    registered: Vec<(Scope, usize)>,
    begun: Vec<(Scope, usize)>,
    ended: Vec<(Scope, usize)>,
    wrong: Vec<String>,
}

/// Something that is held until this is dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    ledger: Arc<Ledger>,
    number: usize,
}

/// A stage that exists until this is dropped.
#[derive(Debug)]
pub(crate) struct Live {
    ledger: Arc<Ledger>,
    scope: Scope,
}

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, what: &'static str) -> usize {
        let mut state = self.lock();
        state.acquired += 1;
        let number = state.acquired;
        state.held.insert(number, what);
        number
    }

    fn give_back(&self, number: usize) {
        let mut state = self.lock();
        if state.held.remove(&number).is_none() {
            state.wrong.push(format!("number {number} is released twice"));
        }
    }

    pub(crate) fn acquire(self: &Arc<Self>, what: &'static str) -> Lease {
        Lease { number: self.take(what), ledger: Arc::clone(self) }
    }

    pub(crate) fn live(self: &Arc<Self>, scope: Scope) -> Live {
        *self.lock().live.entry(scope).or_default() += 1;
        Live { ledger: Arc::clone(self), scope }
    }

    /// Acquires something that only a clean-up releases, and registers that clean-up: it takes as long as `pause`.
    pub(crate) fn acquire_until_the_end(
        self: &Arc<Self>,
        ctx: &StageContext,
        scope: Scope,
        what: &'static str,
        pause: impl Future<Output = ()> + Send + 'static,
    ) {
        let number = self.take(what);
        let ledger = Arc::clone(self);
        let clean_up = async move {
            ledger.begin_clean_up(scope, number);
            pause.await;
            ledger.give_back(number);
            ledger.lock().ended.push((scope, number));
        };
        // In one step, so that both know the same order.
        let mut state = self.lock();
        state.registered.push((scope, number));
        ctx.on_cleanup(clean_up);
    }

    fn begin_clean_up(&self, scope: Scope, number: usize) {
        let mut state = self.lock();
        let state = &mut *state;
        let live = state.live.iter().filter(|(of, _)| **of == scope || scope == Scope::Parent);
        let live: usize = live.map(|(_, count)| count).sum();
        if live > 0 {
            state.wrong.push(format!("S-16: clean-up {number} of {scope:?} begins beside {live} stages"));
        }
        if state.begun.len() != state.ended.len() {
            state.wrong.push(format!("S-16: clean-up {number} begins before the one before it has ended"));
        }
        if scope == Scope::Parent
            && state.of(Scope::Child, &state.ended) != state.of(Scope::Child, &state.registered)
        {
            state.wrong.push("S-16: a clean-up begins before those of the child run have ended".to_owned());
        }
        state.begun.push((scope, number));
    }

    /// S-16, S-17: nothing is held, and each clean-up ran exactly once, in reverse order of registration.
    pub(crate) fn assert_empty(&self) {
        let state = self.lock();
        assert!(state.wrong.is_empty(), "{:#?}", state.wrong);
        assert!(state.held.is_empty(), "never released: {:?}", state.held);
        assert!(state.live.values().all(|live| *live == 0), "stages are left: {:?}", state.live);
        for scope in [Scope::Parent, Scope::Child] {
            let only = |all: &[(Scope, usize)]| -> Vec<usize> {
                all.iter().filter(|(of, _)| *of == scope).map(|(_, number)| *number).collect()
            };
            let mut registered = only(&state.registered);
            registered.reverse();
            assert_eq!(only(&state.ended), registered, "S-16: the clean-ups of {scope:?}");
        }
    }

    /// Whether a clean-up has begun, so that all stages have ended.
    pub(crate) fn is_cleaning_up(&self, scope: Scope) -> bool {
        self.lock().begun.iter().any(|(of, _)| *of == scope)
    }

    pub(crate) fn acquired(&self) -> usize {
        self.lock().acquired
    }

    pub(crate) fn clean_ups(&self) -> usize {
        self.lock().ended.len()
    }
}

impl State {
    fn of(&self, scope: Scope, all: &[(Scope, usize)]) -> usize {
        all.iter().filter(|(of, _)| *of == scope).count()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.ledger.give_back(self.number);
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if let Some(live) = self.ledger.lock().live.get_mut(&self.scope) {
            *live -= 1;
        }
    }
}

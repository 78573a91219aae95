//! S-25: half-open, exactly as many callers are admitted as there are probes, and what comes late changes nothing.
//!
//! `state` is the very state machine of the breaker, with its windows and rules, behind a lock as there. `permit` is modelled: one
//! that is dropped gives its slot back and wakes all who wait.

use std::{sync::Arc as Plain, time::Duration};

use loom::{
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread,
};

#[path = "../../crates/stageflow-interceptors/src/breaker/key.rs"]
#[allow(dead_code, unreachable_pub, reason = "what the model does not call, and others do")]
mod key;
#[path = "../../crates/stageflow-interceptors/src/breaker/outcome.rs"]
#[allow(dead_code, unreachable_pub, reason = "what the model does not call, and others do")]
mod outcome;
#[path = "../../crates/stageflow-interceptors/src/breaker/rules.rs"]
#[allow(dead_code, unreachable_pub, reason = "what the model does not call, and others do")]
mod rules;
#[path = "../../crates/stageflow-interceptors/src/breaker/state.rs"]
#[allow(dead_code, unreachable_pub, reason = "what the model does not call, and others do")]
mod state;
#[path = "../../crates/stageflow-interceptors/src/breaker/window.rs"]
#[allow(dead_code, unreachable_pub, reason = "what the model does not call, and others do")]
mod window;

use self::{
    outcome::BreakerOutcome,
    rules::Draft,
    state::{Machine, Mode, Ticket},
};

const FAILURE: BreakerOutcome = BreakerOutcome::Failure { retry_after: None };
const LEASE: Duration = Duration::from_secs(60);
/// When it is half-open for the next who asks.
const LATER: u64 = 10_000_000_000;

/// `Cell`.
struct Cell {
    machine: Mutex<Machine>,
    changed: Condvar,
    /// Admitted as probes, by all.
    probes: Mutex<u32>,
}

impl Cell {
    /// A breaker of so many probes that was opened at 0, for ten seconds, and a ticket from before.
    fn opened(probes: u32) -> (Arc<Self>, Ticket) {
        let mut draft = Draft::new("model".to_owned());
        (draft.consecutive, draft.jitter, draft.probes) = (Some(1), 0.0, probes);
        let mut machine = Machine::new(Plain::new(draft.check().expect("it works")), None);
        let old = machine.admit(0, LEASE).0.expect("it is closed");
        let failing = machine.admit(0, LEASE).0.expect("it is closed");
        assert!(machine.record(0, failing, FAILURE, 0).is_some());
        let cell = Self { machine: Mutex::new(machine), changed: Condvar::new(), probes: Mutex::new(0) };
        (Arc::new(cell), old)
    }

    fn machine(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().expect("no panic")
    }

    /// `CircuitBreaker::ask`.
    fn ask(&self) -> Option<Ticket> {
        let (admitted, _) = self.machine().admit(LATER, LEASE);
        let ticket = admitted.ok()?;
        *self.probes.lock().expect("no panic") += u32::from(ticket.is_probe());
        Some(ticket)
    }

    /// `BreakerPermit::record`.
    fn record(&self, ticket: Ticket, outcome: BreakerOutcome) {
        if self.machine().record(LATER, ticket, outcome, 0).is_some() {
            self.changed.notify_all();
        }
    }

    /// `Drop` of `BreakerPermit`.
    fn forget(&self, ticket: Ticket) {
        if self.machine().forget(ticket) {
            self.changed.notify_all();
        }
    }

    /// `CircuitBreaker::wait`: asks again whenever something has changed.
    fn wait(&self) -> Ticket {
        let mut machine = self.machine();
        loop {
            if let Ok(ticket) = machine.admit(LATER, LEASE).0 {
                return ticket;
            }
            machine = self.changed.wait(machine).expect("no panic");
        }
    }

    fn probes(&self) -> u32 {
        *self.probes.lock().expect("no panic")
    }
}

fn spawn<T: 'static>(cell: &Arc<Cell>, part: impl FnOnce(&Cell) -> T + 'static) -> thread::JoinHandle<T> {
    let cell = Arc::clone(cell);
    thread::spawn(move || part(&cell))
}

/// Three ask at once while none has ended: exactly two probes, and it closes with them.
#[test]
fn s_25_of_three_callers_exactly_two_are_probes() {
    crate::check(4, || {
        let (cell, _) = Cell::opened(2);
        let others = [spawn(&cell, Cell::ask), spawn(&cell, Cell::ask)];
        let own = cell.ask();
        let tickets: Vec<_> =
            others.map(|other| other.join().expect("no panic")).into_iter().chain([own]).flatten().collect();
        assert_eq!((tickets.len(), cell.probes()), (2, 2));
        tickets.into_iter().for_each(|ticket| cell.record(ticket, BreakerOutcome::Success));
        assert_eq!(*cell.machine().mode(), Mode::Closed);
    });
}

/// Probes that succeed while others ask leave no room for more than there are: two of two, and the third is no probe.
#[test]
fn s_25_probes_that_end_meanwhile_admit_no_others() {
    crate::check(4, || {
        let (cell, _) = Cell::opened(2);
        let call = |cell: &Cell| {
            if let Some(ticket) = cell.ask() {
                cell.record(ticket, BreakerOutcome::Success);
            }
        };
        let others = [spawn(&cell, call), spawn(&cell, call)];
        call(&cell);
        for other in others {
            other.join().expect("no panic");
        }
        assert_eq!((cell.probes(), cell.machine().mode().clone()), (2, Mode::Closed));
    });
}

/// The success of a call from before it opened changes nothing, whenever it comes.
#[test]
fn s_25_a_late_success_changes_nothing() {
    crate::check(4, || {
        let (cell, old) = Cell::opened(2);
        let late = spawn(&cell, move |cell| cell.record(old, BreakerOutcome::Success));
        let asks = spawn(&cell, Cell::ask);
        let own = cell.ask();
        late.join().expect("no panic");
        assert!(own.is_some() && asks.join().expect("no panic").is_some());
        assert!(matches!(cell.machine().mode(), Mode::HalfOpen(_)));
        assert!(cell.ask().is_none(), "it has made no room");
    });
}

/// A probe that is dropped wakes one who waits, or nobody ever does.
#[test]
fn s_25_who_waits_takes_the_slot_of_a_probe_that_was_dropped() {
    crate::check(4, || {
        let (cell, _) = Cell::opened(1);
        let probe = cell.ask().expect("the first");
        let waits = spawn(&cell, Cell::wait);
        cell.forget(probe);
        let next = waits.join().expect("no panic");
        assert!(next.is_probe());
        cell.record(next, BreakerOutcome::Success);
        assert_eq!(*cell.machine().mode(), Mode::Closed);
    });
}

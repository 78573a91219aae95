//! S-25: half-open, exactly as many callers are admitted as there are probes, and what comes late changes nothing.
//!
//! `state` is the very state machine of the breaker, with its windows and rules, and `gate` the lock around it and the way past it,
//! over loom's primitives. `permit` is modelled: one that is dropped gives its slot back and wakes all who wait.

use std::{sync::Arc as Plain, time::Duration};

use loom::{
    sync::{Arc, Condvar, Mutex},
    thread,
};

#[path = "../../crates/stageflow-interceptors/src/breaker/gate.rs"]
#[allow(dead_code, unreachable_pub, reason = "what the model does not call, and others do")]
mod gate;
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

/// What `gate` uses.
mod sync {
    pub(super) use loom::sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    };
}

use self::{
    gate::{Gate, Locked},
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
    gate: Gate,
    /// Waiters look at it with this lock, and changes are told with it.
    changes: Mutex<()>,
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
        (Self::of(machine), old)
    }

    /// A breaker that opens when one of at least so many calls has failed.
    fn closed(min_calls: u32) -> Arc<Self> {
        let mut draft = Draft::new("model".to_owned());
        (draft.failure_rate, draft.min_calls, draft.jitter) = (Some(0.1), Some(min_calls), 0.0);
        Self::of(Machine::new(Plain::new(draft.check().expect("it works")), None))
    }

    fn of(machine: Machine) -> Arc<Self> {
        let (changes, changed) = (Mutex::new(()), Condvar::new());
        Arc::new(Self { gate: Gate::new(machine), changes, changed, probes: Mutex::new(0) })
    }

    fn machine(&self) -> Locked<'_> {
        self.gate.lock()
    }

    /// `Entry::record` of a success.
    fn succeed(&self, ticket: Ticket, now: u64) {
        if !self.gate.count_success(ticket, now) {
            self.machine().record(now, ticket, BreakerOutcome::Success, 0);
        }
    }

    fn notify(&self) {
        let _changes = self.changes.lock().expect("no panic");
        self.changed.notify_all();
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
            self.notify();
        }
    }

    /// `Drop` of `BreakerPermit`.
    fn forget(&self, ticket: Ticket) {
        if self.machine().forget(ticket) {
            self.notify();
        }
    }

    /// `CircuitBreaker::wait`: asks again whenever something has changed.
    fn wait(&self) -> Ticket {
        let mut changes = self.changes.lock().expect("no panic");
        loop {
            if let Ok(ticket) = self.machine().admit(LATER, LEASE).0 {
                return ticket;
            }
            changes = self.changed.wait(changes).expect("no panic");
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

/// Two succeed past the lock and somebody looks meanwhile: no success is lost, or counted twice.
#[test]
fn successes_past_the_lock_are_counted_once_whoever_looks_meanwhile() {
    crate::check(4, || {
        let cell = Cell::closed(20);
        let [own, other] = [0; 2].map(|_| cell.gate.admit_closed(0).expect("it is closed"));
        let other = spawn(&cell, move |cell| cell.succeed(other, 1));
        let seen = cell.machine().totals().succeeded;
        cell.succeed(own, 1);
        other.join().expect("no panic");
        let mut machine = cell.machine();
        assert!(seen <= 1);
        assert_eq!((machine.totals().succeeded, machine.tally(1).calls, machine.totals().late), (2, 2, 0));
    });
}

/// It opens and closes again while a success of before is on its way: that is late, or it was counted before.
#[test]
fn s_25_a_success_on_its_way_past_the_lock_counts_before_a_change_or_not_at_all() {
    crate::check(3, || {
        let cell = Cell::closed(1);
        let [old, failing] = [0; 2].map(|_| cell.gate.admit_closed(0).expect("it is closed"));
        let late = spawn(&cell, move |cell| cell.succeed(old, 1));
        cell.record(failing, FAILURE);
        let forced = Some(outcome::Forced::Closed);
        cell.machine().force(LATER, forced);
        cell.machine().force(LATER, None);
        let new = cell.gate.admit_closed(LATER).expect("it is closed");
        cell.succeed(new, LATER);
        late.join().expect("no panic");
        let mut machine = cell.machine();
        assert_eq!((machine.tally(LATER).calls, machine.totals().succeeded), (1, 2), "the new one alone");
    });
}

/// A success of the bucket before, while another moves the window on: both lie in it, each where it belongs.
#[test]
fn a_success_on_its_way_past_the_lock_stays_in_its_bucket_or_moves_with_the_window() {
    crate::check(3, || {
        let cell = Cell::closed(20);
        let [old, new] = [0; 2].map(|_| cell.gate.admit_closed(0).expect("it is closed"));
        let on_its_way = spawn(&cell, move |cell| cell.succeed(old, 1));
        // A bucket is three seconds long.
        cell.succeed(new, 4_000_000_000);
        on_its_way.join().expect("no panic");
        let mut machine = cell.machine();
        assert_eq!(machine.tally(4_000_000_000).calls, 2);
        // The first bucket leaves at 30 s and the second at 33 s: one that comes when the window has moved is of the second.
        assert!((1..=2).contains(&machine.tally(31_000_000_000).calls));
        assert_eq!(machine.tally(34_000_000_000).calls, 0);
    });
}

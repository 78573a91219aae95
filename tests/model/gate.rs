//! S-16: once the gate of a run is closed and empty nobody is inside, nobody comes in, and exactly one party is told.

use std::sync::atomic::{AtomicU32 as Count, Ordering::Relaxed};

use loom::{cell::UnsafeCell, sync::Arc, thread};

use crate::protocol::Gate;

struct Run {
    gate: Gate,
    /// What helpers use while they are inside, and whoever is told takes for itself: the stages of the run.
    inside: UnsafeCell<()>,
    told: Count,
    refused: Count,
}

impl Run {
    /// `Helper::poll` and `leave`.
    fn help(&self) {
        if !self.gate.enter() {
            self.refused.fetch_add(1, Relaxed);
            return;
        }
        self.inside.with(|_| {});
        if self.gate.leave() {
            self.over();
        }
    }

    /// `Driver::stop`.
    fn stop(&self) {
        if self.gate.close() {
            self.over();
        }
    }

    /// Nobody is inside and nobody will be: loom reports a race if somebody is.
    fn over(&self) {
        self.told.fetch_add(1, Relaxed);
        self.inside.with_mut(|_| {});
        assert!(!self.gate.enter(), "the gate is closed for good");
    }
}

fn check(helpers: usize, visits: usize, preemptions: usize) {
    crate::check(preemptions, move || {
        let run = Arc::new(Run {
            gate: Gate::open(),
            inside: UnsafeCell::new(()),
            told: Count::new(0),
            refused: Count::new(0),
        });
        let helpers: Vec<_> = (0..helpers)
            .map(|_| {
                let run = Arc::clone(&run);
                thread::spawn(move || (0..visits).for_each(|_| run.help()))
            })
            .collect();
        run.stop();
        for helper in helpers {
            helper.join().expect("a helper does not panic");
        }
        assert_eq!(run.told.load(Relaxed), 1, "exactly one party is told that the run is empty");
        run.help();
        assert!(run.refused.load(Relaxed) > 0, "nobody comes in after the end");
    });
}

#[test]
fn s_16_a_helper_that_comes_and_goes_twice() {
    check(1, 2, 8);
}

#[test]
fn s_16_two_helpers() {
    check(2, 1, 3);
}

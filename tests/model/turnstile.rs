//! S-11: whoever waits in a monitor's queue is told when it is their turn, gives up or not, and no more are in than may be.

use std::{
    sync::{
        Arc as StdArc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Wake, Waker},
};

use loom::{
    sync::{Arc, Notify},
    thread,
};

use crate::admission::{
    state::{Limits, Offer},
    turnstile::Turnstile,
};

/// A task that sleeps until it is woken.
struct Sleeper(Notify);

impl Wake for Sleeper {
    fn wake(self: StdArc<Self>) {
        self.0.notify();
    }
}

struct Room {
    turnstile: Turnstile,
    inside: AtomicUsize,
    limit: usize,
}

impl Room {
    fn new(limit: usize, queue_limit: usize) -> Arc<Self> {
        let limits =
            Limits { max_active: limit, queue_limit, high: 0.8, low: 0.3, latency: None, sheds: false };
        Arc::new(Self { turnstile: Turnstile::new(limits), inside: AtomicUsize::new(0), limit })
    }

    /// `BackpressureMonitor::acquire` and the drop of its permit, or of its future after `polls`.
    fn visit(&self, polls: usize) {
        match self.turnstile.offer(true) {
            Ok(Offer::Admitted) => {}
            Ok(Offer::Queued { number, .. }) => {
                let sleeper = StdArc::new(Sleeper(Notify::new()));
                let waker = Waker::from(StdArc::clone(&sleeper));
                let mut left = polls;
                while !self.turnstile.is_in(number, &waker) {
                    if left == 0 {
                        self.turnstile.leave(number);
                        return;
                    }
                    left -= 1;
                    if left > 0 {
                        sleeper.0.wait();
                    }
                }
            }
            Err(rule) => panic!("{rule:?}"),
        }
        assert!(self.inside.fetch_add(1, SeqCst) < self.limit, "more are in than may be");
        self.inside.fetch_sub(1, SeqCst);
        self.turnstile.release(None);
    }

    fn over(&self, visits: u64) {
        self.turnstile.look(|state| {
            assert_eq!((state.active, state.queued()), (0, 0), "everything was given back");
            let counts = state.counts;
            assert_eq!(counts.offered, visits);
            assert_eq!(counts.offered, counts.admitted + counts.cancelled);
        });
    }
}

fn check(visitors: &'static [usize], preemptions: usize) {
    crate::check(preemptions, move || {
        let room = Room::new(1, 10);
        let others: Vec<_> = visitors[1..]
            .iter()
            .map(|polls| {
                let room = Arc::clone(&room);
                thread::spawn(move || room.visit(*polls))
            })
            .collect();
        room.visit(visitors[0]);
        for other in others {
            other.join().expect("nobody panics");
        }
        room.over(visitors.len() as u64);
    });
}

const PATIENT: usize = usize::MAX;

#[test]
fn s_11_two_wait_for_each_other() {
    check(&[PATIENT, PATIENT], 8);
}

#[test]
fn s_11_three_wait_for_each_other() {
    check(&[PATIENT, PATIENT, PATIENT], 2);
}

#[test]
fn s_11_one_gives_up_while_its_turn_comes() {
    check(&[PATIENT, 1, PATIENT], 2);
}

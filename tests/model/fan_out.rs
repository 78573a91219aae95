//! A fan-out limiter: whoever waits has their turn, however the others leave, and no more are in than may be.
//!
//! `state`, `gate` and `ramp` are the very files that `stageflow-plus` compiles.

use std::{
    sync::{
        Arc as StdArc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Poll, Wake, Waker},
};

use loom::{
    sync::{Arc, Notify},
    thread,
};

#[allow(dead_code, unreachable_pub, reason = "the model uses a part of it")]
#[path = "../../crates/stageflow-plus/src/fan_out/limiter"]
mod limiter {
    pub(crate) mod gate;
    pub(crate) mod ramp;
    pub(crate) mod state;

    /// What `gate` uses.
    mod sync {
        pub(super) use loom::sync::{Mutex, MutexGuard};
    }
}

use limiter::{
    gate::Gate,
    state::{Ask, Fate, Held, Limits, Offer, Overflow, QueueOrder},
};

/// A task that sleeps until it is woken.
struct Sleeper(Notify);

impl Wake for Sleeper {
    fn wake(self: StdArc<Self>) {
        self.0.notify();
    }
}

struct Room {
    gate: Gate,
    inside: AtomicUsize,
    limit: usize,
}

impl Room {
    fn new(limit: usize, key_limit: Option<usize>) -> Arc<Self> {
        let limits = Limits {
            limit,
            key_limit,
            max_queue: 10,
            overflow: Overflow::Wait,
            order: QueueOrder::Fifo,
            ramp_from: None,
        };
        Arc::new(Self { gate: Gate::new(limits), inside: AtomicUsize::new(0), limit })
    }

    /// `FanOutLimiter::acquire` and the drop of its permit, or of its ticket after `polls`.
    fn visit(&self, ask: &Ask, polls: usize) {
        let weight = match self.gate.offer(ask, true) {
            Offer::Granted(weight) => weight,
            Offer::Queued(number) => match self.wait(number, ask, polls) {
                Some(weight) => weight,
                None => return,
            },
            other => panic!("{other:?}"),
        };
        assert!(self.inside.fetch_add(weight, SeqCst) + weight <= self.limit, "more are in than may be");
        self.inside.fetch_sub(weight, SeqCst);
        self.gate.release(&Held { weight, asked: ask.weight, keys: ask.keys.clone() });
    }

    fn wait(&self, number: u64, ask: &Ask, polls: usize) -> Option<usize> {
        let sleeper = StdArc::new(Sleeper(Notify::new()));
        let waker = Waker::from(StdArc::clone(&sleeper));
        for left in (0..polls).rev() {
            match self.gate.poll(number, &waker) {
                Poll::Ready(Fate::Granted(weight)) => return Some(weight),
                Poll::Ready(Fate::Dropped) => panic!("nobody is dropped"),
                Poll::Pending if left > 0 => sleeper.0.wait(),
                Poll::Pending => {}
            }
        }
        self.gate.leave(number, ask);
        None
    }

    fn is_as_new(&self) -> bool {
        self.gate.look(|state| {
            let counts = state.counts;
            assert_eq!(counts.offered, counts.granted + counts.left);
            (state.in_use, state.holders, state.queued(), state.keys()) == (0, 0, 0, 0)
        })
    }
}

const PATIENT: usize = usize::MAX;

fn ask(weight: usize, key: Option<&str>) -> Ask {
    Ask { weight, keys: key.map(StdArc::from).into_iter().collect(), ..Ask::default() }
}

type Visitor = (usize, Option<&'static str>, usize);

fn check(limit: usize, key_limit: Option<usize>, visitors: &'static [Visitor], preemptions: usize) {
    crate::check(preemptions, move || {
        let room = Room::new(limit, key_limit);
        let others: Vec<_> = visitors[1..]
            .iter()
            .map(|(weight, key, polls)| {
                let room = Arc::clone(&room);
                thread::spawn(move || room.visit(&ask(*weight, *key), *polls))
            })
            .collect();
        let (weight, key, polls) = visitors[0];
        room.visit(&ask(weight, key), polls);
        for other in others {
            other.join().expect("nobody panics");
        }
        assert!(room.is_as_new(), "everything was given back");
    });
}

#[test]
fn two_wait_for_each_other() {
    check(1, None, &[(1, None, PATIENT), (1, None, PATIENT)], 8);
}

#[test]
fn three_of_other_weights_wait_for_each_other() {
    check(2, None, &[(1, None, PATIENT), (2, None, PATIENT), (1, None, PATIENT)], 2);
}

#[test]
fn one_gives_up_while_its_turn_comes() {
    check(1, None, &[(1, None, PATIENT), (1, None, 1), (1, None, PATIENT)], 2);
}

#[test]
fn one_of_a_key_gives_up_while_others_of_it_wait() {
    check(2, Some(1), &[(1, Some("a"), PATIENT), (1, Some("a"), 1), (1, Some("a"), PATIENT)], 2);
}

/// A limit that is raised lets in who waits for it.
#[test]
fn a_limit_is_raised_while_somebody_comes() {
    crate::check(8, || {
        let room = Room::new(1, None);
        let other = {
            let room = Arc::clone(&room);
            thread::spawn(move || room.visit(&ask(1, None), PATIENT))
        };
        room.gate.set_limit(0);
        room.gate.set_limit(1);
        other.join().expect("nobody panics");
        assert!(room.is_as_new());
    });
}

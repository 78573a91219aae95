//! S-4: of several predecessors exactly one starts the successor, and it sees what all of them wrote.

use std::sync::atomic::{AtomicU32 as Count, Ordering::Relaxed};

use loom::{cell::UnsafeCell, sync::Arc, thread};

use crate::protocol::{Countdown, Held};

/// The stage's number, and that of another one.
const STAGE: u32 = 7;
const OTHER: u32 = 8;

struct Stage {
    countdown: Countdown,
    /// The outputs of the predecessors: written without any other protection than the countdown.
    slots: Vec<UnsafeCell<u32>>,
    started: Count,
}

impl Stage {
    fn new(predecessors: u32) -> Self {
        Self {
            countdown: Countdown::new(predecessors),
            slots: (0..predecessors).map(UnsafeCell::new).collect(),
            started: Count::new(0),
        }
    }

    /// `Outputs::put`.
    fn put(&self, predecessor: usize) {
        self.slots[predecessor].with_mut(|_| {});
    }

    /// `Worker::tell`, and the start of the stage.
    fn tell(&self, edges: u32) {
        if self.countdown.decide(edges) {
            // Loom reports a race if one of the writes does not happen before this.
            self.slots.iter().for_each(|slot| slot.with(|_| {}));
            self.started.fetch_add(1, Relaxed);
        }
    }
}

fn few(predecessors: u32, preemptions: usize) {
    crate::check(preemptions, move || {
        let stage = Arc::new(Stage::new(predecessors));
        let end_of = |index| {
            let stage = Arc::clone(&stage);
            move || {
                stage.put(index);
                stage.tell(1);
            }
        };
        let others: Vec<_> = (1..predecessors as usize).map(|index| thread::spawn(end_of(index))).collect();
        end_of(0)();
        for other in others {
            other.join().expect("a predecessor does not panic");
        }
        assert_eq!(stage.started.load(Relaxed), 1, "the successor starts exactly once");
    });
}

#[test]
fn s_4_the_last_of_two_predecessors_starts_the_successor() {
    few(2, 8);
}

#[test]
fn s_4_the_last_of_three_predecessors_starts_the_successor() {
    few(3, 3);
}

/// What `Queues::scopes` leads to: the edges that each of two workers holds back.
struct Workers {
    stage: Stage,
    other: Countdown,
    held: [Held; 2],
}

impl Workers {
    /// `Worker::tell_successors` for a stage with many edges.
    fn hold(&self, worker: usize, predecessor: usize) {
        self.stage.put(predecessor);
        let before = self.held[worker].add(STAGE);
        self.tell(before);
    }

    /// `Worker::tell_own`, and `tell_held` where it takes from the others.
    fn take(&self, worker: usize) {
        let taken = self.held[worker].take();
        self.tell(taken);
    }

    fn tell(&self, held: Option<(u32, u32)>) {
        match held {
            Some((STAGE, edges)) => self.stage.tell(edges),
            Some((OTHER, edges)) => assert!(!self.other.decide(edges), "one edge is never told"),
            Some(_) => panic!("nobody holds an edge of a third stage"),
            None => {}
        }
    }
}

/// A worker ends two predecessors and holds their edges back; another ends one, and takes what it finds, its own first.
#[test]
fn s_4_held_edges_are_told_once_whoever_takes_them() {
    crate::check(4, || {
        let workers = Arc::new(Workers {
            stage: Stage::new(3),
            other: Countdown::new(2),
            held: [Held::none(), Held::none()],
        });
        assert_eq!(workers.held[0].add(OTHER), None);
        let idle = {
            let workers = Arc::clone(&workers);
            thread::spawn(move || {
                workers.hold(1, 2);
                workers.take(1);
                workers.take(0);
            })
        };
        workers.hold(0, 0);
        workers.hold(0, 1);
        workers.take(0);
        idle.join().expect("a worker does not panic");
        assert!(workers.held.iter().all(Held::is_empty), "nothing stays held");
        assert_eq!(workers.stage.started.load(Relaxed), 1, "the successor starts exactly once");
        assert!(workers.other.decide(1), "the other stage has been told of one edge");
    });
}

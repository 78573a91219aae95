//! S-4: of several predecessors exactly one starts the successor, and it sees what all of them wrote.

use std::sync::atomic::{AtomicU32 as Count, Ordering::Relaxed};

use loom::{cell::UnsafeCell, sync::Arc, thread};

use crate::protocol::Countdown;

struct Stage {
    countdown: Countdown,
    /// The outputs of the predecessors: written without any other protection than the countdown.
    slots: Vec<UnsafeCell<u32>>,
    started: Count,
}

impl Stage {
    /// `Worker::settle_completed` and `tell_successors`: the output first, then the edge.
    fn end_of_predecessor(&self, index: usize) {
        self.slots[index].with_mut(|_| {});
        if self.countdown.decide() {
            // Loom reports a race if one of the writes does not happen before this.
            self.slots.iter().for_each(|slot| slot.with(|_| {}));
            self.started.fetch_add(1, Relaxed);
        }
    }
}

fn check(predecessors: u32, preemptions: usize) {
    crate::check(preemptions, move || {
        let stage = Arc::new(Stage {
            countdown: Countdown::new(predecessors),
            slots: (0..predecessors).map(UnsafeCell::new).collect(),
            started: Count::new(0),
        });
        assert_eq!(stage.countdown.undecided(), predecessors);
        let others: Vec<_> = (1..predecessors as usize)
            .map(|index| {
                let stage = Arc::clone(&stage);
                thread::spawn(move || stage.end_of_predecessor(index))
            })
            .collect();
        stage.end_of_predecessor(0);
        for other in others {
            other.join().expect("a predecessor does not panic");
        }
        assert_eq!(stage.started.load(Relaxed), 1, "the successor starts exactly once");
        assert_eq!(stage.countdown.undecided(), 0);
    });
}

#[test]
fn s_4_the_last_of_two_predecessors_starts_the_successor() {
    check(2, 8);
}

#[test]
fn s_4_the_last_of_three_predecessors_starts_the_successor() {
    check(3, 3);
}

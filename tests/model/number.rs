//! S-28: the start of an attempt gets exactly one number, below those of everything that its stage emits and of its end.

use loom::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use crate::protocol::Unnumbered;

struct Run {
    start: Unnumbered,
    seq: AtomicU64,
    /// The number of the start; zero for "none yet".
    started: AtomicU64,
}

impl Run {
    /// `RunEvents::next_seqs`.
    fn next(&self, count: u64) -> u64 {
        self.seq.fetch_add(count, Ordering::SeqCst) + 1
    }

    fn starts_with(&self, seq: u64) {
        assert_eq!(self.started.swap(seq, Ordering::SeqCst), 0, "one start has one number");
    }

    /// `WorkerScope::emit`, with what a stage may do on a thread of its own.
    fn emit(&self) {
        if self.start.claim() {
            self.starts_with(self.next(1));
            self.start.numbered();
        }
        let own = self.next(1);
        let started = self.started.load(Ordering::SeqCst);
        assert!(started != 0 && started < own, "{own} was emitted, the start is {started}");
    }

    /// `Worker::note`.
    fn end(&self) {
        let end = if self.start.claim() {
            let first = self.next(2);
            self.starts_with(first);
            self.start.numbered();
            first + 1
        } else {
            self.next(1)
        };
        let started = self.started.load(Ordering::SeqCst);
        assert!(started != 0 && started < end, "the end is {end}, the start is {started}");
    }
}

#[test]
fn s_28_a_start_is_numbered_once_and_before_everything_of_its_stage() {
    crate::check(3, || {
        let run =
            Arc::new(Run { start: Unnumbered::none(), seq: AtomicU64::new(0), started: AtomicU64::new(0) });
        run.start.start();
        let emitter = {
            let run = Arc::clone(&run);
            thread::spawn(move || run.emit())
        };
        run.end();
        emitter.join().expect("no panic");
        assert_eq!(run.seq.load(Ordering::SeqCst), 3, "no number is lost");
    });
}

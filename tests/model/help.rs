//! S-4, S-10: no stage is left ready in a place where nobody looks while its worker is busy with another.
//!
//! A model of `Worker::push` and `call_for_help`, `Helper::leave`, `Driver::work` where it parks, `Node::queue` and `Queues`.
//! A deque is its two ends, as in `crossbeam_deque`: a plain release store on the owner's side, a fence on the side of those who
//! look. Whoever made work is as good as blocked for ever afterwards, so somebody else has to come.

use loom::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering, fence},
    },
    thread,
};

use crate::{
    protocol::{Gate, Held},
    sc,
};

/// One place for a helper: two workers in all.
const MAX_HELPERS: u32 = 1;

/// `Queues`.
struct Run {
    /// The far end of the deque of the worker that makes work: how many stages it has pushed.
    back: AtomicU32,
    /// Known to that worker alone.
    offered: AtomicBool,
    /// What that worker holds back.
    held: Held,
    resumed: AtomicU32,
    helpers: AtomicU32,
    parked: AtomicBool,
    gate: Gate,
    /// Somebody has been made to come: a helper was spawned, or the driver was woken.
    called: AtomicBool,
}

impl Run {
    fn new(helpers: u32) -> Arc<Self> {
        Arc::new(Self {
            back: AtomicU32::new(0),
            offered: AtomicBool::new(false),
            held: Held::none(),
            resumed: AtomicU32::new(0),
            helpers: AtomicU32::new(helpers),
            parked: AtomicBool::new(false),
            gate: Gate::open(),
            called: AtomicBool::new(false),
        })
    }

    /// `Worker::push`, onto a deque.
    fn push(&self) {
        fence(Ordering::Release);
        self.back.store(1, Ordering::Release);
        self.offered.store(true, Ordering::Relaxed);
    }

    /// `Worker::tell_successors`, where it holds an edge back that makes a stage ready.
    fn hold(&self) {
        assert_eq!(self.held.add(0), None);
        // `Held::add` is sequentially consistent, which loom does not know.
        fence(Ordering::SeqCst);
    }

    /// `Worker::call_for_help`.
    fn call_for_help(&self) {
        if self.offered.load(Ordering::Relaxed) {
            fence(Ordering::SeqCst);
        }
        if self.is_crowded() && !self.parked.load(Ordering::SeqCst) {
            return;
        }
        if self.held.take().is_some() {
            self.push();
        }
        if self.back.load(Ordering::Relaxed) == 0 {
            return;
        }
        fence(Ordering::SeqCst);
        if !self.wake_parked_driver() {
            self.call_one();
        }
    }

    /// `Node::queue`: a stage was woken from outside the run.
    fn queue(&self) {
        sc::store_u32(&self.resumed, 1);
        if !self.wake_parked_driver() {
            self.call_one();
        }
    }

    fn is_crowded(&self) -> bool {
        self.helpers.load(Ordering::SeqCst) >= MAX_HELPERS
    }

    fn wake_parked_driver(&self) -> bool {
        let was_parked = self.parked.load(Ordering::SeqCst) && self.parked.swap(false, Ordering::SeqCst);
        if was_parked {
            self.called.store(true, Ordering::Relaxed);
        }
        was_parked
    }

    fn call_one(&self) {
        if self.reserve() {
            self.called.store(true, Ordering::Relaxed);
        }
    }

    fn reserve(&self) -> bool {
        if self.is_crowded() {
            return false;
        }
        let reserve = |seen| (seen < MAX_HELPERS).then_some(seen + 1);
        self.helpers.fetch_update(Ordering::SeqCst, Ordering::SeqCst, reserve).is_ok()
    }

    /// `has_resumed() || has_stealable() || has_held()`
    fn has_work(&self) -> bool {
        if self.resumed.load(Ordering::SeqCst) != 0 {
            return true;
        }
        fence(Ordering::SeqCst);
        self.back.load(Ordering::Acquire) != 0 || !self.held.is_empty()
    }

    /// `Helper::leave`, by a helper that has found nothing to do; whether it goes on after all.
    fn leave(&self) -> bool {
        self.helpers.fetch_sub(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        assert!(!self.gate.leave(), "the run goes on");
        self.has_work() && self.reserve()
    }

    /// `Driver::work` with nothing to do; whether it goes on after all.
    fn park(&self) -> bool {
        sc::store(&self.parked, true);
        if self.has_work() {
            self.parked.store(false, Ordering::SeqCst);
            return true;
        }
        false
    }
}

/// `maker` makes work, then its worker is lost to it. `other` is about to rest.
fn check(helpers: u32, maker: fn(&Run), other: fn(&Run) -> bool) {
    crate::check(8, move || {
        let run = Run::new(helpers);
        (0..helpers).for_each(|_| assert!(run.gate.enter()));
        let other = {
            let run = Arc::clone(&run);
            thread::spawn(move || other(&run))
        };
        maker(&run);
        let goes_on = other.join().expect("it does not panic");
        assert!(goes_on || run.called.load(Ordering::Relaxed), "work is ready and nobody comes");
    });
}

#[test]
fn s_4_a_worker_makes_work_while_the_helper_leaves() {
    check(1, |run| (run.push(), run.call_for_help()).1, Run::leave);
}

#[test]
fn s_4_a_helper_makes_work_while_the_driver_parks() {
    check(1, |run| (run.push(), run.call_for_help()).1, Run::park);
}

#[test]
fn s_4_a_worker_holds_an_edge_back_while_the_helper_leaves() {
    check(1, |run| (run.hold(), run.call_for_help()).1, Run::leave);
}

#[test]
fn s_4_a_helper_holds_an_edge_back_while_the_driver_parks() {
    check(1, |run| (run.hold(), run.call_for_help()).1, Run::park);
}

#[test]
fn s_4_a_stage_is_woken_while_the_helper_leaves() {
    check(1, Run::queue, Run::leave);
}

#[test]
fn s_4_a_stage_is_woken_while_the_driver_parks() {
    check(0, Run::queue, Run::park);
}

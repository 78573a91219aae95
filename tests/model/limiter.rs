//! A rate limiter is never above its limit, and nobody is left behind in its queue.
//!
//! `bucket` is the very file of the limiter, over loom's mutex. `Place::turn` is modelled here with its wake-up and its timer: a
//! wait for a time moves the one clock to that time, which no real clock does any sooner.

use std::sync::Arc as Plain;

use loom::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    thread,
};

#[path = "../../crates/stageflow-interceptors/src/rate/bucket.rs"]
#[allow(dead_code, unreachable_pub, reason = "what the model does not call, and others do")]
mod bucket;
#[path = "../../crates/stageflow-core/src/gcra.rs"]
#[allow(dead_code, unreachable_pub, reason = "what the model does not call, and others do")]
mod gcra;

/// What `bucket` uses.
mod sync {
    pub(super) use loom::sync::{Mutex, MutexGuard};

    /// Tokio's, for one who waits: a wake-up that comes first is kept.
    pub(super) struct Notify(Mutex<bool>, loom::sync::Condvar);

    impl Notify {
        pub(super) fn new() -> Self {
            Self(Mutex::new(false), loom::sync::Condvar::new())
        }

        pub(super) fn notify_one(&self) {
            *self.0.lock().expect("no panic") = true;
            self.1.notify_one();
        }

        pub(super) fn notified(&self) {
            let mut woken = self.0.lock().expect("no panic");
            while !*woken {
                woken = self.1.wait(woken).expect("no panic");
            }
            *woken = false;
        }
    }
}

use self::{
    bucket::{Arrival, Bucket, Turn},
    gcra::Quota,
};

/// One in ten nanoseconds, two at once.
const QUOTA: Quota = Quota { limit: 1, period: 10, burst: 2 };

struct Limiter {
    bucket: Bucket,
    clock: AtomicU64,
    granted: AtomicU64,
}

impl Limiter {
    fn new() -> Arc<Self> {
        let bucket = Bucket::new(Plain::new([QUOTA]));
        Arc::new(Self { bucket, clock: AtomicU64::new(0), granted: AtomicU64::new(0) })
    }

    fn one() -> Plain<[u64]> {
        Plain::new([1])
    }

    /// It has been let through at some time before now.
    fn goes(&self) {
        let granted = self.granted.fetch_add(1, SeqCst) + 1;
        let allowed = QUOTA.burst + self.clock.load(SeqCst) * QUOTA.limit / QUOTA.period;
        assert!(granted <= allowed, "{granted} were let through, {allowed} are allowed");
    }

    /// `Shared::admit`.
    fn arrive(&self, now: u64, within: u64) -> Arrival {
        match self.bucket.pass(now, &Self::one()) {
            Some(taken) => Arrival::Granted(taken),
            None => self.bucket.arrive(now, &Self::one(), within, 8),
        }
    }

    /// `RateRequest::try_acquire`.
    fn try_acquire(&self) -> bool {
        let now = self.clock.load(SeqCst);
        match self.arrive(now, 0) {
            Arrival::Granted(_) => self.goes(),
            Arrival::TooLate(_) => return false,
            _ => unreachable!("nobody queues who may not wait"),
        }
        true
    }

    /// `RateRequest::acquire`.
    fn acquire(&self) {
        let now = self.clock.load(SeqCst);
        match self.arrive(now, u64::MAX) {
            Arrival::Granted(_) => self.goes(),
            Arrival::Queued { id, wake } => self.turn(id, &wake),
            _ => unreachable!("it may wait for ever"),
        }
    }

    /// `Place::turn`.
    fn turn(&self, id: u64, wake: &sync::Notify) {
        loop {
            let now = self.clock.load(SeqCst);
            match self.bucket.turn(now, id) {
                Turn::Granted(_) => return self.goes(),
                Turn::Wait(wait) => drop(self.clock.fetch_max(now + wait, SeqCst)),
                Turn::Behind => wake.notified(),
            }
        }
    }

    /// Comes, and leaves again, as a cancelled run does: `Drop` of `Place`.
    fn come_and_go(&self) {
        let now = self.clock.load(SeqCst);
        match self.arrive(now, u64::MAX) {
            Arrival::Granted(_) => self.goes(),
            Arrival::Queued { id, .. } => self.bucket.leave(id),
            _ => unreachable!("it may wait for ever"),
        }
    }
}

/// Runs what they do at the same time, after `before` others were let through.
fn race(before: usize, parts: &'static [fn(&Limiter)], after: fn(&Limiter)) {
    crate::check(3, move || {
        let limiter = Limiter::new();
        (0..before).for_each(|_| assert!(limiter.try_acquire()));
        let others: Vec<_> = parts
            .iter()
            .skip(1)
            .map(|part| {
                let limiter = Arc::clone(&limiter);
                thread::spawn(move || part(&limiter))
            })
            .collect();
        parts[0](&limiter);
        others.into_iter().for_each(|other| other.join().expect("no panic"));
        after(&limiter);
    });
}

fn tries(limiter: &Limiter) {
    limiter.try_acquire();
}

#[test]
fn of_three_that_ask_at_once_a_burst_of_two_goes() {
    race(0, &[tries, tries, tries], |limiter| assert_eq!(limiter.granted.load(SeqCst), 2));
}

#[test]
fn all_who_wait_have_their_turn_and_none_too_early() {
    race(2, &[Limiter::acquire, Limiter::acquire], |limiter| {
        assert_eq!((limiter.granted.load(SeqCst), limiter.clock.load(SeqCst)), (4, 20));
    });
}

/// Whoever stands behind one that leaves is woken, or waits for ever.
#[test]
fn who_stands_behind_one_that_leaves_is_woken() {
    race(2, &[Limiter::acquire, Limiter::come_and_go], |limiter| {
        assert_eq!(limiter.granted.load(SeqCst), 3);
    });
}

#[test]
fn three_with_one_that_leaves_and_one_that_does_not_wait() {
    race(2, &[Limiter::acquire, Limiter::come_and_go, tries], |_| {});
}

//! The breaker as an object: permits, keys, operators, and many callers at once.

use super::{
    super::{BreakerKey, BreakerOutcome, BreakerReason, BreakerState, CircuitBreaker, Forced, lru::Lru},
    FAILURE, touchy,
};
use stageflow_core::{DurationExt, TenantId};
use std::{
    sync::{
        Barrier,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};
use tokio::time::Instant;

fn tenant(name: &str) -> TenantId {
    name.into()
}

/// Lets one call of a key fail.
fn fail(breaker: &CircuitBreaker, key: &BreakerKey, now: Instant) {
    breaker.try_acquire(key, now).unwrap().record_at(FAILURE, now);
}

#[test]
fn it_opens_rejects_probes_and_closes() {
    let breaker = touchy().build().unwrap();
    let (key, now) = (breaker.key(None), Instant::now());
    let permit = breaker.try_acquire(&key, now).unwrap();
    assert!(!permit.is_probe());
    let opened = permit.record_at(FAILURE, now).unwrap();
    assert_eq!((opened.key, opened.reason), (key.clone(), BreakerReason::Consecutive));
    assert_eq!(opened.to, BreakerState::Open { until: now + 10.secs() });
    let open = breaker.try_acquire(&key, now + 4.secs()).unwrap_err();
    assert_eq!(open.retry_after(), Some(6.secs()));
    assert_eq!(open.to_string(), "the breaker `search` is open for another 6.0s");

    let later = now + 10.secs();
    let dropped = breaker.try_acquire(&key, later).unwrap();
    let probe = breaker.try_acquire(&key, later).unwrap();
    assert!(dropped.is_probe() && probe.is_probe());
    let full = breaker.try_acquire(&key, later).unwrap_err();
    assert_eq!(full.to_string(), "the breaker `search` waits for its probes");
    drop(dropped);
    assert_eq!(probe.record_at(BreakerOutcome::Success, later), None);
    let last = breaker.try_acquire(&key, later).unwrap();
    let closed = last.record_at(BreakerOutcome::Success, later).unwrap();
    assert_eq!((closed.to, closed.reason), (BreakerState::Closed, BreakerReason::ProbesSucceeded));
    let snapshot = breaker.snapshot().remove(0);
    let totals = snapshot.totals;
    assert_eq!((totals.admitted, totals.rejected, totals.neutral, totals.opened), (4, 2, 1, 1));
    assert_eq!((snapshot.key, snapshot.state, snapshot.calls), (key, BreakerState::Closed, 0));
}

#[test]
fn tenants_are_kept_apart_unless_they_share() {
    let (a, b) = (tenant("a"), tenant("b"));
    for apart in [true, false] {
        let breaker = touchy().per_tenant(apart).build().unwrap();
        fail(&breaker, &breaker.key(Some(&a)), Instant::now());
        let others = breaker.state(&breaker.key(Some(&b)));
        assert_eq!(others == BreakerState::Closed, apart);
        assert_eq!(breaker.try_acquire(&breaker.key(Some(&b)), Instant::now()).is_ok(), apart);
    }
}

#[test]
fn an_operator_decides_for_a_key_until_released() {
    let breaker = touchy().build().unwrap();
    let (key, now) = (breaker.key(Some(&tenant("a"))), Instant::now());
    let change = breaker.force(&key, Forced::Open).unwrap();
    assert_eq!((change.to, change.reason), (BreakerState::Forced(Forced::Open), BreakerReason::Forced));
    let open = breaker.try_acquire(&key, now).unwrap_err();
    assert_eq!(open.retry_after(), None);
    assert_eq!(open.to_string(), "the breaker `search/a` was opened by an operator");
    assert!(breaker.try_acquire(&breaker.key(None), now).is_ok(), "only for that key");
    for forced in [Forced::Closed, Forced::Disabled] {
        breaker.force(&key, forced);
        fail(&breaker, &key, now);
        assert_eq!(breaker.state(&key), BreakerState::Forced(forced));
    }
    assert_eq!(breaker.release(&key).map(|change| change.to), Some(BreakerState::Closed));
    assert_eq!(breaker.release(&key), None);
    fail(&breaker, &key, now);
    assert!(matches!(breaker.state(&key), BreakerState::Open { .. }));
}

/// However many tenants somebody makes up, memory stays what it is; and what an operator has decided stays.
#[test]
fn a_flood_of_keys_is_bounded() {
    let breaker = touchy().max_keys(100).build().unwrap();
    let now = Instant::now();
    let closed_for_all = breaker.key(Some(&tenant("maintenance")));
    breaker.force(&closed_for_all, Forced::Open);
    let (busy, idle) = (breaker.key(Some(&tenant("busy"))), breaker.key(Some(&tenant("idle"))));
    fail(&breaker, &busy, now);
    fail(&breaker, &idle, now);
    for number in 0..100_000 {
        let _permit = breaker.try_acquire(&breaker.key(Some(&tenant(&number.to_string()))), now);
        assert!(breaker.try_acquire(&busy, now).is_err(), "who asks is remembered");
    }
    assert_eq!(breaker.snapshot().len(), 100);
    assert_eq!(breaker.state(&idle), BreakerState::Closed, "who does not ask is forgotten");
    assert_eq!(breaker.state(&closed_for_all), BreakerState::Forced(Forced::Open));
}

#[test]
fn the_key_that_was_not_asked_for_longest_leaves() {
    let mut lru = Lru::new(3);
    let mut get = |key: u32, stays: u32| lru.get(&key, || key, |value| *value == stays);
    for key in [1, 2, 3, 1] {
        assert_eq!(get(key, 0), key);
    }
    get(4, 0); // Lets 2 go.
    get(5, 3); // Would let 3 go, and lets 1 go.
    let mut keys: Vec<_> = lru.values().copied().collect();
    keys.sort_unstable();
    assert_eq!((keys, lru.len()), (vec![3, 4, 5], 3));
    let mut all_stay = Lru::new(1);
    for key in [1, 2] {
        all_stay.get(&key, || key, |_| true);
    }
    assert_eq!((all_stay.peek(&1), all_stay.peek(&2)), (None, Some(2)));
}

/// Of many threads that ask at the same time, exactly as many get in as there are probes.
#[test]
fn half_open_admits_exactly_so_many_of_many_threads() {
    const THREADS: usize = 16;
    const PROBES: u32 = 5;
    for _round in 0..50 {
        let breaker = touchy().probes(PROBES).build().unwrap();
        let (key, now) = (breaker.key(None), Instant::now());
        fail(&breaker, &key, now);
        let later = now + 10.secs();
        let (start, admitted, end) = (Barrier::new(THREADS), AtomicUsize::new(0), Barrier::new(THREADS));
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    start.wait();
                    let permits: Vec<_> =
                        (0..3).filter_map(|_| breaker.try_acquire(&key, later).ok()).collect();
                    admitted.fetch_add(permits.len(), Ordering::Relaxed);
                    end.wait(); // All have asked before the first result is in.
                    permits
                        .into_iter()
                        .for_each(|permit| _ = permit.record_at(BreakerOutcome::Success, later));
                });
            }
        });
        assert_eq!(admitted.into_inner(), PROBES as usize);
        assert_eq!(breaker.state(&key), BreakerState::Closed);
        let totals = breaker.snapshot()[0].totals;
        assert_eq!(totals.admitted + totals.rejected, 1 + 3 * THREADS as u64);
    }
}

/// A permit of a forgotten key harms nobody who came after.
#[test]
fn a_forgotten_key_begins_anew() {
    let breaker = touchy().max_keys(1).build().unwrap();
    let (a, b, now) = (breaker.key(Some(&tenant("a"))), breaker.key(Some(&tenant("b"))), Instant::now());
    let old = breaker.try_acquire(&a, now).unwrap();
    drop(breaker.try_acquire(&b, now));
    drop(breaker.try_acquire(&a, now));
    old.record_at(FAILURE, now);
    assert_eq!(breaker.state(&a), BreakerState::Closed);
}

#[test]
fn the_same_seed_opens_for_the_same_time() {
    let left = |seed| {
        let breaker = CircuitBreaker::builder("search").consecutive(1).seed(seed).build().unwrap();
        let (key, now) = (breaker.key(None), Instant::now());
        fail(&breaker, &key, now);
        breaker.try_acquire(&key, now).unwrap_err().retry_after()
    };
    assert_eq!(left(7), left(7));
    assert_ne!(left(7), left(8));
}

#[test]
fn the_lease_of_a_probe_can_be_set() {
    let breaker = touchy().probes(1).probe_lease(5.secs()).build().unwrap();
    let (key, now) = (breaker.key(None), Instant::now());
    fail(&breaker, &key, now);
    let _hung = breaker.try_acquire(&key, now + 10.secs()).unwrap();
    let left = breaker.try_acquire(&key, now + 12.secs()).unwrap_err().retry_after();
    assert_eq!(left, Some(3.secs()));
    assert!(breaker.try_acquire(&key, now + 15.secs()).is_ok_and(|permit| permit.is_probe()));
}

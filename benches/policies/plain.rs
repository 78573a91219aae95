//! Decisions alone, as plain objects of the library, without a stage.

use std::{future::ready, hint::black_box, num::NonZeroU32, time::Duration};

use governor::{Quota, RateLimiter as Governor};
use stageflow::{
    Backoff, Jitter,
    interceptors::{BreakerOutcome, RetryBudget},
};
use tokio::time::Instant;

use crate::{
    case::{Calls, Pair},
    ours,
};

/// A row whose bare call is an empty one, so that the loop does not count.
fn alone(mut decide: impl FnMut() + Send + 'static) -> Pair {
    let with = Calls(move || {
        decide();
        ready(())
    });
    Pair::new(Calls(|| ready(())), with)
}

/// The delay before one of the first five retries, with a random number that costs next to nothing.
pub(crate) fn backoff(jitter: Jitter) -> Pair {
    let backoff = Backoff::default().jitter(jitter);
    let (mut random, mut previous) = (0_u64, backoff.base());
    alone(move || {
        random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        previous = backoff.delay(black_box(random >> 32) as u32 % 5, black_box(previous), black_box(random));
    })
}

/// A permit of a closed breaker and the report of a success, for so many tenants in turn.
fn breaker_of(tenants: usize) -> Pair {
    let breaker = ours::breaker();
    let keys: Vec<_> = names(tenants).map(|tenant| breaker.key(Some(&tenant.into()))).collect();
    let mut turn = 0;
    alone(move || {
        turn = (turn + 1) % keys.len();
        let permit =
            breaker.try_acquire(black_box(&keys[turn]), Instant::now()).expect("the breaker is closed");
        black_box(permit.record(BreakerOutcome::Success));
    })
}

/// A permit of a bulkhead with room, and giving it back, for so many tenants in turn.
fn bulkhead_of(tenants: usize) -> Pair {
    let bulkhead = ours::bulkhead(true);
    let names: Vec<_> = names(tenants).collect();
    let mut turn = 0;
    alone(move || {
        turn = (turn + 1) % names.len();
        drop(bulkhead.try_acquire(black_box(Some(&names[turn]))).expect("there is room"));
    })
}

fn names(tenants: usize) -> impl Iterator<Item = String> {
    (0..tenants).map(|tenant| format!("tenant-{tenant}"))
}

pub(crate) fn breaker() -> Pair {
    breaker_of(1)
}

pub(crate) fn breaker_of_many() -> Pair {
    breaker_of(100)
}

pub(crate) fn bulkhead() -> Pair {
    bulkhead_of(1)
}

pub(crate) fn bulkhead_of_many() -> Pair {
    bulkhead_of(100)
}

/// A charge of a limiter with quota in one dimension.
pub(crate) fn rate() -> Pair {
    let limiter = ours::rate(1 << 50, 1 << 50, false);
    alone(move || drop(limiter.request().try_acquire().expect("there is quota")))
}

/// A deposit and a withdrawal of a retry budget.
pub(crate) fn budget() -> Pair {
    let budget = RetryBudget::default();
    alone(move || {
        budget.deposit();
        black_box(budget.withdraw());
    })
}

/// The direct limiter of governor, with its default clock and quota left.
pub(crate) fn governor() -> Pair {
    let limiter = Governor::direct(most());
    alone(move || limiter.check().expect("there is quota"))
}

/// One per nanosecond, with the largest burst.
pub(crate) fn most() -> Quota {
    let quota = Quota::with_period(Duration::from_nanos(1)).expect("a nanosecond is not nothing");
    quota.allow_burst(NonZeroU32::MAX)
}

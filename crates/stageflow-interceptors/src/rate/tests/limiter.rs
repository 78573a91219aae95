//! The limiter as a plain object, in paused time: all or none, in order, settled, bounded.

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::{Arc, Mutex},
    task::Poll,
    time::Duration,
};

use proptest::prelude::*;
use stageflow_core::{DurationExt, Randomness, code, time::SeededRandom};
use tokio::time::Instant;

use crate::{RateCharge, RateError, RateHeaders, RateLimiter, RateLimiterBuilder};

/// One a second, five at once, in one dimension.
fn one_a_second() -> RateLimiterBuilder {
    RateLimiter::builder("api").dimension("calls", 60, 1.mins(), 5)
}

fn provider() -> RateLimiter {
    let all = RateLimiter::builder("provider").dimension("requests", 60, 1.mins(), 2);
    all.dimension("tokens", 6_000, 1.mins(), 1_000).build().unwrap()
}

fn use_up(limiter: &RateLimiter) {
    for _ in 0..5 {
        drop(limiter.request().try_acquire().unwrap());
    }
    assert!(limiter.request().try_acquire().is_err());
}

type Acquiring = Pin<Box<dyn Future<Output = Result<RateCharge, RateError>>>>;

/// Polls a future once, so that it stands in the queue.
async fn begin(mut acquiring: Acquiring) -> Acquiring {
    let done = std::future::poll_fn(|cx| Poll::Ready(acquiring.as_mut().poll(cx).is_ready())).await;
    assert!(!done, "it has to wait");
    acquiring
}

fn acquiring(limiter: &RateLimiter, dimension: &str, cost: u64) -> Acquiring {
    Box::pin(limiter.request().cost(dimension, cost).acquire())
}

#[tokio::test(start_paused = true)]
async fn waits_take_the_time_that_the_rate_says() {
    let limiter = one_a_second().build().unwrap();
    let started = Instant::now();
    let mut times = Vec::new();
    for _ in 0..8 {
        drop(limiter.request().acquire().await.unwrap());
        times.push(started.elapsed().as_millis());
    }
    assert_eq!(times, [0, 0, 0, 0, 0, 1_000, 2_000, 3_000]);
    tokio::time::advance(1.mins()).await;
    assert_eq!(limiter.available(None, "calls"), Some(5));
}

/// 10,000 callers at once on real threads, of whom each fifth gives its cost back: never more than there is goes through.
#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn so_many_callers_at_once_get_what_there_is() {
    let limiter = RateLimiter::builder("api")
        .dimension("calls", 1, 1_440.mins(), 100)
        .dimension("tokens", 1, 1_440.mins(), 1_000)
        .build()
        .unwrap();
    let calls: Vec<_> = (0..10_000)
        .map(|number| {
            let limiter = limiter.clone();
            tokio::spawn(async move {
                let charge = limiter.request().cost("tokens", 7).try_acquire().ok()?;
                tokio::task::yield_now().await;
                if number % 5 == 0 {
                    charge.give_back();
                    return None;
                }
                Some(7)
            })
        })
        .collect();
    let (mut count, mut tokens) = (0, 0);
    for call in calls {
        if let Some(cost) = call.await.unwrap() {
            count += 1;
            tokens += cost;
        }
    }
    assert!((50..=100).contains(&count), "{count}");
    let left = |dimension| limiter.available(None, dimension).unwrap();
    assert!(left("calls") <= 100 - count && left("tokens") <= 1_000 - tokens);
}

#[tokio::test(start_paused = true)]
async fn all_dimensions_are_taken_or_none() {
    let limiter = provider();
    let _spent = limiter.request().cost("tokens", 1_000).try_acquire().unwrap();
    let refused = limiter.request().cost("tokens", 500).try_acquire().unwrap_err();
    assert_eq!(refused.retry_after(), Some(5.secs()));
    // The request that was refused for its tokens has taken no request.
    assert_eq!(limiter.available(None, "requests"), Some(1));
    assert!(limiter.request().cost("tokens", 0).try_acquire().is_ok());
    // And the other way round.
    tokio::time::advance(500.millis()).await;
    assert!(limiter.request().cost("tokens", 10).try_acquire().is_err());
    assert_eq!((limiter.available(None, "requests"), limiter.available(None, "tokens")), (Some(0), Some(50)));
}

#[tokio::test(start_paused = true)]
async fn the_actual_cost_is_settled_both_ways() {
    let limiter = provider();
    let mut charge = limiter.request().cost("tokens", 1_000).try_acquire().unwrap();
    charge.settle("tokens", 200).unwrap();
    assert_eq!((limiter.available(None, "tokens"), charge.cost("tokens")), (Some(800), Some(200)));
    // Into debt: 2,200 of 1,000 are used, and 1,300 have to sink before 100 fit, at 100 a second.
    charge.settle("tokens", 2_200).unwrap();
    assert_eq!(limiter.available(None, "tokens"), Some(0));
    let refused = limiter.request().cost("tokens", 100).try_acquire().unwrap_err();
    assert_eq!(refused.retry_after(), Some(13.secs()));
    charge.give_back();
    assert_eq!(
        (limiter.available(None, "tokens"), limiter.available(None, "requests")),
        (Some(1_000), Some(2))
    );
    let unknown = limiter.request().cost("seats", 1).try_acquire().unwrap_err();
    assert_eq!(unknown.to_string(), "the rate limit `provider` has no dimension `seats`");
}

#[tokio::test(start_paused = true)]
async fn what_comes_back_wakes_who_waits() {
    let limiter = provider();
    let mut charge = limiter.request().cost("tokens", 1_000).try_acquire().unwrap();
    let started = Instant::now();
    let waiting = begin(acquiring(&limiter, "tokens", 1_000)).await;
    charge.settle("tokens", 0).unwrap();
    waiting.await.unwrap().settle("tokens", 1_000).unwrap();
    assert_eq!(started.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_cost_above_the_burst_is_refused_for_good() {
    let error = provider().request().cost("tokens", 1_001).acquire().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the rate limit `provider` lets 1000 `tokens` through at once, and the call costs 1001"
    );
    assert_eq!(error.retry_after(), None);
    let exit = error.into_exit();
    assert_eq!(exit.error_code(), Some(code::COST_ABOVE_BURST));
    assert!(!exit.error_class().unwrap().may_retry());
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_would_be_too_long_is_refused_at_once() {
    let limiter = one_a_second().build().unwrap();
    use_up(&limiter);
    let started = Instant::now();
    // A wait as long as the time there is leaves none for the call.
    let refused = limiter.request().within(1.secs()).acquire().await.unwrap_err();
    assert_eq!((refused.retry_after(), started.elapsed()), (Some(1.secs()), Duration::ZERO));
    assert!(limiter.request().within(1_001.millis()).acquire().await.is_ok());
    // The queue counts as well.
    let _first = begin(acquiring(&limiter, "calls", 3)).await;
    let refused = limiter.request().within(4.secs()).acquire().await.unwrap_err();
    assert_eq!(refused.retry_after(), Some(4.secs()));
}

/// The wait is longer than it was on arrival, because somebody has used more than estimated.
#[tokio::test(start_paused = true)]
async fn who_waits_is_refused_when_a_debt_makes_the_wait_too_long() {
    let limiter = one_a_second().build().unwrap();
    let mut charge = limiter.request().cost("calls", 5).try_acquire().unwrap();
    let started = Instant::now();
    let waiting = begin(Box::pin(limiter.request().within(2.secs()).acquire())).await;
    let behind = begin(Box::pin(limiter.request().within(3.secs()).acquire())).await;
    charge.settle("calls", 15).unwrap();
    let refused = waiting.await.unwrap_err();
    assert_eq!((refused.retry_after(), started.elapsed()), (Some(11.secs()), Duration::ZERO));
    let refused = behind.await.unwrap_err();
    assert_eq!((refused.retry_after(), started.elapsed()), (Some(11.secs()), Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn small_costs_do_not_pass_large_ones() {
    let limiter = one_a_second().build().unwrap();
    use_up(&limiter);
    let order = Arc::new(Mutex::new(Vec::new()));
    let calls: Vec<_> = [5, 1, 3, 1]
        .into_iter()
        .map(|cost| {
            let (limiter, order) = (limiter.clone(), Arc::clone(&order));
            tokio::spawn(async move {
                limiter.request().cost("calls", cost).acquire().await.map(drop).unwrap();
                order.lock().unwrap().push(cost);
            })
        })
        .collect();
    let started = Instant::now();
    for call in calls {
        call.await.unwrap();
    }
    assert_eq!((&*order.lock().unwrap(), started.elapsed()), (&vec![5, 1, 3, 1], 10.secs()));
}

/// There is room for a small one, and it is what a large one waits for.
#[tokio::test(start_paused = true)]
async fn nobody_passes_those_who_wait() {
    let limiter = one_a_second().build().unwrap();
    use_up(&limiter);
    let large = begin(acquiring(&limiter, "calls", 5)).await;
    tokio::time::advance(2.secs()).await;
    assert_eq!(limiter.available(None, "calls"), Some(2));
    assert_eq!(limiter.request().try_acquire().unwrap_err().retry_after(), Some(4.secs()));
    drop(large);
    assert!(limiter.request().try_acquire().is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_queue_is_bounded_and_who_leaves_it_frees_the_place() {
    let limiter = one_a_second().max_queue(2).build().unwrap();
    use_up(&limiter);
    let first = begin(acquiring(&limiter, "calls", 5)).await;
    let second = begin(acquiring(&limiter, "calls", 1)).await;
    let refused = limiter.request().acquire().await.unwrap_err();
    assert!(matches!(refused, RateError::QueueFull { .. }));
    assert_eq!(refused.retry_after(), Some(7.secs()));
    drop(first);
    // Its five seconds are gone as well.
    let third = begin(acquiring(&limiter, "calls", 1)).await;
    assert_eq!(limiter.request().try_acquire().unwrap_err().retry_after(), Some(3.secs()));
    let started = Instant::now();
    drop((second.await.unwrap(), third.await.unwrap()));
    assert_eq!(started.elapsed(), 2.secs());
}

/// Random waiters give up at random times: the others go in their order, no later than without them, and nothing is left behind.
#[tokio::test(start_paused = true)]
async fn order_and_places_survive_cancellations() {
    for seed in 0..50 {
        let random = SeededRandom::new(seed);
        let limiter = one_a_second().per_tenant(true).max_keys(1).build().unwrap();
        let spent = limiter.request().cost("calls", 5).try_acquire().unwrap();
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut calls = Vec::new();
        for number in 0..20_u64 {
            let (limiter, order) = (limiter.clone(), Arc::clone(&order));
            let cost = 1 + random.next_u64() % 5;
            let call = tokio::spawn(async move {
                let charge = limiter.request().cost("calls", cost).acquire().await.unwrap();
                order.lock().unwrap().push((number, cost));
                drop(charge);
            });
            tokio::task::yield_now().await;
            calls.push((call, random.next_u64().is_multiple_of(3)));
        }
        let started = Instant::now();
        for (call, gives_up) in &calls {
            if *gives_up {
                tokio::time::sleep(Duration::from_millis(random.next_u64() % 2_000)).await;
                call.abort();
            }
        }
        let mut gone = 0;
        for (call, _) in calls {
            gone += usize::from(call.await.is_err());
        }
        let order = order.lock().unwrap().clone();
        assert!(order.is_sorted_by_key(|(number, _)| *number), "seed {seed}: {order:?}");
        assert_eq!(order.len() + gone, 20);
        // At one a second, all that was used takes as many seconds to sink. Who gave up has cost nothing.
        let used: u64 = order.iter().map(|(_, cost)| cost).sum();
        assert!(started.elapsed() < Duration::from_secs(used + 40), "seed {seed}");
        drop(spent);
        tokio::time::advance(5.secs()).await;
        assert_eq!(limiter.available(None, "calls"), Some(5), "seed {seed}");
        // The one key that there is room for can be forgotten.
        drop(limiter.request().tenant("another").try_acquire().unwrap());
        assert_eq!(limiter.keys(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn tenants_have_their_own_and_a_flood_of_them_is_bounded() {
    let limiter = one_a_second().per_tenant(true).max_keys(10).build().unwrap();
    let take = |tenant: &str| limiter.request().tenant(tenant).cost("calls", 5).try_acquire().is_ok();
    assert!(take("a") && take("b") && !take("a"));
    let admitted = (0..1_000).filter(|tenant| take(&tenant.to_string())).count();
    // Eight more that there is room for, and the rest once together.
    assert_eq!((admitted, limiter.keys()), (9, 10));
    assert!(!take("a"), "nobody has been forgotten who still owes something");
    tokio::time::advance(5.secs()).await;
    assert!(take("new") && take("a"));
    assert_eq!(limiter.keys(), 10);
}

#[tokio::test(start_paused = true)]
async fn headers_are_learned_and_forgotten() {
    let limiter = one_a_second().build().unwrap();
    let said = RateHeaders::new().limit(60).remaining(1).reset_after(10.secs());
    limiter.learn(None, "calls", said).unwrap();
    assert_eq!(limiter.available(None, "calls"), Some(1));
    let started = Instant::now();
    drop(limiter.request().acquire().await.unwrap());
    drop(limiter.request().acquire().await.unwrap());
    assert_eq!(started.elapsed(), 10.secs());
    assert!(limiter.learn(None, "seats", said).is_err());
}

#[test]
fn what_cannot_work_is_not_built() {
    let none = RateLimiter::builder("none").build().unwrap_err();
    assert_eq!(none.problems(), ["it has no dimension, and would limit nothing"]);
    let bad = RateLimiter::builder("bad").dimension("a", 0, Duration::ZERO, 0).dimension("a", 1, 1.secs(), 1);
    let bad = bad.cost("b", |_| 1).actual("c", |_| None).max_keys(0).build().unwrap_err();
    assert_eq!(bad.problems().len(), 7, "{bad}");
    assert_eq!(bad.code(), code::INVALID_POLICY);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Callers with different patience, some of whom give up: what goes through is never more than burst and rate.
    #[test]
    fn what_goes_through_is_conserved(
        calls in prop::collection::vec((0..1_500_u64, 1..=5_u64, 0..6_000_u64, 0..4_000_u64), 1..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let admitted = runtime.block_on(async {
            let limiter = one_a_second().build().unwrap();
            let started = Instant::now();
            let admitted = Arc::new(Mutex::new(Vec::new()));
            let mut tasks = Vec::new();
            for (gap, cost, within, gives_up) in calls {
                tokio::time::sleep(Duration::from_millis(gap)).await;
                let (limiter, admitted) = (limiter.clone(), Arc::clone(&admitted));
                tasks.push(tokio::spawn(async move {
                    let call = limiter.request().cost("calls", cost).within(Duration::from_millis(within)).acquire();
                    let mut call = pin!(tokio::time::timeout(Duration::from_millis(gives_up), call));
                    let came = Instant::now();
                    if let Ok(Ok(_charge)) = call.as_mut().await {
                        assert!(came.elapsed() < Duration::from_millis(within.max(1)));
                        admitted.lock().unwrap().push((started.elapsed().as_millis(), u128::from(cost)));
                    }
                }));
            }
            for task in tasks {
                task.await.unwrap();
            }
            Arc::try_unwrap(admitted).unwrap().into_inner().unwrap()
        });
        for (first, (from, _)) in admitted.iter().enumerate() {
            let mut sum = 0;
            for (to, cost) in &admitted[first..] {
                sum += cost;
                prop_assert!(sum * 1_000 <= 5 * 1_000 + (to - from), "{:?}", admitted);
            }
        }
    }
}

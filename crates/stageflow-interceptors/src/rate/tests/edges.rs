//! What a limiter foretells when something has changed since it last looked.

use std::{future::Future, pin::Pin, sync::Arc, task::Poll, time::Duration};

use proptest::prelude::*;
use stageflow_core::{DurationExt, StageContext, stage_fn};
use stageflow_dag::Pipeline;
use stageflow_exec::PipelineExt as _;

use crate::{
    RateCharge, RateError, RateLimiter,
    rate::{
        bucket::{Arrival, Bucket, Turn},
        gcra::Quota,
    },
};

/// One a second, five at once.
fn one_a_second() -> RateLimiter {
    RateLimiter::builder("api").dimension("calls", 60, 1.mins(), 5).build().unwrap()
}

/// Stands in the queue with a cost.
async fn waiting(
    limiter: &RateLimiter,
    cost: u64,
) -> Pin<Box<dyn Future<Output = Result<RateCharge, RateError>>>> {
    let mut waiting = Box::pin(limiter.request().cost("calls", cost).acquire());
    let done = std::future::poll_fn(|cx| Poll::Ready(waiting.as_mut().poll(cx).is_ready())).await;
    assert!(!done, "it has to wait");
    waiting
}

fn foretold(limiter: &RateLimiter) -> Option<Duration> {
    limiter.request().try_acquire().unwrap_err().retry_after()
}

/// A debt makes the queue longer and a refund makes it shorter, for those as well who come later.
#[tokio::test(start_paused = true)]
async fn who_comes_after_a_settlement_is_told_the_wait_as_it_is_now() {
    let limiter = one_a_second();
    let mut charge = limiter.request().cost("calls", 5).try_acquire().unwrap();
    let _first = waiting(&limiter, 1).await;
    assert_eq!(foretold(&limiter), Some(2.secs()));
    charge.settle("calls", 8).unwrap();
    assert_eq!(foretold(&limiter), Some(5.secs()));
    charge.settle("calls", 4).unwrap();
    assert_eq!(foretold(&limiter), Some(1.secs()));
}

/// Somebody whose turn has come has not been polled since: whoever comes meanwhile comes after that turn, from now on.
#[tokio::test(start_paused = true)]
async fn who_comes_while_a_turn_is_not_taken_waits_from_now_on() {
    let limiter = one_a_second();
    drop(limiter.request().cost("calls", 5).try_acquire().unwrap());
    let first = waiting(&limiter, 5).await;
    assert_eq!(foretold(&limiter), Some(6.secs()));
    tokio::time::advance(20.secs()).await;
    assert_eq!(foretold(&limiter), Some(1.secs()));
    drop(first.await.unwrap());
    assert_eq!(foretold(&limiter), Some(1.secs()));
}

/// So does whoever comes after a turn that was taken late, while others still wait.
#[tokio::test(start_paused = true)]
async fn who_comes_after_a_turn_was_taken_late_is_told_the_wait_as_it_is_now() {
    let limiter = one_a_second();
    drop(limiter.request().cost("calls", 5).try_acquire().unwrap());
    let (first, second) = (waiting(&limiter, 5).await, waiting(&limiter, 5).await);
    assert_eq!(foretold(&limiter), Some(11.secs()));
    tokio::time::advance(20.secs()).await;
    drop(first.await.unwrap());
    assert_eq!(foretold(&limiter), Some(6.secs()), "it is the turn of the second in five");
    // What would take too long is refused at once, and not when its time is up.
    let refused = limiter.request().within(3.secs()).acquire().await.unwrap_err();
    assert_eq!(refused.retry_after(), Some(6.secs()));
    let began = tokio::time::Instant::now();
    drop(second.await.unwrap());
    assert_eq!(began.elapsed(), 5.secs());
}

/// A cancelled attempt has been made: what it has cost is not given back.
#[tokio::test(start_paused = true)]
async fn an_attempt_that_is_cancelled_has_cost_what_it_took() {
    let limiter = one_a_second();
    let mut p = Pipeline::builder("hangs");
    let hangs =
        stage_fn(|_: StageContext, (): ()| std::future::pending::<stageflow_core::StageResult<u32>>());
    let hangs = p.stage("hangs", hangs).intercept(limiter.clone()).inputs(());
    let run = p.build(hangs).unwrap().start(());
    // sleeps: in paused time, until the attempt has begun
    tokio::time::sleep(1.millis()).await;
    assert_eq!(limiter.available(None, "calls"), Some(4));
    run.cancel("enough");
    run.await.map(drop).unwrap_err();
    assert_eq!(limiter.available(None, "calls"), Some(4));
}

#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Come(u64),
    /// Those whose turn it is take it, at most so many.
    Go(usize),
    Leave(usize),
    Debt(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..40_u64).prop_map(Step::Pass),
        6 => (1..6_u64).prop_map(Step::Come),
        3 => (0..4_usize).prop_map(Step::Go),
        1 => any::<usize>().prop_map(Step::Leave),
        1 => (1..4_u64).prop_map(Step::Debt),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// What is kept of the play of the queue foretells what playing it anew does, whoever came late or left meanwhile.
    #[test]
    fn a_wait_is_foretold_as_if_the_queue_was_played_anew(steps in prop::collection::vec(step(), 1..80)) {
        let bucket = Bucket::new(Arc::new([Quota { limit: 3, period: 20, burst: 5 }]));
        let (mut now, mut queue) = (0, Vec::new());
        for step in steps {
            match step {
                Step::Pass(time) => now += time,
                Step::Come(cost) => {
                    let costs: Arc<[u64]> = Arc::new([cost]);
                    let Arrival::TooLate(foretold) = bucket.arrive(now, &costs, 0, 100) else {
                        prop_assert!(queue.is_empty(), "nobody passes those who wait");
                        continue;
                    };
                    if let Arrival::Queued { id, .. } = bucket.arrive(now, &costs, u64::MAX, 100) {
                        prop_assert_eq!(foretold, bucket.remaining_wait(now, id));
                        queue.push(id);
                    }
                }
                Step::Go(most) => {
                    for _ in 0..most {
                        let Some(first) = queue.first() else { break };
                        let Turn::Granted(_) = bucket.turn(now, *first) else { break };
                        queue.remove(0);
                    }
                }
                Step::Leave(which) if !queue.is_empty() => bucket.leave(queue.remove(which % queue.len())),
                Step::Leave(_) => {}
                Step::Debt(cost) => drop(bucket.take_more(now, 0, cost)),
            }
        }
    }
}

//! When a retry is too late by nothing at all, and what time counts.

use stageflow_core::{Backoff, ClassifyExt as _, DurationExt as _, StageContext, code, stage_fn};
use stageflow_dag::Pipeline;
use stageflow_exec::PipelineExt as _;
use tokio::time::Instant;

use super::{Retry, RetryBudget, Script, attempts, pipeline};

const BUSY: Script = |_| Err("busy").transient();

fn every(seconds: u64) -> Retry {
    Retry::constant(seconds.secs()).no_jitter().max_attempts(u32::MAX)
}

/// Nothing is begun at the very deadline, for it could not end: the error is the call's own.
#[tokio::test(start_paused = true)]
async fn a_retry_at_the_very_deadline_is_not_made() {
    let began = Instant::now();
    let run = pipeline(every(5), BUSY).run(()).deadline(10.secs()).await;
    assert_eq!((attempts(&run), began.elapsed()), (2, 5.secs()));
    let error = run.map(drop).unwrap_err();
    assert_eq!(error.failure().map(|failure| failure.message()), Some("busy (attempt 2)".to_owned()));
    assert_ne!(error.code(), code::DEADLINE_EXCEEDED);
}

/// No retry begins later than that, and one at that moment does.
#[tokio::test(start_paused = true)]
async fn a_retry_at_the_very_end_of_the_longest_time_is_made() {
    assert_eq!(attempts(&pipeline(every(3).max_elapsed(6.secs()), BUSY).run(()).await), 3);
    assert_eq!(attempts(&pipeline(every(3).max_elapsed(5_999.millis()), BUSY).run(()).await), 2);
}

/// The time before the stage is none of its own.
#[tokio::test(start_paused = true)]
async fn the_longest_time_is_counted_from_the_first_attempt() {
    let mut p = Pipeline::builder("late");
    let before = stage_fn(async |_: StageContext, (): ()| {
        // sleeps: in paused time
        tokio::time::sleep(60.secs()).await;
        Ok(())
    });
    let before = p.stage("before", before).inputs(());
    let stage = stage_fn(|ctx: StageContext, (): ()| async move { BUSY(ctx.attempt()) });
    let one = p.stage("one", stage).retry(every(3).max_elapsed(6.secs())).after(before).inputs(());
    assert_eq!(attempts(&p.build(one).unwrap().run(()).await), 3);
}

/// What the documentation says that the defaults are.
#[tokio::test(start_paused = true)]
async fn the_defaults_are_what_they_are_said_to_be() {
    assert_eq!((Retry::default().backoff, Backoff::ATTEMPTS), (Backoff::exponential(200.millis()), 3));
    assert_eq!(attempts(&pipeline(Retry::default(), BUSY).run(()).await), 3);
    let asks: Script = |attempt| {
        if attempt < 2 { Err(stageflow_core::StageExit::retry("busy").after(3_600.secs())) } else { Ok(1) }
    };
    let began = Instant::now();
    assert_eq!(attempts(&pipeline(Retry::default(), asks).run(()).await), 2);
    assert_eq!(began.elapsed(), 60.secs(), "the longest hint");
}

/// Up to ten times the reserve, and a hundred at least.
#[test]
fn an_account_keeps_no_more_than_it_may() {
    for (reserve, most) in [(0, 100), (3, 100), (10, 100), (11, 110), (500, 5_000)] {
        let budget = RetryBudget::new(1.0, reserve);
        (0..10_000).for_each(|_| budget.deposit());
        assert_eq!(budget.left(), most, "a reserve of {reserve}");
    }
    // A share that binary fractions miss by a little is rounded, and not cut.
    let budget = RetryBudget::new(1.001, 1_000);
    (0..1_000).for_each(|_| budget.deposit());
    assert_eq!(budget.left(), 2_001);
}

//! Failures of items: what is tolerated, what a failure says, and how items leave otherwise.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use stageflow::{
    Backoff, ErrorClass, Jitter, RunOutcome, code,
    plus::fan_out::{Failures, FanOutLimiter, ItemOutcome, ItemRetry, MapExt, MapFailed, Mapped, OnExceeded},
    prelude::*,
};

use super::over;
use crate::behaviour::kit::{error_of, recorded, within};

/// Fails for each number for which it is said to.
fn fails_if(
    fails: impl Fn(u64) -> bool + Send + Sync + 'static,
) -> impl Stage<Input = Owned<u64>, Output = u64> {
    stage_fn(move |_, Owned(n): Owned<u64>| {
        let failed = fails(n);
        async move {
            // sleeps: on paused time
            tokio::time::sleep(1.millis()).await;
            if failed { Err(format!("no answer for {n}")).transient()? } else { Ok(n * 2) }
        }
    })
}

fn leaves(exit: fn(u64) -> StageResult<u64>) -> impl Stage<Input = Owned<u64>, Output = u64> {
    stage_fn(move |_, Owned(n): Owned<u64>| std::future::ready(exit(n)))
}

fn numbers(count: u64) -> Vec<u64> {
    (0..count).collect()
}

#[tokio::test(start_paused = true)]
async fn of_500_with_2_percent_failures_490_outputs_and_10_structured_failures_are_left() {
    let pipeline = over(|p, input| {
        p.map("embed", fails_if(|n| n % 50 == 7)).max_in_flight(16).tolerate(Failures::percent(2)).over(input)
    });
    let run = within(pipeline.run(numbers(500))).await.expect("2 % are tolerated");
    let mapped: &Mapped<u64> = run.output();
    assert_eq!(mapped.outputs().count(), 490);
    assert!(mapped.outputs().all(|(index, output)| *output == 2 * index as u64));
    let failures: Vec<_> = mapped.failures().collect();
    assert_eq!(failures.len(), 10);
    for (at, (index, failure)) in failures.iter().enumerate() {
        assert_eq!(*index, at * 50 + 7);
        assert_eq!(failure.stage(), format!("embed[{index}]"));
        assert_eq!((failure.code(), failure.class()), (code::STAGE_FAILED, ErrorClass::Transient));
        assert_eq!(failure.message(), format!("no answer for {index}"));
    }
    assert_eq!(mapped.summary().to_string(), "490 of 500 completed, 10 failed");
    assert_eq!(mapped.summary().peak_in_flight, 16);
}

#[tokio::test(start_paused = true)]
async fn one_more_than_is_tolerated_fails_the_stage() {
    let pipeline = over(|p, input| {
        p.map("embed", fails_if(|n| n < 11)).max_in_flight(16).tolerate(Failures::percent(2)).over(input)
    });
    let error = error_of(pipeline.run(numbers(500))).await;
    let failure = error.failure().expect("a stage failed");
    assert_eq!((failure.code(), failure.class()), (code::TOO_MANY_FAILURES, ErrorClass::Transient));
    let failed = failure.cause().downcast_ref::<MapFailed>().expect("it says which");
    assert_eq!(failed.failures().map(|(index, _)| index).collect::<Vec<_>>(), (0..11).collect::<Vec<_>>());
    assert_eq!(
        failure.message(),
        "0 of 500 completed, 11 failed, 5 cancelled, 484 not begun, 2 % tolerated; the first: item 0 of 500: \
         no answer for 0"
    );
}

#[tokio::test(start_paused = true)]
async fn where_none_is_tolerated_the_stage_fails_as_its_item_did() {
    let pipeline = over(|p, input| p.map("embed", fails_if(|n| n == 3)).max_in_flight(2).over(input));
    let error = error_of(pipeline.run(numbers(10))).await;
    let failure = error.failure().expect("a stage failed");
    assert_eq!((failure.code(), failure.class()), (code::STAGE_FAILED, ErrorClass::Transient));
    assert_eq!(failure.message(), "item 3 of 10: no answer for 3");
    let source = failure.cause().source().and_then(|cause| cause.source()).expect("the cause of the item");
    assert_eq!(source.to_string(), "no answer for 3");
}

/// What is tolerated, against how many fail and what is done then.
#[tokio::test(start_paused = true)]
async fn the_matrix_of_partial_failure() {
    let tolerances: [(&str, Failures, u64); 6] = [
        ("any", Failures::any(), u64::MAX),
        ("0", Failures::count(0), 0),
        ("5", Failures::count(5), 5),
        ("10 %", Failures::percent(10), 10),
        ("10 %, at most 3", Failures::percent(10).at_most(3), 3),
        ("10 % of 100", Failures::percent(10).min_samples(100), 10),
    ];
    for (name, tolerated, most) in tolerances {
        for failing in [0, 1, 3, 4, 5, 6, 10, 11, 100] {
            for what in [OnExceeded::Cancel, OnExceeded::Stop] {
                let pipeline = over(|p, input| {
                    let map = p.map("embed", fails_if(move |n| n < failing)).max_in_flight(4);
                    map.tolerate(tolerated).on_exceeded(what).over(input)
                });
                let case = format!("{name} tolerated, {failing} fail, {what:?}");
                match within(pipeline.run(numbers(100))).await {
                    Ok(run) => {
                        assert!(failing <= most, "{case}");
                        assert_eq!(run.output().failures().count() as u64, failing, "{case}");
                        assert_eq!(run.output().outputs().count() as u64, 100 - failing, "{case}");
                    }
                    Err(error) => {
                        assert!(failing > most, "{case}: {error:?}");
                        let failure = error.failure().expect("a stage failed");
                        let failed = failure.cause().downcast_ref::<MapFailed>().expect("it says which");
                        let summary = *failed.summary();
                        let all = summary.completed + summary.failed + summary.cancelled + summary.not_begun;
                        assert_eq!(all, 100, "{case}: {summary}");
                        let is_cut = what == OnExceeded::Cancel;
                        assert!(is_cut || summary.cancelled == 0, "{case}: {summary}");
                        assert!(summary.failed as u64 > most, "{case}: {summary}");
                        // Nothing is begun once it is too much; what ran may end.
                        let late = if is_cut { 0 } else { 3 };
                        let asked = tolerated != Failures::percent(10).min_samples(100);
                        assert!(!asked || summary.failed as u64 <= most + 1 + late, "{case}: {summary}");
                    }
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_failure_of_its_item() {
    let stage = leaves(|n| if n == 2 { panic!("on {n}") } else { Ok(n) });
    let pipeline = over(|p, input| p.map("embed", stage).tolerate(Failures::count(1)).over(input));
    let run = within(pipeline.run(numbers(5))).await.expect("one is tolerated");
    let (index, failure) = run.output().failures().next().expect("it failed");
    assert_eq!((index, failure.code(), failure.class()), (2, code::PANIC, ErrorClass::Panic));
    assert_eq!(failure.message(), "panicked: on 2");
    assert_eq!(run.output().outputs().count(), 4);
}

#[tokio::test(start_paused = true)]
async fn an_item_that_skips_itself_is_left_out() {
    let odd = || leaves(|n| if n % 2 == 0 { Err(StageExit::skip("even")) } else { Ok(n) });
    let pipeline = over(|p, input| p.map("odd", odd()).over(input));
    assert_eq!(*within(pipeline.run(numbers(6))).await.expect("it completes").output(), [1, 3, 5]);
    let pipeline = over(|p, input| p.map("odd", odd()).tolerate(Failures::count(0)).over(input));
    let run = within(pipeline.run(numbers(2))).await.expect("it completes");
    let expected = [ItemOutcome::Skipped("even".to_owned()), ItemOutcome::Completed(1)];
    assert_eq!(run.output().outcomes(), expected);
}

#[tokio::test(start_paused = true)]
async fn an_item_that_cancels_ends_the_run_and_one_that_is_denied_denies_it() {
    let cancels = leaves(|n| if n == 1 { Err(StageExit::cancel("enough")) } else { Ok(n) });
    let pipeline = over(|p, input| p.map("stop", cancels).tolerate(Failures::any()).over(input));
    let error = error_of(pipeline.run(numbers(5))).await;
    assert_eq!((error.outcome(), error.code()), (Some(RunOutcome::Cancelled), code::CANCELLED));
    let denied = leaves(|n| if n == 1 { Err(StageExit::deny("not yours")) } else { Ok(n) });
    let pipeline = over(|p, input| p.map("stop", denied).tolerate(Failures::any()).over(input));
    let error = error_of(pipeline.run(numbers(5))).await;
    assert_eq!((error.outcome(), error.code()), (Some(RunOutcome::Denied), code::DENIED));
    assert!(format!("{:?}", error.failure()).contains("not yours"), "{error:?}");
}

/// Fails so many times for each number.
fn flaky(times: u32) -> impl Stage<Input = Owned<u64>, Output = u64> {
    let tried: Arc<Vec<AtomicU32>> = Arc::new((0..100).map(|_| AtomicU32::new(0)).collect());
    stage_fn(move |_, Owned(n): Owned<u64>| {
        let attempt = tried[usize::try_from(n).expect("small")].fetch_add(1, Ordering::SeqCst);
        std::future::ready(if attempt < times { Err(StageExit::retry("busy")) } else { Ok(n) })
    })
}

#[tokio::test(start_paused = true)]
async fn items_are_tried_again_as_often_as_is_said() {
    let steady = || Backoff::constant(10.millis()).jitter(Jitter::None);
    let map = |times, attempts| {
        over(move |p, input| {
            let retry = ItemRetry::attempts(attempts).backoff(steady());
            p.map("flaky", flaky(times)).tolerate(Failures::any()).retry_items(retry).over(input)
        })
    };
    let (engine, recorder) = recorded();
    let run = within(engine.run(&map(2, 3), numbers(10))).await.expect("it completes");
    assert_eq!(run.output().outputs().count(), 10);
    let retried: Vec<_> =
        recorder.events().into_iter().filter(|event| event.name() == "fan_out.item_retried").collect();
    assert_eq!(retried.len(), 20);
    let run = within(map(2, 2).run(numbers(3))).await.expect("any may fail");
    assert!(run.output().failures().all(|(_, f)| f.code() == code::RETRY_EXHAUSTED && f.attempts() == 2));
    assert_eq!(run.output().failures().count(), 3);
    let run = within(over(|p, i| p.map("flaky", flaky(1)).tolerate(Failures::any()).over(i)).run(numbers(3)));
    let run = run.await.expect("any may fail");
    assert!(run.output().failures().all(|(_, f)| f.code() == code::RETRY_UNAVAILABLE));
    assert_eq!(run.output().failures().count(), 3);
}

/// With one permit: while the first backs off, the others take their turns, and then the first is next.
#[tokio::test(start_paused = true)]
async fn nobody_holds_a_permit_while_they_back_off() {
    let order = crate::behaviour::kit::Log::default();
    let log = order.clone();
    let stage = stage_fn(move |_, Owned(n): Owned<u64>| {
        let log = log.clone();
        async move {
            let is_first = n == 0 && log.lines().is_empty();
            log.add(format!("{n}"));
            // sleeps: on paused time
            tokio::time::sleep(10.millis()).await;
            if is_first { Err(StageExit::retry("busy")) } else { Ok(n) }
        }
    });
    let limiter = FanOutLimiter::builder("one").limit(1).build().expect("a limiter");
    let pipeline = over(|p, input| {
        let retry = ItemRetry::attempts(2).backoff(Backoff::constant(15.millis()).jitter(Jitter::None));
        p.map("turns", stage).limiter(&limiter).read_ahead(10).retry_items(retry).over(input)
    });
    within(pipeline.run(numbers(5))).await.expect("it completes");
    assert_eq!(order.lines(), ["0", "1", "2", "0", "3", "4"]);
    assert_eq!(limiter.stats().peak, 1);
    assert_eq!(limiter.stats().in_use, 0);
}

#[tokio::test(start_paused = true)]
async fn an_item_has_its_own_time() {
    let stage = stage_fn(|ctx: StageContext, Owned(n): Owned<u64>| async move {
        assert_eq!(ctx.remaining(), Some(100.millis()), "it knows");
        // sleeps: on paused time
        tokio::time::sleep((n * 60).millis()).await;
        Ok(n)
    });
    let pipeline = over(|p, input| {
        p.map("slow", stage).tolerate(Failures::any()).item_timeout(100.millis()).over(input)
    });
    let run = within(pipeline.run(numbers(4))).await.expect("any may fail");
    let codes: Vec<_> = run.output().failures().map(|(index, failure)| (index, failure.code())).collect();
    assert_eq!(codes, [(2, code::ATTEMPT_TIMEOUT), (3, code::ATTEMPT_TIMEOUT)]);
}

/// A pipeline for each item has the policies of its stages.
#[tokio::test(start_paused = true)]
async fn a_pipeline_for_each_item() {
    let inner = over(|p: &mut stageflow::Builder<u64>, input| {
        let tried = Arc::new(AtomicU32::new(0));
        let stage = stage_fn(move |ctx: StageContext, n: Arc<u64>| {
            tried.fetch_add(1, Ordering::SeqCst);
            std::future::ready(match (*n, ctx.attempt()) {
                (3, _) => Err(StageExit::fail("never").class(ErrorClass::Permanent)),
                (_, 1) => Err(StageExit::retry("busy")),
                _ => Ok(*n * 2),
            })
        });
        p.stage("inner", stage).retry(stageflow::interceptors::Retry::exponential(1.millis())).inputs(input)
    });
    let (engine, recorder) = recorded();
    let outer =
        over(|p, input| p.map("each", inner).max_in_flight(3).tolerate(Failures::count(1)).over(input));
    let run = within(engine.run(&outer, numbers(8))).await.expect("one may fail");
    assert_eq!(run.output().outputs().map(|(_, n)| *n).collect::<Vec<_>>(), [0, 2, 4, 8, 10, 12, 14]);
    let (index, failure) = run.output().failures().next().expect("one failed");
    assert_eq!((index, failure.code(), failure.class()), (3, code::STAGE_FAILED, ErrorClass::Permanent));
    let children = recorder.events().iter().filter(|event| event.name() == "pipeline.child_started").count();
    assert_eq!(children, 8);
}

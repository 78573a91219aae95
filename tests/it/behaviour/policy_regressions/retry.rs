//! §18.6: retries, one sentence after the other.

use std::time::Duration;

use stageflow::{Budget, ErrorClass, EventKind, Jitter, code, interceptors::Retry, prelude::*};
use tokio::time::Instant;

use super::super::kit::{error_of, pipeline, recorded};

type Script = fn(u32) -> StageResult<u32>;

const BUSY: Script = |_| Err("busy").transient();

fn under(retry: Retry, script: Script) -> Pipeline<(), u32> {
    pipeline(|p| {
        let stage = stage_fn(move |ctx: StageContext, (): ()| async move { script(ctx.attempt()) });
        p.stage("only", stage).retry(retry).inputs(())
    })
}

/// How many attempts there were, whether there is an output, and the delays between the attempts, as they passed.
async fn story(retry: Retry, script: Script) -> (u32, bool, Vec<Duration>) {
    let (engine, recorder) = recorded();
    let all = Budget::new().unlimited_retries();
    let run = engine.run(&under(retry, script), ()).budget(all).await;
    let starts: Vec<_> = recorder.events().iter().filter_map(started).collect();
    let delays = starts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    (u32::try_from(starts.len()).expect("few"), run.is_ok(), delays)
}

fn started(event: &stageflow::Event) -> Option<Duration> {
    matches!(event.kind(), EventKind::StageStarted).then(|| event.elapsed())
}

fn millis(times: &[u64]) -> Vec<Duration> {
    times.iter().map(|time| time.millis()).collect()
}

#[tokio::test(start_paused = true)]
async fn item_160_a_second_attempt_that_succeeds_is_a_success() {
    let once: Script = |attempt| if attempt < 2 { Err("busy").transient() } else { Ok(1) };
    assert_eq!(story(Retry::default().no_jitter(), once).await, (2, true, millis(&[200])));
}

#[tokio::test(start_paused = true)]
async fn item_161_retries_go_on_until_they_are_used_up_w12() {
    let (attempts, ok, _) = story(Retry::constant(1.millis()).max_attempts(50), BUSY).await;
    assert_eq!((attempts, ok), (50, false));
}

/// The second attempt hangs: its own timeout ends it, and the third is made.
#[tokio::test(start_paused = true)]
async fn item_162_each_attempt_has_its_timeout_w12() {
    let stage = stage_fn(|ctx: StageContext, (): ()| async move {
        match ctx.attempt() {
            1 => Err("busy").transient(),
            2 => std::future::pending().await,
            attempt => Ok(attempt),
        }
    });
    let hangs = pipeline(|p| {
        let retry = Retry::constant(1.secs()).no_jitter();
        p.stage("only", stage).attempt_timeout(5.secs()).retry(retry).inputs(())
    });
    let began = Instant::now();
    assert_eq!(*hangs.run(()).await.expect("the third succeeds").output(), 3);
    assert_eq!(began.elapsed(), 7.secs());
}

/// Decided: the base is 200 ms, not a second. Each delay lies below its ceiling, and some lie above half of it.
#[tokio::test(start_paused = true)]
async fn item_178_by_default_three_attempts_exponential_and_full_jitter() {
    let mut seen = [Duration::ZERO; 2];
    for _ in 0..200 {
        let (attempts, _, delays) = story(Retry::default(), BUSY).await;
        assert_eq!(attempts, 3);
        for (seen, (delay, ceiling)) in seen.iter_mut().zip(delays.into_iter().zip(millis(&[200, 400]))) {
            // Timers of tokio end with the millisecond.
            assert!(delay <= ceiling + 1.millis(), "{delay:?}");
            *seen = delay.max(*seen);
        }
    }
    assert!(seen[0] > 100.millis() && seen[1] > 200.millis(), "{seen:?}");
    let (.., delays) = story(Retry::exponential(20.secs()).no_jitter().max_attempts(4), BUSY).await;
    assert_eq!(delays, [20.secs(), 30.secs(), 30.secs()], "the cap");
}

#[tokio::test(start_paused = true)]
async fn item_179_without_jitter_the_delays_are_exact_and_the_cap_is_kept() {
    let base = 1.secs();
    let table = [
        (Retry::exponential(base), [1_000, 2_000, 4_000, 8_000]),
        (Retry::exponential(base).factor(3.0), [1_000, 3_000, 9_000, 27_000]),
        (Retry::linear(base), [1_000, 2_000, 3_000, 4_000]),
        (Retry::constant(base), [1_000, 1_000, 1_000, 1_000]),
        (Retry::exponential(base).cap(3.secs()), [1_000, 2_000, 3_000, 3_000]),
    ];
    for (retry, delays) in table {
        assert_eq!(story(retry.no_jitter().max_attempts(5), BUSY).await, (5, false, millis(&delays)));
    }
}

#[tokio::test(start_paused = true)]
async fn item_180_jitter_stays_within_its_bounds() {
    for (jitter, low, high) in [(Jitter::Full, 0, 1_000), (Jitter::Equal, 500, 1_000)] {
        let retry = Retry::constant(1.secs()).jitter(jitter).max_attempts(300);
        let (.., delays) = story(retry, BUSY).await;
        let bounds = low.millis()..=(high + 1).millis();
        assert!(delays.iter().all(|delay| bounds.contains(delay)), "{jitter:?}");
        let (least, most) = (delays.iter().min().expect("some"), delays.iter().max().expect("some"));
        assert!(*most - *least > (high - low).millis() * 9 / 10, "{jitter:?}: {least:?} to {most:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn item_181_what_may_not_be_tried_again_fails_and_a_list_replaces_the_default() {
    let permanent: Script = |_| Err("no").permanent();
    let unclassified: Script = |_| Err("odd".into());
    let retry = || Retry::constant(1.millis());
    assert_eq!(story(retry(), permanent).await.0, 1);
    assert_eq!(story(retry(), BUSY).await.0, 3, "used up");
    assert_eq!(story(retry(), unclassified).await.0, 1);
    let replaced = || retry().on([ErrorClass::Unclassified]);
    assert_eq!(story(replaced(), unclassified).await.0, 3);
    assert_eq!(story(replaced(), BUSY).await.0, 1);
}

#[tokio::test(start_paused = true)]
async fn item_182_the_third_of_five_attempts_succeeds_w12() {
    let flaky: Script = |attempt| if attempt < 3 { Err("busy").transient() } else { Ok(1) };
    let retry = Retry::exponential(1.secs()).no_jitter().max_attempts(5);
    assert_eq!(story(retry, flaky).await, (3, true, millis(&[1_000, 2_000])));
}

/// Also where the policy has no classes at all, and never as a success.
#[tokio::test(start_paused = true)]
async fn item_183_a_request_for_a_retry_is_tried_again_w07() {
    let asks: Script = |attempt| if attempt < 4 { Err(StageExit::retry("busy")) } else { Ok(attempt) };
    let retry = || Retry::constant(1.secs()).no_jitter().on([]);
    let granted = story(retry().max_attempts(5), asks).await;
    assert_eq!(granted, (4, true, millis(&[1_000, 1_000, 1_000])));
    let error = error_of(under(retry().max_attempts(3), asks).run(())).await;
    assert_eq!(error.failure().expect("of the stage").code(), code::RETRY_EXHAUSTED);
}

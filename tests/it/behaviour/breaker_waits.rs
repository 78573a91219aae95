//! S-25: a retry and a breaker inside of it are one: what the breaker certainly refuses is not tried, and waited for if it can be.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use stageflow::{
    Budget, SeededRandom, WaitKind, WaitReason, code,
    interceptors::{BreakerState, CircuitBreaker, Forced, Retry, RetryBudget},
    prelude::*,
};
use tokio::time::Instant;

use super::kit::{error_of, idle, pipeline, recorded, within};

/// A service that is down until an instant, when it takes this long to answer.
struct Service {
    well_from: Instant,
    answers_after: Duration,
    calls: Mutex<Vec<Instant>>,
}

impl Service {
    fn new(well_after: Duration, answers_after: Duration) -> Arc<Self> {
        Arc::new(Self { well_from: Instant::now() + well_after, answers_after, calls: Mutex::default() })
    }

    fn stage(self: &Arc<Self>) -> impl Stage<Input = (), Output = u32> + use<> {
        let service = Arc::clone(self);
        stage_fn(move |ctx: StageContext, (): ()| {
            let service = Arc::clone(&service);
            async move {
                let now = Instant::now();
                service.calls.lock().expect("no panic in it").push(now);
                if now < service.well_from {
                    return Err("down").transient();
                }
                // sleeps: on paused time
                tokio::time::sleep(service.answers_after).await;
                Ok(ctx.attempt())
            }
        })
    }

    fn calls(&self) -> usize {
        self.calls.lock().expect("no panic in it").len()
    }
}

/// Opens for four minutes: longer than any hint is waited for.
fn breaker() -> CircuitBreaker {
    let breaker = CircuitBreaker::builder("provider").no_failure_rate().consecutive(1).jitter(0.0);
    breaker.open_for(240.secs()).probes(1).build().expect("a breaker")
}

fn called(service: &Arc<Service>, breaker: &CircuitBreaker, retry: Retry) -> Pipeline<(), u32> {
    pipeline(|p| p.stage("called", service.stage()).retry(retry).intercept(breaker.clone()).inputs(()))
}

fn plain(attempts: u32) -> Retry {
    Retry::constant(1.secs()).no_jitter().max_attempts(attempts)
}

#[tokio::test(start_paused = true)]
async fn s_25_a_retry_waits_for_its_breaker_however_long_and_spends_one_attempt_on_it() {
    let (service, breaker) = (Service::new(10.secs(), Duration::ZERO), breaker());
    let called = called(&service, &breaker, plain(3));
    let (engine, recorder) = recorded();
    let began = Instant::now();
    let run = engine.start(&called, ());
    // sleeps: on paused time
    tokio::time::sleep(31.secs()).await;
    let explained = run.explain().expect("it runs");
    let Some(WaitReason::BackOff { next_attempt, remaining, breaker: Some(key), .. }) =
        explained.reason("called")
    else {
        panic!("{explained}")
    };
    assert_eq!((*next_attempt, *remaining, &**key), (3, 209.secs(), "provider"));
    let text = explained.to_string();
    assert!(text.contains("waits 3m29s for the breaker `provider`, before attempt 3"), "{text}");
    let run = within(run).await.expect("the breaker has let the probe through");
    // The failure that opens it, the refusal a second later, and the probe.
    assert_eq!((began.elapsed(), service.calls()), (240.secs(), 2));
    assert!(matches!(breaker.state(&breaker.key(None)), BreakerState::Closed));
    let events: Vec<_> = recorder
        .lines()
        .into_iter()
        .filter(|line| line.contains("retry") || line.contains("breaker"))
        .collect();
    let expected = [
        "breaker.opened called",
        "stage.retry_scheduled called",
        "breaker.rejected called",
        "stage.retry_scheduled called",
        "breaker.half_open called",
        "breaker.closed called",
        "stage.retry_recovered called",
    ];
    assert_eq!(events, expected);
    let report = run.report();
    let waits = &report.stage("called").expect("the stage").waits;
    let waited: Vec<_> = waits.iter().map(|wait| (wait.kind, wait.total)).collect();
    assert_eq!(waited, [(WaitKind::BackOff, 1.secs()), (WaitKind::Breaker, 239.secs())]);
}

/// A hint that is somebody else's is cut as ever, whatever code it comes with.
#[tokio::test(start_paused = true)]
async fn s_23_only_the_time_of_a_breaker_of_ours_is_not_cut() {
    let asks = pipeline(|p| {
        let stage = stage_fn(|ctx: StageContext, (): ()| async move {
            let busy =
                StageExit::fail("busy").class(stageflow::ErrorClass::Transient).code(code::BREAKER_OPEN);
            if ctx.attempt() == 1 { Err(busy.after(240.secs())) } else { Ok(ctx.attempt()) }
        });
        p.stage("asks", stage).retry(plain(2)).inputs(())
    });
    let began = Instant::now();
    assert_eq!(*asks.run(()).await.expect("it comes back").output(), 2);
    assert_eq!(began.elapsed(), 60.secs());
}

/// Nothing that cannot succeed is begun: at once, with a reason, and the breaker is asked once.
#[tokio::test(start_paused = true)]
async fn s_25_what_cannot_reach_the_time_of_its_breaker_gives_up_at_once_and_says_why() {
    enum Limit {
        Timeout,
        Deadline,
        Elapsed,
        Run,
        Dependency,
    }
    let cases = [
        (Limit::Timeout, "there is time to wait for 1m40s only", "deadline"),
        (Limit::Deadline, "there is time to wait for 1m40s only", "deadline"),
        (
            Limit::Elapsed,
            "the policy begins no retry later than 1m40s after the first attempt",
            "max_elapsed",
        ),
        (Limit::Run, "the budget has no retry left", "budget"),
        (Limit::Dependency, "the budget has no retry left", "budget"),
    ];
    for (limit, why, because) in cases {
        let (service, breaker) = (Service::new(60.mins(), Duration::ZERO), breaker());
        error_of(called(&service, &breaker, plain(1)).run(())).await;
        let mut retry = plain(10);
        match limit {
            Limit::Elapsed => retry = retry.max_elapsed(100.secs()),
            Limit::Dependency => retry = retry.budget(&RetryBudget::new(0.0, 0)),
            _ => {}
        }
        let refused = pipeline(|p| {
            let stage = p.stage("called", service.stage()).retry(retry).intercept(breaker.clone());
            let stage = if matches!(limit, Limit::Timeout) { stage.timeout(100.secs()) } else { stage };
            stage.inputs(())
        });
        let (engine, recorder) = recorded();
        let began = Instant::now();
        let mut run = engine.run(&refused, ());
        match limit {
            Limit::Deadline => run = run.deadline(100.secs()),
            Limit::Run => run = run.budget(Budget::new().retries(0.0, 0)),
            _ => {}
        }
        let error = error_of(run).await;
        let failure = error.failure().expect("of the stage");
        let expected =
            format!("the breaker `provider` is open for another 4m00s, which is not waited for: {why}");
        assert_eq!((failure.code(), failure.message()), (code::BREAKER_OPEN, expected));
        assert!(error.recoverable() && error.hint().is_some_and(|hint| hint.contains("4m00s")), "{error}");
        assert_eq!((began.elapsed(), service.calls()), (Duration::ZERO, 1), "{because}");
        assert_eq!(breaker.snapshot()[0].totals.rejected, 1, "{because}");
        let told = recorder.events();
        let told = told.iter().find_map(|event| match event.kind() {
            stageflow::EventKind::Custom(told) if told.name() == "stage.retry_exhausted" => {
                told.field("because")
            }
            _ => None,
        });
        assert_eq!(told, Some(&because.into()));
    }
}

/// A breaker that an operator has opened names no time: the delays are those of the policy.
#[tokio::test(start_paused = true)]
async fn s_25_a_forced_breaker_is_not_waited_for_by_its_time() {
    let (service, breaker) = (Service::new(Duration::ZERO, Duration::ZERO), breaker());
    breaker.force(&breaker.key(None), Forced::Open);
    let run = called(&service, &breaker, plain(3)).start(());
    idle().await;
    let explained = run.explain().expect("it runs");
    assert!(
        matches!(explained.reason("called"), Some(WaitReason::BackOff { breaker: None, .. })),
        "{explained}"
    );
    breaker.release(&breaker.key(None));
    let began = Instant::now();
    assert_eq!(*within(run).await.expect("it is released").output(), 1);
    assert!(began.elapsed() <= 1.secs());
}

const CALLERS: usize = 100;

/// A hundred callers that wait for one breaker: when they asked it again, and how often all of them were refused.
async fn herd(retry: Retry) -> (Vec<Duration>, u64) {
    let (service, breaker) = (Service::new(10.secs(), 2.secs()), breaker());
    error_of(called(&service, &breaker, plain(1)).run(())).await;
    let began = Instant::now();
    let asked = Arc::new(Mutex::new(Vec::new()));
    struct Asks(Arc<Mutex<Vec<Duration>>>, Instant, AtomicU32);
    impl stageflow::Interceptor for Asks {
        async fn around(
            &self,
            _: &stageflow::Call,
            next: stageflow::Next<'_>,
        ) -> StageResult<stageflow::Value> {
            if self.2.fetch_add(1, Ordering::SeqCst) as usize >= CALLERS {
                self.0.lock().expect("no panic in it").push(self.1.elapsed());
            }
            next.run().await
        }
        fn placement(&self) -> stageflow::Placement {
            stageflow::Placement::Inside(stageflow::Layer::Retry)
        }
    }
    let asks = Asks(Arc::clone(&asked), began, AtomicU32::new(0));
    let waiting = pipeline(|p| {
        p.stage("called", service.stage()).retry(retry).intercept(asks).intercept(breaker.clone()).inputs(())
    });
    let engine = Engine::builder().randomness(SeededRandom::new(7)).build().expect("an engine");
    let runs: Vec<_> = (0..CALLERS).map(|_| engine.start(&waiting, ())).collect();
    for run in runs {
        within(run).await.expect("each of them is let through in the end");
    }
    assert_eq!(service.calls(), CALLERS + 1, "nobody called it before it was well, and nobody twice");
    let asked = asked.lock().expect("no panic in it").clone();
    (asked, breaker.snapshot()[0].totals.rejected)
}

/// With three attempts: the first is refused, the second meets the breaker half open, and whoever comes while its probe is under
/// way is refused once more, and let through by the third.
#[tokio::test(start_paused = true)]
async fn s_25_who_waits_for_a_breaker_spreads_and_a_second_refusal_is_survived() {
    let (asked, rejected) = herd(Retry::default()).await;
    let rejected = usize::try_from(rejected).expect("few");
    let (second, third): (Vec<Duration>, Vec<Duration>) =
        asked.into_iter().partition(|at| *at <= 245.secs() + 1.millis());
    assert_eq!(
        second.len(),
        CALLERS,
        "all of them ask again within the five seconds after the breaker's time"
    );
    assert!(second.iter().all(|at| *at >= 240.secs()), "nobody before");
    // Of a hundred even draws from five seconds the chance that more than 30 fall into one second is below 1 %; the seed is fixed.
    for second_of in 240..245_u64 {
        let within = second.iter().filter(|at| (second_of..=second_of).contains(&at.as_secs())).count();
        assert!((5..=35).contains(&within), "{within} in second {second_of}");
    }
    // The probe takes two seconds: those who come in them are refused, all others are not.
    assert_eq!((rejected - CALLERS, third.len()), (third.len(), rejected - CALLERS));
    assert!((20..80).contains(&third.len()), "{} were refused twice", third.len());
}

/// The check itself, and what is documented: without jitter all of them ask in one instant.
#[tokio::test(start_paused = true)]
async fn control_without_jitter_they_all_come_at_once() {
    let (asked, rejected) = herd(Retry::default().no_jitter()).await;
    assert_eq!(asked.iter().filter(|at| **at == 240.secs()).count(), CALLERS);
    assert_eq!(rejected, 2 * CALLERS as u64 - 1);
}

/// The spread gives way to the time that there is: who could wait for the breaker does.
#[tokio::test(start_paused = true)]
async fn s_25_nobody_gives_up_for_the_sake_of_the_spread() {
    for seed in 0..20 {
        let (service, breaker) = (Service::new(10.secs(), Duration::ZERO), breaker());
        error_of(called(&service, &breaker, plain(1)).run(())).await;
        let engine = Engine::builder().randomness(SeededRandom::new(seed)).build().expect("an engine");
        let began = Instant::now();
        let jittered = called(&service, &breaker, Retry::default().max_elapsed(240.secs()));
        within(engine.run(&jittered, ()).deadline(240.secs() + 100.millis())).await.expect("it is in time");
        assert!(began.elapsed() >= 240.secs() && began.elapsed() < 240.secs() + 2.millis(), "seed {seed}");
    }
}

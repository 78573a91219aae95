//! The breaker around the stages of running pipelines, in virtual time.

use super::{
    super::{BreakerOutcome, BreakerState, CircuitBreaker},
    touchy,
};
use stageflow_core::{
    Call, DurationExt, ErrorClass, Event, EventKind, Interceptor, Layer, Next, Recorder, StageContext,
    StageExit, StageResult, Value, code, intercept::Placement, stage_fn,
};
use stageflow_dag::Pipeline;
use stageflow_exec::{Engine, EngineBuilder, RunError};
use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};
use tokio::time::{Instant, advance, sleep};

/// What the dependency does next.
#[derive(Clone, Copy, Debug)]
pub(super) enum Does {
    Answer,
    Fail(ErrorClass),
    Panic,
    Hang,
    TakeLong(u64),
    Cancel,
    Skip,
    AskForRetry(u64),
}

const DOWN: Does = Does::Fail(ErrorClass::Transient);

/// A dependency, and a pipeline of one stage that calls it.
pub(super) struct World {
    pub(super) engine: Engine,
    pub(super) pipeline: Pipeline<Does, u32>,
    calls: Arc<AtomicU32>,
    recorder: Recorder,
}

impl World {
    pub(super) fn new(breaker: &CircuitBreaker) -> Self {
        Self::with(breaker, |engine| engine, |_| {})
    }

    pub(super) fn with(
        breaker: &CircuitBreaker,
        engine: impl FnOnce(EngineBuilder) -> EngineBuilder,
        stage: impl FnOnce(&mut Settings),
    ) -> Self {
        let calls = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&calls);
        let search = stage_fn(move |_ctx: StageContext, does: Arc<Does>| {
            let number = counted.fetch_add(1, Ordering::Relaxed) + 1;
            async move { does.act(number).await }
        });
        let mut settings = Settings::default();
        stage(&mut settings);
        let mut p = Pipeline::builder("support");
        let does = p.input();
        let mut built = p.stage("search", search);
        if let Some(timeout) = settings.timeout {
            built = built.timeout(timeout.secs());
        }
        if let Some(timeout) = settings.attempt_timeout {
            built = built.attempt_timeout(timeout.secs());
        }
        let found = built.inputs(does);
        let pipeline = p.build(found).unwrap();
        let recorder = Recorder::new();
        let builder = Engine::builder().sink(recorder.clone()).interceptor(breaker.clone());
        Self { engine: engine(builder).build().unwrap(), pipeline, calls, recorder }
    }

    pub(super) async fn run(&self, does: Does) -> Result<u32, RunError> {
        self.run_for("acme", does).await
    }

    async fn run_for(&self, tenant: &str, does: Does) -> Result<u32, RunError> {
        self.engine.run(&self.pipeline, does).tenant(tenant).await.map(|done| *done.output())
    }

    pub(super) fn calls(&self) -> u32 {
        self.calls.load(Ordering::Relaxed)
    }

    /// The events of breakers: their names and fields.
    pub(super) fn told(&self) -> Vec<String> {
        let fields = |event: &Event| match event.kind() {
            EventKind::Custom(custom) => {
                let names = ["key", "reason", "open_ms", "until_ms"];
                let field = |name| custom.field(name).map(|value| format!(" {name}={value}"));
                format!("{}{}", event.name(), names.into_iter().filter_map(field).collect::<String>())
            }
            _ => String::new(),
        };
        let events = self.recorder.events();
        events.iter().filter(|event| event.name().starts_with("breaker.")).map(fields).collect()
    }
}

#[derive(Default)]
pub(super) struct Settings {
    pub(super) timeout: Option<u64>,
    attempt_timeout: Option<u64>,
}

impl Does {
    async fn act(self, number: u32) -> StageResult<u32> {
        match self {
            Self::Answer => Ok(number),
            Self::Fail(class) => Err(StageExit::fail("503").class(class)),
            Self::Panic => panic!("a bug"),
            Self::Hang => std::future::pending().await,
            Self::TakeLong(seconds) => {
                sleep(seconds.secs()).await;
                Ok(number)
            }
            Self::Cancel => Err(StageExit::cancel("enough")),
            Self::Skip => Err(StageExit::skip("nothing to find")),
            Self::AskForRetry(after) => Err(StageExit::retry("429").after(after.secs())),
        }
    }
}

/// Lets the others go on until something is so, which has to happen without any time passing.
pub(super) async fn until(holds: impl Fn() -> bool) {
    for _ in 0..10_000 {
        if holds() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("it never happened");
}

/// Holds what a breaker must do against what it does.
macro_rules! check {
    ($holds:expr, $($what:tt)+) => {
        if !$holds {
            return Err(format!($($what)+));
        }
    };
}

/// Opens, rejects without calling the stage, and recovers.
async fn keeps_calls_away(breaker: &CircuitBreaker) -> Result<(), String> {
    let world = World::new(breaker);
    for _ in 0..5 {
        let _failed = world.run(DOWN).await;
    }
    check!(world.calls() == 1, "the stage was called {} times", world.calls());
    let error = world.run(Does::Answer).await.err().ok_or("it was let through")?;
    check!(error.code() == code::BREAKER_OPEN, "it failed with {}", error.code());
    check!(error.recoverable(), "another attempt would help");
    advance(10.secs()).await;
    for expected in [2, 3, 4] {
        let done = world.run(Does::Answer).await.map_err(|error| error.to_string())?;
        check!(done == expected, "call {expected} was {done}");
    }
    let told = world.told();
    let names: Vec<_> = told.iter().map(|told| told.split(' ').next().unwrap_or_default()).collect();
    let rejected = ["breaker.rejected"; 5];
    let expected = [&["breaker.opened"][..], &rejected, &["breaker.half_open", "breaker.closed"]].concat();
    check!(names == expected, "told {names:?}");
    let totals = breaker.snapshot()[0].totals;
    check!((totals.admitted, totals.rejected, totals.failed) == (4, 5, 1), "counted {totals:?}");
    Ok(())
}

/// Tenants do not feel what others suffer.
async fn keeps_tenants_apart(breaker: &CircuitBreaker) -> Result<(), String> {
    let world = World::new(breaker);
    let _failed = world.run_for("ill", DOWN).await;
    check!(world.run_for("ill", Does::Answer).await.is_err(), "it was let through");
    check!(world.run_for("well", Does::Answer).await.is_ok(), "it was rejected");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_rejects_without_calling_the_stage_and_recovers() {
    keeps_calls_away(&touchy().build().unwrap()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn each_tenant_has_a_breaker_to_itself() {
    keeps_tenants_apart(&touchy().build().unwrap()).await.unwrap();
    let error = keeps_tenants_apart(&touchy().per_tenant(false).build().unwrap()).await.unwrap_err();
    assert_eq!(error, "it was rejected");
}

/// The negative control: a breaker that only counts fails every check.
#[tokio::test(start_paused = true)]
async fn a_breaker_that_does_nothing_fails_the_checks() {
    let nothing = || touchy().metrics_only().build().unwrap();
    assert_eq!(keeps_calls_away(&nothing()).await.unwrap_err(), "the stage was called 5 times");
    assert_eq!(keeps_tenants_apart(&nothing()).await.unwrap_err(), "it was let through");
}

#[tokio::test(start_paused = true)]
async fn events_say_whose_breaker_changed_why_and_until_when() {
    let world = World::new(&touchy().build().unwrap());
    let _failed = world.run(DOWN).await;
    advance(4.secs()).await;
    let _rejected = world.run(Does::Answer).await;
    advance(6.secs()).await;
    let _probe = world.run(DOWN).await;
    assert_eq!(
        world.told(),
        [
            "breaker.opened key=\"search/acme\" reason=\"consecutive\" open_ms=10000 until_ms=10000",
            "breaker.rejected key=\"search/acme\" open_ms=6000 until_ms=6000",
            "breaker.half_open key=\"search/acme\" reason=\"time_over\"",
            "breaker.opened key=\"search/acme\" reason=\"probe_failed\" open_ms=20000 until_ms=20000",
        ]
    );
}

/// What a stage does, and whether one of it opens a breaker that one failure opens.
#[tokio::test(start_paused = true)]
async fn what_counts_is_how_the_call_ended() {
    let table = [
        (Does::Answer, false),
        (DOWN, true),
        (Does::Fail(ErrorClass::Unclassified), true),
        (Does::Fail(ErrorClass::Permanent), false),
        (Does::Fail(ErrorClass::Invalid), false),
        (Does::Fail(ErrorClass::Denied), false),
        (Does::Panic, true),
        (Does::Cancel, false),
        (Does::Skip, false),
        (Does::AskForRetry(3), true),
    ];
    for (does, opens) in table {
        let breaker = touchy().build().unwrap();
        let _ended = World::new(&breaker).run(does).await;
        let state = breaker.snapshot()[0].state;
        assert_eq!(matches!(state, BreakerState::Open { .. }), opens, "{does:?}: {state:?}");
    }
}

/// Timeouts of the attempt, of the stage and of the run are failures, though the engine ends the last two by dropping the call.
#[tokio::test(start_paused = true)]
async fn each_timeout_is_a_failure() {
    for which in ["attempt", "stage", "run"] {
        let breaker = touchy().build().unwrap();
        let settings = |settings: &mut Settings| match which {
            "attempt" => settings.attempt_timeout = Some(2),
            "stage" => settings.timeout = Some(2),
            _ => {}
        };
        let world = World::with(&breaker, |engine| engine, settings);
        let run = world.engine.run(&world.pipeline, Does::Hang);
        let run = if which == "run" { run.deadline(2.secs()) } else { run };
        assert!(run.await.is_err());
        let known = breaker.snapshot().remove(0);
        assert!(matches!(known.state, BreakerState::Open { .. }), "{which}: {known:?}");
        assert_eq!(world.told().len(), 1, "{which}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_run_says_nothing_and_gives_the_probe_back() {
    let breaker = touchy().probes(1).build().unwrap();
    let world = World::with(&breaker, |engine| engine, |settings| settings.timeout = Some(3_600));
    let _failed = world.run(DOWN).await;
    advance(10.secs()).await;
    let run = world.engine.run(&world.pipeline, Does::Hang).tenant("acme").start();
    until(|| world.calls() == 2).await;
    let error = world.run(Does::Answer).await.unwrap_err();
    assert_eq!((error.code(), error.hint().as_deref()), (code::BREAKER_OPEN, Some("try again in 10s")));
    run.cancel("seen enough");
    assert!(run.await.is_err());
    assert_eq!(breaker.snapshot()[0].state, BreakerState::HalfOpen);
    assert!(world.run(Does::Answer).await.is_ok());
    assert_eq!(breaker.snapshot()[0].state, BreakerState::Closed);
}

/// One run hangs with the only probe for six days; the breaker is closed again long before.
#[tokio::test(start_paused = true)]
async fn a_run_that_hangs_for_six_days_keeps_no_breaker_half_open() {
    let breaker = touchy().probes(1).build().unwrap();
    let world = World::new(&breaker);
    let _failed = world.run(DOWN).await;
    advance(10.secs()).await;
    let hung = world.engine.run(&world.pipeline, Does::Hang).tenant("acme").start();
    let mut rejected = 0;
    until(|| world.calls() == 2).await;
    while world.run(Does::Answer).await.is_err() {
        rejected += 1;
        advance(1.secs()).await;
        assert!(rejected < 6 * 86_400, "stuck for six days");
    }
    assert_eq!(rejected, 60);
    advance((6 * 86_400).secs()).await;
    assert_eq!(breaker.snapshot()[0].state, BreakerState::Closed);
    assert!(world.run(Does::Answer).await.is_ok());
    hung.cancel("found at last");
}

/// Refuses every call, inside of the breaker.
struct Full;

impl Interceptor for Full {
    async fn around(&self, _: &Call, _: Next<'_>) -> StageResult<Value> {
        Err(StageExit::fail("no room").class(ErrorClass::Transient))
    }

    fn placement(&self) -> Placement {
        Placement::At(Layer::Limit)
    }
}

/// Rule S-25: what our own limits refuse says nothing about the dependency.
#[tokio::test(start_paused = true)]
async fn what_a_limit_refuses_does_not_count() {
    let breaker = touchy().build().unwrap();
    let world = World::with(&breaker, |engine| engine.interceptor(Full), |_| {});
    assert!(world.run(Does::Answer).await.is_err());
    let known = breaker.snapshot().remove(0);
    assert_eq!((known.state, known.totals.neutral, known.totals.failed), (BreakerState::Closed, 1, 0));
}

/// Tries once more, in the layer of retries.
struct Twice;

impl Interceptor for Twice {
    async fn around(&self, _: &Call, next: Next<'_>) -> StageResult<Value> {
        let _first = next.clone().run().await;
        next.run().await
    }

    fn placement(&self) -> Placement {
        Placement::At(Layer::Retry)
    }
}

/// Every attempt of a retry counts, and an open breaker keeps the next one away.
#[tokio::test(start_paused = true)]
async fn each_attempt_of_a_retry_counts_as_a_call() {
    let breaker = touchy().consecutive(2).build().unwrap();
    let world = World::with(&breaker, |engine| engine.interceptor(Twice), |_| {});
    assert_ne!(world.run(DOWN).await.unwrap_err().code(), code::BREAKER_OPEN);
    assert_eq!(world.run(DOWN).await.unwrap_err().code(), code::BREAKER_OPEN);
    assert_eq!(world.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_happens_outside_of_pipelines_is_known_inside() {
    let breaker = touchy().build().unwrap();
    let key = breaker.key(Some(&"acme".into()));
    let world = World::new(&breaker);
    breaker
        .try_acquire(&key, Instant::now())
        .unwrap()
        .record(BreakerOutcome::Failure { retry_after: Some(30.secs()) });
    let error = world.run(Does::Answer).await.unwrap_err();
    let failure = error.failure().unwrap();
    assert_eq!(failure.message(), "the breaker `search/acme` is open for another 30s");
}

/// The jitter is the run's: the same seed opens it for the same time.
#[tokio::test(start_paused = true)]
async fn the_seed_of_the_engine_decides_how_long_it_stays_open() {
    let mut told = Vec::new();
    for seed in [7, 7, 8] {
        let world = World::with(&touchy().jitter(0.2).build().unwrap(), |engine| engine.seed(seed), |_| {});
        let _failed = world.run(DOWN).await;
        told.push(world.told());
    }
    assert_eq!(told[0], told[1]);
    assert_ne!(told[0], told[2]);
}

/// In real time: the time is looked at again after the attempt, however little the worker has looked at it meanwhile.
#[tokio::test]
async fn a_call_that_blocks_its_worker_is_slow() {
    let breaker = CircuitBreaker::builder("search").slow_calls(10.millis(), 1.0).build().unwrap();
    let mut p = Pipeline::builder("support");
    let search = stage_fn(async |_: StageContext, (): ()| {
        let began = Instant::now();
        while began.elapsed() < 20.millis() {
            std::hint::spin_loop();
        }
        Ok(1_u32)
    });
    let found = p.stage("search", search).inputs(());
    let pipeline = p.build(found).unwrap();
    let engine = Engine::builder().interceptor(breaker.clone()).build().unwrap();
    engine.run(&pipeline, ()).await.unwrap();
    let seen = breaker.snapshot();
    assert_eq!(seen.iter().map(|key| (key.calls, key.slow)).collect::<Vec<_>>(), [(1, 1)]);
}

//! Interceptors that keep out: whatever goes wrong in them denies (rules S-20, S-21; W10).

use stageflow::{
    Call, EngineBuilder, ErrorClass, FailurePolicy, Interceptor, Layer, Next, Placement, RunOutcome, Value,
    code, interceptors::Retry, prelude::*,
};

use super::kit::{Log, error_of, exits, gives, logging, pipeline, solo, within};

/// What a guard does before and after it lets a call through.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    Fails,
    Panics,
    PanicsLater,
    FailsAfter,
    PanicsAfter,
    None,
}

struct Guard(Layer, Fault);

impl Interceptor for Guard {
    async fn around(&self, _: &Call, next: Next<'_>) -> StageResult<Value> {
        match self.1 {
            Fault::Fails => {
                return Err(StageExit::fail("the key server is down").class(ErrorClass::Transient));
            }
            Fault::Panics => panic!("no key"),
            Fault::PanicsLater => {
                tokio::task::yield_now().await;
                panic!("no key")
            }
            _ => {}
        }
        let done = next.run().await;
        match self.1 {
            Fault::FailsAfter => Err(StageExit::fail("the audit log is full")),
            Fault::PanicsAfter => panic!("the audit log is full"),
            _ => done,
        }
    }

    fn placement(&self) -> Placement {
        Placement::At(self.0)
    }
}

fn guarded(layer: Layer, fault: Fault) -> Engine {
    Engine::builder().interceptor(Guard(layer, fault)).build().expect("the engine is right")
}

/// S-20: a guard that errors or panics denies: the stage does not run, and the run ends as denied.
#[tokio::test(start_paused = true)]
async fn a_guard_that_breaks_denies() {
    for layer in [Layer::Authenticate, Layer::Tenant] {
        for fault in [Fault::Fails, Fault::Panics, Fault::PanicsLater] {
            let log = Log::default();
            let ran = solo(logging(&log, |log, _| async move {
                log.add("ran");
                Ok(1_u32)
            }));
            let error = within(error_of(guarded(layer, fault).run(&ran, ()))).await;
            let what = format!("{layer:?} {fault:?}");
            assert_eq!((error.outcome(), error.code()), (Some(RunOutcome::Denied), code::DENIED), "{what}");
            assert!(log.lines().is_empty() && !error.recoverable(), "{what}");
            assert!(
                error.failure().unwrap().message().contains("Guard"),
                "{}",
                error.failure().unwrap().message()
            );
        }
    }
}

/// S-20: also where failures are tolerated.
#[tokio::test(start_paused = true)]
async fn a_denial_is_never_tolerated() {
    for policy in
        [FailurePolicy::Continue, FailurePolicy::TolerateCount(99), FailurePolicy::ToleratePercent(100.0)]
    {
        let tolerant = pipeline(|p| {
            p.on_failure(policy);
            p.stage("only", gives(1_u32)).inputs(())
        });
        let error = error_of(guarded(Layer::Authenticate, Fault::Fails).run(&tolerant, ())).await;
        assert_eq!(error.outcome(), Some(RunOutcome::Denied));
    }
}

/// What a guard does in place of letting a call through.
type Instead = fn() -> StageResult<Value>;

struct Evades(Layer, Instead);

impl Interceptor for Evades {
    async fn around(&self, _: &Call, _next: Next<'_>) -> StageResult<Value> {
        (self.1)()
    }

    fn placement(&self) -> Placement {
        Placement::At(self.0)
    }
}

/// S-20: whatever a guard does but let the call through is a denial: neither a skip nor an answer looks like success, and nothing is
/// tried again.
#[tokio::test(start_paused = true)]
async fn a_guard_that_evades_denies() {
    let evasions: [(&str, Instead); 4] = [
        ("skipped", || Err(StageExit::skip("not today"))),
        ("cancelled", || Err(StageExit::cancel("enough"))),
        ("asks for a retry", || Err(StageExit::retry("the key server is down").after(1.secs()))),
        ("answered", || Ok(Value::new(7_u32))),
    ];
    for layer in [Layer::Authenticate, Layer::Tenant] {
        for (word, evasion) in evasions {
            let log = Log::default();
            let ran = solo(logging(&log, |log, _| async move {
                log.add("ran");
                Ok(1_u32)
            }));
            let engine = Engine::builder().retry(Retry::default()).interceptor(Evades(layer, evasion));
            let error = within(error_of(engine.build().unwrap().run(&ran, ()))).await;
            let what = format!("{layer:?} {word}");
            assert_eq!((error.outcome(), error.code()), (Some(RunOutcome::Denied), code::DENIED), "{what}");
            let failure = error.failure().unwrap();
            assert!(failure.message().contains(word) && failure.message().contains("Evades"), "{failure:?}");
            assert!(log.lines().is_empty() && failure.stage() == "only", "{what}");
            assert!(error.report().unwrap().duration().is_zero(), "{what}: nothing is waited for");
        }
    }
    // Elsewhere each of them is what it is.
    for (engine, outcome) in [
        (Evades(Layer::Inner, evasions[0].1), RunOutcome::Completed),
        (Evades(Layer::Inner, evasions[1].1), RunOutcome::Cancelled),
    ] {
        let engine = Engine::builder().interceptor(engine).build().unwrap();
        assert_eq!(error_of(engine.run(&solo(gives(1_u32)), ())).await.outcome(), Some(outcome));
    }
    let engine = Engine::builder().interceptor(Evades(Layer::Inner, evasions[3].1)).build().unwrap();
    assert_eq!(*engine.run(&solo(gives(1_u32)), ()).await.unwrap().output(), 7);
}

/// S-20: a failure of the stage behind the guard stays what it is.
#[tokio::test(start_paused = true)]
async fn a_failure_behind_a_guard_is_no_denial() {
    let engine = guarded(Layer::Authenticate, Fault::None);
    let error = error_of(engine.run(&solo(exits(|| StageExit::fail("boom"))), ())).await;
    assert_eq!((error.outcome(), error.code()), (Some(RunOutcome::Failed), code::STAGE_FAILED));
    let error = error_of(engine.run(&solo(exits(|| StageExit::skip("no"))), ())).await;
    assert_eq!(error.outcome(), Some(RunOutcome::Completed));
    assert_eq!(*engine.run(&solo(gives(1_u32)), ()).await.unwrap().output(), 1);
}

/// S-20: also what breaks in the guard after the stage has run.
#[tokio::test(start_paused = true)]
async fn a_guard_that_breaks_afterwards_denies() {
    for fault in [Fault::FailsAfter, Fault::PanicsAfter] {
        let error = error_of(guarded(Layer::Authenticate, fault).run(&solo(gives(1_u32)), ())).await;
        assert_eq!((error.outcome(), error.code()), (Some(RunOutcome::Denied), code::DENIED), "{fault:?}");
    }
}

/// S-20: a guard may prepare the call before it has checked; the stage does not begin before it is let through.
#[tokio::test(start_paused = true)]
async fn a_call_that_is_prepared_before_the_check_does_not_begin() {
    struct ChecksLate;
    impl Interceptor for ChecksLate {
        async fn around(&self, _: &Call, next: Next<'_>) -> StageResult<Value> {
            let call = next.run();
            tokio::task::yield_now().await;
            let checked: StageResult<()> = Err(StageExit::fail("a wrong key"));
            checked?;
            call.await
        }

        fn placement(&self) -> Placement {
            Placement::At(Layer::Authenticate)
        }
    }
    let log = Log::default();
    let spy = log.clone();
    let ran = stage_fn(move |_, (): ()| {
        spy.add("ran");
        std::future::ready(Ok(1_u32))
    });
    let engine = Engine::builder().interceptor(ChecksLate).build().unwrap();
    let error = error_of(engine.run(&solo(ran), ())).await;
    assert_eq!((error.outcome(), log.lines().len()), (Some(RunOutcome::Denied), 0));
}

/// In the other layers an error is an error.
#[tokio::test(start_paused = true)]
async fn other_layers_fail_and_do_not_deny() {
    for layer in [Layer::Retry, Layer::Limit, Layer::Inner] {
        let error = error_of(guarded(layer, Fault::Fails).run(&solo(gives(1_u32)), ())).await;
        assert_eq!((error.outcome(), error.code()), (Some(RunOutcome::Failed), code::STAGE_FAILED));
        assert!(error.recoverable());
    }
}

/// S-21: what is inside a guard is not entered when the guard denies.
#[tokio::test(start_paused = true)]
async fn nothing_inside_a_guard_is_entered_when_it_denies() {
    struct Enter(Log);
    impl Interceptor for Enter {
        async fn around(&self, _: &Call, next: Next<'_>) -> StageResult<Value> {
            self.0.add("entered");
            next.run().await
        }
    }
    let log = Log::default();
    let engine =
        Engine::builder().interceptor(Enter(log.clone())).interceptor(Guard(Layer::Tenant, Fault::Fails));
    error_of(engine.build().unwrap().run(&solo(gives(1_u32)), ())).await;
    assert!(log.lines().is_empty());
}

struct Outside(Layer);

impl Interceptor for Outside {
    async fn around(&self, _: &Call, next: Next<'_>) -> StageResult<Value> {
        next.run().await
    }

    fn placement(&self) -> Placement {
        Placement::Outside(self.0)
    }
}

/// S-21: nothing may stand outside authentication: not on the engine, the pipeline or the stage.
#[test]
fn nothing_stands_outside_authentication() {
    let engine: EngineBuilder = Engine::builder().interceptor(Outside(Layer::Authenticate));
    assert_eq!(engine.build().unwrap_err().codes().collect::<Vec<_>>(), [code::OUTSIDE_AUTHENTICATION]);
    assert!(Engine::builder().interceptor(Outside(Layer::Tenant)).build().is_ok());
    let mut p = Pipeline::builder::<()>("p");
    p.intercept(Outside(Layer::Authenticate));
    let out = p.stage("s", gives(1_u32)).intercept(Outside(Layer::Authenticate)).inputs(());
    let error = p.build(out).unwrap_err();
    let codes: Vec<_> = error.problems().iter().map(stageflow::Problem::code).collect();
    assert_eq!(codes, [code::OUTSIDE_AUTHENTICATION; 2]);
}

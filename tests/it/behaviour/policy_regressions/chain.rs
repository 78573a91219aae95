//! §18.6: the order and the nesting of interceptors, and what each of them sees.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use stageflow::{
    Call, Interceptor, Layer, Next, Placement, Value,
    interceptors::{
        Bulkhead, CircuitBreaker, Fallback, Idempotency, InMemoryStore, RateLimiter, Retry, WhenFull,
    },
    prelude::*,
};

use super::super::{
    interceptors::note,
    kit::{Log, error_of, exits, gives, idle, naps, never, pipeline, recorded, report_of, solo, statuses},
};

/// Whatever the order of their addition.
#[tokio::test(start_paused = true)]
async fn item_147_befores_run_inwards_and_afters_outwards() {
    let layers = [("outer", Layer::Deadline), ("middle", Layer::Breaker), ("inner", Layer::Inner)];
    for added in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let log = Log::default();
        let wrapped = pipeline(|p| {
            for index in added {
                let (name, layer) = layers[index];
                p.intercept(note(name, &log).at(Placement::At(layer)));
            }
            p.stage("only", gives(1_u32)).inputs(())
        });
        wrapped.run(()).await.expect("it completes");
        let inwards = ["> outer only", "> middle only", "> inner only"];
        let outwards = ["< inner only", "< middle only", "< outer only"];
        assert_eq!(log.lines(), [inwards, outwards].concat(), "added as {added:?}");
    }
}

/// There are no defaults to be sorted: what is attached is sorted, and idempotency stands outside of what can end a call.
#[tokio::test(start_paused = true)]
async fn item_148_attached_policies_stand_in_the_order_of_their_layers() {
    let only = pipeline(|p| {
        let stage = p.stage("only", gives(1_u32)).intercept(Bulkhead::builder("b").build().expect("it fits"));
        let stage = stage.intercept(CircuitBreaker::builder("c").build().expect("it fits"));
        let stage = stage.retry(Retry::default()).intercept(Fallback::value(0_u32));
        stage.intercept(Idempotency::new(InMemoryStore::new())).inputs(())
    });
    let order = Engine::builder().build().expect("an engine").order(&only);
    let expected = ["idempotency", "fallback", "retry", "CircuitBreaker(c)", "Bulkhead(b)"];
    assert_eq!(order.of("only").expect("the stage"), expected);
}

/// Decided otherwise: none is there that nobody has attached, and each can be left out.
#[tokio::test(start_paused = true)]
async fn item_149_nothing_is_attached_unasked() {
    let (engine, recorder) = recorded();
    let only = solo(naps(Duration::from_secs(86_400), 1));
    assert_eq!(engine.order(&only).to_string(), "(none) -> only");
    let run = engine.run(&only, ()).await.expect("no timeout is there unasked");
    assert_eq!(run.report().stage("only").expect("the stage").attempts, 1);
    let lines = ["pipeline.started", "stage.started only", "stage.completed only", "pipeline.completed"];
    assert_eq!(recorder.lines(), lines);
}

/// Only `around` has to be written; the rest stands innermost, around all stages, and a failure stays one.
#[tokio::test(start_paused = true)]
async fn item_150_an_interceptor_of_one_method_stands_innermost_and_passes_failures_on() {
    struct Plain;
    impl Interceptor for Plain {
        async fn around(&self, _: &Call, next: Next<'_>) -> StageResult<Value> {
            next.run().await
        }
    }
    assert_eq!(Plain.placement(), Placement::At(Layer::Inner));
    let fails = pipeline(|p| p.stage("only", exits(|| StageExit::fail("x"))).intercept(Plain).inputs(()));
    assert_eq!(error_of(fails.run(())).await.failure().expect("of the stage").message(), "x");
}

/// A limit without room for the call stands for all that answer without the stage.
#[tokio::test(start_paused = true)]
async fn item_153_what_was_never_entered_is_never_left_w11() {
    let log = Log::default();
    let limit = RateLimiter::builder("r").dimension("requests", 1, Duration::from_secs(60), 1);
    let limit = limit.when_full(WhenFull::Skip).build().expect("it fits");
    let limited = pipeline(|p| {
        let outer = note("outer", &log).at(Placement::At(Layer::Deadline));
        let inner = note("inner", &log);
        p.stage("only", gives(1_u32)).intercept(outer).intercept(limit).intercept(inner).inputs(())
    });
    limited.run(()).await.expect("there is room");
    assert_eq!(log.lines(), ["> outer only", "> inner only", "< inner only", "< outer only"]);
    report_of(limited.run(())).await;
    assert_eq!(log.lines()[4..], ["> outer only", "< outer only"]);
}

/// Fails before what is inside, or after.
struct Breaks {
    before: bool,
}

impl Interceptor for Breaks {
    async fn around(&self, _: &Call, next: Next<'_>) -> StageResult<Value> {
        if self.before {
            return Err(StageExit::fail("broken"));
        }
        next.run().await?;
        Err(StageExit::fail("broken"))
    }
}

/// Those outside leave, whether it breaks on the way in or on the way out, and the stage fails with that error.
#[tokio::test(start_paused = true)]
async fn item_156_all_that_were_entered_are_left_when_one_breaks_w11() {
    for before in [true, false] {
        let log = Log::default();
        let broken = pipeline(|p| {
            let outer = note("outer", &log).at(Placement::At(Layer::Deadline));
            let breaks = p.stage("only", gives(1_u32)).intercept(outer).intercept(Breaks { before });
            breaks.intercept(note("inner", &log)).inputs(())
        });
        let error = error_of(broken.run(())).await;
        assert_eq!(error.failure().expect("of the stage").message(), "broken");
        let (first, last) = (log.lines()[0].clone(), log.lines().pop().expect("a line"));
        assert_eq!((first.as_str(), last.as_str()), ("> outer only", "< outer only"));
        assert_eq!(log.lines().len(), if before { 2 } else { 4 });
    }
}

/// Logs how what is inside ended.
struct Sees(&'static str, Log);

impl Interceptor for Sees {
    async fn around(&self, _: &Call, next: Next<'_>) -> StageResult<Value> {
        let done = next.run().await;
        self.1.add(format!("{}: {}", self.0, if done.is_ok() { "completed" } else { "failed" }));
        done
    }

    fn placement(&self) -> Placement {
        Placement::At(if self.0 == "outer" { Layer::Deadline } else { Layer::Inner })
    }
}

/// From the inside to the outside, and who stands outside of an answer sees the answer.
#[tokio::test(start_paused = true)]
async fn item_158_a_failure_goes_outwards_until_somebody_answers() {
    for answers in [false, true] {
        let log = Log::default();
        let fails = pipeline(|p| {
            let fails = p.stage("only", exits(|| StageExit::fail("x")));
            let fails = fails.intercept(Sees("outer", log.clone())).intercept(Sees("inner", log.clone()));
            if answers { fails.intercept(Fallback::value(7_u32)).inputs(()) } else { fails.inputs(()) }
        });
        let run = fails.run(()).await.ok().map(|run| *run.output());
        assert_eq!(run, answers.then_some(7));
        assert_eq!(
            log.lines(),
            ["inner: failed", if answers { "outer: completed" } else { "outer: failed" }]
        );
    }
}

/// A failure that is returned and one that `?` makes of an error are one thing: there is no second path past the interceptors.
#[tokio::test(start_paused = true)]
async fn item_164_a_returned_failure_is_seen_like_any_other() {
    let log = Log::default();
    let raises = stage_fn(|_, (): ()| async { Ok(u32::from("x".parse::<u8>()?)) });
    let raised = pipeline(|p| p.stage("only", raises).intercept(Sees("inner", log.clone())).inputs(()));
    let returns = exits(|| StageExit::fail("x"));
    let returned = pipeline(|p| p.stage("only", returns).intercept(Sees("inner", log.clone())).inputs(()));
    for failing in [raised, returned] {
        assert_eq!(statuses(&report_of(failing.run(())).await).len(), 1);
    }
    assert_eq!(log.lines(), ["inner: failed", "inner: failed"]);
}

/// Measures calls: what it knows of one lives in its future.
struct Measures(Mutex<Vec<(String, Duration)>>);

impl Interceptor for Measures {
    async fn around(&self, call: &Call, next: Next<'_>) -> StageResult<Value> {
        let began = call.context().elapsed();
        let done = next.run().await;
        let took = call.context().elapsed() - began;
        self.0.lock().expect("no test panics in it").push((call.stage_name().to_owned(), took));
        done
    }
}

/// A hundred calls at the same time, each with a duration of its own, around one interceptor.
#[tokio::test(start_paused = true)]
async fn item_175_calls_at_the_same_time_share_no_state_w14() {
    let measures = Arc::new(Measures(Mutex::default()));
    struct Shared(Arc<Measures>);
    impl Interceptor for Shared {
        async fn around(&self, call: &Call, next: Next<'_>) -> StageResult<Value> {
            self.0.around(call, next).await
        }
    }
    let wide = pipeline(|p| {
        p.intercept(Shared(Arc::clone(&measures)));
        let ports = (1..=100_u64).map(|n| {
            let nap = naps(Duration::from_millis(n), 1);
            p.stage(format!("nap-{n}"), nap).inputs(())
        });
        let ports: Vec<_> = ports.collect();
        p.stage("sum", super::super::kit::sum()).inputs(ports)
    });
    assert_eq!(*wide.run(()).await.expect("it completes").output(), 100);
    let measured = measures.0.lock().expect("no test panics in it");
    assert_eq!(measured.len(), 101);
    for (stage, took) in measured.iter().filter(|(stage, _)| stage != "sum") {
        assert_eq!(stage, &format!("nap-{}", took.as_millis()));
    }
}

/// When a sibling fails, what stands around the others is left before the run ends.
#[tokio::test(start_paused = true)]
async fn item_187_who_is_cancelled_by_a_sibling_is_left_w11() {
    let log = Log::default();
    let bulkhead = Bulkhead::builder("b").max_concurrent(1).build().expect("it fits");
    let failing = pipeline(|p| {
        let hangs = p.stage("hangs", never()).intercept(note("n", &log)).intercept(bulkhead.clone());
        let hangs = hangs.inputs(());
        let fails = super::super::kit::exits_after(Duration::from_millis(5), || StageExit::fail("x"));
        let fails = p.stage("fails", fails).inputs(());
        p.stage("sum", super::super::kit::sum()).inputs([hangs, fails])
    });
    error_of(failing.run(())).await;
    assert_eq!(log.lines(), ["> n hangs", "< n hangs"]);
    idle().await;
    assert_eq!((bulkhead.in_flight(), bulkhead.try_acquire(None).is_ok()), (0, true));
}

//! Panics are caught at their boundary: the stage fails, the run and the other runs go on (rule S-9).

use std::sync::Arc;

use stageflow::{
    Call, ErrorClass, FailurePolicy, Interceptor, IntoStage, Keep, Next, Owned, RunOutcome, Value, code,
    prelude::*,
};

use super::kit::{error_of, gives, idle, never, pipeline, report_of, solo, statuses, within};

/// Runs `stage` alone: it fails with `PANIC` and `message`.
async fn check<S>(stage: S, message: &str)
where
    S: IntoStage<Stage: Stage<Input = ()>>,
{
    let error = within(error_of(solo(stage).run(()))).await;
    let failure = error.failure().expect("a stage failed");
    assert_eq!((error.outcome(), failure.code()), (Some(RunOutcome::Failed), code::PANIC));
    assert_eq!((failure.class(), failure.stage(), &*failure.message()), (ErrorClass::Panic, "only", message));
    assert!(!error.recoverable());
}

#[expect(clippy::unused_async, reason = "the panic is in the future")]
async fn oh(message: &str) -> StageResult<u32> {
    panic!("{message}")
}

/// Text or not, in the function, in its future, or after an await.
#[tokio::test(start_paused = true)]
async fn a_panic_of_a_stage_is_a_failure_of_the_stage() {
    check(
        stage_fn(|_, (): ()| -> std::future::Ready<StageResult<u32>> { panic!("before the future") }),
        "panicked: before the future",
    )
    .await;
    check(stage_fn(|_, (): ()| oh("in the future")), "panicked: in the future").await;
    let later = stage_fn(|_, (): ()| async {
        tokio::time::sleep(1.millis()).await;
        oh("after an await").await
    });
    check(later, "panicked: after an await").await;
    let odd = stage_fn(|_, (): ()| async {
        std::panic::panic_any(7_u32);
        #[expect(unreachable_code, reason = "gives the type")]
        Ok(1_u32)
    });
    check(odd, "panicked: a value that is not a text").await;
    check(blocking(|_, (): ()| -> StageResult<u32> { panic!("on a thread") }), "panicked: on a thread").await;
}

/// The other stages and the other runs go on.
#[tokio::test(start_paused = true)]
async fn a_panic_stays_in_its_stage() {
    let partly = pipeline(|p| {
        p.on_failure(FailurePolicy::Continue);
        p.stage("bad", stage_fn(|_, (): ()| oh("x"))).inputs(());
        p.stage("good", gives(1_u32)).inputs(())
    });
    for _ in 0..3 {
        assert_eq!(partly.run(()).await.unwrap().outcome(), RunOutcome::CompletedWithFailures);
    }
}

struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("the drop");
        }
    }
}

/// A panic while the future of a stage is dropped: on a cancellation, on a timeout, at its end.
#[tokio::test(start_paused = true)]
async fn a_panic_in_the_drop_of_a_future_is_a_failure() {
    let armed = || {
        stage_fn(|_, (): ()| async {
            let _bomb = Bomb;
            std::future::pending::<StageResult<u32>>().await
        })
    };
    let run = solo(armed()).start(());
    idle().await;
    run.cancel("x");
    let report = error_of(run).await.report().unwrap();
    assert_eq!(
        (report.outcome(), statuses(&report)),
        (RunOutcome::Cancelled, vec!["only: failed: panicked: the drop".to_owned()])
    );
    let timed = pipeline(|p| p.stage("only", armed()).timeout(5.millis()).inputs(()));
    let error = within(error_of(timed.run(()))).await;
    assert_eq!(error.code(), code::PANIC);
    let at_end = stage_fn(|_, (): ()| async {
        let _bomb = Bomb;
        Ok(1_u32)
    });
    check(at_end, "panicked: the drop").await;
}

struct Around {
    before: bool,
}

impl Interceptor for Around {
    async fn around(&self, _: &Call, next: Next<'_>) -> StageResult<Value> {
        assert!(!self.before, "before");
        let _done = next.run().await;
        panic!("after");
    }
}

/// An interceptor that panics fails the stage it wraps.
#[tokio::test(start_paused = true)]
async fn a_panic_in_an_interceptor_fails_its_stage() {
    for (before, message) in [(true, "panicked: before"), (false, "panicked: after")] {
        let wrapped = pipeline(|p| p.stage("only", gives(1_u32)).intercept(Around { before }).inputs(()));
        let error = error_of(wrapped.run(())).await;
        let failure = error.failure().unwrap();
        assert_eq!((failure.code(), failure.stage(), &*failure.message()), (code::PANIC, "only", message));
    }
}

struct Fussy;

impl Interceptor for Fussy {
    async fn around(&self, _: &Call, next: Next<'_>) -> StageResult<Value> {
        next.run().await
    }

    fn applies_to(&self, _: &str, _: StageKind) -> bool {
        panic!("cannot say");
    }
}

/// An interceptor that cannot say whether it applies lets no run in: a policy that is not applied is no policy.
#[tokio::test(start_paused = true)]
async fn a_panic_in_applies_to_refuses_the_run() {
    let engine = Engine::builder().interceptor(Fussy).build().unwrap();
    let only = solo(gives(1_u32));
    for error in [error_of(engine.run(&only, ())).await, error_of(engine.start(&only, ())).await] {
        assert_eq!((error.code(), error.outcome()), (code::PANIC, None));
        assert!(error.to_string().contains("Fussy"), "{error}");
    }
    let child = super::child::parent_of(pipeline(|p| {
        p.intercept(Fussy);
        p.stage("only", gives(1_u32)).inputs(())
    }));
    let error = within(error_of(child.run(()))).await;
    assert_eq!((error.code(), error.outcome()), (code::PANIC, Some(RunOutcome::Failed)));
}

struct NoTwin(#[expect(dead_code, reason = "gives it a size")] u32);

impl Clone for NoTwin {
    fn clone(&self) -> Self {
        panic!("there is only one");
    }
}

/// A `Clone` that panics fails the stage that wants to own the value.
#[tokio::test(start_paused = true)]
async fn a_panic_in_clone_fails_the_stage_that_wants_a_copy() {
    let two = pipeline(|p| {
        p.on_failure(FailurePolicy::Continue);
        let one = p.stage("one", stage_fn(|_, (): ()| async { Ok(NoTwin(1)) })).inputs(());
        let wants = p.stage("wants", stage_fn(|_, _: Owned<NoTwin>| async { Ok(1_u32) })).inputs(one);
        let keeps = p.stage(
            "keeps",
            stage_fn(|_, it: Arc<NoTwin>| async move {
                tokio::time::sleep(1.millis()).await;
                drop(it);
                Ok(1_u32)
            }),
        );
        let keeps = keeps.inputs(one);
        let look = |_, it: (Option<Arc<u32>>, Arc<u32>)| async move { Ok(it.0.is_none()) };
        p.stage("look", stage_fn(look)).inputs((wants.optional(), keeps))
    });
    let done = two.run(()).await.unwrap();
    assert!(*done.output());
    assert_eq!(done.report().cause().unwrap().message(), "panicked: there is only one");
}

/// A value whose `Drop` panics when its last reader has left: nobody is to blame, and the run goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_the_drop_of_an_output_harms_nobody() {
    for _ in 0..20 {
        let drops = pipeline(|p| {
            p.keep(Keep::Output).on_failure(FailurePolicy::Continue);
            let no = p.stage("no", gives(false)).inputs(());
            let bombs = p.parallel("bomb", 0..10, |_| stage_fn(|_, (): ()| async { Ok(Bomb) })).inputs(());
            let skipped = p.stage("skipped", stage_fn(|_, _: Vec<Arc<Bomb>>| async { Ok(1_u32) }));
            let skipped = skipped.when(no, |it| *it).inputs(&bombs);
            let read =
                p.stage("read", stage_fn(|_, it: Vec<Arc<Bomb>>| async move { Ok(it.len()) })).inputs(bombs);
            let end = |_, it: (Option<Arc<u32>>, Arc<usize>)| async move { Ok(*it.1) };
            p.stage("end", stage_fn(end)).inputs((skipped.optional(), read))
        });
        let report = report_of(drops.run(())).await;
        assert!(report.stage("skipped").unwrap().outcome.status() == "skipped");
        assert!(
            report
                .stages()
                .all(|stage| stage.ran.is_none() || stage.name == "read" || stage.outcome.is_completed()),
            "{report}"
        );
    }
}

/// The wrong value of an interceptor is dropped, whatever its `Drop` does.
#[tokio::test(start_paused = true)]
async fn a_panic_in_the_drop_of_a_replaced_output_harms_nobody() {
    struct Replace;
    impl Interceptor for Replace {
        async fn around(&self, _: &Call, _: Next<'_>) -> StageResult<Value> {
            Ok(Value::new(Bomb))
        }
    }
    let replaced = pipeline(|p| p.stage("only", never()).intercept(Replace).inputs(()));
    let error = within(error_of(replaced.run(()))).await;
    assert_eq!(error.code(), code::REPLACED_TYPE);
}

/// What was thrown may itself panic when it is dropped.
#[tokio::test(start_paused = true)]
async fn a_panic_in_the_drop_of_a_panic_is_caught() {
    let armed = stage_fn(|_, (): ()| async {
        std::panic::panic_any(Bomb);
        #[expect(unreachable_code, reason = "gives the type")]
        Ok(1_u32)
    });
    check(armed, "panicked: a value that is not a text").await;
}

//! Fallbacks within running pipelines, in paused time.

use std::{sync::Arc, time::Duration};

use stageflow_core::{
    ClassifyExt as _, DurationExt as _, ErrorClass, EventKind, FieldValue, Owned, Recorder, RunOutcome,
    StageContext, StageExit, StageResult, code, stage_fn,
};
use stageflow_dag::Pipeline;
use stageflow_exec::{Completed, Engine, PipelineExt as _, RunError};

use super::Fallback;
use crate::CallInputs;

/// What the attempts of a stage give.
type Script = fn(u32) -> StageResult<u32>;
type Ended = Result<Completed<u32>, RunError>;

fn pipeline(fallback: Fallback, script: Script) -> Pipeline<u32, u32> {
    let mut p = Pipeline::builder("one");
    let n = p.input();
    let stage = stage_fn(move |ctx: StageContext, _: Arc<u32>| async move { script(ctx.attempt()) });
    let one = p.stage("one", stage).intercept(fallback).inputs(n);
    p.build(one).unwrap()
}

async fn run(fallback: Fallback, script: Script) -> (Ended, Recorder) {
    let recorder = Recorder::new();
    let engine = Engine::builder().sink(recorder.clone()).build().unwrap();
    (engine.run(&pipeline(fallback, script), 7).await, recorder)
}

/// A fallback that is given input 0, and adds a hundred.
async fn hundred(_: StageContext, failure: Arc<StageExit>, inputs: CallInputs) -> StageResult<u32> {
    assert!(failure.is_failure() || failure.is_retry());
    assert!(inputs.input::<String>(0).is_none() && inputs.input::<u32>(1).is_none());
    assert!(inputs.named().is_none());
    Ok(*inputs.input::<u32>(0).ok_or("the input is gone")? + 100)
}

fn failing(script: Script) -> Fallback {
    Fallback::to(move |_, _, _| async move { script(0) })
}

fn answer(ended: &Ended) -> Option<u32> {
    ended.as_ref().ok().map(|done| *done.output())
}

fn message(ended: &Ended) -> String {
    ended.as_ref().err().and_then(RunError::failure).unwrap().message()
}

#[tokio::test(start_paused = true)]
async fn it_answers_failures_by_class_and_never_a_verdict() {
    let all = [ErrorClass::Denied, ErrorClass::Invalid, ErrorClass::Panic];
    let timeout: Script = |_| Err(StageExit::fail("late").class(ErrorClass::Timeout));
    let scripts: [(Script, bool, bool); 10] = [
        (|_| Ok(1), true, true),
        (|_| Err("no").transient(), true, false),
        (|_| Err("no").permanent(), true, false),
        (|_| Err("no".into()), true, false),
        (timeout, true, false),
        // It unwinds through the fallback.
        (|_| panic!("no (on purpose)"), false, false),
        (|_| Err("no").invalid(), false, false),
        (|_| Err(StageExit::deny("no")), false, false),
        (|_| Err(StageExit::skip("no")), false, false),
        (|_| Err(StageExit::cancel("no")), false, false),
    ];
    for (index, (script, by_default, if_asked)) in scripts.into_iter().enumerate() {
        assert_eq!(answer(&run(Fallback::to(hundred), script).await.0).is_some(), by_default, "{index}");
        let (ended, recorder) = run(Fallback::to(hundred).on(all), script).await;
        assert_eq!(answer(&ended).is_some(), if_asked, "script {index}");
        let used = recorder.events().iter().any(|event| event.name() == "fallback.used");
        assert_eq!(used, if_asked && index > 0, "script {index}");
    }
    let denied = run(Fallback::value(1_u32), |_| Err(StageExit::deny("no"))).await.0.unwrap_err();
    assert_eq!((denied.code(), denied.outcome()), (code::DENIED, Some(RunOutcome::Denied)));
}

#[tokio::test(start_paused = true)]
async fn it_is_asked_with_the_inputs_and_tells_why() {
    let (ended, recorder) = run(Fallback::to(hundred), |_| Err("reset").transient()).await;
    assert_eq!(answer(&ended), Some(107));
    let events = recorder.events();
    let used = events.iter().find_map(|event| match event.kind() {
        EventKind::Custom(told) if told.name() == "fallback.used" => Some(told),
        _ => None,
    });
    for (field, value) in
        [("class", "transient".into()), ("step", 1_i32.into()), ("reason", "failed: reset".into())]
    {
        assert_eq!(used.and_then(|told| told.field(field)), Some::<&FieldValue>(&value));
    }
    // A request that no policy has granted.
    assert_eq!(answer(&run(Fallback::to(hundred), |_| Err(StageExit::retry("busy"))).await.0), Some(107));
}

#[tokio::test(start_paused = true)]
async fn the_stage_has_moved_its_input_and_the_fallback_still_has_it() {
    let mut p = Pipeline::builder("one");
    let n = p.input();
    let takes = stage_fn(async |_: StageContext, n: Owned<u32>| -> StageResult<u32> {
        Err(StageExit::fail(format!("took {}", n.0)))
    });
    let one = p.stage("one", takes).intercept(Fallback::to(hundred)).inputs(n);
    assert_eq!(*p.build(one).unwrap().run(1).await.unwrap().output(), 101);
}

#[tokio::test(start_paused = true)]
async fn a_chain_is_asked_in_order_until_one_answers() {
    let chain = failing(|_| Err("first").transient()).or(hundred).or_value(1_u32);
    let (ended, recorder) = run(chain, |_| Err("reset").transient()).await;
    assert_eq!(answer(&ended), Some(107));
    let told: Vec<_> = recorder.lines().into_iter().filter(|line| line.contains("fallback.")).collect();
    assert_eq!(told, ["fallback.failed one", "fallback.used one"]);
    let chain = failing(|_| Err("first").permanent()).or_value(1_u32).on([ErrorClass::Transient]);
    assert_eq!(answer(&run(chain, |_| Err("reset").transient()).await.0), None);
}

#[tokio::test(start_paused = true)]
async fn a_failing_fallback_reports_both_errors() {
    let (ended, _) = run(failing(|_| Err("full").permanent()), |_| Err("reset").transient()).await;
    assert_eq!(message(&ended), "the fallback failed: full; before, the call failed: reset");
    assert_eq!(ended.unwrap_err().failure().unwrap().class(), ErrorClass::Permanent);
    let (ended, _) = run(failing(|_| Err(StageExit::retry("busy"))), |_| Err("reset").transient()).await;
    assert_eq!(message(&ended), "the fallback failed: busy; before, the call failed: reset");
    let (ended, _) = run(failing(|_| Err(StageExit::deny("no"))), |_| Err("reset").transient()).await;
    assert_eq!(ended.unwrap_err().outcome(), Some(RunOutcome::Denied));
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_the_fallback_is_its_failure_and_hides_nothing() {
    let at_once =
        Fallback::to(|_, _, _| -> std::future::Ready<StageResult<u32>> { panic!("oops (on purpose)") });
    let later = failing(|_| panic!("oops (on purpose)"));
    for fallback in [at_once, later] {
        let (ended, _) = run(fallback.or_value(1_u32), |_| Err("reset").transient()).await;
        let told = "the fallback failed: it panicked: oops (on purpose); before, the call failed: reset";
        assert_eq!(message(&ended), told);
        assert_eq!(ended.unwrap_err().code(), code::PANIC);
    }
}

#[tokio::test(start_paused = true)]
async fn another_type_is_refused_by_the_engine() {
    let (ended, _) = run(Fallback::value("text"), |_| Err("reset").transient()).await;
    assert_eq!(ended.unwrap_err().code(), code::REPLACED_TYPE);
}

#[tokio::test(start_paused = true)]
async fn a_fallback_that_hangs_ends_with_the_stage() {
    let mut p = Pipeline::builder::<()>("one");
    let slow = Fallback::to(|_, _, _| async {
        tokio::time::sleep(Duration::MAX).await;
        Ok(1_u32)
    });
    let fails = stage_fn(async |_: StageContext, (): ()| -> StageResult<u32> { Err("reset".into()) });
    let one = p.stage("one", fails).timeout(2.secs()).intercept(slow).inputs(());
    let error = p.build(one).unwrap().run(()).await.unwrap_err();
    assert_eq!(error.code(), code::STAGE_TIMEOUT);
}

#[cfg(feature = "retry")]
#[tokio::test(start_paused = true)]
async fn it_is_asked_once_the_retries_are_used_up() {
    use crate::Retry;

    let mut p = Pipeline::builder("one");
    let n = p.input();
    let stage = stage_fn(|ctx: StageContext, _: Arc<u32>| async move {
        let failed: StageResult<u32> = Err(format!("reset {}", ctx.attempt())).transient();
        failed
    });
    let retry = Retry::exponential(1.secs()).no_jitter();
    let one = p.stage("one", stage).retry(retry).intercept(Fallback::to(hundred)).inputs(n);
    let began = tokio::time::Instant::now();
    let run = p.build(one).unwrap().run(7).await.unwrap();
    assert_eq!((*run.output(), run.report().stage("one").unwrap().attempts), (107, 3));
    assert_eq!(began.elapsed(), 3.secs());
}

//! A pipeline as a stage: what a child run inherits, and what its end means (§18.11; rule S-19).

use std::{error::Error as _, sync::Arc};

use stageflow::{
    CancelCause, ContextSnapshot, ErrorClass, FailurePolicy, RunOutcome, StageOutcome, TraceContext, code,
    prelude::*,
};

use super::kit::{error_of, exits, exits_after, gives, never, pipeline, recorded, report_of, solo, statuses};

/// A pipeline whose stage `kid` is the pipeline `child`.
pub(super) fn parent_of<O: Send + Sync + 'static>(child: Pipeline<(), O>) -> Pipeline<(), O> {
    let mut p = Pipeline::builder("parent");
    let input = p.input();
    let kid = p.stage("kid", child).inputs(input);
    p.build(kid).expect("the parent is right")
}

fn snapshots() -> Pipeline<(), ContextSnapshot> {
    solo(stage_fn(|ctx: StageContext, (): ()| async move { Ok(ctx.snapshot().clone()) }))
}

/// KEEP 18.10-226, 227, 18.11-248, S-19, W49.
#[tokio::test(start_paused = true)]
async fn a_child_inherits_everything_but_its_id() {
    struct Config(u32);
    let trace: TraceContext = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().unwrap();
    let run = parent_of(snapshots()).run(()).tenant("acme").user("u").session("s").request("r");
    let run =
        run.interaction("i").correlation("c").trace(trace).priority(Priority::High).execution_mode("fast");
    let done = run.metadata("k", 7).extension(Config(9)).deadline(5.secs()).await.unwrap();
    let (child, id) = (done.output(), done.output().identity());
    let ids = [
        id.tenant_id().unwrap().as_str(),
        id.user_id().unwrap().as_str(),
        id.session_id().unwrap().as_str(),
        id.request_id().unwrap().as_str(),
        id.interaction_id().unwrap().as_str(),
        id.correlation_id().unwrap().as_str(),
    ];
    assert_eq!(ids, ["acme", "u", "s", "r", "i", "c"]);
    let caller = child.trace().expect("it is given the span of its stage");
    assert_eq!((caller.trace_id(), caller.is_sampled()), (trace.trace_id(), true));
    assert_ne!(caller.span_id(), trace.span_id());
    assert_eq!(child.priority(), Priority::High);
    assert_eq!((child.execution_mode(), child.metadata("k")), (Some("fast"), Some(&7.into())));
    assert_eq!((child.extension::<Config>().unwrap().0, child.deadline()), (9, Some(5.secs())));
    assert_eq!(child.pipeline(), "solo");
    let parent = child.parent().unwrap();
    assert_eq!((parent.run, parent.stage.as_str(), parent.depth), (done.run_id(), "kid", 1));
    assert_ne!(id.run_id(), done.run_id());
}

/// KEEP 18.11-242.
#[tokio::test(start_paused = true)]
async fn the_output_of_a_child_is_the_output_of_its_stage() {
    let done = parent_of(solo(gives(7_u32))).run(()).await.unwrap();
    assert_eq!((*done.output(), statuses(&done.report())), (7, vec!["kid: completed".to_owned()]));
    assert_eq!(*parent_of(solo(gives(()))).run(()).await.unwrap().output(), ());
}

/// KEEP 18.11-242, S-19: the code and the class of the failure, and the whole chain of sources.
#[tokio::test(start_paused = true)]
async fn a_failure_of_a_child_is_a_failure_with_its_chain() {
    let child = solo(exits(|| StageExit::fail("the disk is full").class(ErrorClass::Transient)));
    let error = error_of(parent_of(child).run(())).await;
    let failure = error.failure().unwrap();
    assert_eq!(
        (failure.stage(), failure.code(), failure.class()),
        ("kid", code::STAGE_FAILED, ErrorClass::Transient)
    );
    assert!(error.recoverable());
    let mut chain = vec![error.to_string()];
    let mut source = error.source();
    while let Some(inner) = source {
        chain.push(inner.to_string());
        source = inner.source();
    }
    let expected = [
        "pipeline `parent` failed at stage `kid`",
        "stage `kid` failed [STAGE_FAILED]",
        "stage `only` failed [STAGE_FAILED]",
        "the disk is full",
    ];
    assert_eq!(chain, expected);
}

/// KEEP 18.11-251, S-19, W25: a cancellation, and not a failure.
#[tokio::test(start_paused = true)]
async fn a_cancellation_by_a_child_is_a_cancellation() {
    let error = error_of(parent_of(solo(exits(|| StageExit::cancel("user hung up")))).run(())).await;
    assert_eq!((error.outcome(), error.failure().is_none()), (Some(RunOutcome::Cancelled), true));
    let Some(CancelCause::Stage { stage, reason }) = error.report().unwrap().cancelled() else {
        panic!("{:?}", error.report().unwrap().cancelled());
    };
    assert_eq!((stage.as_str(), reason.as_str()), ("kid", "`only` ended the run: user hung up"));
}

/// S-19, S-20: a denial stays a denial, also after failures that the child tolerated.
#[tokio::test(start_paused = true)]
async fn a_denial_in_a_child_denies_the_parent() {
    let tolerant = pipeline(|p| {
        p.on_failure(FailurePolicy::Continue);
        p.stage("fails", exits(|| StageExit::fail("boom"))).inputs(());
        p.stage("denied", exits_after(1.millis(), || StageExit::deny("no"))).inputs(())
    });
    for child in [solo(exits(|| StageExit::deny("no"))), tolerant] {
        let error = error_of(parent_of(child).run(())).await;
        assert_eq!((error.outcome(), error.code()), (Some(RunOutcome::Denied), code::DENIED));
    }
}

/// S-6, S-19.
#[tokio::test(start_paused = true)]
async fn a_child_without_output_skips_its_stage() {
    let report = report_of(parent_of(solo(exits(|| StageExit::skip("no")))).run(())).await;
    assert_eq!(report.stage("kid").unwrap().outcome.status(), "skipped");
    assert_eq!(report.outcome(), RunOutcome::Completed);
}

/// S-7: failures that the child tolerates are none of its parent.
#[tokio::test(start_paused = true)]
async fn failures_that_a_child_tolerates_stay_there() {
    let child = pipeline(|p| {
        p.on_failure(FailurePolicy::Continue);
        p.stage("bad", exits(|| StageExit::fail("boom"))).inputs(());
        p.stage("good", gives(1_u32)).inputs(())
    });
    let done = parent_of(child).run(()).await.unwrap();
    assert_eq!((*done.output(), done.outcome()), (1, RunOutcome::Completed));
}

/// S-15, S-19: the deadline of the parent ends both, and the run is `TimedOut`; that of the child alone is a failure.
#[tokio::test(start_paused = true)]
async fn whose_time_is_up_is_told_apart() {
    let inherited = error_of(parent_of(solo(never())).run(()).deadline(2.secs())).await;
    assert_eq!(
        (inherited.outcome(), inherited.code()),
        (Some(RunOutcome::TimedOut), code::DEADLINE_EXCEEDED)
    );
    let own = pipeline(|p| {
        p.deadline(1.secs());
        p.stage("only", never()).inputs(())
    });
    let own = error_of(parent_of(own).run(()).deadline(2.secs())).await;
    assert_eq!((own.outcome(), own.code()), (Some(RunOutcome::Failed), code::DEADLINE_EXCEEDED));
    for (attempt, expected) in [(false, code::STAGE_TIMEOUT), (true, code::ATTEMPT_TIMEOUT)] {
        let mut p = Pipeline::builder("parent");
        let input = p.input();
        let kid = p.stage("kid", solo(never()));
        let kid = if attempt { kid.attempt_timeout(1.secs()) } else { kid.timeout(1.secs()) };
        let kid = kid.inputs(input);
        let limited = p.build(kid).unwrap();
        let error = error_of(limited.run(()).deadline(2.secs())).await;
        assert_eq!((error.outcome(), error.code()), (Some(RunOutcome::Failed), expected));
        assert_eq!(error.report().unwrap().duration(), 1.secs());
    }
}

/// `levels` pipelines, each in the next.
fn nested(levels: u32) -> Pipeline<(), u32> {
    (0..levels).fold(solo(gives(1_u32)), |inner, _| parent_of(inner))
}

/// KEEP 18.11-244, 245, S-19.
#[tokio::test(start_paused = true)]
async fn nesting_has_a_limit() {
    let engine = |depth| Engine::builder().max_depth(depth).build().unwrap();
    for (depth, levels, completes) in
        [(1, 1, true), (2, 2, true), (1, 2, false), (2, 3, false), (0, 1, false)]
    {
        let result = engine(depth).run(&nested(levels), ()).await;
        match result {
            Ok(done) => assert!(completes && *done.output() == 1),
            Err(error) => {
                assert!(!completes, "{error:?}");
                assert_eq!(error.code(), code::MAX_DEPTH);
            }
        }
    }
    nested(16).run(()).await.unwrap();
    let error = error_of(nested(17).run(())).await;
    assert_eq!(error.code(), code::MAX_DEPTH);
    assert!(error.hint().unwrap().contains("max_depth"));
}

/// KEEP 18.11-243, 252, W26: the events of a child reach the same sinks, under its own id.
#[tokio::test(start_paused = true)]
async fn the_events_of_a_child_reach_the_same_sinks() {
    let (engine, recorder) = recorded();
    let done = engine.run(&parent_of(solo(gives(1_u32))), ()).tenant("acme").await.unwrap();
    let events = recorder.events();
    let (own, childs): (Vec<_>, Vec<_>) = events.iter().partition(|event| event.run_id() == done.run_id());
    let names = |events: &[&stageflow::Event]| {
        events.iter().map(|event| event.name().into_owned()).collect::<Vec<_>>()
    };
    let lifecycle = ["pipeline.started", "stage.started", "stage.completed", "pipeline.completed"];
    assert_eq!(names(&childs), lifecycle);
    let expected = [
        "pipeline.started",
        "stage.started",
        "pipeline.child_started",
        "stage.completed",
        "pipeline.completed",
    ];
    assert_eq!(names(&own), expected);
    for event in &childs {
        let parent = event.run().snapshot().parent().unwrap();
        assert_eq!((parent.run, event.tenant(), event.pipeline()), (done.run_id(), Some("acme"), "solo"));
        let json = serde_json::to_value(event).unwrap();
        assert_eq!(
            (&json["parent_run_id"], &json["parent_stage"]),
            (&done.run_id().to_string().into(), &"kid".into())
        );
    }
    assert_eq!(childs.iter().map(|event| event.seq()).collect::<Vec<_>>(), [1, 2, 3, 4]);
}

/// S-2: runs of one child pipeline, side by side in one parent, are apart.
#[tokio::test(start_paused = true)]
async fn children_side_by_side_are_apart() {
    let mut p = Pipeline::builder("parent");
    p.on_failure(FailurePolicy::Continue);
    let input = p.input();
    let one_fails = |fail: bool| {
        let mut c = Pipeline::builder("child");
        let unit = c.input();
        let body = move |_, _: Arc<()>| async move {
            tokio::time::sleep(1.millis()).await;
            if fail { Err(StageExit::fail("boom")) } else { Ok(1_u32) }
        };
        let out = c.stage("s", stage_fn(body)).inputs(unit);
        c.build(out).unwrap()
    };
    let a = p.stage("a", one_fails(true)).inputs(input);
    let b = p.stage("b", one_fails(false)).inputs(input);
    let out = p.stage(
        "out",
        stage_fn(|_, n: (Option<Arc<u32>>, Arc<u32>)| async move { Ok((n.0.is_none(), *n.1)) }),
    );
    let out = out.inputs((a.optional(), b));
    let parent = p.build(out).unwrap();
    let done = parent.run(()).await.unwrap();
    assert_eq!(done.output(), &(true, 1));
    assert_eq!(done.report().stage("b").unwrap().outcome, StageOutcome::Completed);
}

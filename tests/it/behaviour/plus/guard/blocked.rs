//! Guards before other stages: nothing but guarded content goes on, and each verdict is told.

use std::sync::Arc;

use stageflow::{
    ErrorClass, FailurePolicy, RunOutcome, code,
    interceptors::Retry,
    plus::guard::{
        Denylist, GuardBlocked, GuardExt as _, GuardStage, Guarded, Guards, Length, OnBlock, OnError, Redact,
        Verdict, async_guard, guard_fn,
    },
    prelude::*,
};

use super::{
    super::{
        super::kit::{error_of, recorded, report_of, statuses},
        router::{causes, each, told},
    },
    Times, class, guarded, model, names,
};

#[tokio::test(start_paused = true)]
async fn what_a_guard_allows_goes_on_and_what_it_blocks_does_not() {
    let (engine, recorder) = recorded();
    let calls = Times::default();
    let pipeline = guarded(Length::at_most(5), &calls);
    let done = engine.run(&pipeline, "cats".to_owned()).await.expect("it is short");
    assert_eq!((done.output().as_str(), calls.get()), ("about cats", 1));

    let error = error_of(engine.run(&pipeline, "elephants".to_owned())).await;
    assert_eq!(
        (error.code(), class(&error), error.recoverable()),
        (code::GUARD_BLOCKED, ErrorClass::Permanent, false)
    );
    assert!(
        causes(&error).contains("the content was blocked: guard `Length`: too_long"),
        "{}",
        causes(&error)
    );
    assert_eq!(calls.get(), 1, "the model was not asked");
    assert_eq!(each(&recorder, "guard.decided", "verdict"), ["allow", "block"]);
    assert_eq!(each(&recorder, "guard.decided", "reason"), ["", "too_long"]);
    let fields: Vec<_> = told(&recorder, "guard.blocked").concat();
    let fields: Vec<_> = fields.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
    let expected = [
        "guard=\"Length\"",
        "reason=\"too_long\"",
        "objections=\"guard `Length`: too_long\"",
        "then=\"fail\"",
    ];
    assert_eq!(fields, expected);
}

#[tokio::test(start_paused = true)]
async fn what_a_guard_has_transformed_goes_on_in_its_place() {
    let (engine, recorder) = recorded();
    let masks =
        Redact::new("pii.name", |text: &String| text.contains("Ada").then(|| text.replace("Ada", "…")));
    let pipeline = guarded(masks, &Times::default());
    let done = engine.run(&pipeline, "call Ada".to_owned()).await.expect("it goes on");
    assert_eq!(done.output(), "about call …");
    assert_eq!(each(&recorder, "guard.decided", "verdict"), ["transform"]);
    assert_eq!(each(&recorder, "guard.decided", "reason"), ["pii.name"]);
}

/// DAG-003.4, PROBE.5: what is missing or empty is blocked, though a guard would allow anything.
#[tokio::test(start_paused = true)]
async fn what_is_missing_or_empty_is_blocked() {
    let allows = || guard_fn("allows", |_: &String| Verdict::allow());
    let calls = Times::default();
    let (engine, recorder) = recorded();
    error_of(engine.run(&guarded(allows(), &calls), " \n".to_owned())).await;
    assert_eq!(each(&recorder, "guard.blocked", "reason"), ["empty"]);

    for leaves in [(|| StageExit::skip("nothing")) as fn() -> StageExit, || StageExit::fail("down")] {
        for skips in [false, true] {
            let (engine, recorder) = recorded();
            let mut p = Pipeline::builder("missing");
            let source = p.stage(
                "source",
                stage_fn(move |_, (): ()| async move { StageResult::<String>::Err(leaves()) }),
            );
            let source = source.inputs(());
            let guard = p.guard("guard", allows());
            let safe = if skips { guard.skip_missing() } else { guard }.over(source);
            let answer = p.stage("model", model(&calls)).inputs(safe);
            p.on_failure(FailurePolicy::BestEffort);
            let pipeline: Pipeline<(), String> = p.build(answer).expect("it is right");
            let report = report_of(engine.run(&pipeline, ())).await;
            let blocked = each(&recorder, "guard.blocked", "reason");
            assert_eq!(blocked, if skips { vec![] } else { vec!["missing".to_owned()] }, "{report}");
            assert!(
                statuses(&report)[1].starts_with(if skips { "guard: skipped" } else { "guard: failed" }),
                "{report}"
            );
        }
    }
    assert_eq!(calls.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn branches_are_guarded_where_they_meet() {
    let mut p = Pipeline::builder("branches");
    let n = p.input();
    let says = |what: &'static str| stage_fn(move |_, _: Arc<u32>| async move { Ok(what.to_owned()) });
    let small = p.stage("small", says("small")).when(n, |n| *n < 10).inputs(n);
    let large = p.stage("large", says("enormous")).when(n, |n| *n >= 10).inputs(n);
    let safe =
        p.guard("guard", Length::at_most(5)).on_block(OnBlock::give("cut".to_owned())).over(small.or(large));
    let calls = Times::default();
    let answer = p.stage("model", model(&calls)).inputs(safe);
    let pipeline: Pipeline<u32, String> = p.build(answer).expect("it is right");
    assert_eq!(pipeline.run(1).await.expect("it goes on").output(), "about small");
    assert_eq!(pipeline.run(99).await.expect("it goes on").output(), "about cut");
}

#[tokio::test(start_paused = true)]
async fn what_follows_from_a_block_is_said() {
    let ends = |what: OnBlock<String>| async move {
        let calls = Times::default();
        let mut p = Pipeline::builder("ends");
        let text = p.input();
        let safe = p.guard("guard", Length::at_most(1)).on_block(what).over(text);
        let answer = p.stage("model", model(&calls)).inputs(safe);
        // Whatever the policy, a denial and a cancellation end the run.
        p.on_failure(FailurePolicy::BestEffort);
        let pipeline: Pipeline<String, String> = p.build(answer).expect("it is right");
        let (engine, recorder) = recorded();
        let report = report_of(engine.run(&pipeline, "text".to_owned())).await;
        assert_eq!(calls.get(), 0);
        (report.outcome(), statuses(&report), each(&recorder, "guard.blocked", "then").concat())
    };
    let (outcome, _, then) = ends(OnBlock::Fail).await;
    assert_eq!((outcome, then.as_str()), (RunOutcome::Failed, "fail"));
    let (outcome, _, then) = ends(OnBlock::Deny).await;
    assert_eq!((outcome, then.as_str()), (RunOutcome::Denied, "deny"));
    let (outcome, _, then) = ends(OnBlock::Cancel).await;
    assert_eq!((outcome, then.as_str()), (RunOutcome::Cancelled, "cancel"));
    let (outcome, stages, then) = ends(OnBlock::Skip).await;
    assert_eq!((outcome, then.as_str()), (RunOutcome::Completed, "skip"));
    assert!(stages.iter().all(|stage| stage.contains("skipped")), "{stages:?}");
}

/// BUG-056, GUARD-001.2: each guard that is passed over is audited, in the class that is lost last.
#[tokio::test(start_paused = true)]
async fn a_guard_that_is_passed_over_is_always_audited() {
    type Says = StageResult<Verdict<String>>;
    let calls = Times::default();
    let open = |name: &'static str, how: u8| {
        let ill = async_guard(name, move |_, _: Arc<String>| async move {
            match how {
                0 => Says::Err(StageExit::fail("503").class(ErrorClass::Transient)),
                1 => panic!("boom"),
                _ => std::future::pending::<Says>().await,
            }
        });
        ill.timeout(2.secs()).on_error(OnError::Open)
    };
    let guards = Guards::all().with(open("fails", 0)).with(open("panics", 1)).with(open("hangs", 2));
    let (engine, recorder) = recorded();
    engine.run(&guarded(guards, &calls), "text".to_owned()).await.expect("all are open");
    assert_eq!(calls.get(), 1);
    assert_eq!(each(&recorder, "audit.guard_opened", "guard"), ["fails", "panics", "hangs"]);
    assert_eq!(
        each(&recorder, "audit.guard_opened", "reason"),
        ["guard_error", "guard_panic", "guard_timeout"]
    );
    assert_eq!(each(&recorder, "audit.guard_opened", "class"), ["transient", "panic", "timeout"]);
    assert_eq!(each(&recorder, "guard.decided", "verdict"), ["error", "error", "error", "allow"]);
}

#[tokio::test(start_paused = true)]
async fn a_guard_that_fails_may_be_tried_again_and_one_that_blocks_is_not() {
    let asked = Times::default();
    let counts = asked.clone();
    let flaky = async_guard("flaky", move |_, text: Arc<String>| {
        let time = counts.up();
        async move {
            match (time, text.as_str()) {
                (_, "bad") => Ok(Verdict::block("bad")),
                (1, _) => {
                    StageResult::<Verdict<String>>::Err(StageExit::fail("503").class(ErrorClass::Transient))
                }
                _ => Ok(Verdict::allow()),
            }
        }
    });
    let mut p = Pipeline::builder("tried");
    let text = p.input();
    let retry = Retry::constant(1.secs()).max_attempts(3);
    let safe = p.guard("guard", flaky).over_with(text, |stage| stage.intercept(retry));
    let answer = p.stage("model", model(&Times::default())).inputs(safe);
    let pipeline: Pipeline<String, String> = p.build(answer).expect("it is right");
    pipeline.run("fine".to_owned()).await.expect("the second attempt has a verdict");
    assert_eq!(asked.get(), 2);
    assert_eq!(error_of(pipeline.run("bad".to_owned())).await.code(), code::GUARD_BLOCKED);
    assert_eq!(asked.get(), 3, "a block is not tried again");
}

#[tokio::test(start_paused = true)]
async fn a_guard_without_a_verdict_fails_with_its_error_behind_it() {
    let ill = async_guard("moderation", |_, _: Arc<String>| async {
        StageResult::<Verdict<String>>::Err(
            StageExit::fail("503 from the service").class(ErrorClass::Transient),
        )
    });
    let error = error_of(guarded(ill, &Times::default()).run("text".to_owned())).await;
    assert_eq!((error.code(), class(&error)), (code::GUARD_FAILED, ErrorClass::Transient));
    let causes = causes(&error);
    let said = "no verdict, so the content was blocked: guard `moderation`: guard_error (STAGE_FAILED)";
    assert!(causes.contains(said) && causes.contains("503 from the service"), "{causes}");
}

/// GUARD-008, T53: guards at the same time take as long as the slowest, and in turn as long as all of them.
#[tokio::test(start_paused = true)]
async fn five_guards_take_as_long_as_the_slowest() {
    let slow = |millis: u64| {
        async_guard(format!("{millis} ms"), move |_, _: Arc<String>| async move {
            // sleeps: on paused time
            tokio::time::sleep(millis.millis()).await;
            StageResult::Ok(Verdict::allow())
        })
    };
    let five =
        || [10, 50, 20, 40, 30].into_iter().fold(Guards::all(), |guards, millis| guards.with(slow(millis)));
    for (guards, takes) in [(five(), 50), (five().in_turn(), 150)] {
        let (engine, recorder) = recorded();
        let begun = tokio::time::Instant::now();
        engine.run(&guarded(guards, &Times::default()), "text".to_owned()).await.expect("all allow");
        assert_eq!(begun.elapsed(), takes.millis());
        let took: Vec<u64> = each(&recorder, "guard.decided", "took_ns")
            .iter()
            .map(|ns| ns.parse().expect("a number"))
            .collect();
        assert_eq!(took.iter().max(), Some(&(takes * 1_000_000)), "{took:?}");
    }
}

/// A stage can be wired to guarded content alone: here by its type, and by hand.
#[tokio::test(start_paused = true)]
async fn a_guard_is_a_stage_like_any_other() {
    let list = GuardStage::new(Denylist::new(["launch codes"]).reason("secrets"));
    let mut p = Pipeline::builder("by hand");
    let text = p.input();
    let safe = p.stage("guard", list).inputs(text.optional());
    let pipeline: Pipeline<String, Guarded<String>> = p.build(safe).expect("it is right");
    let done = pipeline.run("weather".to_owned()).await.expect("it goes on");
    assert_eq!((done.output().as_str(), done.output().remarks().len()), ("weather", 0));
    let error = error_of(pipeline.run("The LAUNCH codes?".to_owned())).await;
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    let blocked = std::iter::from_fn(|| {
        let now = cause?;
        cause = now.source();
        Some(now)
    });
    let blocked =
        blocked.filter_map(|cause| cause.downcast_ref::<GuardBlocked>()).next().expect("it is the cause");
    assert_eq!(blocked.reasons().collect::<Vec<_>>(), [("Denylist", "secrets")]);
}

#[tokio::test(start_paused = true)]
async fn nothing_else_is_told_of_guards() {
    let (engine, recorder) = recorded();
    let guards = Guards::any().with(Length::at_most(1)).with(Length::at_most(9)).named("either");
    engine.run(&guarded(guards, &Times::default()), "text".to_owned()).await.expect("the second allows");
    assert_eq!(names(&recorder), ["guard.decided", "guard.decided", "guard.decided"]);
    assert_eq!(each(&recorder, "guard.decided", "guard"), ["Length", "Length", "either"]);
}

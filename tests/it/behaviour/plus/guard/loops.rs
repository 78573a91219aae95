//! Loops until a guard lets an output pass: the limits and the events of §18.5 (KEEP), and not W34.

use std::sync::Arc;

use stageflow::{
    ErrorClass, RunOutcome, code,
    plus::guard::{OnBlock, Refine, RefineExhausted, Verdict, WhyExhausted, guard_fn},
    prelude::*,
};

use super::{
    super::{
        super::kit::{error_of, recorded, statuses},
        router::{causes, each, told},
    },
    Draft, Times, class, drafting, names, script, topic, wants,
};

fn exhausted(error: &RunError) -> RefineExhausted {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(now) = cause {
        if let Some(exhausted) = now.downcast_ref::<RefineExhausted>() {
            return exhausted.clone();
        }
        cause = now.source();
    }
    panic!("it is not exhausted: {error:?}")
}

/// KEEP 18.5-127, 142, 144.
#[tokio::test(start_paused = true)]
async fn an_attempt_after_a_rejection_gives_the_latest_output() {
    let (written, asked) = (Times::default(), Times::default());
    let refine = Refine::new(script(&["v1", "v2"], &written), wants("v2", &asked));
    let (engine, recorder) = recorded();
    let done = engine.run(&drafting(refine), topic()).await.expect("the second passes");
    assert_eq!(**done.output().content(), *"v2");
    assert_eq!((written.get(), asked.get()), (2, 2));
    let expected = [
        "guard.decided",
        "guard_retry.attempt",
        "guard_retry.scheduled",
        "guard.decided",
        "guard_retry.recovered",
    ];
    assert_eq!(names(&recorder), expected);
    let fields = |name: &str| -> Vec<_> {
        told(&recorder, name).concat().into_iter().map(|(key, value)| format!("{key}={value}")).collect()
    };
    let common = ["guard=\"wants\"", "attempt=1", "retry_stage=\"one draft\"", "stagnation_hits=0"];
    assert_eq!(fields("guard_retry.attempt"), [&common[..], &["max_attempts=3"]].concat());
    assert_eq!(fields("guard_retry.scheduled"), common);
    assert_eq!(fields("guard_retry.recovered"), ["guard=\"wants\"", "attempts=2"]);
}

/// KEEP 18.5-127: nothing is told of a loop that was none.
#[tokio::test(start_paused = true)]
async fn what_passes_at_once_is_no_recovery() {
    let refine = Refine::new(script(&["v1"], &Times::default()), wants("v1", &Times::default()));
    let (engine, recorder) = recorded();
    engine.run(&drafting(refine), topic()).await.expect("the first passes");
    assert_eq!(names(&recorder), ["guard.decided"]);
}

/// KEEP 18.5-128, 144.
#[tokio::test(start_paused = true)]
async fn a_guard_that_never_lets_pass_ends_the_loop_with_the_last_attempt() {
    let (written, asked) = (Times::default(), Times::default());
    let refine = Refine::new(script(&["v1"], &written), wants("v2", &asked)).attempts(2);
    let (engine, recorder) = recorded();
    let error = error_of(engine.run(&drafting(refine), topic())).await;
    assert_eq!((error.code(), error.recoverable()), (code::REFINE_EXHAUSTED, false));
    assert_eq!((written.get(), asked.get()), (2, 2));
    let exhausted = exhausted(&error);
    assert_eq!((exhausted.why(), exhausted.attempts()), (WhyExhausted::MaxAttempts, 2));
    let said =
        "no output of `one draft` has passed in 2 attempts, and it has no more; last, guard `wants`: not_it";
    assert_eq!(exhausted.to_string(), said);
    let fields: Vec<_> = told(&recorder, "guard_retry.exhausted").concat();
    let fields: Vec<_> = fields.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
    let expected = [
        "guard=\"wants\"",
        "attempts=2",
        "retry_stage=\"one draft\"",
        "stagnation_hits=0",
        "reason=\"max_attempts\"",
    ];
    assert_eq!(fields, expected);
}

/// KEEP 18.5-129.
#[tokio::test(start_paused = true)]
async fn one_attempt_is_no_retry() {
    for attempts in [0, 1] {
        let written = Times::default();
        let refine =
            Refine::new(script(&["v1"], &written), wants("v2", &Times::default())).attempts(attempts);
        let (engine, recorder) = recorded();
        error_of(engine.run(&drafting(refine), topic())).await;
        assert_eq!(written.get(), 1);
        assert_eq!(names(&recorder), ["guard.decided", "guard_retry.attempt", "guard_retry.exhausted"]);
    }
}

/// KEEP 18.5-130.
#[tokio::test(start_paused = true)]
async fn the_same_again_is_stagnation() {
    let (written, asked) = (Times::default(), Times::default());
    let refine = Refine::new(script(&["v1"], &written), wants("v2", &asked)).attempts(5).stagnation(1);
    let (engine, recorder) = recorded();
    let error = error_of(engine.run(&drafting(refine), topic())).await;
    assert_eq!(exhausted(&error).why(), WhyExhausted::Stagnation);
    assert_eq!((written.get(), asked.get()), (2, 2));
    assert_eq!(each(&recorder, "guard_retry.attempt", "stagnation_hits"), ["0", "1"]);
    assert_eq!(each(&recorder, "guard_retry.exhausted", "reason"), ["stagnation"]);
}

/// FIX W34 (18.5-133): what the guard says is part of what is compared, so other words are no stagnation.
#[tokio::test(start_paused = true)]
async fn other_words_about_the_same_output_are_no_stagnation() {
    let (written, said) = (Times::default(), Times::default());
    let critic = guard_fn("critic", move |_: &String| {
        Verdict::block("not_it").feedback(format!("remark {}", said.up()))
    });
    let refine = Refine::new(script(&["v1"], &written), critic).attempts(5).stagnation(1);
    let error = error_of(drafting(refine).run(topic())).await;
    assert_eq!(exhausted(&error).why(), WhyExhausted::MaxAttempts);
    assert_eq!(written.get(), 5);
}

/// KEEP 18.5-134: only the chosen part decides.
#[tokio::test(start_paused = true)]
async fn only_what_is_chosen_is_compared() {
    let attempts = |by: fn(&String) -> String| async move {
        let (written, said) = (Times::default(), Times::default());
        let critic = guard_fn("critic", move |_: &String| {
            Verdict::block("not_it").feedback(format!("remark {}", said.up()))
        });
        let refine = Refine::new(script(&["a1", "a2", "b1", "b2"], &written), critic).attempts(4);
        let refine = refine.stagnation_by(1, move |text, _| by(text));
        error_of(drafting(refine).run(topic())).await;
        written.get()
    };
    assert_eq!(attempts(|text| text[..1].to_owned()).await, 2, "the letter is the same");
    assert_eq!(attempts(|text| text[1..].to_owned()).await, 3, "the number comes again");
    assert_eq!(attempts(Clone::clone).await, 4, "all differ");
}

/// KEEP 18.5-131: at the next rejection it is too late, whatever attempts are left.
#[tokio::test(start_paused = true)]
async fn no_attempt_is_begun_after_the_deadline() {
    let (written, asked) = (Times::default(), Times::default());
    let calls = written.clone();
    let write = stage_fn(move |_, attempt: Arc<Draft>| {
        calls.up();
        async move {
            // sleeps: on paused time
            tokio::time::sleep(4.secs()).await;
            Ok(format!("v{}", attempt.number()))
        }
    });
    let refine = Refine::new(write, wants("v9", &asked)).attempts(9).deadline(10.secs());
    let (engine, recorder) = recorded();
    let begun = tokio::time::Instant::now();
    let error = error_of(engine.run(&drafting(refine), topic())).await;
    assert_eq!(exhausted(&error).why(), WhyExhausted::Timeout);
    // A third would take the four seconds of the quickest, and two are left.
    assert_eq!((written.get(), asked.get(), begun.elapsed()), (2, 2, 8.secs()));
    assert_eq!(each(&recorder, "guard_retry.exhausted", "reason"), ["timeout"]);
    assert_eq!(each(&recorder, "guard_retry.exhausted", "timeout_seconds"), ["10"]);
}

#[tokio::test(start_paused = true)]
async fn the_deadline_ends_an_attempt_that_hangs() {
    for in_a_pipeline in [false, true] {
        let hangs = stage_fn(|_, attempt: Arc<Draft>| async move {
            if attempt.number() > 1 {
                std::future::pending::<()>().await;
            }
            Ok("v1".to_owned())
        });
        let guard = wants("v2", &Times::default());
        let mut p = Pipeline::builder("one draft");
        let attempt = p.input();
        let (stage, pipeline) = match in_a_pipeline {
            false => (Some(hangs), None),
            true => {
                let text = p.stage("write", hangs).inputs(attempt);
                (None, Some(p.build(text).expect("it is right")))
            }
        };
        let drafting = match (stage, pipeline) {
            (Some(stage), _) => drafting(Refine::new(stage, guard).deadline(3.secs())),
            (_, Some(pipeline)) => drafting(Refine::new(pipeline, guard).deadline(3.secs())),
            (None, None) => unreachable!("one of them is there"),
        };
        let begun = tokio::time::Instant::now();
        let error = error_of(drafting.run(topic())).await;
        assert_eq!((exhausted(&error).why(), exhausted(&error).attempts()), (WhyExhausted::Timeout, 2));
        assert_eq!(begun.elapsed(), 3.secs());
    }
}

/// KEEP 18.5-132.
#[tokio::test(start_paused = true)]
async fn of_several_limits_the_time_is_the_reason_and_then_stagnation() {
    let why = |deadline: Option<std::time::Duration>, stagnates: bool| async move {
        let write = stage_fn(|_, _: Arc<Draft>| async {
            // sleeps: on paused time
            tokio::time::sleep(2.secs()).await;
            Ok("v1".to_owned())
        });
        let mut refine = Refine::new(write, wants("v2", &Times::default())).attempts(2);
        if stagnates {
            refine = refine.stagnation(1);
        }
        if let Some(deadline) = deadline {
            refine = refine.deadline(deadline);
        }
        exhausted(&error_of(drafting(refine).run(topic())).await).why()
    };
    assert_eq!(why(Some(5.secs()), true).await, WhyExhausted::Timeout);
    assert_eq!(why(None, true).await, WhyExhausted::Stagnation);
    assert_eq!(why(None, false).await, WhyExhausted::MaxAttempts);
}

#[tokio::test(start_paused = true)]
async fn scores_that_do_not_get_better_end_the_loop() {
    let (written, asked) = (Times::default(), Times::default());
    let graded = guard_fn("graded", move |_: &String| {
        let score = [0.2, 0.5, 0.5, 0.4, 0.9][(asked.up() - 1).min(4)];
        if score > 0.8 { Verdict::allow() } else { Verdict::block("weak").score(score) }
    });
    let write = |written: &Times| {
        let written = written.clone();
        stage_fn(move |_, _: Arc<stageflow::plus::guard::Attempt<String, String>>| {
            written.up();
            async { Ok("text".to_owned()) }
        })
    };
    let refine = Refine::new(write(&written), graded).attempts(9).patience(2);
    let error = error_of(drafting(refine).run(topic())).await;
    assert_eq!((exhausted(&error).why(), written.get()), (WhyExhausted::Stagnation, 4));
}

/// 18.5-135 and 136, decided: the output is not at fault, and no other output would help.
#[tokio::test(start_paused = true)]
async fn a_guard_that_fails_or_hangs_ends_the_loop_at_once() {
    let panics = guard_fn("ill", |_: &String| -> Verdict<String, String> { panic!("boom") });
    let written = Times::default();
    let refine = Refine::new(script(&["v1"], &written), panics);
    let error = error_of(drafting(refine).run(topic())).await;
    assert_eq!((error.code(), written.get()), (code::GUARD_FAILED, 1));

    let hangs = |_, _: Arc<String>| std::future::pending::<StageResult<Verdict<String, String>>>();
    let hangs = stageflow::plus::guard::async_guard("ill", hangs).timeout(2.secs());
    let refine = Refine::new(script(&["v1"], &written), hangs);
    let (engine, recorder) = recorded();
    let error = error_of(engine.run(&drafting(refine), topic())).await;
    assert_eq!((error.code(), class(&error), written.get()), (code::GUARD_FAILED, ErrorClass::Timeout, 2));
    assert_eq!(each(&recorder, "guard.decided", "reason"), ["guard_timeout"]);
    assert!(told(&recorder, "guard_retry.attempt").is_empty());
}

/// KEEP 18.5-137.
#[tokio::test(start_paused = true)]
async fn an_attempt_that_fails_ends_the_loop_and_is_named() {
    let write = stage_fn(|_, attempt: Arc<Draft>| async move {
        match attempt.number() {
            1 => Ok("v1".to_owned()),
            _ => Err(StageExit::fail("the model is down")),
        }
    });
    let mut p = Pipeline::builder("one draft");
    let attempt = p.input();
    let text = p.stage("write", write).inputs(attempt);
    let one = p.build(text).expect("it is right");
    let error = error_of(drafting(Refine::new(one, wants("v2", &Times::default()))).run(topic())).await;
    assert_eq!(error.code(), code::STAGE_FAILED);
    let causes = causes(&error);
    assert!(
        causes.contains("`draft`") && causes.contains("`write`") && causes.contains("the model is down"),
        "{causes}"
    );
}

/// KEEP 18.5-145, the other way round (FIX W7): a guard that wants to be asked again has not approved.
#[tokio::test(start_paused = true)]
async fn a_guard_that_asks_for_a_retry_has_not_approved() {
    let asks =
        |_, _: Arc<String>| async { StageResult::<Verdict<String, String>>::Err(StageExit::retry("busy")) };
    let asks = stageflow::plus::guard::async_guard("busy", asks);
    let refine = Refine::new(script(&["v1"], &Times::default()), asks);
    let error = error_of(drafting(refine).run(topic())).await;
    assert_eq!((error.code(), class(&error)), (code::GUARD_FAILED, ErrorClass::Transient));
}

#[tokio::test(start_paused = true)]
async fn what_follows_from_the_end_of_a_loop_is_said() {
    let refine = |what| {
        let guard = wants("v2", &Times::default());
        drafting(Refine::new(script(&["v1"], &Times::default()), guard).on_exhausted(what))
    };
    let done =
        refine(OnBlock::give("nothing better".to_owned())).run(topic()).await.expect("there is another");
    assert!(done.output().is_fallback() && ***done.output() == *"nothing better");
    let ends = |what| async { error_of(refine(what).run(topic())).await.report().expect("it ran") };
    assert_eq!(ends(OnBlock::Deny).await.outcome(), RunOutcome::Denied);
    assert_eq!(ends(OnBlock::Cancel).await.outcome(), RunOutcome::Cancelled);
    let skipped = ends(OnBlock::Skip).await;
    assert_eq!(skipped.outcome(), RunOutcome::Completed);
    assert!(statuses(&skipped)[0].starts_with("draft: skipped"), "{:?}", statuses(&skipped));
}

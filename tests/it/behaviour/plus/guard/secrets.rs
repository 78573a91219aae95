//! What was blocked is nowhere: not in events, not in errors, not in reports, not in what is printed for developers.

use std::sync::Arc;

use stageflow::{
    Recorder,
    plus::guard::{
        Denylist, Explained, GuardExt as _, Guards, Length, OnBlock, OnError, Reason, Redact, Refine,
        Verdict, guard_fn,
    },
    prelude::*,
};

use super::{
    super::{
        super::kit::{recorded, within},
        router::causes,
    },
    Draft, Times, drafting, guarded, model, names,
};

const CANARY: &str = "canary-7f3a";

/// Whether nothing that anybody can see of a run has the canary.
fn assert_silent(recorder: &Recorder, error: &RunError) {
    let report = error.report().expect("it ran");
    let events = recorder.events();
    assert!(!names(recorder).is_empty(), "the guard was asked");
    let all = [
        format!("{events:?}"),
        events.iter().map(|event| serde_json::to_string(event).expect("it can be written")).collect(),
        format!("{error:?} {error} {}", causes(error)),
        format!("{report} {report:?}"),
        serde_json::to_string(&report).expect("it can be written"),
    ];
    for text in all {
        assert!(!text.contains(CANARY) && !text.contains("7f3a"), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_is_blocked_is_told_to_nobody() {
    let text = || format!("my key is {CANARY}, keep it");
    let guards = [
        Guards::all().with(Denylist::new([CANARY])),
        Guards::all().with(Length::at_most(3)).with(Denylist::new([CANARY])),
        Guards::weighted(0.9).with(Denylist::new([CANARY])).with(Length::at_most(3)),
        Guards::any().with(Denylist::new([CANARY])),
        Guards::deny_overrides().with(Denylist::new([CANARY])),
        Guards::all()
            .with(Redact::new("pii", |text: &String| Some(text.clone())))
            .with(Denylist::new([CANARY])),
        Guards::all().with(Redact::new("pii", |_: &String| Some(String::new()))),
    ];
    for guards in guards {
        for what in [OnBlock::Fail, OnBlock::Deny, OnBlock::Cancel, OnBlock::Skip] {
            let mut p = Pipeline::builder("secrets");
            let input = p.input();
            let safe = p.guard("guard", guards.clone()).on_block(what).over(input);
            let answer = p.stage("model", model(&Times::default())).inputs(safe);
            let pipeline: Pipeline<String, String> = p.build(answer).expect("it is right");
            let (engine, recorder) = recorded();
            let error = within(engine.run(&pipeline, text())).await.expect_err("it is blocked");
            assert_silent(&recorder, &error);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_a_guard_masks_is_told_to_nobody() {
    let masks =
        Redact::new("pii.key", |text: &String| text.contains(CANARY).then(|| text.replace(CANARY, "…")));
    let (engine, recorder) = recorded();
    let pipeline = guarded(masks, &Times::default());
    let done = engine.run(&pipeline, format!("my key is {CANARY}")).await.expect("it goes on");
    assert_eq!(done.output(), "about my key is …");
    let told = format!("{:?} {:?} {}", recorder.events(), done.report(), done.report());
    assert!(told.contains("pii.key") && !told.contains(CANARY), "{told}");
}

#[tokio::test(start_paused = true)]
async fn neither_a_rejected_output_nor_feedback_about_it_is_told() {
    let explain = |text: &String, why: &Reason| format!("{why}: {text}");
    let guards = Guards::all()
        .with(Explained::new(Denylist::new([CANARY]), explain))
        .with(guard_fn("critic", |text: &String| Verdict::block("critic").feedback(format!("not {text}"))));
    let write = stage_fn(|_, attempt: Arc<Draft>| async move {
        assert!(attempt.number() == 1 || attempt.feedback().all(|said| said.contains(CANARY)), "it was told");
        Ok(format!("{CANARY} {attempt:?}"))
    });
    let (engine, recorder) = recorded();
    let drafting = drafting(Refine::new(write, guards).stagnation(1));
    let error = within(engine.run(&drafting, format!("about {CANARY}"))).await.expect_err("it is exhausted");
    assert_silent(&recorder, &error);
}

/// The same check sees a canary where one is: the words of a guard's own error are its author's.
#[tokio::test(start_paused = true)]
#[should_panic(expected = "canary-7f3a")]
async fn the_check_for_secrets_sees_one() {
    let careless = stageflow::plus::guard::async_guard("careless", |_, text: Arc<String>| async move {
        StageResult::<Verdict<String>>::Err(StageExit::fail(format!("cannot parse {text}")))
    });
    let (engine, recorder) = recorded();
    let pipeline = guarded(careless.on_error(OnError::Block), &Times::default());
    let error = within(engine.run(&pipeline, CANARY.to_owned())).await.expect_err("it is blocked");
    assert_silent(&recorder, &error);
}

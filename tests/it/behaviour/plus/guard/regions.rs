//! What is made again in a loop: all of it, and nothing of a rejected attempt goes on (W8 is not kept).

use std::{collections::BTreeSet, sync::Arc};

use stageflow::{
    EventKind,
    interceptors::{Idempotency, IdempotencyKey, InMemoryStore},
    plus::guard::{Attempt, Guarded, Guards, Refine, Verdict, guard_fn},
    prelude::*,
};

use super::{
    super::super::kit::{Log, recorded},
    Draft, Times, drafting, script, topic, wants,
};

/// KEEP 18.5-138, and not W8 (18.5-139): every guard judges every output, and they share one attempt.
#[tokio::test(start_paused = true)]
async fn two_guards_share_an_attempt_and_both_judge_what_comes_of_it() {
    let (written, first, second) = (Times::default(), Times::default(), Times::default());
    let counts = |name: &'static str, times: &Times, fine: fn(&str) -> bool| {
        let times = times.clone();
        guard_fn(name, move |text: &String| {
            times.up();
            if fine(text) {
                Verdict::allow()
            } else {
                Verdict::block(name).feedback(format!("{name} of {text}"))
            }
        })
    };
    // Both reject v1; the first approves v2 and would not approve v3; the second approves v3 alone.
    let guards = Guards::all().with(counts("a", &first, |text| text != "v1" && text != "v3")).with(counts(
        "b",
        &second,
        |text| text == "v3" || text == "v4",
    ));
    let refine = Refine::new(script(&["v1", "v2", "v3", "v4"], &written), guards).attempts(9);
    let done = drafting(refine).run(topic()).await.expect("the fourth passes both");
    assert_eq!(***done.output(), *"v4");
    assert_eq!((written.get(), first.get(), second.get()), (4, 4, 4));
}

/// FIX W8 (18.5-142): an attempt sees what was rejected, and what every guard said of it.
#[tokio::test(start_paused = true)]
async fn an_attempt_sees_what_was_objected() {
    let seen = Log::default();
    let log = seen.clone();
    let write = stage_fn(move |_, attempt: Arc<Draft>| {
        let said: Vec<_> = attempt.feedback().cloned().collect();
        let last = attempt
            .rejected()
            .map_or("nothing".to_owned(), |last| format!("{} {}", last.number(), last.output()));
        log.add(format!("{} of {}: {last}: {}", attempt.number(), attempt.input(), said.join(", ")));
        async move { Ok(format!("v{}", attempt.number())) }
    });
    let always = guard_fn("always", |text: &String| match text.as_str() {
        "v3" => Verdict::allow(),
        _ => Verdict::block("always").feedback("more".to_owned()),
    });
    let guards = Guards::all().with(wants("v3", &Times::default())).with(always);
    drafting(Refine::new(write, guards)).run(topic()).await.expect("the third passes");
    let expected = [
        "1 of topic: nothing: ",
        "2 of topic: 1 v1: v1 is not v3, more",
        "3 of topic: 2 v2: v2 is not v3, more",
    ];
    assert_eq!(seen.lines(), expected);
}

/// FIX W8 (18.5-140, 141): what stands between is made anew, and so are siblings that have read a rejected output.
#[tokio::test(start_paused = true)]
async fn what_stands_between_and_beside_is_made_anew() {
    type Given = Attempt<String, Vec<String>, String>;
    let noting = |name: &'static str, log: &Log| {
        let log = log.clone();
        stage_fn(move |_, text: Arc<String>| {
            log.add(format!("{name} {text}"));
            async move { Ok(format!("{name} {text}")) }
        })
    };
    let log = Log::default();
    let mut one = Pipeline::builder("agent and formatter");
    let attempt = one.input();
    let agent = stage_fn(|_, attempt: Arc<Given>| async move { Ok(format!("v{}", attempt.number())) });
    let agent = one.stage("agent", agent).inputs(attempt);
    let format = one.stage("fmt", noting("fmt", &log)).inputs(agent);
    let sibling = one.stage("sibling", noting("sibling", &log)).inputs(agent);
    let all =
        stage_fn(|_, all: Vec<Arc<String>>| async move { Ok(all.iter().map(ToString::to_string).collect()) });
    let all = one.stage("all", all).inputs(vec![agent, format, sibling]);
    let one: Pipeline<Given, Vec<String>> = one.build(all).expect("it is right");

    let second = guard_fn("second", |all: &Vec<String>| match all[0].as_str() {
        "v2" => Verdict::allow(),
        _ => Verdict::block("first").feedback("again".to_owned()),
    });
    let mut p = Pipeline::builder("drafting");
    let topic = p.input();
    let draft = p.stage("draft", Refine::new(one, second)).inputs(topic);
    let reads = log.clone();
    let reader = stage_fn(move |_, all: Arc<Guarded<Vec<String>>>| {
        reads.add(format!("reader {}", all.join(", ")));
        async { Ok(()) }
    });
    let reader = p.stage("reader", reader).inputs(draft);
    let drafting: Pipeline<String, ()> = p.build(reader).expect("it is right");

    let (engine, recorder) = recorded();
    engine.run(&drafting, "topic".to_owned()).await.expect("the second passes");
    // KEEP 18.5-143: who depends on the output starts once, after it has passed, and with what has passed.
    assert_eq!(
        log.lines(),
        ["fmt v1", "sibling v1", "fmt v2", "sibling v2", "reader v2, fmt v2, sibling v2"]
    );
    let events = recorder.events();
    let position = |name: &str, stage: &str| {
        events
            .iter()
            .position(|event| event.name() == name && event.stage() == Some(stage))
            .expect("it was told")
    };
    assert!(position("guard_retry.recovered", "draft") < position("stage.started", "reader"));
}

/// Each attempt is a child run: with a start of its own, and seen by `explain()`.
#[tokio::test(start_paused = true)]
async fn each_attempt_is_a_child_run_that_is_seen() {
    let waits = stage_fn(|_, attempt: Arc<Draft>| async move {
        // sleeps: on paused time
        tokio::time::sleep(10.secs()).await;
        Ok(format!("v{}", attempt.number()))
    });
    let mut one = Pipeline::builder("one draft");
    let attempt = one.input();
    let text = one.stage("write", waits).inputs(attempt);
    let one = one.build(text).expect("it is right");
    let (engine, recorder) = recorded();
    let drafting = drafting(Refine::new(one, wants("v3", &Times::default())));
    let handle = engine.run(&drafting, topic()).start();
    // sleeps: on paused time
    tokio::time::sleep(15.secs()).await;
    let explained = handle.explain().expect("it goes on").to_string();
    assert!(explained.contains("waits for its child run"), "{explained}");
    handle.await.expect("the third passes");
    let children = recorder
        .events()
        .iter()
        .filter(|event| matches!(event.kind(), EventKind::ChildStarted { .. }))
        .count();
    assert_eq!(children, 3);
}

/// A loop in a loop: each has its own limits, and the inner one begins anew with each attempt of the outer.
#[tokio::test(start_paused = true)]
async fn loops_can_be_nested() {
    let (written, inner_asked, outer_asked) = (Times::default(), Times::default(), Times::default());
    let calls = written.clone();
    type Inner = Attempt<Attempt<String, Guarded<String>, String>, String, String>;
    let write = stage_fn(move |_, attempt: Arc<Inner>| {
        let text = format!("outer {} inner {}", attempt.input().number(), attempt.number());
        calls.up();
        async move { Ok(text) }
    });
    let asked = inner_asked.clone();
    let second = guard_fn("second", move |text: &String| {
        asked.up();
        if text.ends_with("inner 2") { Verdict::allow() } else { Verdict::block("inner") }
    });
    let asked = outer_asked.clone();
    let third = guard_fn("third", move |text: &Guarded<String>| {
        asked.up();
        if text.starts_with("outer 3") { Verdict::allow() } else { Verdict::block("outer") }
    });
    let done =
        drafting_twice(Refine::new(Refine::new(write, second), third)).run(topic()).await.expect("it passes");
    assert_eq!(****done.output(), *"outer 3 inner 2");
    assert_eq!((written.get(), inner_asked.get(), outer_asked.get()), (6, 6, 3));
}

fn drafting_twice(
    stage: impl Stage<Input = Arc<String>, Output = Guarded<Guarded<String>>>,
) -> Pipeline<String, Guarded<Guarded<String>>> {
    let mut p = Pipeline::builder("drafting");
    let topic = p.input();
    let draft = p.stage("draft", stage).inputs(topic);
    p.build(draft).expect("the pipeline of a test is right")
}

/// The same with pipelines all the way down: the inner loop stands in the place of a pipeline, and so does what it makes.
#[tokio::test(start_paused = true)]
async fn loops_of_pipelines_can_be_nested() {
    type Inner = Attempt<Attempt<String, Guarded<String>, String>, String, String>;
    let write = stage_fn(|_, attempt: Arc<Inner>| async move {
        Ok(format!("outer {} inner {}", attempt.input().number(), attempt.number()))
    });
    let mut one = Pipeline::builder("one draft");
    let attempt = one.input();
    let text = one.stage("write", write).inputs(attempt);
    let one = one.build(text).expect("it is right");
    let second = guard_fn("second", |text: &String| match text.ends_with("inner 2") {
        true => Verdict::allow(),
        false => Verdict::block("inner"),
    });
    let third = guard_fn("third", |text: &Guarded<String>| match text.starts_with("outer 3") {
        true => Verdict::allow(),
        false => Verdict::block("outer"),
    });
    let (engine, recorder) = recorded();
    let twice = drafting_twice(Refine::new(Refine::new(one, second), third));
    let done = engine.run(&twice, topic()).await.expect("it passes");
    assert_eq!(done.output().to_string(), "outer 3 inner 2");
    let paths: BTreeSet<_> = recorder
        .events()
        .iter()
        .filter_map(|event| event.run().snapshot().parent().map(|parent| parent.path.join("/")))
        .collect();
    let both = (1..=3).flat_map(|outer| (1..=2).map(move |inner| format!("drafting/draft#{outer}#{inner}")));
    assert_eq!(paths, both.collect());
}

/// FIX W9 (18.5-146): what is kept under the caller's key is kept for each attempt on its own, and the guard judges it again.
#[tokio::test(start_paused = true)]
async fn a_rejected_output_is_not_replayed_to_the_next_attempt() {
    let (written, asked) = (Times::default(), Times::default());
    let calls = written.clone();
    let write = stage_fn(move |_, attempt: Arc<Draft>| {
        calls.up();
        async move { Ok(format!("v{}", attempt.number())) }
    });
    let mut one = Pipeline::builder("one draft");
    let attempt = one.input();
    let once = Idempotency::new(InMemoryStore::new());
    let text = one.stage("write", write).intercept(once).inputs(attempt);
    let one = one.build(text).expect("it is right");
    let drafting = drafting(Refine::new(one, wants("v2", &asked)));
    for time in 1..=2 {
        let run = drafting.run(topic()).extension(IdempotencyKey::new("key"));
        let done = run.await.expect("the second passes");
        assert_eq!(done.output().to_string(), "v2");
        assert_eq!((written.get(), asked.get()), (2, 2 * time), "the second run is answered from the store");
    }
}

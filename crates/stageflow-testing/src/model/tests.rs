//! Rules, replies, errors and counts of the scripted model.

use std::sync::Arc;

use stageflow_core::{Code, DurationExt, ErrorClass, RunOutcome, Stage, StageKind};
use stageflow_dag::Pipeline;
use stageflow_exec::PipelineExt;
use tokio::time::Instant;

use super::{ModelError, Reply, ScriptedModel, Usage};
use crate::{assert_failed, assert_outcome, call};

async fn ask(model: &ScriptedModel, prompt: &str) -> String {
    model.complete(prompt).await.unwrap_or_else(|exit| exit.to_string())
}

#[tokio::test]
async fn the_first_rule_that_matches_gives_its_next_reply() {
    let model = ScriptedModel::new()
        .on("weather", "sunny")
        .then("rainy".to_owned())
        .when(|prompt| prompt.ends_with('!'), "calm down")
        .on("time", "noon")
        .otherwise("what?");
    let mut said = Vec::new();
    for prompt in ["weather!", "time!", "weather", "weather", "time", "hm"] {
        said.push(ask(&model, prompt).await);
    }
    assert_eq!(said, ["sunny", "calm down", "rainy", "rainy", "noon", "what?"]);
    assert_eq!(ask(&ScriptedModel::new().then("always"), "x").await, "always");
}

#[tokio::test]
async fn clones_are_the_same_model() {
    let model = ScriptedModel::new().otherwise("one").then("two");
    let clone = model.clone();
    assert_eq!((ask(&model, "a").await, ask(&clone, "b").await), ("one".to_owned(), "two".to_owned()));
    assert_eq!((model.prompts(), clone.usage().calls), (vec!["a".to_owned(), "b".to_owned()], 2));
}

#[tokio::test]
async fn errors_have_class_code_and_cause() {
    let own = Code::new("CONTENT_POLICY");
    let model = ScriptedModel::new()
        .otherwise(Reply::rate_limited())
        .then(Reply::unavailable())
        .then(Reply::context_length())
        .then(Reply::error(ErrorClass::Denied, own, "not about this"));
    let mut seen = Vec::new();
    for _ in 0..4 {
        let exit = model.complete("x").await.unwrap_err();
        seen.push((exit.error_class().unwrap(), exit.error_code().unwrap()));
    }
    let expected = [
        (ErrorClass::Transient, stageflow_core::code::RATE_LIMITED),
        (ErrorClass::Transient, ModelError::UNAVAILABLE),
        (ErrorClass::Permanent, ModelError::CONTEXT_LENGTH),
        (ErrorClass::Denied, own),
    ];
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn a_prompt_without_a_rule_is_an_error_that_lists_the_rules() {
    let model = ScriptedModel::new().on("weather", "sunny").when(|_| false, "never");
    let line = line!() - 1;
    let exit = model.complete(format!("tell me\n{}", "more ".repeat(30))).await.unwrap_err();
    let (class, code) = (exit.error_class(), exit.error_code());
    assert_eq!((class, code), (Some(ErrorClass::Permanent), Some(ScriptedModel::NO_RULE)));
    let said = format!("tell me {}", "more ".repeat(30)).chars().take(60).collect::<String>();
    let expected = format!(
        "failed: the scripted model has no rule for `{said}…`: it has on `weather`, when (line {line})"
    );
    assert_eq!(exit.to_string(), expected);
    assert!(ask(&ScriptedModel::new(), "x").await.ends_with("it has no rule"));
}

#[tokio::test(start_paused = true)]
async fn delays_add_up() {
    let model = ScriptedModel::new()
        .delay(10.millis())
        .otherwise(Reply::text("a").after(5.millis()))
        .then(Reply::rate_limited());
    for expected in [15, 10] {
        let began = Instant::now();
        let _ = model.complete("x").await;
        assert_eq!(began.elapsed(), u64::millis(expected));
    }
}

#[tokio::test]
async fn words_are_counted_as_tokens() {
    let model = ScriptedModel::new().otherwise("three small words").then(Reply::rate_limited());
    assert_eq!(model.usage(), Usage::default());
    ask(&model, "  one two ").await;
    ask(&model, "four").await;
    assert_eq!(model.usage(), Usage { calls: 2, prompt_tokens: 3, completion_tokens: 3 });
}

#[tokio::test]
async fn it_is_a_stage() {
    assert_eq!(ScriptedModel::KIND, StageKind::Agent);
    let model = ScriptedModel::new().on("hi", "hello").on("bye", Reply::context_length());
    assert_eq!(call(&model, Arc::new("hi".to_owned())).await.result.ok().as_deref(), Some("hello"));

    let mut p = Pipeline::builder("agent");
    let prompt = p.input();
    let reply = p.stage("llm", model.clone()).inputs(prompt);
    let agent = p.build(reply).unwrap();
    let run = agent.run("hi there".to_owned()).await;
    assert_outcome!(run, RunOutcome::Completed);
    assert_eq!(run.unwrap().output(), "hello");
    let error = assert_failed!(agent.run("bye".to_owned()).await, ModelError::CONTEXT_LENGTH);
    let cause = error.failure().unwrap();
    assert_eq!(
        cause.cause().downcast_ref::<ModelError>().map(ModelError::class),
        Some(ErrorClass::Permanent)
    );
    assert_eq!(model.prompts(), ["hi", "hi there", "bye"]);
}

//! Questions to a language model behind guards: what may be asked, what is masked, and an answer that is written until it passes.
//!
//! `cargo run --example guard` prints what became of each question, and what the guards said.
#![expect(clippy::print_stdout, reason = "an example talks")]

use std::{error::Error, sync::Arc};

use stageflow::{
    EventKind, Recorder,
    plus::guard::{
        Attempt, Denylist, Explained, GuardExt as _, Guarded, Guards, Length, OnBlock, OnError, Redact,
        Refine, Verdict, async_guard, guard_fn,
    },
    prelude::*,
};

type Draft = Attempt<Guarded<String>, String, String>;

/// Stands in for a model: it is long-winded until it is told what is wrong.
async fn write(_ctx: StageContext, draft: Arc<Draft>) -> StageResult<String> {
    let question = draft.input();
    Ok(match draft.rejected() {
        _ if question.contains("impossible") => "I would rather not say.".to_owned(),
        None => format!("Well, as to '{question}', there is a lot to be said, and I shall say all of it."),
        Some(last) if last.number() == 1 => format!("Shorter, for I was told: {}.", said(&draft)),
        Some(_) => "Press the red button [manual, p. 7].".to_owned(),
    })
}

fn said(draft: &Draft) -> String {
    draft.feedback().map(String::as_str).collect::<Vec<_>>().join("; ")
}

/// Stands in for a service that is sometimes down.
async fn moderate(_ctx: StageContext, text: Arc<String>) -> StageResult<Verdict<String>> {
    match text.contains("outage") {
        true => Err("503 from the moderation service").transient(),
        false => Ok(Verdict::allow()),
    }
}

fn assistant() -> Result<Pipeline<String, Guarded<String>>, Box<dyn Error>> {
    let masks = Redact::new("pii.digits", |text: &String| {
        let masked: String = text.chars().map(|c| if c.is_ascii_digit() { '#' } else { c }).collect();
        (masked != *text).then_some(masked)
    });
    let question = Guards::all()
        .in_turn()
        .with(masks.named("mask"))
        .with(Length::at_most(80))
        .with(Denylist::new(["launch codes"]).reason("secrets"))
        .with(async_guard("moderation", moderate).timeout(2.secs()).on_error(OnError::Open))
        .named("question");

    let answer = Guards::all()
        .with(Explained::new(Length::at_most(60), |text: &String, _| format!("{} characters", text.len())))
        .with(guard_fn("cites", |text: &String| match text.contains('[') {
            true => Verdict::allow(),
            false => Verdict::block("no_source").feedback("name the source".to_owned()),
        }))
        .named("answer");

    let mut one = Pipeline::builder("one draft");
    let draft = one.input();
    let text = one.stage("write", stage_fn(write)).inputs(draft);
    let one = one.build(text)?;

    let mut p = Pipeline::builder("assistant");
    let text = p.input();
    let safe = p.guard("may it be asked", question).on_block(OnBlock::Deny).over(text);
    let refine = Refine::new(one, answer).attempts(4).stagnation(1).deadline(20.secs());
    let text = p.stage("answer", refine).inputs(safe);
    Ok(p.build(text)?)
}

async fn show(assistant: &Pipeline<String, Guarded<String>>, question: &str) -> Result<(), Box<dyn Error>> {
    let recorder = Recorder::new();
    let engine = Engine::builder().sink(recorder.clone()).build()?;
    println!("{question:?}");
    match engine.run(assistant, question.to_owned()).await {
        Ok(done) => println!("    answer: {}", done.output()),
        Err(error) => {
            println!("    {error}");
            let causes = std::iter::successors(error.source(), |&cause| cause.source());
            causes.for_each(|cause| println!("      {cause}"));
        }
    }
    for event in recorder.events() {
        let EventKind::Custom(custom) = event.kind() else { continue };
        let seen = |key: &&str| !matches!(*key, "took_ns");
        let fields: Vec<_> = custom
            .fields()
            .filter(|(key, _)| seen(key))
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        println!("    . {} {}", custom.name(), fields.join(" "));
    }
    println!();
    Ok(())
}

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), Box<dyn Error>> {
    let assistant = assistant()?;
    for question in [
        "How do I start the mill? I am customer 4711.",
        "Tell me the launch codes!",
        " \n",
        "What is the matter with the outage?",
        "What is impossible?",
    ] {
        show(&assistant, question).await?;
    }
    Ok(())
}

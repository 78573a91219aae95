//! Requests for a language model that take routes: by urgency, by weight, and around a model that is ill.
//!
//! `cargo run --example router` prints which route each request took and why, while a model fails and comes back.
#![expect(clippy::print_stdout, reason = "an example talks")]

use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use stageflow::{
    interceptors::{CircuitBreaker, Retry},
    plus::router::{
        CircuitBreakerRouter, FallbackRouter, OnRoute as _, Otherwise, Phrases, Route, Router, Split,
        WeightedRouter,
    },
    prelude::*,
};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Path {
    Fast,
    Careful,
    Person,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Model {
    Large,
    Small,
}

struct Request {
    user: u64,
    text: &'static str,
}

/// What a request became, with the decisions on the way.
struct Answer {
    text: String,
    path: Arc<Route<Path>>,
    model: Option<Arc<Route<Model>>>,
}

type Parts = (Arc<String>, Arc<Route<Path>>, Option<Arc<Route<Model>>>);

/// Whether the large model is ill.
static ILL: AtomicBool = AtomicBool::new(false);

async fn large(_ctx: StageContext, request: Arc<Request>) -> StageResult<String> {
    match ILL.load(Ordering::Relaxed) {
        true => Err("503 from the large model").transient(),
        false => Ok(format!("a careful answer to {:?}", request.text)),
    }
}

async fn small(_ctx: StageContext, request: Arc<Request>) -> StageResult<String> {
    Ok(format!("a plain answer to {:?}", request.text))
}

async fn canned(_ctx: StageContext, _request: Arc<Request>) -> StageResult<String> {
    Ok("a canned answer".to_owned())
}

async fn hand_over(_ctx: StageContext, request: Arc<Request>) -> StageResult<String> {
    Ok(format!("a person looks at {:?}", request.text))
}

async fn answer(_ctx: StageContext, (text, path, model): Parts) -> StageResult<Answer> {
    Ok(Answer { text: text.to_string(), path, model })
}

fn support() -> Result<Pipeline<Request, Answer>, Box<dyn Error>> {
    let phrases = Phrases::otherwise(Path::Careful)
        .rule(Path::Person, ["completely broken", "emergency"])
        .rule(Path::Fast, ["weather", "opening hours"]);
    let triage = Router::new([Path::Fast, Path::Careful, Path::Person], move |request: &Request| {
        Some(phrases.decide(request.text))
    })
    .named("triage")
    .on_empty(|request| request.text.trim().is_empty(), Otherwise::To(Path::Fast));

    let breaker =
        |name: &str| CircuitBreaker::builder(name).consecutive(2).open_for(10.secs()).jitter(0.0).build();
    let models =
        CircuitBreakerRouter::new([(Model::Large, breaker("large")?), (Model::Small, breaker("small")?)]);

    let mut p = Pipeline::builder("support");
    let request = p.input();
    let path = p.stage("triage", triage).inputs(request);
    let fast = p.stage("canned", stage_fn(canned)).when(path, |d| d.is(Path::Fast)).inputs(request);
    let person = p.stage("person", stage_fn(hand_over)).when(path, |d| d.is(Path::Person)).inputs(request);
    let model = p.stage("model", models.clone()).when(path, |d| d.is(Path::Careful)).inputs(request);
    let large = p.stage("large", stage_fn(large)).on_route(model, &models, Model::Large).inputs(request);
    let small = p.stage("small", stage_fn(small)).on_route(model, &models, Model::Small).inputs(request);
    let text = fast.or(person).or(large).or(small);
    let output = p.stage("answer", stage_fn(answer)).inputs((text, path, model.optional()));
    Ok(p.build(output)?)
}

/// Models in order, as a part that is tried again: each try takes the next one.
fn tiers() -> Result<Pipeline<Request, String>, BuildError> {
    let models = FallbackRouter::new([Model::Large, Model::Small]);
    let mut p = Pipeline::builder("tiers");
    let request = p.input();
    let model = p.stage("model", models.clone()).inputs(request);
    let large = p.stage("large", stage_fn(large)).on_route(model, &models, Model::Large).inputs(request);
    let small = p.stage("small", stage_fn(small)).on_route(model, &models, Model::Small).inputs(request);
    let told = p.stage("tell", stage_fn(tell)).inputs((large.or(small), model));
    let tiers = p.build(told)?;

    let mut p = Pipeline::builder("ask");
    let request = p.input();
    let answer = p.stage("tiers", tiers).retry(Retry::constant(1.secs()).max_attempts(2)).inputs(request);
    p.build(answer)
}

async fn tell(_ctx: StageContext, (text, model): (Arc<String>, Arc<Route<Model>>)) -> StageResult<String> {
    Ok(format!("{text}\n    model:  {model}"))
}

async fn show(support: &Pipeline<Request, Answer>, text: &'static str) {
    match support.run(Request { user: 7, text }).await {
        Ok(done) => {
            let Answer { text: answer, path, model } = done.output();
            println!("{text:?}\n    {answer}\n    triage: {path}");
            model.iter().for_each(|model| println!("    model:  {model}"));
        }
        Err(error) => println!("{text:?}\n    {error}"),
    }
}

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), Box<dyn Error>> {
    let support = support()?;
    println!("-- by phrases, and by the health of the models");
    for text in ["", "What is the weather like?", "It is completely broken!", "I cannot log in"] {
        show(&support, text).await;
    }
    println!("\n-- the large model is ill: two failures open its breaker");
    ILL.store(true, Ordering::Relaxed);
    let asked = tiers()?.run(Request { user: 7, text: "Is it me?" }).await?;
    println!("{:?}, with the models as tiers\n    {}", "Is it me?", asked.output());
    for text in ["My invoice is wrong", "My invoice is still wrong", "Where is my invoice?"] {
        show(&support, text).await;
    }
    println!("\n-- ten seconds later it is well again");
    ILL.store(false, Ordering::Relaxed);
    tokio::time::advance(10.secs()).await;
    show(&support, "Thank you").await;

    println!("\n-- turns by weight, 5 to 3 to 1");
    let turns = WeightedRouter::<_, Request>::new([("a", 5), ("b", 3), ("c", 1)]);
    let order: Vec<_> = (0..18).filter_map(|_| turns.table().next_turn().copied()).collect();
    println!("    {}", order.join(" "));

    println!("\n-- a split: 20 users, the same variants whenever they come");
    let split = Split::new("greeting", [("old", 3), ("new", 1)], |request: &Request| request.user);
    let users: Vec<_> =
        (0..20).filter_map(|user| split.assign(None, &Request { user, text: "" }).copied()).collect();
    println!("    {}", users.join(" "));
    Ok(())
}

//! Answers sixty support tickets against a service that is not to be relied on, first without policies and then with them.
//!
//! ```text
//! cargo run --example resilient
//! ```
//!
//! The service is real: an HTTP server on a port of this machine, started by the example (`service.rs`). It loses connections, has
//! an outage of almost a second, and allows so many requests per second. Begin with the two functions below: they are the
//! same pipeline, and the second says in one line each what is to be done about that. `client.rs` says what an answer of the
//! service means, `screen.rs` is what you see.

mod client;
mod screen;
mod service;

use std::{error::Error, process::ExitCode};

use stageflow::{
    BoxError, Recorder,
    interceptors::{CircuitBreaker, Fallback, RateLimiter, Retry},
    prelude::*,
};
use tokio::time::Instant;

use crate::{client::Client, screen::Phase, service::Service};

/// How many tickets there are, and how often one comes in.
const TICKETS: u32 = 60;
const PER_SECOND: u32 = 30;

/// The pipeline as it is written first: profile and sources side by side, then the answer.
fn hopeful(service: &Client) -> Result<Pipeline<u32, String>, BuildError> {
    let mut p = Pipeline::builder("hopeful");
    let ticket = p.input();
    let profile = p.stage("profile", service.get("/profile")).kind(StageKind::Enrich).inputs(ticket);
    let sources = p.stage("search", service.get("/search")).kind(StageKind::Enrich).inputs(ticket);
    let answer = p.stage("answer", service.post("/complete")).inputs((profile, sources));
    p.build(answer)
}

/// The same, with what the service needs.
fn resilient(service: &Client) -> Result<Pipeline<u32, String>, BoxError> {
    let retry = Retry::exponential(50.millis()).max_attempts(8);
    let breaker =
        CircuitBreaker::builder("search").consecutive(5).open_for(300.millis()).probes(1).build()?;
    let quota = RateLimiter::builder("model").dimension("requests", 12, 1.secs(), 3).build()?;

    let mut p = Pipeline::builder("resilient");
    let ticket = p.input();
    let profile = p
        .stage("profile", service.get("/profile"))
        .kind(StageKind::Enrich)
        .retry(retry.clone())
        .attempt_timeout(500.millis())
        .inputs(ticket);
    let sources = p
        .stage("search", service.get("/search"))
        .kind(StageKind::Enrich)
        .intercept(Fallback::value("no sources".to_owned())) // a poorer answer is better than none
        .intercept(breaker)
        .attempt_timeout(500.millis())
        .inputs(ticket);
    let answer = p
        .stage("answer", service.post("/complete"))
        .retry(retry)
        .intercept(quota)
        .attempt_timeout(2.secs())
        .inputs((profile, sources));
    Ok(p.build(answer)?)
}

#[tokio::main]
async fn main() -> ExitCode {
    match compare().await {
        Ok(code) => code,
        Err(error) => {
            screen::complain(&*error);
            ExitCode::FAILURE
        }
    }
}

/// The same load on both, each with a service of its own; the exit code says whether the second answered everything.
async fn compare() -> Result<ExitCode, Box<dyn Error + Send + Sync>> {
    screen::intro(TICKETS, PER_SECOND);

    let service = Service::start().await?;
    let hopeful = answer_all(&service, &hopeful(&Client::new(service.address()))?).await?;
    screen::phase("Without policies", &hopeful);

    let service = Service::start().await?;
    let resilient = answer_all(&service, &resilient(&Client::new(service.address()))?).await?;
    screen::phase("With policies", &resilient);
    screen::breaker(&resilient);
    screen::policies(&resilient);
    screen::busiest(&resilient);

    screen::verdict(&hopeful, &resilient);
    Ok(if resilient.answered() == TICKETS as usize { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Sends in the tickets one after the other, and waits for all answers.
async fn answer_all(
    service: &Service,
    pipeline: &Pipeline<u32, String>,
) -> Result<Phase, Box<dyn Error + Send + Sync>> {
    let recorder = Recorder::new();
    let engine = Engine::builder().sink(recorder.clone()).build()?;
    let began = Instant::now();
    let mut pace = tokio::time::interval(1.secs() / PER_SECOND);
    let mut runs = Vec::new();
    for ticket in 0..TICKETS {
        pace.tick().await;
        runs.push(engine.run(pipeline, ticket).tenant("acme").deadline(10.secs()).start());
    }
    let mut ended = Vec::new();
    for run in runs {
        ended.push(run.await);
    }
    let took = began.elapsed();
    engine.flush().await;
    Ok(Phase { took, ended, events: recorder.events(), seen: service.seen() })
}

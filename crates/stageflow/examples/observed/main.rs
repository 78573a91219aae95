//! Answers a support ticket, and shows the trace of it as a real collector has received it.
//!
//! ```text
//! cargo run --example observed
//! ```
//!
//! The collector is `rotel`, an OpenTelemetry collector in Rust that others wrote: a process of its own (`collector.rs`), to which the
//! pipeline below sends over gRPC, and whose output is read back and drawn (`screen.rs`). The pipeline has five stages, one of
//! which is tried three times, one is a pipeline itself, and one blocks a thread. Its caller has sent a `traceparent`.

#![expect(clippy::print_stdout, reason = "it is what the example is for")]

mod collector;
mod screen;

use std::{
    process::{Command, ExitCode},
    sync::Arc,
};

use opentelemetry::trace::{Tracer as _, TracerProvider as _};
use stageflow::{
    BoxError, ErrorClass, blocking,
    events::otel::{self, Otel},
    interceptors::Retry,
    prelude::*,
};

use crate::collector::Collector;

/// What the caller has sent.
const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// Spans that are to arrive: the run, five stages, three attempts, a child run with two stages, and one of the application's own.
const SPANS: usize = 13;

/// The pipeline within the pipeline.
fn policy() -> Result<Pipeline<String, bool>, BuildError> {
    let mut p = Pipeline::builder("policy");
    let draft = p.input();
    let words = |_: StageContext, draft: Arc<String>| async move { Ok(draft.split_whitespace().count()) };
    let words = p.stage("count", stage_fn(words)).inputs(draft);
    let short = |_: StageContext, words: Arc<usize>| async move { Ok(*words < 40) };
    let short = p.stage("is-short", stage_fn(short)).kind(StageKind::Guard).inputs(words);
    p.build(short)
}

fn support(otel: &Otel) -> Result<Pipeline<String, String>, BuildError> {
    let tracer = otel.tracer_provider().tracer("support");
    let mut p = Pipeline::builder("support");
    let ticket = p.input();

    // A span of the application's own is below that of the stage, and a request would send `ctx.traceparent()`.
    let fetch = stage_fn(move |ctx: StageContext, ticket: Arc<String>| {
        let span = tracer.start_with_context("GET /customers/17", &otel::context(&ctx));
        async move {
            tokio::time::sleep(12.millis()).await; // here is a customer asked for
            drop(span);
            Ok(format!("{ticket} (a customer since 2019)"))
        }
    });
    let fetched = p.stage("fetch", fetch).kind(StageKind::Enrich).inputs(ticket);

    let draft = stage_fn(|ctx: StageContext, text: Arc<String>| async move {
        tokio::time::sleep(8.millis()).await; // here is a model asked
        if ctx.attempt() < 3 {
            let error = "the model is overloaded, and cannot answer: card 4111 1111";
            return Err(StageExit::fail(error).class(ErrorClass::Transient));
        }
        Ok(format!("Dear customer, about: {text}"))
    });
    let retry = Retry::exponential(20.millis()).max_attempts(5);
    let draft = p.stage("draft", draft).kind(StageKind::Agent).retry(retry).inputs(fetched);

    let allowed = p.stage("check", policy()?).kind(StageKind::Guard).inputs(draft);

    let sign = blocking(|ctx: StageContext, draft: Arc<String>| {
        // Here is computed, on a thread that no other stage waits for.
        let seal = (0..400_000_u64).fold(17, |seal: u64, n| std::hint::black_box(seal.rotate_left(5) ^ n));
        ctx.emit("letter.signed", [("characters", draft.len())]);
        Ok(format!("{draft}\nYours, the support ({seal:x})"))
    });
    let signed = p.stage("sign", sign).inputs(draft);

    let send = stage_fn(|_: StageContext, (allowed, letter): (Arc<bool>, Arc<String>)| async move {
        if *allowed { Ok(letter.to_string()) } else { Err(StageExit::skip("it is too long")) }
    });
    let sent = p.stage("send", send).kind(StageKind::Work).inputs((allowed, signed));
    p.build(sent)
}

#[tokio::main]
async fn main() -> Result<ExitCode, BoxError> {
    let collector = match collector::binary() {
        Some(binary) => Collector::start(&binary)?,
        None => Collector::start(&provision()?)?,
    };
    println!("A collector listens for gRPC at {} and for HTTP at {}.\n", collector.grpc, collector.http);
    let otel = Otel::builder().service("support").grpc(&collector.grpc).without_metrics().build()?;
    let engine = Engine::builder().sink(otel.clone()).build()?;
    let pipeline = support(&otel)?;

    let ticket = "My order has not come".to_owned();
    let run = engine.run(&pipeline, ticket).tenant("acme").correlation("ticket-17").traceparent(TRACEPARENT);
    let done = run.await?;
    engine.flush().await;
    let receipt = otel.shutdown(5.secs()).await;

    let spans = collector.spans(SPANS);
    screen::show(&done.report(), &spans, &receipt);
    let complete = receipt.is_complete() && spans.len() == SPANS;
    Ok(if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Gets the collector, by the command that does so for the tests.
fn provision() -> Result<std::path::PathBuf, BoxError> {
    println!(
        "The collector is not there yet: `cargo xtask provision` fetches it into the target directory, once.\n"
    );
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let done = Command::new(cargo).args(["xtask", "provision"]).status()?;
    let found = collector::binary().filter(|_| done.success());
    found.ok_or_else(|| "there is no collector: see what `cargo xtask provision` says".into())
}

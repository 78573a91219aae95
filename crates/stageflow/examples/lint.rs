//! Policies that are fine one by one and go wrong together: a pipeline that answers support tickets, before and after the lint.
//!
//! `cargo run --example lint` prints what is found, and what is left once it is mended.
#![expect(clippy::print_stdout, reason = "an example talks")]

use std::{error::Error, sync::Arc};

use stageflow::{
    BackpressureMonitor, Budget, Lint,
    interceptors::{Bulkhead, CircuitBreaker, Idempotency, InMemoryStore, Retry},
    prelude::*,
};

async fn look_up(_ctx: StageContext, ticket: Arc<String>) -> StageResult<usize> {
    Ok(ticket.len())
}

async fn ask(_ctx: StageContext, (ticket, facts): (Arc<String>, Vec<Arc<usize>>)) -> StageResult<String> {
    Ok(format!("{} facts on `{ticket}`", facts.len()))
}

async fn refund(_ctx: StageContext, answer: Arc<String>) -> StageResult<String> {
    Ok(format!("{answer}; refunded"))
}

type Built<T> = Result<T, Box<dyn Error>>;

/// Everybody has added what seemed safe.
fn careless() -> Built<(Engine, Pipeline<String, String>)> {
    let monitor = BackpressureMonitor::builder().max_active(20).queue_timeout(1.mins()).build()?;
    let engine = Engine::builder().retry(Retry::exponential(200.millis())).max_in_flight(100);
    let engine = engine.backpressure(monitor).idle_timeout(30.secs()).build()?;
    let database = Bulkhead::builder("database").max_concurrent(10).max_queue(20).build()?;
    let model = CircuitBreaker::builder("model").open_for(5.mins()).build()?;

    let mut answer = Pipeline::builder("answer");
    let ticket = answer.input();
    let facts = answer
        .parallel("source", 0..50, |_| stage_fn(look_up))
        .kind(StageKind::Enrich)
        .retry(Retry::constant(1.secs()).no_jitter())
        .intercept(database)
        .attempt_timeout(2.secs())
        .inputs(ticket);
    let asked = answer
        .stage("ask", stage_fn(ask))
        .kind(StageKind::Agent)
        .retry(Retry::exponential(500.millis()).max_attempts(5))
        .intercept(model)
        .attempt_timeout(20.secs())
        .timeout(60.secs())
        .cost(4_000)
        .inputs((ticket, facts));
    let answer = answer.build(asked)?;

    let mut support = Pipeline::builder("support");
    support.deadline(45.secs()).budget(Budget::new().cost(10_000));
    let ticket = support.input();
    let answered = support.stage("answer", answer).inputs(ticket);
    let refunded =
        support.stage("refund", stage_fn(refund)).kind(StageKind::Work).timeout(10.secs()).inputs(answered);
    Ok((engine, support.build(refunded)?))
}

/// One retry around each dependency, times that fit into each other, and room for all who come.
fn careful() -> Built<(Engine, Pipeline<String, String>)> {
    let monitor = BackpressureMonitor::builder().max_active(20).queue_timeout(5.secs()).build()?;
    let engine =
        Engine::builder().max_in_flight(100).backpressure(monitor).idle_timeout(30.secs()).build()?;
    let database = Bulkhead::builder("database").max_concurrent(10).max_queue(100).build()?;
    let model = CircuitBreaker::builder("model").open_for(30.secs()).build()?;
    let once = Idempotency::new(InMemoryStore::new().lease(60.secs()));

    let mut answer = Pipeline::builder("answer");
    let ticket = answer.input();
    let facts = answer
        .parallel("source", 0..50, |_| stage_fn(look_up))
        .kind(StageKind::Enrich)
        .retry(Retry::exponential(200.millis()).max_attempts(2))
        .intercept(database)
        .attempt_timeout(2.secs())
        .timeout(5.secs())
        .inputs(ticket);
    let asked = answer
        .stage("ask", stage_fn(ask))
        .kind(StageKind::Agent)
        .retry(Retry::exponential(500.millis()))
        .intercept(model)
        .attempt_timeout(8.secs())
        .timeout(26.secs())
        .cost(3_000)
        .inputs((ticket, facts));
    let answer = answer.build(asked)?;

    let mut support = Pipeline::builder("support");
    support.deadline(45.secs()).budget(Budget::new().cost(10_000));
    let ticket = support.input();
    let answered = support.stage("answer", answer).timeout(32.secs()).inputs(ticket);
    let refunded = support
        .stage("refund", stage_fn(refund))
        .kind(StageKind::Work)
        .intercept(once)
        .retry(Retry::exponential(200.millis()).max_attempts(2))
        .attempt_timeout(5.secs())
        .timeout(11.secs())
        .allow_lint(Lint::RetryOfWork, "the bank takes the key of the ticket, and pays once")
        .inputs(answered);
    Ok((engine, support.build(refunded)?))
}

fn main() -> Result<(), Box<dyn Error>> {
    let (engine, support) = careless()?;
    println!("{}\n", engine.describe());
    println!("{}\n", engine.lint(&support));

    let (engine, support) = careful()?;
    println!("Mended:\n\n{}", engine.lint(&support));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_careless_one_is_found_out_and_the_careful_one_is_clean() -> Built<()> {
        let (engine, support) = careless()?;
        let report = engine.lint(&support);
        assert_eq!(report.finding(Lint::RetryOfWork).and_then(stageflow::Finding::calls), Some(3));
        assert!(report.findings().len() >= 5, "{report}");

        let (engine, support) = careful()?;
        let report = engine.lint(&support);
        assert!(report.is_clean(), "{report}");
        assert_eq!(report.allowed().len(), 1);
        Ok(())
    }
}

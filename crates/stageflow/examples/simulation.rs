//! A test suite of a user: a pipeline that answers support tickets is simulated with a thousand seeds, and cancelled at every poll.
//!
//! `cargo test --example simulation --features testing` runs the tests; `cargo run` in its place prints what they have shown.
#![expect(clippy::print_stdout, reason = "an example talks")]

use std::sync::Arc;

use stageflow::{
    Completed, DurationExt as _, FailurePolicy, StageKind, code,
    prelude::*,
    testing::{CancelReport, Faults, Ledger, Sim, SimReport},
};

/// How long a customer waits at most.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

async fn language(_ctx: StageContext, ticket: Arc<String>) -> StageResult<&'static str> {
    Ok(if ticket.is_ascii() { "en" } else { "de" })
}

/// Looks something up in one of many places, over a connection that has to be given back.
async fn look_up(ctx: StageContext, ticket: Arc<String>) -> StageResult<usize> {
    let ledger = Ledger::of(&ctx);
    let _connection = ledger.acquire("a connection");
    tokio::time::sleep(20.millis()).await;
    ledger.until_clean_up(&ctx, "a cursor", tokio::time::sleep(1.millis()));
    tokio::time::sleep(20.millis()).await;
    Ok(ticket.len())
}

async fn collect(_ctx: StageContext, found: Vec<Option<Arc<usize>>>) -> StageResult<usize> {
    Ok(found.iter().flatten().count())
}

type Facts = (Arc<String>, Arc<&'static str>, Arc<usize>);

async fn draft(ctx: StageContext, (ticket, language, facts): Facts) -> StageResult<String> {
    ctx.checkpoint()?;
    tokio::time::sleep(300.millis()).await;
    Ok(format!("[{language}] {} facts on `{ticket}`", *facts))
}

async fn apology(_ctx: StageContext, ticket: Arc<String>) -> StageResult<String> {
    Ok(format!("we will answer `{ticket}` tomorrow"))
}

async fn send(
    _ctx: StageContext,
    (draft, apology): (Option<Arc<String>>, Arc<String>),
) -> StageResult<String> {
    Ok(draft.unwrap_or(apology).to_string())
}

fn support() -> Result<Pipeline<String, String>, BuildError> {
    let mut p = Pipeline::builder("support");
    p.on_failure(FailurePolicy::Continue).deadline(PATIENCE);
    let ticket = p.input();
    let language = p.stage("language", stage_fn(language)).inputs(ticket);
    let found: Vec<_> = (0..15)
        .map(|place| {
            let name = format!("source-{place:02}");
            p.stage(name, stage_fn(look_up))
                .kind(StageKind::Enrich)
                .timeout(2.secs())
                .inputs(ticket)
                .optional()
        })
        .collect();
    let facts = p.stage("collect", stage_fn(collect)).inputs(found);
    let draft = p.stage("draft", stage_fn(draft)).kind(StageKind::Agent).timeout(5.secs());
    let draft = draft.inputs((ticket, language, facts)).optional();
    let apology = p.stage("apology", stage_fn(apology)).inputs(ticket);
    let sent = p.stage("send", stage_fn(send)).kind(StageKind::Work).inputs((draft, apology));
    p.build(sent)
}

/// Sources are slow or down, the model fails now and then or hangs: an answer comes in time all the same.
fn simulate(seeds: std::ops::Range<u64>) -> Result<SimReport, BuildError> {
    let support = support()?;
    Ok(Sim::seeds(seeds).run(|sim| {
        let support = support.clone();
        async move {
            sim.faults(Faults::of_kind(StageKind::Enrich).rate(0.2).transient().named("a source is down"))
                .faults(
                    Faults::of_kind(StageKind::Enrich).delay(1.millis()..3.secs()).named("a source is slow"),
                )
                .faults(Faults::at("draft").rate(0.1).error(stageflow::ErrorClass::Timeout).named("no model"))
                .faults(Faults::at("draft").rate(0.05).hang().named("the model hangs"));
            let answered = sim.run(&support, "my door is stuck".to_owned()).await;
            let answer = answered.as_ref().map(Completed::output).expect("an answer in any case");
            assert!(answer.contains("my door is stuck"));
            assert!(sim.elapsed() <= 7.secs(), "the timeouts of the stages add up to less than the patience");
            let report = answered.expect("an answer").report();
            if sim.fired("the model hangs") > 0 {
                let failure = report.failures().into_iter().find(|failure| failure.stage() == "draft");
                assert_eq!(failure.map(|failure| failure.code()), Some(code::STAGE_TIMEOUT));
            }
        }
    }))
}

fn cancel() -> Result<CancelReport, BuildError> {
    Ok(Sim::cancel_at_every_poll(&support()?, "my door is stuck".to_owned()).seeds(0..2).assert_clean())
}

fn main() -> Result<(), BuildError> {
    println!("{}", support()?.to_tree());
    println!("{}", simulate(0..1_000)?);
    println!("{}", cancel()?);
    Ok(())
}

#[test]
fn an_answer_comes_in_time_whatever_goes_wrong() {
    let report = simulate(0..1_000).expect("the pipeline is sound");
    assert_eq!(report.seeds(), 1_000);
    assert!(report.fired("the model hangs") > 10 && report.distinct_traces() > 990, "{report}");
}

#[test]
fn nothing_is_left_at_any_point_of_cancellation() {
    let report = cancel().expect("the pipeline is sound");
    assert!(report.clean_ups() > 0 && report.polls() > 30, "{report}");
}

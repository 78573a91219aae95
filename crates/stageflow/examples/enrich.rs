//! A prompt that has to fit: what stages fetch is counted, cut where there is no room, and merged where it disagrees.
//!
//! `cargo run --example enrich` prints the account of the context window, what was cut, and which sources contradict each other.
#![expect(clippy::print_stdout, reason = "an example talks")]

use std::{error::Error, sync::Arc, time::Duration};

use stageflow::{
    plus::enrich::{
        ConflictDetector, ContextExt as _, ContextWindow, ItemCut, Measure, MeasuredIn as _, Merged, Resolve,
        Sourced, TokenCounter, VersionMetadata,
    },
    prelude::*,
};

/// A document that a search has found.
#[derive(Clone)]
struct Doc {
    score: i64,
    text: String,
}

impl Measure for Doc {
    fn measure(&self, counter: &dyn TokenCounter) -> usize {
        self.text.measure(counter)
    }
}

/// The customer, as one of the sources knows them.
struct Customer {
    source: &'static str,
    plan: &'static str,
    age: Duration,
}

impl Stage for Customer {
    type Input = ();
    type Output = Sourced<String>;
    const KIND: StageKind = StageKind::Enrich;

    async fn run(&self, ctx: &StageContext, (): ()) -> StageResult<Sourced<String>> {
        let says = [("name", "Ada".to_owned()), ("plan", self.plan.to_owned())];
        let version = VersionMetadata::new(self.source, "1", ctx.wall_time() - self.age).ttl(5.mins());
        if version.is_stale(ctx) {
            println!("{} is older than five minutes", version.source());
        }
        Ok(Sourced::new(self.source, says).version(version))
    }
}

struct Search;

impl Stage for Search {
    type Input = ();
    type Output = Vec<Doc>;
    const KIND: StageKind = StageKind::Enrich;

    async fn run(&self, _: &StageContext, (): ()) -> StageResult<Vec<Doc>> {
        let doc = |number: usize| Doc {
            score: i64::try_from(number * 7 % 20).unwrap_or_default(),
            text: format!("{number:02}: what the manual says of it; ").repeat(4),
        };
        Ok((0..20).map(doc).collect())
    }
}

async fn prompt(ctx: StageContext, (who, docs): (Arc<Merged<String>>, Arc<Vec<Doc>>)) -> StageResult<String> {
    let room = ctx.context_window().map_or(0, |window| window.room());
    Ok(format!(
        "{} ({}), {} documents, room for {room} more",
        who.values["name"],
        who.values["plan"],
        docs.len()
    ))
}

fn answer(window: &ContextWindow) -> Result<Pipeline<(), String>, Box<dyn Error>> {
    let mut p = Pipeline::builder("answer");
    let crm = Customer { source: "crm", plan: "gold", age: 10.mins() };
    let billing = Customer { source: "billing", plan: "basic", age: 1.secs() };
    let crm = p.stage("crm", crm).inputs(());
    let billing = p.stage("billing", billing).inputs(());
    let who =
        p.stage("merge", ConflictDetector::new(Resolve::Newest)).measured_in(window).inputs([crm, billing]);
    let best = ItemCut::lowest_priority_first(|doc: &Doc| doc.score);
    let docs = p.stage("search", Search).shortened_in(window, best).after(who).inputs(());
    let prompt = p.stage("prompt", stage_fn(prompt)).inputs((who, docs));
    Ok(p.build(prompt)?)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let window = ContextWindow::tokens(500).reserve(100).named("prompt");
    let run = answer(&window)?.run(()).await?;
    println!("{}\n", run.output());
    let report = run.report();
    for account in report.snapshot().context_windows() {
        print!("{}", account.report());
    }
    for cut in report.snapshot().truncations().records() {
        println!("{cut}: {} items are gone", cut.removed.iter().map(ExactSizeIterator::len).sum::<usize>());
    }
    for conflict in report.snapshot().conflicts() {
        println!("{conflict}: {}", conflict.resolution);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{ContextWindow, answer};
    use stageflow::{plus::enrich::ContextExt as _, prelude::*};

    #[tokio::test(start_paused = true)]
    async fn the_prompt_fits_and_what_is_missing_is_known() {
        let window = ContextWindow::tokens(500).reserve(100);
        let run = answer(&window).expect("a pipeline").run(()).await.expect("it is cut");
        let facts = run.report();
        let account = facts.snapshot().context_window().expect("two stages are counted");
        assert!(account.utilization().used() <= 400);
        assert_eq!(facts.snapshot().truncations().count(), 1);
        assert!(run.output().starts_with("Ada (basic)"), "the newest says so: {}", run.output());
    }
}

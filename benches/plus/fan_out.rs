//! Something for each of a million items: ours beside `buffer_unordered`, and what more at a time costs.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use stageflow_benches::{
    fan_out::{Body, Way},
    report::{Goal, runtime},
    stopwatch::Stopwatch,
};
use tokio::runtime::Runtime;

use crate::campaign::{Campaign, Case};

const ITEMS: u64 = 1_000_000;
const FEWER: u64 = 10_000;
const LIMIT: usize = 64;
const LIMITS: [usize; 4] = [1, 16, 256, 4_096];
/// In times of `buffer_unordered`.
const SLOWER: f64 = 1.5;
/// What a hundred times the items may need, in times of the memory for these.
const LARGER: f64 = 1.05;

fn table(body: Body) -> String {
    format!("1,000,000 items {}, {LIMIT} at a time", body.name())
}

const GUIDE: &str = "A map over 1,000,000 items that yield once, by how many run at a time";
const MEMORY: &str = "Bytes of a map that keeps no outputs, 64 at a time";

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for body in Body::ALL {
        cases.extend(Way::ALL.map(|way| timed(table(body), way.name().to_owned(), way, body, LIMIT)));
    }
    for limit in LIMITS {
        let guide = || GUIDE.to_owned();
        cases.push(timed(guide(), format!("{limit} at a time"), Way::Map, Body::Yields, limit));
        cases.push(counted(guide(), format!("{limit} at a time, memory"), limit, ITEMS));
    }
    for items in [FEWER, ITEMS] {
        cases.push(counted(MEMORY.to_owned(), format!("{items} items"), LIMIT, items));
    }
    cases
}

fn timed(table: String, name: String, way: Way, body: Body, limit: usize) -> Case {
    let measure = move |runtime: &Runtime| {
        runtime.block_on(runtime.spawn(async move {
            // A handler starts with a fresh budget.
            tokio::task::yield_now().await;
            let watch = Stopwatch::start();
            way.run(body, ITEMS, limit).await?;
            #[expect(clippy::cast_precision_loss, reason = "a million fits a float")]
            Ok(watch.elapsed().as_secs_f64() * 1e9 / ITEMS as f64)
        }))?
    };
    Case { table, name, unit: "ns/item", measure: Box::new(measure), is_exact: false }
}

fn counted(table: String, name: String, limit: usize, items: u64) -> Case {
    let measure = move |_: &Runtime| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_stageflow-bench-fan-out-memory"));
        let output = program.args([limit.to_string(), items.to_string()]).output();
        let output = output.context("the program that counts bytes starts")?;
        ensure!(output.status.success(), "it failed:\n{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout)?.trim().parse().context("it prints a number")
    };
    Case { table, name, unit: "bytes", measure: Box::new(measure), is_exact: true }
}

pub(crate) fn goals(campaign: &Campaign) -> Vec<Goal> {
    let mut goals = Vec::new();
    for body in Body::ALL {
        let Some(theirs) = campaign.median(&table(body), Way::BufferUnordered.name()) else { continue };
        goals.extend([Way::Limiter, Way::Map, Way::MapLimiter].into_iter().filter_map(|way| {
            let ours = campaign.median(&table(body), way.name())?;
            Some(Goal {
                name: format!("{}, items {}", way.name(), body.name()),
                unit: "× buffer_unordered",
                measured: ours / theirs,
                limit: SLOWER,
            })
        }));
    }
    let of = |items: u64| campaign.median(MEMORY, &format!("{items} items"));
    if let (Some(few), Some(many)) = (of(FEWER), of(ITEMS)) {
        goals.push(Goal {
            name: "memory of a map, a hundred times the items".to_owned(),
            unit: "× that of the fewer",
            measured: many / few,
            limit: LARGER,
        });
    }
    goals
}

pub(crate) fn verify() -> Result<()> {
    let runtime = runtime(1)?;
    for body in Body::ALL {
        for way in Way::ALL {
            let run = runtime.spawn(async move { way.run(body, 10_000, 7).await });
            runtime.block_on(run)?.with_context(|| way.name())?;
        }
    }
    crate::say(format_args!("verified {} ways of a fan-out: every output is there", Way::ALL.len()));
    Ok(())
}

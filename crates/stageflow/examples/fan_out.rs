//! A stage for each of 1,000 documents: under a limit that changes on the way, with failures that are tolerated.
//!
//! `cargo run --example fan_out` prints how the map stands, what failed, and what the limiter has seen.
#![expect(clippy::print_stdout, reason = "an example talks")]

use std::{error::Error, time::Duration};

use stageflow::{
    Backoff,
    plus::fan_out::{Failures, FanOutLimiter, FanOutRequest, ItemRetry, MapExt, Mapped},
    prelude::*,
};

/// A document of so many letters.
#[derive(Clone)]
struct Document {
    number: u64,
    letters: u64,
}

/// Asks a model that is busy now and then, and cannot read every document.
async fn embed(ctx: StageContext, Owned(document): Owned<Document>) -> StageResult<Vec<u64>> {
    // sleeps: as long as the model takes
    tokio::time::sleep(Duration::from_micros(500 + document.letters)).await;
    if document.number % 97 == 42 {
        return Err("the document is not text").permanent();
    }
    if ctx.random_u64().is_multiple_of(20) {
        return Err(StageExit::retry("the model is busy"));
    }
    Ok(vec![document.number, document.letters])
}

type Index = Pipeline<Vec<Document>, Mapped<Vec<u64>>>;

fn index(model: &FanOutLimiter) -> Result<Index, Box<dyn Error>> {
    let mut p = Pipeline::builder("index");
    let documents = p.input();
    let vectors = p
        .map("embed", stage_fn(embed))
        .limiter(model)
        .request(|document: &Owned<Document>| {
            FanOutRequest::new().weight(1 + u32::try_from(document.0.letters / 1_000).unwrap_or(u32::MAX))
        })
        .retry_items(ItemRetry::attempts(4).backoff(Backoff::exponential(5.millis())))
        .tolerate(Failures::percent(2))
        .over(documents);
    Ok(p.build(vectors)?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let model = FanOutLimiter::builder("model").limit(8).max_queue(40).ramp_from(2).build()?;
    let index = index(&model)?;
    let documents = (0..1_000).map(|number| Document { number, letters: number * 7 % 3_000 }).collect();

    let run = index.run(documents).deadline(1.mins()).start();
    while !run.is_ended() {
        // sleeps: to look at it now and then
        tokio::time::sleep(50.millis()).await;
        if let Some(reason) = run.explain().and_then(|explained| explained.reason("embed").cloned()) {
            println!("limit {:>2}: embed {reason}", model.limit());
        }
        model.set_limit((model.limit() * 2).min(64));
    }
    let run = run.await?;
    let mapped = run.output();
    println!("\n{}", mapped.summary());
    for (item, failure) in mapped.failures() {
        println!(
            "  item {item}: {} [{}], attempts: {}",
            failure.message(),
            failure.code(),
            failure.attempts()
        );
    }
    let stats = model.stats();
    println!(
        "\nthe limiter let {} go, at most {} permits at a time, and has {} left",
        stats.granted, stats.peak, stats.in_use
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Document, FanOutLimiter, index};
    use stageflow::prelude::*;

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_read_is_tolerated_and_all_permits_are_back() {
        let model = FanOutLimiter::builder("model").limit(8).build().expect("a limiter");
        let index = index(&model).expect("a pipeline");
        let documents = (0..1_000).map(|number| Document { number, letters: 10 }).collect();
        let run = index.run(documents).await.expect("2 % may fail");
        assert!(run.output().failures().count() >= 10);
        assert_eq!(run.output().outcomes().len(), 1_000);
        assert_eq!(model.stats().in_use, 0);
    }
}

//! Many stages in one call: a pipeline in one expression, one from configuration, and retries that a stage brings along.
//!
//! `cargo run --example factory` prints the pipelines, what they give, and what a wrong configuration is told.
#![expect(clippy::print_stdout, reason = "an example talks")]

use std::{error::Error, sync::Arc};

use stageflow::{
    configured,
    interceptors::Retry,
    plus::{
        factory::{Fluent, ParallelConfig, ParallelPipelineFactory, linear},
        retry_stage::RetryStage,
    },
    prelude::*,
};

/// Counts every eighth word, beginning with this one.
struct Count(usize);

impl Stage for Count {
    type Input = Arc<String>;
    type Output = usize;

    async fn run(&self, _ctx: &StageContext, text: Arc<String>) -> StageResult<usize> {
        Ok(text.split_whitespace().skip(self.0).step_by(8).count())
    }
}

/// Asks a service in a region; the moon answers the third time.
struct Ask {
    region: String,
}

impl Stage for Ask {
    type Input = Arc<String>;
    type Output = String;

    async fn run(&self, ctx: &StageContext, question: Arc<String>) -> StageResult<String> {
        if self.region == "moon" && ctx.attempt() < 3 {
            return Err("no line of sight").transient();
        }
        Ok(format!("{}: {} letters", self.region, question.len()))
    }
}

async fn clean(_ctx: StageContext, text: Arc<String>) -> StageResult<String> {
    Ok(text.trim().to_lowercase())
}

async fn letters(_ctx: StageContext, text: Arc<String>) -> StageResult<usize> {
    Ok(text.chars().filter(|c| c.is_alphabetic()).count())
}

async fn sum(_ctx: StageContext, counts: Vec<Arc<usize>>) -> StageResult<usize> {
    Ok(counts.iter().map(|n| **n).sum())
}

async fn mean(_ctx: StageContext, (words, letters): (Arc<usize>, Arc<usize>)) -> StageResult<String> {
    Ok(format!("{words} words with {letters} letters"))
}

async fn lines(_ctx: StageContext, answers: Vec<Arc<String>>) -> StageResult<String> {
    Ok(answers.iter().map(|answer| format!("    {answer}\n")).collect())
}

async fn next(_ctx: StageContext, n: Arc<u64>) -> StageResult<u64> {
    Ok(*n + 1)
}

/// Clean, then count words in shards and letters in one stage, then both.
fn statistics() -> Result<Pipeline<String, String>, Box<dyn Error>> {
    let count = |index| configured(Count(index)).timeout(2.secs());
    Ok(Fluent::pipeline("statistics")
        .then("clean", stage_fn(clean))
        .both(
            |words| words.parallel("words", 0..8, count).reduce("sum", stage_fn(sum)),
            |text| text.then("letters", stage_fn(letters)),
        )
        .then("mean", stage_fn(mean))
        .build()?)
}

/// The regions of a file, each asked again as often as it takes.
fn regions(json: &str) -> Result<Pipeline<String, String>, Box<dyn Error>> {
    let config: ParallelConfig<String> = serde_json::from_str(json)?;
    let ask = |_, region: &String| {
        RetryStage::new(Ask { region: region.clone() }, Retry::exponential(200.millis()).max_attempts(4))
    };
    Ok(ParallelPipelineFactory::new(config)?.pipeline("regions", ask, ("lines", stage_fn(lines)))?)
}

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), Box<dyn Error>> {
    println!("-- in one expression");
    let statistics = statistics()?;
    print!("{}", statistics.to_tree());
    let run = statistics.run(" A rose is a rose is a rose ".to_owned()).await?;
    println!("    {}", run.output());

    println!("\n-- five hundred stages, one behind the other");
    let chain = linear("chain", "next", 0..500, |_| stage_fn(next))?;
    println!("    {} stages give {}", chain.len(), chain.run(0).await?.output());

    println!("\n-- from configuration, with retries");
    let regions_of = |count| {
        format!(
            r#"{{ "prefix": "ask", "count": {count}, "config": "earth", "timeout_ms": 9000,
                  "only": {{ "2": {{ "config": "moon" }} }} }}"#
        )
    };
    let run = regions(&regions_of(3))?.run("is anybody there".to_owned()).await?;
    print!("{}{}", run.output(), run.report());

    println!("\n-- and a configuration that is wrong");
    if let Err(error) = regions(&regions_of(0)) {
        println!("    {error}");
    }
    if let Err(error) = regions(r#"{ "prefix": "ask", "cuont": 3 }"#) {
        println!("    {error}");
    }
    Ok(())
}

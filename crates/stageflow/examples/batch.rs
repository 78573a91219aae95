//! One call for many runs: 60 questions of three tenants share the calls of a model, and a long text is cut into windows.
//!
//! `cargo run --example batch` prints each call, and why it did not wait for more.
#![expect(clippy::print_stdout, reason = "an example talks")]

use std::{error::Error, sync::Arc, time::Duration};

use stageflow::{
    WaitReason,
    plus::{
        batch::{Batch, Batcher, Window, Windows, WindowsExt},
        fan_out::MapExt,
    },
    prelude::*,
};

/// One request to the model, for all texts of a batch.
async fn embed(texts: Batch<String>) -> StageResult<Vec<StageResult<usize>>> {
    let tenant = texts.tenant().map_or("nobody", |tenant| tenant.as_str()).to_owned();
    println!("  a call for {:>2} texts of {tenant}", texts.len());
    // sleeps: as long as the model takes
    tokio::time::sleep(Duration::from_millis(20)).await;
    let answer =
        |text: String| if text.is_empty() { Err("an empty text").permanent() } else { Ok(text.len()) };
    Ok(texts.into_iter().map(answer).collect())
}

/// A question is embedded together with those of other runs.
fn ask(model: &Batcher<String, usize>) -> Result<Pipeline<String, usize>, Box<dyn Error>> {
    let mut p = Pipeline::builder("ask");
    let question = p.input();
    let vector = p.stage("embed", model.clone()).inputs(question);
    Ok(p.build(vector)?)
}

async fn join(_ctx: StageContext, lines: Arc<Window<String>>) -> StageResult<String> {
    Ok(lines.join("\n"))
}

/// A text is cut into windows of four lines, each with the last line of the one before; their embeddings share calls as well.
fn index(model: &Batcher<String, usize>) -> Result<Pipeline<Vec<String>, Vec<usize>>, Box<dyn Error>> {
    let mut p = Pipeline::builder("index");
    let lines = p.input();
    let windows = p.windows("windows", Windows::builder().size(4).overlap(1).build()?).over(lines);
    let pages = p.map("join", stage_fn(join)).over(windows);
    let vectors = p.map("embed", model.clone()).over(pages);
    Ok(p.build(vectors)?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let model =
        Batcher::builder("model", embed).max_size(8).max_wait(10.millis()).max_in_flight(2).build()?;

    println!("60 questions:");
    let ask = ask(&model)?;
    let question = |n: usize| if n == 42 { String::new() } else { format!("question {n}") };
    let runs: Vec<_> =
        (0..60).map(|n| ask.run(question(n)).tenant(["acme", "globex", "initech"][n % 3]).start()).collect();
    while let Some(reason) = runs[59].explain().and_then(|explained| explained.reason("embed").cloned()) {
        if matches!(reason, WaitReason::Batch { .. }) {
            println!("  the last one {reason}");
            break;
        }
        tokio::task::yield_now().await;
    }
    for (n, run) in runs.into_iter().enumerate() {
        if let Err(error) = run.await {
            let why = error.failure().map(|failure| failure.message()).unwrap_or_default();
            println!("  question {n} failed, and no other: {why}");
        }
    }

    println!("a text of 30 lines:");
    let lines = (0..30).map(|n| format!("line {n}")).collect();
    let run = index(&model)?.run(lines).tenant("acme").await?;
    println!("  {} windows: {:?}", run.output().len(), run.output());

    let stats = model.stats();
    println!("{} items in {} calls, {} left", stats.answered, stats.batches, stats.queued);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Batcher, ask, embed, index};
    use stageflow::prelude::*;

    #[tokio::test(start_paused = true)]
    async fn runs_share_calls_and_windows_overlap() {
        let model = Batcher::builder("model", embed).max_size(8).build().expect("a batcher");
        let ask = ask(&model).expect("a pipeline");
        let runs: Vec<_> = (0..16).map(|n| ask.run(format!("{n}")).start()).collect();
        for run in runs {
            run.await.expect("an answer");
        }
        assert_eq!(model.stats().batches, 2);
        let lines = (0..30).map(|n| format!("line {n}")).collect();
        let run = index(&model).expect("a pipeline").run(lines).await.expect("an index");
        assert_eq!(run.output().len(), 10);
    }
}

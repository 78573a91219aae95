//! A fallback that gives something else than the stage it stands in for.

use std::sync::Arc;
use stageflow::prelude::*;

async fn large_model(_ctx: StageContext, _prompt: Arc<String>) -> StageResult<String> {
    Err("overloaded").transient()
}

async fn word_count(_ctx: StageContext, prompt: Arc<String>) -> StageResult<usize> {
    Ok(prompt.len())
}

fn main() {
    let mut p = Pipeline::builder("support");
    let prompt = p.input();
    let reply = p.stage("reply", stage_fn(large_model)).fallback(stage_fn(word_count)).inputs(prompt);
    let _ = p.build(reply);
}

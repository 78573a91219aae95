//! An async function that is not wrapped, and a value that is no stage at all.

use std::sync::Arc;
use stageflow::prelude::*;

async fn count(_ctx: StageContext, text: Arc<String>) -> StageResult<usize> {
    Ok(text.len())
}

struct Settings;

fn main() {
    let mut p = Pipeline::builder("counting");
    let text = p.input();
    let words = p.stage("count", count).inputs(text);
    let _ = p.stage("settings", Settings);
    let _ = p.build::<usize>(words);
}

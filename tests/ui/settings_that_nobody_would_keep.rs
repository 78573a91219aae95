//! A stage with a retry policy where another stage calls it: the policy would be passed over.

use std::sync::Arc;
use stageflow::interceptors::Retry;
use stageflow::plus::fan_out::MapExt as _;
use stageflow::plus::retry_stage::RetryStage;
use stageflow::prelude::*;

async fn fetch(_ctx: StageContext, url: Arc<String>) -> StageResult<usize> {
    Ok(url.len())
}

fn main() {
    let mut p = Pipeline::builder("crawl");
    let urls: Port<Vec<String>> = p.input();
    let sizes = p.map("fetch", RetryStage::new(stage_fn(fetch), Retry::default())).over(urls);
    let _ = p.build(sizes);
}

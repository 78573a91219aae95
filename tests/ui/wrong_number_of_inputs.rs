//! One wire too few, one too many, and none at all.

use std::sync::Arc;
use stageflow::prelude::*;

async fn pair(_ctx: StageContext, _inputs: (Arc<u32>, Arc<u32>)) -> StageResult<()> {
    Ok(())
}

fn main() {
    let mut p = Pipeline::builder("pairs");
    let n: Port<u32> = p.input();
    p.stage("one", stage_fn(pair)).inputs(n);
    p.stage("three", stage_fn(pair)).inputs((n, n, n));
    p.stage("none", stage_fn(pair)).inputs(());
}

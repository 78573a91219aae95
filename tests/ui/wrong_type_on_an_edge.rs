//! A port of one type where the stage takes another.

use std::sync::Arc;
use stageflow::prelude::*;

struct Query;
struct Passages;

async fn retrieve(_ctx: StageContext, _query: Arc<Query>) -> StageResult<Passages> {
    Ok(Passages)
}

async fn write(_ctx: StageContext, _inputs: (Arc<Query>, Arc<Passages>)) -> StageResult<String> {
    Ok(String::new())
}

fn main() {
    let mut p = Pipeline::builder("rag");
    let query = p.input();
    let _passages = p.stage("retrieve", stage_fn(retrieve)).inputs(query);
    let draft = p.stage("write", stage_fn(write)).inputs((query, query));
    let _ = p.build(draft);
}

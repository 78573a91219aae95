//! A type that no port can deliver.

use stageflow::prelude::*;

struct Count;

impl Stage for Count {
    type Input = String;
    type Output = usize;

    async fn run(&self, _ctx: &StageContext, text: String) -> StageResult<usize> {
        Ok(text.len())
    }
}

async fn count(_ctx: StageContext, text: String) -> StageResult<usize> {
    Ok(text.len())
}

fn main() {
    let _ = stage_fn(count);
}

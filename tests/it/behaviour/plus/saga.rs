//! Ready-made stages: steps that are undone in reverse.

mod across;
mod cancelled;
mod within;

use std::sync::Arc;

use stageflow::{
    plus::saga::{Saga, SagaScope},
    prelude::*,
};

use crate::behaviour::kit::Log;

/// Does `name` in five milliseconds, and undoes it in as many.
async fn step(saga: &SagaScope, log: &Log, name: &'static str) -> StageResult<Arc<&'static str>> {
    let (does, undoes) = (log.clone(), log.clone());
    let action = async move {
        // sleeps: on paused time
        tokio::time::sleep(5.millis()).await;
        does.add(format!("do {name}"));
        Ok(name)
    };
    let undo = move |done: Arc<&'static str>| {
        let log = undoes.clone();
        async move {
            // sleeps: on paused time
            tokio::time::sleep(5.millis()).await;
            log.add(format!("undo {done}"));
            Ok(())
        }
    };
    saga.step(name, action, undo).await
}

/// A stage that does `a`, `b` and `c`, and then what `end` says.
fn trip<Fut>(
    saga: &Saga,
    log: &Log,
    end: fn(StageContext) -> Fut,
) -> impl Stage<Input = (), Output = u32> + use<Fut>
where
    Fut: Future<Output = StageResult<u32>> + Send + 'static,
{
    let (saga, log) = (saga.clone(), log.clone());
    stage_fn(move |ctx: StageContext, (): ()| {
        let (saga, log) = (saga.clone(), log.clone());
        async move {
            let last = ctx.clone();
            let body = |scope: SagaScope| async move {
                for name in ["a", "b", "c"] {
                    step(&scope, &log, name).await?;
                }
                end(last).await
            };
            saga.run(&ctx, body).await
        }
    })
}

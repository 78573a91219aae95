//! A breaker that takes each stage for a dependency of its own.

use std::sync::Arc;

use stageflow_core::{ClassifyExt, DurationExt, StageContext, StageResult, code, stage_fn};
use stageflow_dag::Pipeline;
use stageflow_exec::Engine;

use super::super::{BreakerKey, BreakerState, CircuitBreaker};

async fn call(_ctx: StageContext, fails: Arc<bool>) -> StageResult<u32> {
    if *fails { Err("unreachable").transient() } else { Ok(1) }
}

fn pipeline(name: &str, stage: &str) -> Pipeline<bool, u32> {
    let mut p = Pipeline::builder(name);
    let fails = p.input();
    let called = p.stage(stage, stage_fn(call)).inputs(fails);
    p.build(called).unwrap()
}

/// What a run leaves with: the code of its failure, if it has one.
async fn run(engine: &Engine, pipeline: &Pipeline<bool, u32>, tenant: &str, fails: bool) -> Option<String> {
    let done = engine.run(pipeline, fails).tenant(tenant.to_owned()).await;
    done.err().map(|error| error.code().to_string())
}

#[tokio::test(start_paused = true)]
async fn stages_pipelines_and_tenants_are_kept_apart() {
    let breaker = CircuitBreaker::per_stage().consecutive(1).jitter(0.0).build().unwrap();
    let engine = Engine::builder().interceptor(breaker.clone()).build().unwrap();
    // Names with slashes are no other stage's.
    let (ill, same, others) = (
        pipeline("support", "find/all"),
        pipeline("support", "find/all"),
        [pipeline("support/find", "all"), pipeline("support", "find"), pipeline("other", "find/all")],
    );
    run(&engine, &ill, "acme", true).await.unwrap();
    let open = Some(code::BREAKER_OPEN.to_string());
    for _ in 0..2 {
        assert_eq!(run(&engine, &same, "acme", false).await, open, "another pipeline of that name");
        for other in &others {
            assert_eq!(run(&engine, other, "acme", false).await, None);
        }
        assert_eq!(run(&engine, &ill, "globex", false).await, None);
    }
    let key = BreakerKey::of_stage("support", "find/all", Some("acme".into()));
    assert!(matches!(breaker.state(&key), BreakerState::Open { .. }));
    assert_eq!((key.dependency(), key.stage(), key.tenant()), ("support", Some("find/all"), Some("acme")));
    assert_eq!(breaker.snapshot().len(), 5);
    let error = engine.run(&ill, false).tenant("acme").await.unwrap_err();
    let failure = error.failure().unwrap();
    assert_eq!(failure.message(), "the breaker `support/find/all/acme` is open for another 10s");
}

#[tokio::test(start_paused = true)]
async fn tenants_may_share_and_calls_may_wait() {
    let breaker = CircuitBreaker::per_stage()
        .consecutive(1)
        .jitter(0.0)
        .per_tenant(false)
        .wait_while_open(1.mins())
        .build()
        .unwrap();
    let engine = Engine::builder().interceptor(breaker.clone()).build().unwrap();
    let ill = pipeline("support", "find");
    run(&engine, &ill, "acme", true).await.unwrap();
    let began = tokio::time::Instant::now();
    assert_eq!(run(&engine, &ill, "globex", false).await, None);
    assert_eq!(began.elapsed().as_secs(), 10, "it has waited for the breaker of that stage");
    assert_eq!(breaker.snapshot().len(), 1);
}

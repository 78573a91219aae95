//! What a probe sees of the calls of its stages.

use std::sync::Arc;

use stageflow_core::{Stage, stage_fn};
use stageflow_dag::Pipeline;
use stageflow_exec::PipelineExt;

use super::Probe;
use crate::TestContext;

#[tokio::test]
async fn it_remembers_each_input_and_passes_a_clone_on() {
    let probe = Probe::new();
    let mut p = Pipeline::builder("probe");
    let n = p.input();
    let first = p.stage("first", probe.stage()).inputs(n);
    let more = p.stage("more", stage_fn(|_ctx, n: Arc<u32>| async move { Ok(*n + 1) })).inputs(first);
    let second = p.stage("second", probe.stage()).inputs(more);
    let pipeline = p.build(second).unwrap();
    assert_eq!(*pipeline.run(1_u32).await.unwrap().output(), 2);
    pipeline.run(5).await.unwrap();
    assert_eq!(probe.inputs().iter().map(|n| **n).collect::<Vec<_>>(), [1, 2, 5, 6]);
    assert_eq!(probe.stages(), ["first", "second", "first", "second"]);
    assert_eq!((probe.count(), probe.last().as_deref()), (4, Some(&6)));
    probe.clear();
    assert_eq!((probe.count(), probe.last()), (0, None));
}

#[tokio::test]
async fn it_remembers_attempts_and_keeps_the_input_itself() {
    let probe = Probe::default();
    let (stage, input) = (probe.stage(), Arc::new("x".to_owned()));
    for attempt in 1..=3 {
        let ctx = TestContext::new().stage("s").attempt(attempt).context();
        assert_eq!(stage.run(&ctx, Arc::clone(&input)).await.ok().as_deref(), Some("x"));
    }
    assert_eq!(probe.attempts(), [1, 2, 3]);
    assert!(probe.inputs().iter().all(|seen| Arc::ptr_eq(seen, &input)));
    assert_eq!(format!("{probe:?}"), "Probe { count: 3 }");
}

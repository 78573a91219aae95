//! graph-flow 0.8: walks from task to task; a fan-out is one task that runs its children in a `JoinSet`.
//!
//! So it can express chains and fan-outs, and no other graph.

use std::sync::Arc;

use async_trait::async_trait;
use graph_flow::{
    Context, ExecutionStatus, FanOutTask, Graph as Flow, GraphBuilder, NextAction, Session, Task, TaskResult,
};
use stageflow_benches::{graph::Shape, stopwatch::Spawned, work::Work};

use crate::rows::Prepared;

struct Step<W> {
    id: String,
    work: W,
    stage: u32,
    next: NextAction,
}

#[async_trait]
impl<W: Work> Task for Step<W> {
    fn id(&self) -> &str {
        &self.id
    }

    async fn run(&self, _: Context) -> graph_flow::Result<TaskResult> {
        self.work.call(self.stage).await;
        Ok(TaskResult::new(None, self.next.clone()))
    }
}

pub(crate) fn prepare<W: Work>(shape: Shape, work: &W) -> Result<Prepared, &'static str> {
    let flow = match shape {
        Shape::Chain(stages) | Shape::Runs { stages, .. } => chain(stages, work),
        Shape::FanOut(width) => fan_out(width, work),
        Shape::Layered { .. } => return Err("expresses chains and fan-outs only"),
    };
    let flow = Arc::new(flow);
    let stages = shape.graph().len() * shape.runs();
    let case = Spawned::new(shape.runs(), move || {
        let flow = Arc::clone(&flow);
        let mut session = Session::new_from_task("session".to_owned(), "s0");
        async move {
            let result = flow.execute_session(&mut session).await.expect("the run completes");
            assert!(matches!(result.status, ExecutionStatus::Completed), "the run ends");
            session
        }
    });
    Ok(Prepared { case: Box::new(case), stages })
}

fn step<W: Work>(work: &W, stage: u32, is_last: bool) -> Arc<Step<W>> {
    let next = if is_last { NextAction::End } else { NextAction::ContinueAndExecute };
    Arc::new(Step { id: format!("s{stage}"), work: work.clone(), stage, next })
}

fn chain<W: Work>(stages: u32, work: &W) -> Flow {
    let mut flow = GraphBuilder::new("chain");
    for stage in 0..stages {
        flow = flow.add_task(step(work, stage, stage + 1 == stages));
    }
    for stage in 1..stages {
        flow = flow.add_edge(format!("s{}", stage - 1), format!("s{stage}"));
    }
    flow.set_start_task("s0").build().expect("the graph is sound")
}

fn fan_out<W: Work>(width: u32, work: &W) -> Flow {
    let children: Vec<Arc<dyn Task>> =
        (1..=width).map(|stage| step(work, stage, false) as Arc<dyn Task>).collect();
    let fan = FanOutTask::new("fan", children).with_next_action(NextAction::ContinueAndExecute);
    let sink = step(work, width + 1, true);
    let sink_id = sink.id.clone();
    GraphBuilder::new("fan-out")
        .add_task(step(work, 0, false))
        .add_task(fan)
        .add_task(sink)
        .add_edge("s0", "fan")
        .add_edge("fan", sink_id)
        .set_start_task("s0")
        .build()
        .expect("the graph is sound")
}

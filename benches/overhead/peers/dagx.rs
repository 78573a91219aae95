//! dagx 0.3: layers with a barrier each; a task per stage, and stages that are alone in their layer inline.
//!
//! A task takes at most eight inputs, so fan-outs have no sink. Its macro knows no generic tasks, so they hold the boxed
//! body that the rows by hand have, too.

use dagx::{DagRunner, Task, TaskHandle, task};
use stageflow_benches::{
    graph::{Graph, Shape},
    hand::{StageFn, stage_fn},
    stopwatch::Spawned,
    work::Work,
};

use crate::rows::Prepared;

struct Root(StageFn);

#[task]
impl Root {
    async fn run(&self) -> u8 {
        (self.0)().await;
        0
    }
}

struct After1(StageFn);

#[task]
impl After1 {
    async fn run(&self, _a: &u8) -> u8 {
        (self.0)().await;
        0
    }
}

struct After3(StageFn);

#[task]
impl After3 {
    async fn run(&self, _a: &u8, _b: &u8, _c: &u8) -> u8 {
        (self.0)().await;
        0
    }
}

pub(crate) fn prepare<W: Work>(shape: Shape, work: &W) -> Result<Prepared, &'static str> {
    let graph = match shape {
        Shape::FanOut(_) => shape.graph().without_sink(),
        _ => shape.graph(),
    };
    let stages = graph.len() * shape.runs();
    let work = work.clone();
    let case = Spawned::new(shape.runs(), move || {
        let dag = build(&graph, &work);
        async move {
            let spawn = |task| {
                tokio::spawn(task);
            };
            dag.run(spawn).await.expect("the run completes");
            dag
        }
    });
    Ok(Prepared { case: Box::new(case), stages })
}

fn build<W: Work>(graph: &Graph, work: &W) -> DagRunner {
    let dag = DagRunner::new();
    let mut nodes: Vec<TaskHandle<u8>> = Vec::with_capacity(graph.len());
    for stage in graph.stages() {
        let body = stage_fn(work.clone(), stage);
        let node = match graph.dependencies(stage) {
            [] => dag.add_task(Root(body)).into(),
            [a] => dag.add_task(After1(body)).depends_on(nodes[*a as usize]),
            [a, b, c] => {
                let before = (&nodes[*a as usize], &nodes[*b as usize], &nodes[*c as usize]);
                dag.add_task(After3(body)).depends_on(before)
            }
            _ => unreachable!("the graphs of the bench have 0, 1 or 3 inputs per stage, or a sink"),
        };
        nodes.push(node);
    }
    dag
}

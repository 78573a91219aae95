//! async_dag 0.1: one task, `select_all` over the running stages.
//!
//! Its graph cannot leave its thread, so runs are awaited on the thread of `block_on`. A task takes at most a dozen
//! inputs, so fan-outs have no sink.

use async_dag::Graph as Dag;
use stageflow_benches::{
    graph::{Graph, Shape},
    stopwatch::Local,
    work::Work,
};

use crate::rows::Prepared;

pub(crate) fn prepare<W: Work>(shape: Shape, work: &W) -> Result<Prepared, &'static str> {
    let graph = match shape {
        Shape::FanOut(_) => shape.graph().without_sink(),
        _ => shape.graph(),
    };
    let stages = graph.len() * shape.runs();
    let work = work.clone();
    let case = Local::new(shape.runs(), move || {
        let mut dag = build(&graph, &work);
        async move {
            dag.run().await;
            dag
        }
    });
    Ok(Prepared { case: Box::new(case), stages })
}

fn build<W: Work>(graph: &Graph, work: &W) -> Dag<'static> {
    let mut dag = Dag::new();
    let mut nodes = Vec::with_capacity(graph.len());
    for stage in graph.stages() {
        let work = work.clone();
        let before = graph.dependencies(stage);
        let parent = |index: usize| nodes[before[index] as usize];
        let node = match before.len() {
            0 => dag.add_task(move || work.call(stage)),
            1 => dag.add_child_task(parent(0), move |(): ()| work.call(stage), 0).expect("the types match"),
            3 => dag
                .add_child_task(parent(0), move |(): (), (): (), (): ()| work.call(stage), 0)
                .expect("the types match"),
            _ => unreachable!("the graphs of the bench have 0, 1 or 3 inputs per stage, or a sink"),
        };
        for (index, parent) in (0..).zip(before).skip(1) {
            dag.update_dependency(nodes[*parent as usize], node, index).expect("there is no circle");
        }
        nodes.push(node);
    }
    dag
}

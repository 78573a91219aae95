//! dagrs 0.9: every node is a task from the start, with a channel per edge.
//!
//! A node that does not receive does not wait, so each receives from all before it, works, and sends to all after it.

use std::sync::Arc;

use async_trait::async_trait;
use dagrs::{
    Action, Content, DefaultNode, EnvVar, Graph as Dag, InChannels, Node, NodeId, NodeTable, OutChannels,
    Output,
};
use stageflow_benches::{
    graph::{Graph, Shape},
    stopwatch::Spawned,
    work::Work,
};

use crate::rows::Prepared;

struct Act<W> {
    work: W,
    stage: u32,
}

#[async_trait]
impl<W: Work> Action for Act<W> {
    async fn run(&self, before: &mut InChannels, after: &mut OutChannels, _: Arc<EnvVar>) -> Output {
        before.map(|content| content.expect("what comes before sends")).await;
        self.work.call(self.stage).await;
        after.broadcast(Content::new(())).await;
        Output::empty()
    }
}

pub(crate) fn prepare<W: Work>(shape: Shape, work: &W) -> Result<Prepared, &'static str> {
    let graph = shape.graph();
    let stages = graph.len() * shape.runs();
    let work = work.clone();
    let case = Spawned::new(shape.runs(), move || {
        let mut dag = build(&graph, &work);
        async move {
            dag.async_start().await.expect("the run completes");
            dag
        }
    });
    Ok(Prepared { case: Box::new(case), stages })
}

fn build<W: Work>(graph: &Graph, work: &W) -> Dag {
    let mut table = NodeTable::default();
    let mut dag = Dag::new();
    let mut nodes: Vec<NodeId> = Vec::with_capacity(graph.len());
    for stage in graph.stages() {
        let action = Act { work: work.clone(), stage };
        let node = DefaultNode::with_action(format!("s{stage}"), action, &mut table);
        nodes.push(node.id());
        dag.add_node(node).expect("the names differ");
    }
    for stage in graph.stages() {
        let after: Vec<NodeId> = graph.successors(stage).iter().map(|next| nodes[*next as usize]).collect();
        if !after.is_empty() {
            dag.add_edge(nodes[stage as usize], after).expect("the nodes exist");
        }
    }
    dag.set_env(EnvVar::new(table));
    dag
}

//! What is drawn: nodes in layers, and edges that go from one layer to the next.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use stageflow_core::StageKind;

use crate::{
    plan::{INPUT, Plan},
    render::output_type,
    view::{InputMark, StageView},
};

/// An edge that passes other stages bends around them, as long as there are fewer bends than this for each node.
const BENDS: usize = 8;

pub(super) struct Graph {
    pub(super) nodes: Vec<Node>,
    pub(super) links: Vec<Link>,
    /// The ways that edges share past other nodes, by how they are drawn.
    trunks: BTreeMap<u8, Vec<(usize, usize)>>,
    /// Nodes by layer, in the order of declaration.
    pub(super) layers: Vec<Vec<usize>>,
    /// Types, and how many stages.
    pub(super) about: String,
}

pub(super) struct Node {
    pub(super) what: What,
    pub(super) name: String,
    pub(super) detail: String,
    pub(super) layer: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Input,
    Stage {
        kind: StageKind,
        /// It is a pipeline.
        is_pipeline: bool,
    },
    Output,
    /// Where an edge passes a layer.
    Bend,
}

/// An edge as the plan has it.
pub(super) struct Link {
    pub(super) index: usize,
    pub(super) source: usize,
    pub(super) target: usize,
    pub(super) mark: InputMark,
    /// Where its last piece begins: its source, or the last of its bends.
    pub(super) last: usize,
}

/// Marks that are drawn alike have one number; the later are drawn above the earlier.
const ORDER: [InputMark; 5] =
    [InputMark::After, InputMark::Required, InputMark::Optional, InputMark::Or, InputMark::When];

fn rank(mark: InputMark) -> u8 {
    match mark {
        InputMark::After => 0,
        InputMark::Required | InputMark::Owned | InputMark::Named => 1,
        InputMark::Optional | InputMark::NamedOptional => 2,
        InputMark::Or => 3,
        InputMark::When => 4,
    }
}

impl Link {
    pub(super) fn is_drawn_as(&self, mark: InputMark) -> bool {
        rank(self.mark) == rank(mark)
    }
}

impl Graph {
    pub(super) fn of(plan: &Plan) -> Self {
        let count = plan.len();
        let plural = if count == 1 { "" } else { "s" };
        let (input, output) = (plan.input().short_name(), output_type(plan));
        let about = format!("{input} → {output}, {count} stage{plural}");
        let mut nodes: Vec<Node> =
            (0..).zip(StageView::all(plan)).map(|(index, stage)| stage_node(plan, index, stage)).collect();
        let (output_node, input_node) = (count, count + 1);
        nodes.push(Node { what: What::Output, name: "output".to_owned(), detail: output, layer: 0 });
        let place = |source: u32| if source == INPUT { input_node } else { source as usize };
        let mut links = Vec::new();
        let mut link = |source, target, mark| {
            links.push(Link { index: links.len(), source, target, mark, last: source });
        };
        let mut is_input_read = plan.output() == INPUT;
        for stage in 0..u32::try_from(count).unwrap_or(u32::MAX) {
            let mut known = BTreeSet::new();
            for edge in plan.edges(stage).iter().filter(|edge| !edge.kind.is_header()) {
                let (source, mark) = (place(edge.source), InputMark::of(edge.kind));
                is_input_read |= source == input_node;
                if known.insert((source, rank(mark))) {
                    link(source, stage as usize, mark);
                }
            }
        }
        link(place(plan.output()), output_node, InputMark::Required);
        if is_input_read {
            nodes.push(Node { what: What::Input, name: "input".to_owned(), detail: input, layer: 0 });
        }
        layer(&mut nodes, &links);
        let mut graph = Self { nodes, links, trunks: BTreeMap::new(), layers: Vec::new(), about };
        graph.bend();
        let layers = graph.nodes.iter().map(|node| node.layer + 1).max().unwrap_or(0);
        graph.layers = vec![Vec::new(); layers];
        for (index, node) in graph.nodes.iter().enumerate() {
            graph.layers[node.layer].push(index);
        }
        graph
    }

    /// Leads long edges past the nodes between their ends. Those of one source that are drawn alike share their way.
    fn bend(&mut self) {
        let mut budget = BENDS * self.nodes.len();
        let mut ways: HashMap<(usize, u8), Vec<usize>> = HashMap::new();
        let mut long: Vec<usize> = (0..self.links.len()).collect();
        let span = |link: &Link| self.nodes[link.target].layer - self.nodes[link.source].layer;
        // The short first: if there are too many bends, it is the longest that go straight.
        long.sort_by_key(|link| span(&self.links[*link]));
        for index in long {
            let Link { source, target, mark, .. } = self.links[index];
            let (first, end) = (self.nodes[source].layer, self.nodes[target].layer);
            let way = ways.entry((source, rank(mark))).or_default();
            let needed = (end - first).saturating_sub(1);
            let more = needed.saturating_sub(way.len());
            if more > budget {
                continue;
            }
            budget -= more;
            while way.len() < needed {
                let bend = self.nodes.len();
                let before = way.last().copied().unwrap_or(source);
                self.nodes.push(Node {
                    what: What::Bend,
                    name: String::new(),
                    detail: String::new(),
                    layer: first + way.len() + 1,
                });
                self.trunks.entry(rank(mark)).or_default().push((before, bend));
                way.push(bend);
            }
            if let Some(last) = needed.checked_sub(1) {
                self.links[index].last = way[last];
            }
        }
    }

    /// The edges from one layer to the next. A link that goes straight past others is not one.
    pub(super) fn pieces(&self) -> impl Iterator<Item = (usize, usize)> {
        let last = self.links.iter().map(|link| (link.last, link.target));
        let near = last.filter(|(from, to)| self.nodes[*from].layer + 1 == self.nodes[*to].layer);
        near.chain(self.trunks.values().flatten().copied())
    }

    pub(super) fn trunks(&self, mark: InputMark) -> &[(usize, usize)] {
        self.trunks.get(&rank(mark)).map_or(&[], Vec::as_slice)
    }

    /// What edges there are, one mark for those that are drawn alike.
    pub(super) fn marks(&self) -> impl Iterator<Item = InputMark> {
        let used: BTreeSet<_> = self.links.iter().map(|link| rank(link.mark)).collect();
        ORDER.into_iter().filter(move |mark| used.contains(&rank(*mark)))
    }

    pub(super) fn meaning(&self, link: &Link) -> String {
        let [source, target] = [link.source, link.target].map(|node| &self.nodes[node].name);
        let mark = match link.mark {
            InputMark::Required | InputMark::Named => "",
            InputMark::Owned => " (own)",
            InputMark::Optional | InputMark::NamedOptional => " (optional)",
            InputMark::Or => " (or)",
            InputMark::After => " (after)",
            InputMark::When => " (when)",
        };
        format!("{source} → {target}{mark}")
    }
}

fn stage_node(plan: &Plan, index: u32, stage: StageView<'_>) -> Node {
    let inner = plan.stage(index).child_plan().and_then(|plan| Arc::downcast::<Plan>(plan).ok());
    let kind = stage.kind();
    let detail = match &inner {
        Some(inner) => format!("{kind}, a pipeline of {}", inner.len()),
        None => kind.to_string(),
    };
    let what = What::Stage { kind, is_pipeline: inner.is_some() };
    Node { what, name: stage.name().to_owned(), detail, layer: 0 }
}

/// Puts each node right of all that it waits for: the longest path. What waits for nothing stands next to the first that
/// reads it.
fn layer(nodes: &mut [Node], links: &[Link]) {
    let mut readers = vec![Vec::new(); nodes.len()];
    let mut waits = vec![0_usize; nodes.len()];
    for link in links {
        readers[link.source].push(link.target);
        waits[link.target] += 1;
    }
    let roots: Vec<usize> = (0..nodes.len()).filter(|node| waits[*node] == 0).collect();
    let mut open = roots.clone();
    while let Some(node) = open.pop() {
        let next = nodes[node].layer + 1;
        for reader in &readers[node] {
            nodes[*reader].layer = nodes[*reader].layer.max(next);
            waits[*reader] -= 1;
            if waits[*reader] == 0 {
                open.push(*reader);
            }
        }
    }
    for root in roots {
        let first = readers[root].iter().map(|reader| nodes[*reader].layer).min();
        nodes[root].layer = first.map_or(0, |first| first - 1);
    }
}

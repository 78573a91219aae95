//! Where everything stands, in whole pixels.

use super::{
    graph::{Graph, Link, What},
    order::Ordered,
    shape,
};

pub(super) const MARGIN: i64 = 24;
/// From the top to the first node: the title is there.
const HEAD: i64 = MARGIN + 44;
const NODE_HEIGHT: i64 = 46;
const BEND_HEIGHT: i64 = 4;
/// Between two nodes of a layer, and between a bend and whatever is beside it.
const GAP: i64 = 18;
const BEND_GAP: i64 = 12;
/// Between layers: the steeper the edges, the more.
const NEAR: i64 = 64;
const FAR: i64 = 180;
/// Up to this width the stages of a layer are as wide as the widest.
const EVEN: i64 = 150;
const SWEEPS: usize = 8;

/// Where a node is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Box {
    pub(crate) left: i64,
    pub(crate) top: i64,
    pub(crate) width: i64,
    pub(crate) height: i64,
}

impl Box {
    pub(crate) fn right(self) -> i64 {
        self.left + self.width
    }

    pub(crate) fn middle(self) -> i64 {
        self.top + self.height / 2
    }

    pub(crate) fn bottom(self) -> i64 {
        self.top + self.height
    }
}

pub(super) struct Places {
    pub(super) boxes: Vec<Box>,
    /// Of each link, where it ends.
    entries: Vec<(i64, i64)>,
    /// Of each node, the right of its layer: left of it a curve could lead over its neighbours.
    pub(super) exits: Vec<i64>,
    right: i64,
    bottom: i64,
}

/// The whole picture, and where the legend begins.
#[derive(Clone, Copy)]
pub(super) struct Frame {
    pub(super) width: i64,
    pub(super) height: i64,
    pub(super) legend: i64,
}

impl Places {
    pub(super) fn entry(&self, link: &Link) -> (i64, i64) {
        self.entries[link.index]
    }

    pub(super) fn frame(&self, least: i64, legend: i64) -> Frame {
        let below = self.bottom + MARGIN;
        Frame {
            width: (self.right + MARGIN).max(least + 2 * MARGIN),
            height: below + legend + MARGIN,
            legend: below,
        }
    }
}

pub(super) fn place(graph: &Graph, ordered: &Ordered) -> Places {
    let mut middles = rows(graph, ordered);
    let height = |node: usize| height(graph.nodes[node].what);
    let top =
        ordered.layers.iter().flatten().map(|node| middles[*node] - height(*node) / 2).min().unwrap_or(0);
    middles.iter_mut().for_each(|middle| *middle += HEAD - top);
    let mut boxes = vec![Box::default(); graph.nodes.len()];
    let mut exits = vec![0; graph.nodes.len()];
    let mut left = MARGIN;
    for (layer, nodes) in ordered.layers.iter().enumerate() {
        let width = nodes.iter().map(|node| shape::width(&graph.nodes[*node])).max().unwrap_or(0);
        for node in nodes {
            let own = shape::width(&graph.nodes[*node]);
            let own = match graph.nodes[*node].what {
                What::Input | What::Output => own,
                What::Stage { .. } => own.max(width.min(EVEN)),
                What::Bend => width,
            };
            exits[*node] = left + width;
            let height = height(*node);
            boxes[*node] = Box { left, top: middles[*node] - height / 2, width: own, height };
        }
        let steepest = nodes.iter().flat_map(|node| {
            let from = middles[*node];
            ordered.behind[*node].iter().map(|to| (middles[*to] - from).abs()).collect::<Vec<_>>()
        });
        let is_last = layer + 1 == ordered.layers.len();
        let gap = (steepest.max().unwrap_or(0) / 4).clamp(NEAR, FAR);
        left += width + if is_last { 0 } else { gap };
    }
    let entries = entries(graph, &boxes);
    let bottom = boxes.iter().map(|place| place.bottom()).max().unwrap_or(0);
    Places { entries, exits, right: left + shape::STACK, bottom: bottom + shape::STACK, boxes }
}

fn height(what: What) -> i64 {
    if what == What::Bend { BEND_HEIGHT } else { NODE_HEIGHT }
}

/// The middles of all nodes: near those that they are connected to, and never on each other.
fn rows(graph: &Graph, ordered: &Ordered) -> Vec<i64> {
    let mut middles = vec![0; graph.nodes.len()];
    for layer in &ordered.layers {
        let mut at = 0;
        for (place, node) in layer.iter().enumerate() {
            at += if place == 0 { 0 } else { distance(graph, layer[place - 1], *node) };
            middles[*node] = at;
        }
    }
    for sweep in 0..SWEEPS {
        let sides: &[&[Vec<usize>]] = match sweep {
            _ if sweep + 2 >= SWEEPS => &[&ordered.before, &ordered.behind],
            _ if sweep % 2 == 0 => &[&ordered.before],
            _ => &[&ordered.behind],
        };
        let mut settle = |layer: &Vec<usize>| settle(graph, layer, sides, &mut middles);
        if sweep % 2 == 0 {
            ordered.layers.iter().for_each(&mut settle);
        } else {
            ordered.layers.iter().rev().for_each(&mut settle);
        }
    }
    middles
}

/// How far apart the middles of two neighbours are at least.
fn distance(graph: &Graph, above: usize, below: usize) -> i64 {
    let [above, below] = [above, below].map(|node| graph.nodes[node].what);
    let gap = if above == What::Bend || below == What::Bend { BEND_GAP } else { GAP };
    (height(above) + height(below)) / 2 + gap
}

/// How much a straight edge is worth: long ones should be straight.
fn weight(graph: &Graph, one: usize, other: usize) -> f64 {
    let bends = [one, other].into_iter().filter(|node| graph.nodes[*node].what == What::Bend).count();
    [1.0, 2.0, 8.0][bends]
}

/// Moves the nodes of a layer as near as possible to what they are connected to: the least sum of squares that keeps order and
/// distances, by pooling adjacent violators (Barlow and others: *Statistical Inference under Order Restrictions*, 1972).
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "pixels stay far below 2^52"
)]
fn settle(graph: &Graph, layer: &[usize], sides: &[&[Vec<usize>]], middles: &mut [i64]) {
    struct Block {
        sum: f64,
        weight: f64,
        count: usize,
    }
    let mut offsets = Vec::with_capacity(layer.len());
    let mut blocks: Vec<Block> = Vec::with_capacity(layer.len());
    let mut offset = 0;
    for (place, node) in layer.iter().enumerate() {
        offset += if place == 0 { 0 } else { distance(graph, layer[place - 1], *node) };
        offsets.push(offset);
        let (mut sum, mut whole) = (0.0, 0.0);
        for other in sides.iter().flat_map(|side| &side[*node]) {
            let weight = weight(graph, *node, *other);
            sum += weight * middles[*other] as f64;
            whole += weight;
        }
        if whole == 0.0 {
            (sum, whole) = (0.1 * middles[*node] as f64, 0.1);
        }
        let mut block = Block { sum: sum - whole * offset as f64, weight: whole, count: 1 };
        while let Some(last) = blocks.pop_if(|last| last.sum / last.weight >= block.sum / block.weight) {
            block.sum += last.sum;
            block.weight += last.weight;
            block.count += last.count;
        }
        blocks.push(block);
    }
    let bases = blocks.iter().flat_map(|block| {
        // Rounded before the offsets are added, so that distances stay whole.
        std::iter::repeat_n((block.sum / block.weight).round() as i64, block.count)
    });
    for ((node, offset), base) in layer.iter().zip(offsets).zip(bases) {
        middles[*node] = base + offset;
    }
}

/// Where links end: side by side on the left of their targets, in the order in which they come.
fn entries(graph: &Graph, boxes: &[Box]) -> Vec<(i64, i64)> {
    let mut into = vec![Vec::new(); graph.nodes.len()];
    for link in &graph.links {
        into[link.target].push(link);
    }
    let mut entries = vec![(0, 0); graph.links.len()];
    for mut links in into {
        links.sort_by_key(|link| (boxes[link.last].middle(), link.index));
        let gaps = i64::try_from(links.len()).unwrap_or(i64::MAX).saturating_sub(1);
        let spread = (NODE_HEIGHT - 18).min(gaps.saturating_mul(9));
        for (place, link) in (0..).zip(links) {
            let target = boxes[link.target];
            let from_middle = if gaps == 0 { 0 } else { spread * place / gaps - spread / 2 };
            let inset = shape::inset(graph.nodes[link.target].what, from_middle, target.height);
            entries[link.index] = (target.left + inset, target.middle() + from_middle);
        }
    }
    entries
}

//! Circles of stages that wait for each other. Only edges by name can make one.
//!
//! Tarjan's strongly connected components (*Depth-first search and linear graph algorithms*, 1972), with a stack of
//! its own in place of recursion: linear in stages and edges.

use std::collections::HashMap;

use crate::plan::{Csr, Edge, INPUT};

const NEW: u32 = u32::MAX;

/// One circle of each knot of circles, in the direction of the data, from its first declared stage on.
pub(crate) fn find(edges: &Csr<Edge>) -> Vec<Vec<u32>> {
    let knots = Knots::of(edges);
    let mut circles: Vec<_> = knots.iter().map(|knot| circle(edges, knot)).collect();
    circles.sort_unstable();
    circles
}

/// Walks backwards inside a knot until a stage comes again.
fn circle(edges: &Csr<Edge>, knot: &[u32]) -> Vec<u32> {
    // `None` for a stage that is not on the walk yet.
    let mut places: HashMap<u32, Option<usize>> = knot.iter().map(|stage| (*stage, None)).collect();
    let mut walk = Vec::new();
    let mut at = knot.iter().copied().min();
    let mut start = 0;
    while let Some(stage) = at {
        if let Some(Some(first)) = places.insert(stage, Some(walk.len())) {
            start = first;
            break;
        }
        walk.push(stage);
        let mut sources = edges.row(stage).iter().map(|edge| edge.source);
        at = sources.find(|source| *source != stage && places.contains_key(source));
    }
    let mut circle = walk.split_off(start);
    circle.reverse();
    let first = (0..circle.len()).min_by_key(|place| circle[*place]).unwrap_or(0);
    circle.rotate_left(first);
    circle
}

/// The components of more than one stage.
struct Knots<'e> {
    edges: &'e Csr<Edge>,
    /// The order in which stages were met, or [`NEW`].
    met: Vec<u32>,
    /// The earliest stage of the open ones that can be reached.
    lowest: Vec<u32>,
    is_open: Vec<bool>,
    open: Vec<u32>,
    /// The stages on the way, each with the number of its edges that were followed.
    way: Vec<(u32, usize)>,
    count: u32,
}

impl<'e> Knots<'e> {
    fn of(edges: &'e Csr<Edge>) -> Vec<Vec<u32>> {
        let stages = edges.starts.len() - 1;
        let mut knots = Self {
            edges,
            met: vec![NEW; stages],
            lowest: vec![NEW; stages],
            is_open: vec![false; stages],
            open: Vec::new(),
            way: Vec::new(),
            count: 0,
        };
        let mut found = Vec::new();
        for stage in (0..).take(stages) {
            if knots.met[stage as usize] == NEW {
                knots.enter(stage);
                while let Some(knot) = knots.advance() {
                    found.extend((knot.len() > 1).then_some(knot));
                }
            }
        }
        found
    }

    fn enter(&mut self, stage: u32) {
        self.met[stage as usize] = self.count;
        self.lowest[stage as usize] = self.count;
        self.is_open[stage as usize] = true;
        self.count += 1;
        self.open.push(stage);
        self.way.push((stage, 0));
    }

    /// Goes on until a component is complete; `None` at the end of the way.
    fn advance(&mut self) -> Option<Vec<u32>> {
        loop {
            let (stage, followed) = self.way.last_mut()?;
            let (here, at) = (*stage, *stage as usize);
            if let Some(edge) = self.edges.row(here).get(*followed) {
                *followed += 1;
                self.follow(at, edge.source);
                continue;
            }
            self.way.pop();
            if let Some((parent, _)) = self.way.last() {
                let parent = *parent as usize;
                self.lowest[parent] = self.lowest[parent].min(self.lowest[at]);
            }
            if self.lowest[at] == self.met[at] {
                let start = self.open.iter().rposition(|open| *open == here)?;
                let knot = self.open.split_off(start);
                knot.iter().for_each(|stage| self.is_open[*stage as usize] = false);
                return Some(knot);
            }
        }
    }

    fn follow(&mut self, at: usize, source: u32) {
        if source == INPUT {
            return;
        }
        let to = source as usize;
        if self.met[to] == NEW {
            self.enter(source);
        } else if self.is_open[to] {
            self.lowest[at] = self.lowest[at].min(self.met[to]);
        }
    }
}

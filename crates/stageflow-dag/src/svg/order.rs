//! The order of the nodes of each layer: few edges cross.

use super::graph::Graph;

/// How often it goes through the layers and back.
const ROUNDS: usize = 12;

/// The layers in a better order, and who is beside whom.
pub(super) struct Ordered {
    pub(super) layers: Vec<Vec<usize>>,
    /// Of each node, those that it is connected to in the layer before and in the one behind.
    pub(super) before: Vec<Vec<usize>>,
    pub(super) behind: Vec<Vec<usize>>,
}

/// Sorts by barycentres, from left to right and back, and takes the best order that it has seen.
pub(super) fn order(graph: &Graph) -> Ordered {
    let count = graph.nodes.len();
    let (mut before, mut behind) = (vec![Vec::new(); count], vec![Vec::new(); count]);
    for (from, to) in graph.pieces() {
        behind[from].push(to);
        before[to].push(from);
    }
    let mut now = Ordered { layers: graph.layers.clone(), before, behind };
    let mut position = vec![0; count];
    now.layers.iter().for_each(|layer| number(layer, &mut position));
    let mut best = (now.crossings(&position), now.layers.clone());
    for round in 0..ROUNDS {
        if best.0 == 0 && round > 0 {
            break;
        }
        let Ordered { layers, before, behind } = &mut now;
        for layer in layers.iter_mut().skip(1) {
            sort(layer, before, &mut position);
        }
        for layer in layers.iter_mut().rev().skip(1) {
            sort(layer, behind, &mut position);
        }
        let crossings = now.crossings(&position);
        if crossings < best.0 {
            best = (crossings, now.layers.clone());
        }
    }
    now.layers = best.1;
    now
}

fn number(layer: &[usize], position: &mut [usize]) {
    for (place, node) in layer.iter().enumerate() {
        position[*node] = place;
    }
}

#[expect(clippy::cast_precision_loss, reason = "positions stay far below 2^52")]
fn sort(layer: &mut [usize], beside: &[Vec<usize>], position: &mut [usize]) {
    let centre = |node: usize| match &beside[node][..] {
        [] => position[node] as f64,
        all => all.iter().map(|other| position[*other] as f64).sum::<f64>() / all.len() as f64,
    };
    let centres: Vec<f64> = layer.iter().map(|node| centre(*node)).collect();
    let mut order: Vec<usize> = (0..layer.len()).collect();
    order.sort_by(|a, b| centres[*a].total_cmp(&centres[*b]));
    let sorted: Vec<usize> = order.into_iter().map(|place| layer[place]).collect();
    layer.copy_from_slice(&sorted);
    number(layer, position);
}

impl Ordered {
    /// How many pairs of edges cross (Barth, Jünger and Mutzel: *Simple and Efficient Bilayer Cross Counting*, 2002).
    fn crossings(&self, position: &[usize]) -> u64 {
        let layers = self.layers.iter();
        let pairs = layers.zip(self.layers.iter().skip(1));
        pairs.map(|(layer, next)| self.between(layer, next.len(), position)).sum()
    }

    fn between(&self, layer: &[usize], width: usize, position: &[usize]) -> u64 {
        // How many of the ends so far are at or below a position, as a tree of sums (Fenwick).
        let mut sums = vec![0_u64; width + 1];
        let (mut ends, mut crossings) = (0_u64, 0);
        for node in layer {
            let mut targets: Vec<usize> = self.behind[*node].iter().map(|target| position[*target]).collect();
            targets.sort_unstable();
            for target in &targets {
                let (mut at, mut below) = (target + 1, 0);
                while at > 0 {
                    below += sums[at];
                    at &= at - 1;
                }
                crossings += ends - below;
            }
            for target in targets {
                ends += 1;
                let mut at = target + 1;
                while at <= width {
                    sums[at] += 1;
                    at += at & at.wrapping_neg();
                }
            }
        }
        crossings
    }
}

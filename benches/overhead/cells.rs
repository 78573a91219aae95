//! Which row runs which shape with which body.

use stageflow_benches::{graph::Shape, work::Body};

use crate::rows::Row;

pub(crate) const LATENCY: Shape = Shape::Chain(10);
pub(crate) const CHAINS: &[Shape] = &[Shape::Chain(100), Shape::Chain(1000), Shape::Chain(100_000)];
pub(crate) const FAN_OUTS: &[Shape] = &[
    Shape::FanOut(50),
    Shape::FanOut(500),
    Shape::FanOut(10_000),
    Shape::FanOut(100_000),
    Shape::FanOut(1_000_000),
];
/// The fan-outs that goals are about.
pub(crate) const WIDE: &[Shape] =
    &[Shape::FanOut(500), Shape::FanOut(10_000), Shape::FanOut(100_000), Shape::FanOut(1_000_000)];
pub(crate) const LAYERED: Shape = Shape::Layered { layers: 100, width: 100, degree: 3 };
pub(crate) const CONCURRENT: Shape = Shape::Runs { runs: 100, stages: 10 };

/// Every shape on which goals compare us with others. On [`LATENCY`] they are measured as well: there it is a run that costs, not
/// its stages.
pub(crate) const SHAPES: &[Shape] = &[
    CHAINS[0],
    CHAINS[1],
    CHAINS[2],
    FAN_OUTS[0],
    FAN_OUTS[1],
    FAN_OUTS[2],
    FAN_OUTS[3],
    FAN_OUTS[4],
    LAYERED,
    CONCURRENT,
];

/// Shapes of stages that wake themselves.
pub(crate) const YIELDING: &[Shape] = &[CHAINS[1], FAN_OUTS[1], FAN_OUTS[2], FAN_OUTS[3], LAYERED];
/// Shapes of stages that wait for a timer.
pub(crate) const SLEEPING: &[Shape] = &[CHAINS[0], FAN_OUTS[1], FAN_OUTS[2], FAN_OUTS[3], LAYERED];
/// The shape of stages that compute.
pub(crate) const COMPUTING: Shape = FAN_OUTS[1];

pub(crate) const PEERS: &[Row] = &[Row::AsyncDag, Row::Dagx, Row::Dagrs, Row::GraphFlow];
const NOOP_ROWS: &[Row] =
    &[Row::Ours, Row::Observed, Row::Unheard, Row::Values, Row::JoinSet, Row::Atomic, Row::Unordered];
const WAITING_ROWS: &[Row] = &[Row::Ours, Row::Observed, Row::JoinSet, Row::Atomic, Row::Unordered];
const COMPUTING_ROWS: &[Row] = &[Row::Ours, Row::OneWorker, Row::JoinSet, Row::Atomic];

/// One figure of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) row: Row,
    pub(crate) shape: Shape,
    pub(crate) body: Body,
}

impl Key {
    pub(crate) fn matches(&self, filters: &[String]) -> bool {
        let names = [self.row.to_string(), self.shape.to_string(), self.body.to_string()];
        filters.iter().all(|word| names.iter().any(|name| name.contains(word)))
    }

    /// Why it is not measured although the row could run it.
    pub(crate) fn left_out(&self) -> Option<&'static str> {
        match (self.row, self.shape, self.body) {
            (Row::Dagrs, Shape::FanOut(100_000..), _) => {
                Some("quadratic: 276 µs per stage, half a minute per run, at 100,000")
            }
            (Row::Unordered, Shape::FanOut(100_000..), Body::Sleep) => {
                Some("quadratic beyond tokio's coop budget: 25 µs per stage at 100,000")
            }
            _ => None,
        }
    }
}

/// Every figure, in the order of the table.
pub(crate) fn all() -> Vec<Key> {
    let mut keys = Vec::new();
    let mut add = |body, shapes: &[Shape], rows: &[Row]| {
        for shape in shapes {
            keys.extend(rows.iter().map(|row| Key { row: *row, shape: *shape, body }));
        }
    };
    let with_peers: Vec<Row> = [NOOP_ROWS, PEERS].concat();
    let with_floor: Vec<Row> = [&with_peers, &[Row::Awaited][..]].concat();
    add(Body::Noop, &[LATENCY], &with_floor);
    add(Body::Noop, SHAPES, &with_peers);
    add(Body::Yield, YIELDING, WAITING_ROWS);
    add(Body::Sleep, SLEEPING, WAITING_ROWS);
    add(Body::Cpu, &[COMPUTING], COMPUTING_ROWS);
    keys
}

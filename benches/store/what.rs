//! What is measured.

use std::fmt;

use stageflow_benches::graph::Shape;

use crate::{attached::Row, bare::Way, stores::Kind};

/// How many runs, or committers, there are at the same time.
pub(crate) const RUNS: &[u32] = &[1, 8, 64];
/// How many durable stages there are in a run that is wide.
pub(crate) const WIDE: &[u32] = &[1_000, 10_000];
/// The runs of which no stage is durable.
pub(crate) const ATTACHED: &[Shape] = &[Shape::Chain(10), Shape::Chain(10_000), Shape::FanOut(10_000)];
/// The runs that are resumed.
pub(crate) const RESUMED: &[Shape] = &[Shape::Chain(10_000), Shape::FanOut(10_000)];

/// One thing that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// A durable stage, of so many runs at the same time.
    Durable(Kind, u32),
    /// A commit by hand, of so many committers at the same time.
    Bare(Kind, Way, u32),
    /// A durable stage of one run, in which so many may be called at the same time.
    Wide(Kind, u32),
    /// A stage that is not durable.
    Attached(Row, Shape),
    /// The rest of a run whose stages have ended, but for one.
    Resume(Kind, Shape),
    /// An answer that is given, and kept.
    Kept(Kind),
    /// An answer that was kept, and is given again.
    Replayed(Kind),
}

impl What {
    /// Everything, in groups: what is compared is in the same one.
    pub(crate) fn groups() -> Vec<Vec<Self>> {
        let mut groups = Vec::new();
        for kind in Kind::ALL.iter().copied() {
            for runs in RUNS.iter().copied() {
                let mut group = vec![Self::Durable(kind, runs)];
                if kind != Kind::Memory {
                    group.extend(Way::ALL.iter().map(|way| Self::Bare(kind, *way, runs)));
                }
                groups.push(group);
            }
            groups.push(WIDE.iter().map(|stages| Self::Wide(kind, *stages)).collect());
            groups.push(RESUMED.iter().map(|shape| Self::Resume(kind, *shape)).collect());
            groups.push(vec![Self::Kept(kind), Self::Replayed(kind)]);
        }
        for shape in ATTACHED {
            groups.push(Row::ALL.iter().map(|row| Self::Attached(*row, *shape)).collect());
        }
        groups
    }

    /// How often it is measured in each round: what waits for a disk is disturbed by whoever else writes.
    pub(crate) fn repetitions(self) -> usize {
        match self {
            Self::Durable(..) | Self::Bare(..) => 3,
            _ => 1,
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Durable(kind, runs) => write!(f, "durable stages, {}, {runs} runs", kind.name()),
            Self::Bare(kind, way, runs) => write!(f, "bare, {}, {}, {runs}", kind.name(), way.name()),
            Self::Wide(kind, stages) => write!(f, "one run of {stages} durable stages, {}", kind.name()),
            Self::Attached(row, shape) => write!(f, "attached, {}, {shape}", row.name()),
            Self::Resume(kind, shape) => write!(f, "resume, {}, {shape}", kind.name()),
            Self::Kept(kind) => write!(f, "answers kept, {}", kind.name()),
            Self::Replayed(kind) => write!(f, "answers replayed, {}", kind.name()),
        }
    }
}

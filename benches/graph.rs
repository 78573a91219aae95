//! The graphs that all rows run, as plain numbers: stages in topological order and what each depends on.

use std::fmt;

use stageflow::{Randomness as _, SeededRandom};

/// One of the graphs, and how many runs of it go on at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// Each stage waits for the one before.
    Chain(u32),
    /// A source, so many stages that wait for it, and a sink that waits for all of them.
    FanOut(u32),
    /// Layers of `width` stages; each stage waits for `degree` different ones of the layer before, drawn from a fixed seed.
    Layered {
        /// Number of layers.
        layers: u32,
        /// Stages in each.
        width: u32,
        /// What each stage waits for.
        degree: u32,
    },
    /// So many runs, at the same time, of one chain.
    Runs {
        /// How many runs.
        runs: u32,
        /// The length of the chain.
        stages: u32,
    },
}

impl Shape {
    /// The graph of one run.
    pub fn graph(self) -> Graph {
        match self {
            Self::Chain(stages) | Self::Runs { stages, .. } => chain(stages),
            Self::FanOut(width) => fan_out(width),
            Self::Layered { layers, width, degree } => layered(layers, width, degree),
        }
    }

    /// How many runs go on at the same time.
    pub fn runs(self) -> usize {
        match self {
            Self::Runs { runs, .. } => runs as usize,
            _ => 1,
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Chain(stages) => format!("chain-{}", Short(*stages)),
            Self::FanOut(width) => format!("fanout-{}", Short(*width)),
            Self::Layered { layers, width, degree } => format!("layered-{layers}x{width}x{degree}"),
            Self::Runs { runs, stages } => format!("runs-{runs}x{stages}"),
        };
        f.pad(&text)
    }
}

/// `10000` as `10k`.
struct Short(u32);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            n if n >= 1_000_000 && n % 1_000_000 == 0 => write!(f, "{}m", n / 1_000_000),
            n if n >= 10_000 && n % 1000 == 0 => write!(f, "{}k", n / 1000),
            n => write!(f, "{n}"),
        }
    }
}

/// A graph: for each stage what it waits for and what waits for it, in one list each.
#[derive(Clone, Debug)]
pub struct Graph {
    dependencies: Lists,
    successors: Lists,
}

#[derive(Clone, Debug)]
struct Lists {
    ends: Vec<u32>,
    items: Vec<u32>,
}

impl Lists {
    fn of(&self, stage: u32) -> &[u32] {
        let stage = stage as usize;
        let start = if stage == 0 { 0 } else { self.ends[stage - 1] };
        &self.items[start as usize..self.ends[stage] as usize]
    }

    fn new(lists: &[Vec<u32>]) -> Self {
        let items = lists.concat();
        let mut end = 0;
        let ends = lists.iter().map(|list| {
            end += number(list.len());
            end
        });
        Self { ends: ends.collect(), items }
    }
}

impl Graph {
    fn new(dependencies: &[Vec<u32>]) -> Self {
        let mut successors = vec![Vec::new(); dependencies.len()];
        for (stage, before) in (0..).zip(dependencies) {
            for one in before {
                successors[*one as usize].push(stage);
            }
        }
        Self { dependencies: Lists::new(dependencies), successors: Lists::new(&successors) }
    }

    /// The number of stages.
    #[expect(clippy::len_without_is_empty, reason = "there is no empty graph")]
    pub fn len(&self) -> usize {
        self.dependencies.ends.len()
    }

    /// All stages; each comes after those it waits for.
    pub fn stages(&self) -> std::ops::Range<u32> {
        0..number(self.len())
    }

    /// What a stage waits for.
    pub fn dependencies(&self, stage: u32) -> &[u32] {
        self.dependencies.of(stage)
    }

    /// What waits for a stage.
    pub fn successors(&self, stage: u32) -> &[u32] {
        self.successors.of(stage)
    }

    /// How many stages a stage waits for.
    pub fn in_degree(&self, stage: u32) -> u32 {
        number(self.dependencies(stage).len())
    }

    /// The stages that wait for none.
    pub fn roots(&self) -> impl Iterator<Item = u32> {
        self.stages().filter(|stage| self.in_degree(*stage) == 0)
    }

    /// The graph without its last stage. Peers that allow only a few dependencies run fan-outs like this.
    #[must_use]
    pub fn without_sink(&self) -> Self {
        let kept = self.stages().take(self.len() - 1);
        Self::new(&kept.map(|stage| self.dependencies(stage).to_vec()).collect::<Vec<_>>())
    }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).expect("graphs of a bench have fewer stages and edges than 2^32")
}

fn chain(stages: u32) -> Graph {
    let before = |stage: u32| stage.checked_sub(1).into_iter().collect();
    Graph::new(&(0..stages).map(before).collect::<Vec<_>>())
}

fn fan_out(width: u32) -> Graph {
    let mut dependencies = vec![vec![0]; width as usize + 1];
    dependencies[0].clear();
    dependencies.push((1..=width).collect());
    Graph::new(&dependencies)
}

fn layered(layers: u32, width: u32, degree: u32) -> Graph {
    let mut dice = Dice::new(42);
    let mut dependencies = vec![Vec::new(); width as usize];
    for layer in 1..layers {
        for _ in 0..width {
            let mut before: Vec<u32> = Vec::new();
            while before.len() < degree as usize {
                let one = (layer - 1) * width + dice.below(width);
                if !before.contains(&one) {
                    before.push(one);
                }
            }
            dependencies.push(before);
        }
    }
    Graph::new(&dependencies)
}

/// Numbers that only look random: the same ones in each run.
#[derive(Debug)]
pub struct Dice(SeededRandom);

impl Dice {
    /// Numbers from a seed.
    pub fn new(seed: u64) -> Self {
        Self(SeededRandom::new(seed))
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u32) -> u32 {
        let high = u32::try_from(self.0.next_u64() >> 32).unwrap_or(0);
        high % limit
    }

    /// Brings a list into another order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(number(last + 1)) as usize);
        }
    }
}

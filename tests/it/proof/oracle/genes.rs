//! Random pipelines: bytes that proptest draws and shrinks, read as stages, edges, outcomes, policies and limits.
//!
//! All zeros is the simplest case there is: stages without edges that complete at once.

use proptest::{collection::vec, prelude::*};
use stageflow::{FailurePolicy, Keep, StageKind};

use super::case::{Case, Exit, Limits, Pace, Predicate, Source, StageCase, Wire};

/// What proptest draws.
#[derive(Clone, Debug)]
pub(crate) struct Genes {
    run: [u8; 24],
    stages: Vec<[u8; 26]>,
}

pub(crate) fn genes() -> impl Strategy<Value = Genes> {
    (any::<[u8; 24]>(), vec(any::<[u8; 26]>(), 1..=40)).prop_map(|(run, stages)| Genes { run, stages })
}

/// How much goes wrong in a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    /// Little, so that most stages run.
    Mild,
    /// Much, so that much is skipped and blocked.
    Bad,
    /// As much, and stages end the run.
    Wild,
}

/// Reads bytes one after the other.
struct Reader<'a>(std::slice::Iter<'a, u8>);

impl Reader<'_> {
    fn below(&mut self, bound: usize) -> usize {
        self.0.next().map_or(0, |byte| usize::from(*byte) % bound.max(1))
    }

    fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == chances - 1
    }

    fn small(&mut self, bound: usize) -> u8 {
        u8::try_from(self.below(bound)).unwrap_or(u8::MAX)
    }

    /// The input, or a stage among those that have been declared and have a value: near ones more often.
    fn source(&mut self, readable: &[usize]) -> Source {
        let near = self.below(2) == 1;
        let back = self.below(if near { readable.len().min(4) + 1 } else { readable.len() + 1 });
        if back == 0 { Source::Input } else { Source::Stage(readable[readable.len() - back]) }
    }

    fn sources(&mut self, readable: &[usize], most: usize) -> Vec<Source> {
        let count = 1 + self.below(most);
        (0..count).map(|_| self.source(readable)).collect()
    }

    /// The sides of an `or`: stages, as far as there are some, and now and then the input.
    fn sides(&mut self, readable: &[usize]) -> Vec<Source> {
        let mut sides = self.sources(readable, 3);
        if readable.is_empty() || self.one_in(8) {
            return sides;
        }
        sides.push(self.source(readable));
        sides.retain(|side| *side != Source::Input);
        if sides.is_empty() { vec![Source::Stage(readable[0])] } else { sides }
    }

    fn exit(&mut self, mood: Mood) -> Exit {
        let trouble = self.below(64);
        if mood == Mood::Mild && trouble < 52 {
            return Exit::Completes;
        }
        match trouble {
            0..38 => Exit::Completes,
            38..46 | 52..55 => Exit::Skips,
            46..52 | 55..57 => Exit::Fails,
            57 => Exit::Retries,
            58..60 => Exit::Panics,
            _ if mood != Mood::Wild => Exit::Completes,
            60..62 => Exit::Cancels,
            _ => Exit::Denies,
        }
    }

    fn pace(&mut self) -> Pace {
        match self.below(4) {
            0 | 1 => Pace::AtOnce,
            2 => Pace::Yields(1 + self.small(3)),
            _ => Pace::Sleeps(1 + self.small(5)),
        }
    }
}

impl Genes {
    pub(crate) fn read(&self) -> Case {
        let mut run = Reader(self.run.iter());
        let mood = [Mood::Mild, Mood::Mild, Mood::Mild, Mood::Bad, Mood::Wild][run.below(5)];
        let wide = run.below(8);
        let mut stages: Vec<StageCase> = Vec::new();
        for bytes in &self.stages {
            let stage = read_stage(&mut Reader(bytes.iter()), &stages, mood);
            stages.push(stage);
        }
        if wide > 4 {
            widen(&mut stages, [20, 45, 130][wide - 5], &mut run);
        }
        // The last stage has a value, so that there is one to be the output.
        if let Some(last) = stages.last_mut() {
            last.unit = false;
        }
        let mut forward = Forward::new(&stages[..self.stages.len()]);
        for (index, bytes) in self.stages.iter().enumerate() {
            forward.add(&mut stages, index, &mut Reader(bytes[20..].iter()));
        }
        let readable = readable(&stages);
        let output = readable[readable.len() - 1 - run.below(readable.len().min(5))];
        let limit = |run: &mut Reader<'_>| run.one_in(4).then(|| 1 + u32::from(run.small(4)));
        Case {
            output,
            policy: match run.below(6) {
                0 | 1 => FailurePolicy::Continue,
                2 => FailurePolicy::FailFast,
                3 => FailurePolicy::BestEffort,
                4 => FailurePolicy::TolerateCount(u32::from(run.small(5))),
                _ => FailurePolicy::ToleratePercent(f64::from(run.small(40))),
            },
            keep: if run.below(3) == 2 { Keep::Output } else { Keep::All },
            limits: Limits {
                pipeline: limit(&mut run),
                run: limit(&mut run),
                kind: limit(&mut run).map(|limit| (StageKind::Work, limit)),
                engine: run.one_in(6).then_some(2),
            },
            intercepted: run.one_in(4),
            handle: run.below(2) == 1,
            quiet: run.one_in(4),
            seed: u64::from(run.small(256)),
            stages,
        }
    }
}

fn readable(stages: &[StageCase]) -> Vec<usize> {
    (0..stages.len()).filter(|stage| !stages[*stage].unit).collect()
}

fn read_stage(bytes: &mut Reader<'_>, before: &[StageCase], mood: Mood) -> StageCase {
    let values = readable(before);
    let wires = match bytes.below(14) {
        0 | 1 => vec![],
        2 | 3 => vec![Wire::One(bytes.source(&values))],
        4 => vec![Wire::Owned(bytes.source(&values))],
        5 => vec![Wire::One(bytes.source(&values)), Wire::One(bytes.source(&values))],
        6 => vec![Wire::Many(bytes.sources(&values, 4))],
        7 => vec![Wire::Optional(bytes.source(&values))],
        8 => vec![Wire::Or(bytes.sides(&values))],
        9 => vec![Wire::OrOptional(bytes.sides(&values))],
        10 => vec![Wire::Named(vec![])],
        11 => {
            let (one, optional) = (bytes.source(&values), bytes.source(&values));
            vec![Wire::One(one), Wire::Optional(optional), Wire::Or(bytes.sides(&values))]
        }
        12 => {
            let many = Wire::Many(bytes.sources(&values, 2));
            vec![many, Wire::OrOptional(bytes.sides(&values)), Wire::Named(vec![])]
        }
        _ => {
            let (owned, optional) = (bytes.source(&values), bytes.source(&values));
            vec![Wire::Owned(owned), Wire::Many(bytes.sources(&values, 2)), Wire::Optional(optional)]
        }
    };
    let exit = bytes.exit(mood);
    let pace = bytes.pace();
    let when = match bytes.below(8) {
        0..5 => vec![],
        5 => vec![Predicate::Holds],
        6 => vec![[Predicate::IsEven, Predicate::Fails, Predicate::Panics][bytes.below(3)]],
        _ => vec![Predicate::IsEven, Predicate::Holds],
    };
    StageCase {
        wires,
        when: when.into_iter().map(|predicate| (bytes.source(&values), predicate)).collect(),
        after: if before.is_empty() || !bytes.one_in(5) { vec![] } else { vec![bytes.below(before.len())] },
        after_names: vec![],
        kind: if bytes.one_in(3) { StageKind::Work } else { StageKind::Transform },
        unit: bytes.one_in(6),
        pace,
        exit,
    }
}

/// Adds so many stages side by side and one that reads them all: wide enough for what the executor does for wide ones.
fn widen(stages: &mut Vec<StageCase>, width: usize, run: &mut Reader<'_>) {
    let (source, first) = (readable(stages).last().copied(), stages.len());
    let source = source.filter(|_| run.below(2) == 1).map_or(Source::Input, Source::Stage);
    let (every, one) = (1 + run.below(7), run.below(width));
    stages.extend((0..width).map(|index| StageCase {
        wires: vec![Wire::One(source)],
        pace: if index % every == 1 { Pace::Yields(1) } else { Pace::AtOnce },
        exit: if index == one { Exit::Skips } else { Exit::Completes },
        ..StageCase::default()
    }));
    // The one that reads them all is skipped, the other leaves out the stage that is.
    let all: Vec<_> = (first..first + width).map(Source::Stage).collect();
    let but_one = all.iter().copied().filter(|side| *side != Source::Stage(first + one)).collect();
    let readers = if run.below(2) == 0 { vec![but_one] } else { vec![all, but_one] };
    stages.extend(
        readers.into_iter().map(|read| StageCase { wires: vec![Wire::Many(read)], ..StageCase::default() }),
    );
}

/// Edges by name, which may lead to stages that are declared later, as long as there is no circle.
struct Forward {
    /// `reaches[a][b]`: `b` waits for `a`, directly or not.
    reaches: Vec<Vec<bool>>,
}

impl Forward {
    fn new(stages: &[StageCase]) -> Self {
        let mut this = Self { reaches: vec![vec![false; stages.len()]; stages.len()] };
        for (index, stage) in stages.iter().enumerate() {
            for source in stage.sources() {
                this.connect(source, index);
            }
        }
        this
    }

    fn connect(&mut self, from: usize, to: usize) {
        for before in 0..self.reaches.len() {
            if before == from || self.reaches[before][from] {
                for after in 0..self.reaches.len() {
                    if after == to || self.reaches[to][after] {
                        self.reaches[before][after] = true;
                    }
                }
            }
        }
    }

    fn add(&mut self, stages: &mut [StageCase], index: usize, bytes: &mut Reader<'_>) {
        for _ in 0..3 {
            let (other, what) = (bytes.below(self.reaches.len()), bytes.below(3));
            if other == index || self.reaches[index][other] {
                continue;
            }
            let has_value = !stages[other].unit;
            let stage = &mut stages[index];
            match stage.wires.last_mut() {
                Some(Wire::Named(names)) if has_value && names.iter().all(|(known, _)| *known != other) => {
                    names.push((other, what == 2));
                }
                _ if what == 1 => stage.after_names.push(other),
                _ => continue,
            }
            self.connect(other, index);
        }
    }
}

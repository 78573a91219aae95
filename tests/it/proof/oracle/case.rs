//! A pipeline as data: its stages, its edges, what its stages do, and how it is run.

use std::fmt;

use stageflow::{FailurePolicy, Keep, StageKind};

/// A pipeline, what its stages do, and how it is run.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) stages: Vec<StageCase>,
    pub(crate) output: usize,
    pub(crate) policy: FailurePolicy,
    pub(crate) keep: Keep,
    pub(crate) limits: Limits,
    /// An interceptor that does nothing stands around every stage.
    pub(crate) intercepted: bool,
    /// The run is started on a task of its own.
    pub(crate) handle: bool,
    /// The run has no sink.
    pub(crate) quiet: bool,
    pub(crate) seed: u64,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Limits {
    pub(crate) pipeline: Option<u32>,
    pub(crate) run: Option<u32>,
    pub(crate) kind: Option<(StageKind, u32)>,
    pub(crate) engine: Option<u32>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct StageCase {
    /// What feeds it, in order.
    pub(crate) wires: Vec<Wire>,
    pub(crate) after: Vec<usize>,
    pub(crate) after_names: Vec<usize>,
    pub(crate) when: Vec<(Source, Predicate)>,
    pub(crate) kind: StageKind,
    /// Its output is `()`: nobody reads it.
    pub(crate) unit: bool,
    pub(crate) pace: Pace,
    pub(crate) exit: Exit,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Input,
    Stage(usize),
}

#[derive(Clone, Debug)]
pub(crate) enum Wire {
    One(Source),
    Owned(Source),
    Optional(Source),
    Or(Vec<Source>),
    OrOptional(Vec<Source>),
    Many(Vec<Source>),
    /// Stages, and whether each is optional.
    Named(Vec<(usize, bool)>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Predicate {
    Holds,
    Fails,
    IsEven,
    Panics,
}

/// When a stage ends after its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Pace {
    #[default]
    AtOnce,
    Yields(u8),
    /// Milliseconds of virtual time; on a runtime with real time as many wake-ups by another task.
    Sleeps(u8),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Exit {
    #[default]
    Completes,
    Skips,
    Fails,
    Retries,
    Panics,
    Cancels,
    Denies,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:?}", Self { stages: Vec::new(), ..self.clone() })?;
        let lines: Vec<String> = self.stages.iter().map(ToString::to_string).collect();
        let mut index = 0;
        for alike in lines.chunk_by(|one, other| one == other) {
            writeln!(f, "  s{index}{}{}", alike[0], if alike.len() > 1 { " and so on" } else { "" })?;
            index += alike.len();
        }
        Ok(())
    }
}

impl fmt::Display for StageCase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.wires.iter().try_for_each(|wire| write!(f, " {wire:?}"))?;
        self.after.iter().try_for_each(|stage| write!(f, " after s{stage}"))?;
        self.after_names.iter().try_for_each(|stage| write!(f, " after_name s{stage}"))?;
        self.when.iter().try_for_each(|when| write!(f, " when {when:?}"))?;
        write!(f, " {:?} {:?} {}", self.pace, self.exit, self.kind)?;
        f.write_str(if self.unit { " unit" } else { "" })
    }
}

impl Case {
    pub(crate) fn is_limited(&self) -> bool {
        let Limits { pipeline, run, kind, engine } = self.limits;
        pipeline.or(run).or(engine).is_some() || kind.is_some()
    }

    /// Whether some stage owns its input.
    pub(crate) fn has_owners(&self) -> bool {
        self.stages.iter().any(|stage| stage.wires.iter().any(|wire| matches!(wire, Wire::Owned(_))))
    }

    /// How many stages of a run may run at a time.
    pub(crate) fn in_flight(&self) -> u32 {
        let run = self.limits.run.or(self.limits.pipeline).unwrap_or(u32::MAX);
        run.min(self.limits.engine.unwrap_or(u32::MAX))
    }
}

impl StageCase {
    /// The stages its edges come from.
    pub(crate) fn sources(&self) -> impl Iterator<Item = usize> {
        let wires = self.wires.iter().flat_map(Wire::sources);
        let when = self.when.iter().map(|(source, _)| *source);
        let after = self.after.iter().chain(&self.after_names).map(|stage| Source::Stage(*stage));
        wires.chain(when).chain(after).filter_map(|source| match source {
            Source::Input => None,
            Source::Stage(stage) => Some(stage),
        })
    }
}

impl Wire {
    pub(crate) fn sources(&self) -> Vec<Source> {
        match self {
            Self::One(source) | Self::Owned(source) | Self::Optional(source) => vec![*source],
            Self::Or(sources) | Self::OrOptional(sources) | Self::Many(sources) => sources.clone(),
            Self::Named(names) => names.iter().map(|(stage, _)| Source::Stage(*stage)).collect(),
        }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input => f.write_str("input"),
            Self::Stage(stage) => write!(f, "s{stage}"),
        }
    }
}

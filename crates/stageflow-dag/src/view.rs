//! A look at the stages of a pipeline.

use std::{fmt, panic::Location, time::Duration};

use stageflow_core::{StageKind, Timeouts};

use crate::plan::{Edge, EdgeKind, INPUT, Plan};

/// A look at one stage of a pipeline.
#[derive(Clone, Copy)]
pub struct StageView<'p> {
    plan: &'p Plan,
    index: u32,
}

/// A look at one edge into a stage.
#[derive(Clone, Copy)]
pub struct InputView<'p> {
    plan: &'p Plan,
    edge: Edge,
}

/// What an edge means to the stage it leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum InputMark {
    /// Its value is needed.
    Required,
    /// Its value is needed, and moved or cloned for the stage.
    Owned,
    /// Its value may be missing.
    Optional,
    /// One side of an `or`.
    Or,
    /// Its value is needed, and read by name.
    Named,
    /// Its value may be missing, and is read by name.
    NamedOptional,
    /// It has to complete first.
    After,
    /// Its value decides whether the stage runs.
    When,
}

impl<'p> StageView<'p> {
    pub(crate) fn all(plan: &'p Plan) -> impl ExactSizeIterator<Item = Self> {
        // No pipeline has more than `MAX_STAGES` stages, which is less than 2^31.
        let count = u32::try_from(plan.len()).unwrap_or(u32::MAX);
        (0..count).map(move |index| Self { plan, index })
    }

    /// The stage's name.
    pub fn name(&self) -> &'p str {
        self.plan.stage_name(self.index)
    }

    /// The stage's kind.
    pub fn kind(&self) -> StageKind {
        self.plan.kind(self.index)
    }

    /// The call that added the stage.
    pub fn location(&self) -> &'static Location<'static> {
        self.plan.location(self.index)
    }

    /// The name of the type of the output, without module paths.
    pub fn output_type(&self) -> String {
        self.plan.stage(self.index).output().short_name()
    }

    /// What stage and pipeline say about its time; where they say nothing the engine may.
    pub fn timeouts(&self) -> Timeouts {
        self.plan.timeouts(self.index)
    }

    /// What an attempt takes at least; zero where nobody says so.
    pub fn min_time(&self) -> Duration {
        self.plan.min_time_of(self.index)
    }

    /// Whether its output is the pipeline's.
    pub fn is_output(&self) -> bool {
        self.plan.output() == self.index
    }

    /// The edges into the stage: those that deliver in the order of the wires, then `after`, then `when`.
    pub fn inputs(&self) -> impl Iterator<Item = InputView<'p>> + use<'p> {
        let plan = self.plan;
        let edges = plan.edges(self.index).iter().copied();
        edges.filter(|edge| !edge.kind.is_header()).map(move |edge| InputView { plan, edge })
    }
}

impl<'p> InputView<'p> {
    /// The name of the stage it comes from; `None` for the pipeline's input.
    pub fn source(&self) -> Option<&'p str> {
        (self.edge.source != INPUT).then(|| self.plan.stage_name(self.edge.source))
    }

    /// What it means to the stage it leads to.
    pub fn mark(&self) -> InputMark {
        InputMark::of(self.edge.kind)
    }
}

impl InputMark {
    pub(crate) fn of(kind: EdgeKind) -> Self {
        match kind {
            EdgeKind::One { owned: true } => Self::Owned,
            EdgeKind::Optional => Self::Optional,
            EdgeKind::Or { .. } => Self::Or,
            EdgeKind::NamedOne { optional: false } => Self::Named,
            EdgeKind::NamedOne { optional: true } => Self::NamedOptional,
            EdgeKind::After => Self::After,
            EdgeKind::When(_) => Self::When,
            EdgeKind::One { owned: false } | EdgeKind::Many(_) | EdgeKind::Named(_) => Self::Required,
        }
    }
}

impl fmt::Display for InputView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = self.source().unwrap_or("input");
        match self.mark() {
            InputMark::Required | InputMark::Named => write!(f, "{source}"),
            InputMark::Owned => write!(f, "own {source}"),
            InputMark::Optional | InputMark::NamedOptional => write!(f, "{source}?"),
            InputMark::Or => write!(f, "or {source}"),
            InputMark::After => write!(f, "after {source}"),
            InputMark::When => write!(f, "when {source}"),
        }
    }
}

impl fmt::Debug for InputView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InputView({self})")
    }
}

impl fmt::Debug for StageView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StageView")
            .field("name", &self.name())
            .field("kind", &self.kind())
            .field("inputs", &self.inputs().map(|input| input.to_string()).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

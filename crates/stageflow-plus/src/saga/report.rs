//! How a saga has ended: what was done, undone, is stuck, in doubt, or was never begun.

use std::{error::Error, fmt};

use serde::Serialize;
use stageflow_core::{BoxError, Code, ErrorClass, RunId, StageExit, TenantId, code, text::OneLine};

/// How a step of a saga stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StepState {
    /// Not begun.
    NotStarted,
    /// On its way.
    Running,
    /// Done, and not undone.
    Done,
    /// Its action failed, and left nothing behind.
    Failed,
    /// Done, and being undone.
    Undoing,
    /// Done, and undone.
    Undone,
    /// Done, and it could not be undone.
    Stuck,
    /// Its action was interrupted: nobody knows whether it is done.
    InDoubt,
}

impl StepState {
    /// As words: `done`, `in doubt`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotStarted => "not started",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Undoing => "being undone",
            Self::Undone => "undone",
            Self::Stuck => "stuck",
            Self::InDoubt => "in doubt",
        }
    }
}

/// How a saga has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SagaEnd {
    /// Everything is done, and stays.
    Committed,
    /// Everything that was done is undone.
    RolledBack,
    /// Somebody has to look after it: a step is stuck, in doubt, or still done.
    Stuck,
}

/// One step in a [`SagaReport`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StepReport {
    /// Its name.
    pub name: String,
    /// How it stands.
    pub state: StepState,
    /// What the step says an operator needs to find what it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// How often its undo was called.
    pub undo_attempts: u32,
    /// The code of the failure of its action, or of its undo.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
    /// That failure in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What a saga has done and undone: for people, and as data for whoever goes on by hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SagaReport {
    /// The name of the saga.
    pub saga: String,
    /// The run.
    pub run_id: RunId,
    /// For whom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    /// The stage; of a saga across stages, the first that came to it.
    pub stage: String,
    /// The attempt of the stage.
    pub attempt: u32,
    /// How it ended.
    pub end: SagaEnd,
    /// Why it was not committed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// All steps, in the order in which they were begun.
    pub steps: Vec<StepReport>,
}

impl SagaReport {
    /// The names of the steps in a state, in the order in which they were begun.
    pub fn in_state(&self, state: StepState) -> impl Iterator<Item = &str> {
        self.steps.iter().filter(move |step| step.state == state).map(|step| step.name.as_str())
    }

    /// The step with this name; the last of several.
    pub fn step(&self, name: &str) -> Option<&StepReport> {
        self.steps.iter().rev().find(|step| step.name == name)
    }

    /// The names of steps in a state, with their references.
    pub(super) fn list(&self, state: StepState) -> String {
        let name = |step: &StepReport| match &step.reference {
            Some(reference) => format!("{} ({})", OneLine(&step.name), OneLine(reference)),
            None => OneLine(&step.name).to_string(),
        };
        let names: Vec<_> = self.steps.iter().filter(|step| step.state == state).map(name).collect();
        names.join(", ")
    }
}

impl fmt::Display for SagaReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = match self.end {
            SagaEnd::Committed => "is committed",
            SagaEnd::RolledBack => "is rolled back",
            SagaEnd::Stuck => "is stuck",
        };
        write!(f, "the saga `{}` of the stage `{}` {end}", OneLine(&self.saga), OneLine(&self.stage))?;
        if let Some(because) = &self.because {
            write!(f, ", because {}", OneLine(because))?;
        }
        let width = self.steps.iter().map(|step| step.name.chars().count()).max().unwrap_or_default();
        for step in &self.steps {
            write!(f, "\n  {:width$}  {}", OneLine(&step.name).to_string(), step.state.as_str())?;
            if step.undo_attempts > 1 {
                write!(f, " after {} attempts", step.undo_attempts)?;
            }
            if let Some(reference) = &step.reference {
                write!(f, ", {}", OneLine(reference))?;
            }
            if let Some(error) = &step.error {
                write!(f, ": {}", OneLine(error))?;
            }
        }
        Ok(())
    }
}

/// A saga is stuck. As a failure it has the code `SAGA_STUCK` and is permanent, or a denial if one was the reason.
#[derive(Debug)]
pub struct SagaStuck {
    report: SagaReport,
    cause: Option<BoxError>,
}

impl SagaStuck {
    pub(super) fn new(report: SagaReport, cause: Option<BoxError>) -> Self {
        Self { report, cause }
    }

    /// What is done, undone, stuck and in doubt.
    pub fn report(&self) -> &SagaReport {
        &self.report
    }

    /// How a stage leaves for this reason, which is `exit` otherwise.
    pub(super) fn exit(report: SagaReport, exit: StageExit) -> StageExit {
        let is_denied = exit.error_class() == Some(ErrorClass::Denied);
        let class = if is_denied { ErrorClass::Denied } else { ErrorClass::Permanent };
        let cause = match exit.into_exit() {
            stageflow_core::exit::Exit::Fail(spec) => Some(spec.error),
            _ => None,
        };
        StageExit::failure(code::SAGA_STUCK, class, Box::new(Self::new(report, cause)))
    }
}

impl fmt::Display for SagaStuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = &self.report;
        write!(f, "the saga `{}` is stuck", OneLine(&report.saga))?;
        let mut before = ": ";
        for (state, words) in [
            (StepState::Stuck, "could not undo"),
            (StepState::InDoubt, "does not know of"),
            (StepState::Done, "has left done"),
        ] {
            let list = report.list(state);
            if !list.is_empty() {
                write!(f, "{before}it {words} {list}")?;
                before = "; ";
            }
        }
        Ok(())
    }
}

impl Error for SagaStuck {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_ref().map(|cause| &**cause as _)
    }
}

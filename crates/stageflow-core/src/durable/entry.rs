//! What the journal of a run consists of.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::Encoded;
use crate::{
    code::{self, Code},
    event::FieldValue,
    exit::ErrorClass,
    outcome::{Failure, RunOutcome, SkipCause},
};

/// One entry of the journal of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its number: from 1, without gaps, over all processes that the run has been in.
    pub seq: u64,
    /// When it was made, in nanoseconds of Unix time.
    pub at: u64,
    /// What it says. A journal keeps it as JSON.
    pub kind: EntryKind,
    /// The output of a stage, if it is one.
    pub payload: Option<Encoded>,
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
#[non_exhaustive]
pub enum EntryKind {
    /// An attempt of a stage begins.
    AttemptStarted {
        /// The stage: its name, after those of the stages that lead to it, where its pipeline is a stage.
        stage: Arc<str>,
        /// Which one, from 1.
        attempt: u32,
    },
    /// A policy, a router or the stage itself has decided something: the event of that name.
    Decided {
        /// The stage.
        stage: Arc<str>,
        /// During which attempt.
        attempt: u32,
        /// The name of the event.
        name: Arc<str>,
        /// Its fields.
        fields: Vec<(Arc<str>, FieldValue)>,
    },
    /// A stage has ended.
    StageEnded {
        /// The stage.
        stage: Arc<str>,
        /// How many attempts it took.
        attempts: u32,
        /// From its start to its end.
        took: Duration,
        /// How.
        end: StageEnd,
        /// What it was connected to, as a number: another one says that the pipeline has changed there.
        wiring: u32,
    },
    /// What the run has used of its budget so far.
    Spent {
        /// Retries.
        retries: u64,
        /// Cost, in the units of the application.
        cost: u64,
    },
    /// The run goes on in another process, or once more in the same.
    Resumed,
    /// The run has ended.
    RunEnded {
        /// How.
        outcome: RunOutcome,
        /// What it follows from.
        failure: Option<JournaledFailure>,
    },
}

impl EntryKind {
    /// The kind in one word, as in its JSON.
    pub fn name(&self) -> &'static str {
        match self {
            Self::AttemptStarted { .. } => "attempt_started",
            Self::Decided { .. } => "decided",
            Self::StageEnded { .. } => "stage_ended",
            Self::Spent { .. } => "spent",
            Self::Resumed => "resumed",
            Self::RunEnded { .. } => "run_ended",
        }
    }

    /// The stage that it is about, if it is about one.
    pub fn stage(&self) -> Option<&Arc<str>> {
        match self {
            Self::AttemptStarted { stage, .. }
            | Self::Decided { stage, .. }
            | Self::StageEnded { stage, .. } => Some(stage),
            Self::Spent { .. } | Self::Resumed | Self::RunEnded { .. } => None,
        }
    }
}

/// How a stage has ended. A stage that was cancelled has not: it is begun again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "status", content = "cause", rename_all = "snake_case")]
#[non_exhaustive]
pub enum StageEnd {
    /// It gave an output: that of the entry, if the stage is durable.
    Completed,
    /// It was left out.
    Skipped(SkipCause),
    /// It failed.
    Failed(JournaledFailure),
    /// An input will never come.
    Blocked {
        /// The stage whose failure is the root of it.
        by: String,
    },
}

/// What is left of a failure outside of its process: not its error, which has a type of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournaledFailure {
    /// The stage.
    pub stage: String,
    /// The code.
    pub code: String,
    /// The class.
    pub class: ErrorClass,
    /// What the error said.
    pub message: String,
    /// How many attempts were made.
    pub attempts: u32,
}

impl JournaledFailure {
    /// The code, as far as the engine knows it; that of any other failure is `STAGE_FAILED`.
    pub fn known_code(&self) -> Code {
        let known = code::ALL.iter().find(|(known, _)| known.as_str() == self.code);
        known.map_or(code::STAGE_FAILED, |(known, _)| *known)
    }
}

impl From<&Failure> for JournaledFailure {
    fn from(failure: &Failure) -> Self {
        Self {
            stage: failure.stage().to_owned(),
            code: failure.code().as_str().to_owned(),
            class: failure.class(),
            message: failure.message(),
            attempts: failure.attempts(),
        }
    }
}

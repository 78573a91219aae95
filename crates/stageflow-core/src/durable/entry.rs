//! What the journal of a run consists of.

use std::{
    fmt::{self, Write as _},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::Encoded;
use crate::{
    code::{self, Code},
    event::FieldValue,
    exit::ErrorClass,
    outcome::{Failure, RunOutcome, SkipCause},
    time::Human,
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
    /// What an attempt came to, of a stage with interceptors around it: they may make more of it than the end of the stage shows.
    AttemptEnded {
        /// The stage.
        stage: Arc<str>,
        /// Which one, from 1.
        attempt: u32,
        /// What it came to.
        end: AttemptEnd,
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
            Self::AttemptEnded { .. } => "attempt_ended",
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
            | Self::AttemptEnded { stage, .. }
            | Self::Decided { stage, .. }
            | Self::StageEnded { stage, .. } => Some(stage),
            Self::Spent { .. } | Self::Resumed | Self::RunEnded { .. } => None,
        }
    }
}

/// What an attempt came to. One that was cut off came to nothing: there is no entry of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "end", rename_all = "snake_case")]
#[non_exhaustive]
pub enum AttemptEnd {
    /// It gave an output.
    Gave,
    /// It failed.
    Failed {
        /// As what.
        failure: JournaledFailure,
        /// When to try again at the earliest, if it said so.
        after: Option<Duration>,
    },
    /// It asked for another attempt.
    Retry {
        /// Why.
        reason: String,
        /// When at the earliest, if it said so.
        after: Option<Duration>,
    },
    /// It left the stage out.
    Skipped {
        /// Why.
        reason: String,
    },
    /// It ended the run.
    Cancelled {
        /// Why.
        reason: String,
    },
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

/// Whether a field of an event is a time that was measured: it differs from run to run though the same was decided.
pub(crate) fn is_measured(field: &str) -> bool {
    field.ends_with("_ns") || matches!(field, "age_ms" | "open_ms" | "until_ms" | "waited_ms")
}

/// A decision in one line, without what was measured.
pub(crate) fn decided_line(name: &str, fields: &[(Arc<str>, FieldValue)]) -> String {
    let mut line = name.to_owned();
    for (key, value) in fields.iter().filter(|(key, _)| !is_measured(key)) {
        let _infallible = match value {
            FieldValue::Text(text) if !text.is_empty() && !text.contains(char::is_whitespace) => {
                write!(line, " {key}={text}")
            }
            value => write!(line, " {key}={value}"),
        };
    }
    line
}

impl EntryKind {
    /// The entry as one line that says what was decided: equal for two runs that did the same, as no time is in it that was measured.
    /// `None` for entries that decide nothing: what was spent so far, and that the run goes on elsewhere.
    pub fn decision(&self) -> Option<String> {
        Some(match self {
            Self::AttemptStarted { stage, attempt } => format!("{stage}: attempt {attempt} begins"),
            Self::AttemptEnded { stage, attempt, end } => format!("{stage}: attempt {attempt} {end}"),
            Self::Decided { stage, attempt, name, fields } => {
                format!("{stage}: attempt {attempt} decides {}", decided_line(name, fields))
            }
            Self::StageEnded { stage, attempts, end, wiring, .. } => {
                format!("{stage}: {end} after {attempts} attempts, wired {wiring:08x}")
            }
            // Which failure of several was seen first is for threads to say; each stands where its stage ends.
            Self::RunEnded { outcome, failure: Some(failure) } if failure.stage.is_empty() => {
                format!("the run ends as {outcome}: {failure}")
            }
            Self::RunEnded { outcome, .. } => format!("the run ends as {outcome}"),
            Self::Spent { .. } | Self::Resumed => return None,
        })
    }
}

impl fmt::Display for AttemptEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gave => f.write_str("gives an output"),
            Self::Failed { failure, after } => {
                write!(f, "fails with {failure}").and_then(|()| not_before(f, *after))
            }
            Self::Retry { reason, after } => {
                write!(f, "asks for another: {reason}").and_then(|()| not_before(f, *after))
            }
            Self::Skipped { reason } => write!(f, "is skipped: {reason}"),
            Self::Cancelled { reason } => write!(f, "cancels the run: {reason}"),
        }
    }
}

fn not_before(f: &mut fmt::Formatter<'_>, after: Option<Duration>) -> fmt::Result {
    match after {
        Some(after) => write!(f, ", not before {}", Human(after)),
        None => Ok(()),
    }
}

impl fmt::Display for StageEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Completed => f.write_str("completed"),
            Self::Skipped(cause) => write!(f, "skipped: {cause}"),
            Self::Failed(failure) => write!(f, "failed with {failure}"),
            Self::Blocked { by } => write!(f, "blocked by `{by}`"),
        }
    }
}

impl fmt::Display for JournaledFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}, {}]", self.message, self.code, self.class)
    }
}

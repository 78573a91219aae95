//! What a run was: every stage's outcome, and every output that was kept.

use std::{any::Any, fmt, sync::Arc, time::Duration};

use serde::{Serialize, Serializer, ser::SerializeStruct};
use stageflow_core::{
    BudgetReport, CancelCause, ContextSnapshot, Failure, FailureSummary, RunId, RunOutcome, StageKind,
    StageOutcome, Stopped, WaitSum, code, durable::JournalError, text::OneLine, time::Human,
};

use crate::{
    ending::EndCause,
    run::{CleanUpFailure, RunCore},
};

/// What a run was: complete for every ending (S-7). Cheap to clone; prints as a table and serialises.
#[derive(Clone)]
pub struct RunReport {
    run: Arc<RunCore>,
}

/// What became of one stage.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct StageReport {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: StageKind,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: StageOutcome,
    /// How many attempts were started; 0 if it never ran.
    pub attempts: u32,
    /// Time between its last input and its start; `None` if it never ran.
    pub queued: Option<Duration>,
    /// Time between its start and its end; `None` if it never ran.
    pub ran: Option<Duration>,
    /// What it has waited for, the waits of calls and attempts that came to nothing included.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waits: Vec<WaitSum>,
    /// Whether it ended before the run was resumed, and was not called again.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub restored: bool,
}

/// How many rows a printed report has at most.
const MAX_ROWS: usize = 200;

impl RunReport {
    pub(crate) fn new(run: Arc<RunCore>) -> Self {
        Self { run }
    }

    /// The run's id.
    pub fn run_id(&self) -> RunId {
        self.run.snapshot.identity().run_id()
    }

    /// The immutable facts of the run.
    pub fn snapshot(&self) -> &ContextSnapshot {
        &self.run.snapshot
    }

    /// The pipeline's name.
    pub fn pipeline(&self) -> &str {
        self.run.plan.name()
    }

    /// How the run ended.
    pub fn outcome(&self) -> RunOutcome {
        self.run.outcome.get().copied().unwrap_or_else(|| self.run.judge())
    }

    /// Why the run was cancelled, if it was.
    pub fn cancelled(&self) -> Option<CancelCause> {
        match self.run.ending.cause() {
            None | Some(EndCause::Committed) => None,
            Some(cause) => Some(cause.for_stages()),
        }
    }

    /// How long it took, clean-ups and [`queued`](Self::queued) included.
    pub fn duration(&self) -> Duration {
        self.run.took().unwrap_or_default()
    }

    /// How long it waited until the engine's monitor let it in, or it ended; zero if it did not have to wait.
    pub fn queued(&self) -> Duration {
        self.run.details().queued.map_or(Duration::ZERO, Duration::from_nanos)
    }

    /// Every stage, in declaration order.
    pub fn stages(&self) -> impl Iterator<Item = StageReport> {
        (0u32..).take(self.run.plan.len()).map(|stage| self.stage_at(stage))
    }

    /// The stage `name`.
    pub fn stage(&self, name: &str) -> Option<StageReport> {
        self.run.plan.index_of(name).map(|stage| self.stage_at(stage))
    }

    /// The cause where the run failed: the first failure observed, or the denial of a run that was denied. That of a run which was not
    /// let in is of no stage: the name of its stage is empty.
    pub fn cause(&self) -> Option<Failure> {
        self.run.cause()
    }

    /// All failures: the first observed, then the others in declaration order (S-8).
    pub fn failures(&self) -> Vec<Failure> {
        let mut failures = self.run.failures();
        if let Some((_, others)) = failures.split_first_mut() {
            others.sort_by_cached_key(|failure| self.run.plan.index_of(failure.stage()));
        }
        failures
    }

    /// How many stages ended how, every failure and failed attempt among them, and what stopped the run.
    pub fn failure_summary(&self) -> FailureSummary {
        self.run.failure_summary()
    }

    /// At which failure and by which rule the run stopped, if it stopped for its failures.
    pub fn stopped(&self) -> Option<Stopped> {
        self.run.stopped()
    }

    /// What the run and its child runs have used of their budget; `None` if nobody has asked for it.
    pub fn budget(&self) -> Option<BudgetReport> {
        self.run.budget_report()
    }

    /// Whether another process may go on with the run: it is in a journal, and did not come to an end of its own.
    pub fn is_resumable(&self) -> bool {
        self.run.is_resumable()
    }

    /// What its journal did not take, of a run that went on without it, or stopped for it.
    pub fn journal_lost(&self) -> Option<&JournalError> {
        self.run.log.as_ref()?.whole.lost()
    }

    /// Clean-ups that went wrong. They change no outcome (S-17).
    pub fn clean_up_failures(&self) -> Vec<CleanUpFailure> {
        self.run.details().clean_up_failures.clone()
    }

    /// The output of the stage `name`: `None` if it did not complete, was not kept, was moved to an owner, or is of
    /// another type.
    pub fn output_of<T: Any + Send + Sync>(&self, name: &str) -> Option<Arc<T>> {
        let stage = self.run.plan.index_of(name)?;
        self.run.output(stage)?.downcast().ok()
    }

    fn stage_at(&self, stage: u32) -> StageReport {
        let cell = self.run.cell(stage);
        let queued = cell.queued();
        let restored = self.run.is_restored(stage) && cell.state().is_terminal();
        StageReport {
            name: self.run.plan.stage_name(stage).to_owned(),
            kind: self.run.plan.kind(stage),
            outcome: self.run.stage_outcome(stage).unwrap_or(StageOutcome::Cancelled(CancelCause::Dropped)),
            attempts: match &self.run.log {
                Some(log) if restored => log.restored.attempts_of(stage),
                _ if queued.is_some() => cell.attempts(),
                _ => 0,
            },
            restored,
            queued,
            ran: cell.ran(self.run.now()),
            waits: self.run.waits_of(stage),
        }
    }
}

impl fmt::Debug for RunReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunReport")
            .field("run_id", &self.run_id())
            .field("pipeline", &self.pipeline())
            .field("outcome", &self.outcome())
            .finish_non_exhaustive()
    }
}

impl fmt::Display for RunReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stages = self.run.plan.len();
        writeln!(
            f,
            "{} {} in {}: {stages} {}, run {}",
            self.pipeline(),
            self.outcome(),
            Human(self.duration()),
            if stages == 1 { "stage" } else { "stages" },
            self.run_id(),
        )?;
        if let Some(cause) = self.cancelled() {
            write!(f, "  because {}", OneLine(cause))?;
            if let Some(stopped) = self.stopped().filter(Stopped::is_worth_telling) {
                write!(f, ": {stopped}")?;
            }
            writeln!(f)?;
        }
        let rows: Vec<_> = self.stages().take(MAX_ROWS).collect();
        let width = rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0).clamp(5, 40);
        writeln!(
            f,
            "  {:width$}  {:9}  {:9}  {:>3}  {:>7}  {:>7}  why",
            "stage", "kind", "status", "try", "queued", "ran"
        )?;
        for row in &rows {
            let time =
                |time: Option<Duration>| time.map_or_else(|| "-".to_owned(), |time| Human(time).to_string());
            let line = format!(
                "  {:width$}  {:9}  {:9}  {:>3}  {:>7}  {:>7}  {}",
                clip(&row.name, width),
                row.kind,
                row.outcome.status(),
                row.attempts,
                time(row.queued),
                time(row.ran),
                OneLine(if row.restored { restored(&row.outcome) } else { why(&row.outcome) }),
            );
            writeln!(f, "{}", line.trim_end())?;
        }
        if stages > MAX_ROWS {
            writeln!(f, "  … and {} more stages", stages - MAX_ROWS)?;
        }
        for failure in self.failures() {
            writeln!(f, "  failure: {failure}: {}", OneLine(failure.message()))?;
            if let Some(hint) = failure.hint() {
                writeln!(f, "    help: {}", OneLine(hint))?;
            }
        }
        for failure in self.clean_up_failures() {
            writeln!(f, "  clean-up of `{}`: {} [{}]", failure.stage, OneLine(&failure.error), failure.code)?;
        }
        if let Some(budget) = self.budget().filter(BudgetReport::is_used) {
            writeln!(f, "  budget: {budget}")?;
        }
        if let Some(lost) = self.journal_lost() {
            writeln!(f, "  journal lost: {} [{}]", OneLine(lost), lost.code())?;
            writeln!(f, "    help: {}", OneLine(lost.help()))?;
        }
        if self.is_resumable() {
            writeln!(f, "  can be resumed: run {}", self.run_id())?;
        }
        if self.outcome() == RunOutcome::TimedOut {
            writeln!(f, "    help: {}", code::DEADLINE_EXCEEDED.hint().unwrap_or_default())?;
        }
        Ok(())
    }
}

fn restored(outcome: &StageOutcome) -> String {
    match why(outcome) {
        why if why.is_empty() => "restored".to_owned(),
        why => format!("restored: {why}"),
    }
}

fn why(outcome: &StageOutcome) -> String {
    match outcome {
        StageOutcome::Completed => String::new(),
        StageOutcome::Skipped(cause) => cause.to_string(),
        StageOutcome::Failed(failure) => failure.code().to_string(),
        StageOutcome::Cancelled(cause) => cause.to_string(),
        StageOutcome::Blocked { by } => format!("by `{by}`"),
        other => other.status().to_owned(),
    }
}

/// A name in a column of a table.
pub(crate) fn clip(name: &str, width: usize) -> String {
    if name.chars().count() <= width {
        return name.to_owned();
    }
    let kept: String = name.chars().take(width - 1).collect();
    format!("{kept}…")
}

impl Serialize for RunReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("RunReport", 14)?;
        out.serialize_field("run_id", &self.run_id())?;
        out.serialize_field("pipeline", self.pipeline())?;
        out.serialize_field("tenant", &self.run.snapshot.identity().tenant_id())?;
        out.serialize_field("outcome", &self.outcome())?;
        out.serialize_field("cancelled", &self.cancelled())?;
        out.serialize_field("duration", &self.duration())?;
        out.serialize_field("queued", &self.queued())?;
        out.serialize_field("stages", &self.stages().collect::<Vec<_>>())?;
        out.serialize_field("stopped", &self.stopped())?;
        out.serialize_field("failures", &self.failures())?;
        out.serialize_field("clean_up_failures", &self.clean_up_failures())?;
        out.serialize_field("budget", &self.budget())?;
        out.serialize_field("resumable", &self.is_resumable())?;
        out.serialize_field("journal_lost", &self.journal_lost().map(JournalError::code))?;
        out.end()
    }
}

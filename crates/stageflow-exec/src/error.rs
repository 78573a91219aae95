//! A run that gave no output.

use std::{error::Error, fmt, sync::Arc};

use stageflow_core::{
    CancelCause, Code, ErrorClass, Failure, QuotaExceeded, RunOutcome, Stopped, code, durable::JournalError,
};

use crate::{ending::EndCause, report::RunReport, run::RunCore};

/// Why there is no output.
///
/// `Display` prints this level only; the stage's own error is in [`source`](Error::source).
pub struct RunError(Box<Kind>);

enum Kind {
    /// It was not let in.
    Refused { code: Code, message: String },
    /// Its journal did not do what it was asked for.
    Journal(JournalError),
    /// The tenant has used up what it may use.
    OverQuota { pipeline: Arc<str>, exceeded: QuotaExceeded },
    /// It ran.
    Ended(Arc<RunCore>),
}

impl RunError {
    pub(crate) fn refused(code: Code, message: impl Into<String>) -> Self {
        Self(Box::new(Kind::Refused { code, message: message.into() }))
    }

    pub(crate) fn journal(error: JournalError) -> Self {
        Self(Box::new(Kind::Journal(error)))
    }

    pub(crate) fn over_quota(pipeline: Arc<str>, exceeded: QuotaExceeded) -> Self {
        Self(Box::new(Kind::OverQuota { pipeline, exceeded }))
    }

    pub(crate) fn ended(run: Arc<RunCore>) -> Self {
        Self(Box::new(Kind::Ended(run)))
    }

    /// How the run ended; `None` if it never started.
    pub fn outcome(&self) -> Option<RunOutcome> {
        match &*self.0 {
            Kind::Refused { .. } | Kind::Journal(_) | Kind::OverQuota { .. } => None,
            Kind::Ended(run) => Some(RunReport::new(Arc::clone(run)).outcome()),
        }
    }

    /// The stable code: the failed stage's, where a failure is the cause.
    pub fn code(&self) -> Code {
        match (&*self.0, self.outcome()) {
            (Kind::Refused { code, .. }, _) => *code,
            (Kind::Journal(error), _) => error.code(),
            (Kind::OverQuota { .. }, _) => code::QUOTA_EXCEEDED,
            (Kind::Ended(run), Some(RunOutcome::Cancelled)) => match run.ending.cause() {
                Some(EndCause::Cancel(CancelCause::Shed { .. })) => code::OVERLOADED,
                Some(EndCause::Cancel(CancelCause::Quota(_))) => code::QUOTA_EXCEEDED,
                _ => code::CANCELLED,
            },
            (_, Some(RunOutcome::TimedOut)) => code::DEADLINE_EXCEEDED,
            (_, Some(RunOutcome::Completed)) => code::NO_OUTPUT,
            _ => self.failure().map_or(code::NO_OUTPUT, |failure| failure.code()),
        }
    }

    /// Which quota of the run's tenant did not let it in, if that is why: with the limit, and when it may help to come again.
    pub fn quota(&self) -> Option<&QuotaExceeded> {
        match &*self.0 {
            Kind::Refused { .. } | Kind::Journal(_) => None,
            Kind::OverQuota { exceeded, .. } => Some(exceeded),
            Kind::Ended(run) => match run.ending.cause() {
                Some(EndCause::Cancel(CancelCause::Quota(exceeded))) => Some(exceeded),
                _ => None,
            },
        }
    }

    /// The first failure observed, if a stage failed, or why the run was not let in.
    pub fn failure(&self) -> Option<Failure> {
        self.report()?.cause()
    }

    /// What usually helps.
    pub fn hint(&self) -> Option<String> {
        if let Kind::Journal(error) = &*self.0 {
            return Some(error.help().to_owned());
        }
        let own = self.failure().and_then(|failure| failure.hint().map(str::to_owned));
        match self.outcome() {
            Some(RunOutcome::Failed | RunOutcome::Denied) => own,
            _ => self.code().hint().map(str::to_owned),
        }
    }

    /// Whether another run may succeed without a change of code or input.
    ///
    /// Of the runs that were refused, those that met an engine which is shutting down may: another engine takes them; and those
    /// that met one which is overloaded, or whose quota is used up: later.
    pub fn recoverable(&self) -> bool {
        if let Kind::Journal(error) = &*self.0 {
            return error.kind().class() == ErrorClass::Transient;
        }
        match self.outcome() {
            Some(RunOutcome::TimedOut | RunOutcome::Cancelled) => true,
            None => {
                matches!(self.code(), code::SHUTTING_DOWN | code::OVERLOADED | code::QUOTA_EXCEEDED)
            }
            // The window of a cost comes to its end.
            Some(RunOutcome::Failed) if self.code() == code::QUOTA_EXCEEDED => true,
            Some(RunOutcome::Failed) => self.failure().is_some_and(|failure| failure.recoverable()),
            _ => false,
        }
    }

    /// What the run was; `None` if it never started.
    pub fn report(&self) -> Option<RunReport> {
        match &*self.0 {
            Kind::Refused { .. } | Kind::Journal(_) | Kind::OverQuota { .. } => None,
            Kind::Ended(run) => Some(RunReport::new(Arc::clone(run))),
        }
    }
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let run = match &*self.0 {
            Kind::Refused { code, message } => return write!(f, "{message} [{code}]"),
            Kind::Journal(error) => return write!(f, "{error} [{}]", error.code()),
            Kind::OverQuota { pipeline, exceeded } => {
                return write!(f, "`{pipeline}` was not started: {exceeded} [{}]", code::QUOTA_EXCEEDED);
            }
            Kind::Ended(run) => run,
        };
        let name = run.plan.name();
        let report = RunReport::new(Arc::clone(run));
        match report.outcome() {
            RunOutcome::Cancelled => match report.cancelled() {
                Some(cause) => write!(f, "pipeline `{name}` was cancelled: {cause}"),
                None => write!(f, "pipeline `{name}` was cancelled"),
            },
            RunOutcome::TimedOut => write!(f, "pipeline `{name}` used up its time"),
            RunOutcome::Completed => write!(f, "pipeline `{name}` has no output: it was skipped"),
            outcome => {
                let verb = if outcome == RunOutcome::Denied { "was denied" } else { "failed" };
                match report.cause() {
                    Some(failure) if failure.stage().is_empty() => write!(f, "pipeline `{name}` {verb}")?,
                    Some(failure) => write!(f, "pipeline `{name}` {verb} at stage `{}`", failure.stage())?,
                    None => write!(f, "pipeline `{name}` {verb}")?,
                }
                match report.stopped().filter(Stopped::is_worth_telling) {
                    Some(stopped) => write!(f, ": {stopped}"),
                    None => Ok(()),
                }
            }
        }
    }
}

impl fmt::Debug for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !matches!(*self.0, Kind::Ended(_)) {
            return write!(f, "{self}");
        }
        write!(f, "{self} [{}]", self.code())?;
        if let Some(failure) = self.failure() {
            write!(f, ": {}", failure.message())?;
        }
        Ok(())
    }
}

impl Error for RunError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        let run = match &*self.0 {
            Kind::Ended(run) => run,
            Kind::Journal(error) => return error.source(),
            Kind::Refused { .. } | Kind::OverQuota { .. } => return None,
        };
        let cause = run.first_failure.get_or_init(|| RunReport::new(Arc::clone(run)).cause());
        cause.as_ref().map(|failure| failure as &(dyn Error + 'static))
    }
}

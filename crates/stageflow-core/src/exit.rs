//! Leaving a stage early: [`StageExit`] and the classes of errors.

use std::{borrow::Cow, error::Error, fmt, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    budget::BudgetExhausted,
    code::{self, Code},
    input::InputError,
    timeouts::NotBegun,
};

/// Any error that can cross threads.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// What a stage returns.
pub type StageResult<T> = Result<T, StageExit>;

/// What kind of failure it is: the half of the retry decision that the error itself knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorClass {
    /// Nobody said.
    #[default]
    Unclassified,
    /// Another attempt may help.
    Transient,
    /// No attempt will help.
    Permanent,
    /// Time ran out.
    Timeout,
    /// The input is not usable.
    Invalid,
    /// The caller may not do this.
    Denied,
    /// The code panicked.
    Panic,
}

impl ErrorClass {
    /// Whether a policy may try again at all: permanent, invalid, denied and panics never are retried.
    pub fn may_retry(self) -> bool {
        matches!(self, Self::Unclassified | Self::Transient | Self::Timeout)
    }
}

impl fmt::Display for ErrorClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Unclassified => "unclassified",
            Self::Transient => "transient",
            Self::Permanent => "permanent",
            Self::Timeout => "timeout",
            Self::Invalid => "invalid",
            Self::Denied => "denied",
            Self::Panic => "panic",
        })
    }
}

/// How a stage leaves without an output.
///
/// `?` turns any error into a failure. `StageExit` itself is deliberately not an `Error`: that is what lets
/// `?` take every error type.
///
/// ```
/// use stageflow_core::{ClassifyExt, DurationExt, StageExit, StageResult};
///
/// fn parse(text: &str) -> StageResult<u16> {
///     if text.is_empty() {
///         return Err(StageExit::skip("nothing to parse"));
///     }
///     if text == "busy" {
///         return Err(StageExit::retry("the port is taken").after(2.secs()));
///     }
///     Ok(text.parse::<u16>().permanent()?) // no attempt will mend a bad number
/// }
///
/// assert!(parse("").is_err_and(|exit| exit.is_skip()));
/// assert!(parse("busy").is_err_and(|exit| exit.is_retry()));
/// assert!(parse("x").is_err_and(|exit| exit.is_failure()));
/// assert_eq!(parse("80").ok(), Some(80));
/// ```
pub struct StageExit(Box<Exit>);

/// What a [`StageExit`] asks for.
#[derive(Debug)]
#[doc(hidden)]
pub enum Exit {
    Skip(Cow<'static, str>),
    Cancel(Cow<'static, str>),
    Retry { reason: Cow<'static, str>, after: Option<Duration> },
    Fail(FailSpec),
}

/// The parts of a failure that the stage itself knows.
#[derive(Debug)]
#[doc(hidden)]
pub struct FailSpec {
    pub code: Code,
    pub class: ErrorClass,
    pub error: BoxError,
    pub hint: Option<Cow<'static, str>>,
    pub after: Option<Duration>,
    /// The key of the breaker that has refused the call and is certain not to let one through before `after`.
    pub breaker: Option<Arc<str>>,
}

impl FailSpec {
    /// A failure of which nothing else is known.
    pub fn new(code: Code, class: ErrorClass, error: BoxError) -> Self {
        Self { code, class, error, hint: None, after: None, breaker: None }
    }

    /// How a stage leaves with this failure.
    pub fn into_exit(self) -> StageExit {
        StageExit(Box::new(Exit::Fail(self)))
    }
}

impl StageExit {
    /// Ends the stage as skipped; dependents on required inputs are skipped as well.
    pub fn skip(reason: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Exit::Skip(reason.into())))
    }

    /// Ends the whole run as cancelled, without error.
    pub fn cancel(reason: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Exit::Cancel(reason.into())))
    }

    /// Asks for another attempt. Without a policy that grants it the stage fails with `RETRY_UNAVAILABLE`.
    pub fn retry(reason: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Exit::Retry { reason: reason.into(), after: None }))
    }

    /// Fails the stage. An [`InputError`] and a [`BudgetExhausted`] keep their own codes, and are permanent.
    pub fn fail(error: impl Into<BoxError>) -> Self {
        let error = error.into();
        let own = error.downcast_ref::<InputError>().map(InputError::code);
        match own.or_else(|| error.downcast_ref::<BudgetExhausted>().map(BudgetExhausted::code)) {
            Some(code) => Self::failure(code, ErrorClass::Permanent, error),
            None => Self::failure(code::STAGE_FAILED, ErrorClass::Unclassified, error),
        }
    }

    /// Denies the call: the stage fails and the run ends as `Denied`.
    pub fn deny(reason: impl Into<BoxError>) -> Self {
        Self::failure(code::DENIED, ErrorClass::Denied, reason.into())
    }

    /// The denial that any exit of the security interceptor `name` is.
    #[doc(hidden)]
    #[must_use]
    pub fn denied_by(self, name: &str) -> Self {
        if self.error_class() == Some(ErrorClass::Denied) {
            return self;
        }
        Self::deny(format!("`{name}` {self}"))
    }

    #[doc(hidden)]
    pub fn internal(message: &'static str) -> Self {
        Self::failure(code::INTERNAL, ErrorClass::Permanent, message.into())
    }

    #[doc(hidden)]
    pub fn failure(code: Code, class: ErrorClass, error: BoxError) -> Self {
        FailSpec::new(code, class, error).into_exit()
    }

    /// When to try again at the earliest: of a [`retry`](Self::retry), and of a failure that a policy may retry.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        if let Exit::Retry { after, .. } | Exit::Fail(FailSpec { after, .. }) = &mut *self.0 {
            *after = Some(delay);
        }
        self
    }

    /// Sets the class of a failure.
    #[must_use]
    pub fn class(mut self, class: ErrorClass) -> Self {
        if let Exit::Fail(spec) = &mut *self.0 {
            spec.class = class;
        }
        self
    }

    /// Sets the code of a failure.
    #[must_use]
    pub fn code(mut self, code: Code) -> Self {
        if let Exit::Fail(spec) = &mut *self.0 {
            spec.code = code;
        }
        self
    }

    /// Says what would help against a failure.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        if let Exit::Fail(spec) = &mut *self.0 {
            spec.hint = Some(hint.into());
        }
        self
    }

    /// Whether this skips the stage.
    pub fn is_skip(&self) -> bool {
        matches!(*self.0, Exit::Skip(_))
    }

    /// Whether this cancels the run.
    pub fn is_cancel(&self) -> bool {
        matches!(*self.0, Exit::Cancel(_))
    }

    /// Whether this asks for another attempt.
    pub fn is_retry(&self) -> bool {
        matches!(*self.0, Exit::Retry { .. })
    }

    /// Whether this fails the stage.
    pub fn is_failure(&self) -> bool {
        matches!(*self.0, Exit::Fail(_))
    }

    /// The class of the failure, if it is one.
    pub fn error_class(&self) -> Option<ErrorClass> {
        match &*self.0 {
            Exit::Fail(spec) => Some(spec.class),
            _ => None,
        }
    }

    /// The code of the failure, if it is one.
    pub fn error_code(&self) -> Option<Code> {
        match &*self.0 {
            Exit::Fail(spec) => Some(spec.code),
            _ => None,
        }
    }

    /// When it asked to be tried again at the earliest.
    pub fn retry_after(&self) -> Option<Duration> {
        match &*self.0 {
            Exit::Retry { after, .. } | Exit::Fail(FailSpec { after, .. }) => *after,
            _ => None,
        }
    }

    /// Whether no attempt was begun, for want of time.
    #[doc(hidden)]
    pub fn is_not_begun(&self) -> bool {
        matches!(&*self.0, Exit::Fail(spec) if spec.error.is::<NotBegun>())
    }

    /// Says that this breaker has refused the call, and lets none through before this time is over.
    #[doc(hidden)]
    #[must_use]
    pub fn until_open_ends(mut self, breaker: Arc<str>, left: Duration) -> Self {
        if let Exit::Fail(spec) = &mut *self.0 {
            (spec.after, spec.breaker) = (Some(left), Some(breaker));
        }
        self
    }

    /// The breaker whose time [`retry_after`](Self::retry_after) is.
    #[doc(hidden)]
    pub fn breaker(&self) -> Option<&Arc<str>> {
        match &*self.0 {
            Exit::Fail(spec) => spec.breaker.as_ref(),
            _ => None,
        }
    }

    #[doc(hidden)]
    pub fn into_exit(self) -> Exit {
        *self.0
    }
}

impl<E: Into<BoxError>> From<E> for StageExit {
    fn from(error: E) -> Self {
        Self::fail(error)
    }
}

impl fmt::Debug for StageExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for StageExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Exit::Skip(reason) => write!(f, "skipped: {reason}"),
            Exit::Cancel(reason) => write!(f, "cancelled: {reason}"),
            Exit::Retry { reason, .. } => write!(f, "asks for a retry: {reason}"),
            Exit::Fail(spec) => write!(f, "failed: {}", spec.error),
        }
    }
}

/// Classifies any error on its way out of a stage.
pub trait ClassifyExt<T> {
    /// Another attempt may help: a policy may retry it.
    ///
    /// # Errors
    ///
    /// The error of `self`, as a transient failure.
    fn transient(self) -> StageResult<T>;

    /// No attempt will help: it is never retried.
    ///
    /// # Errors
    ///
    /// The error of `self`, as a permanent failure.
    fn permanent(self) -> StageResult<T>;

    /// The input is not usable: it is never retried.
    ///
    /// # Errors
    ///
    /// The error of `self`, as a failure with the code `INVALID_INPUT`.
    fn invalid(self) -> StageResult<T>;
}

impl<T, E: Into<BoxError>> ClassifyExt<T> for Result<T, E> {
    fn transient(self) -> StageResult<T> {
        self.map_err(|error| StageExit::fail(error).class(ErrorClass::Transient))
    }

    fn permanent(self) -> StageResult<T> {
        self.map_err(|error| StageExit::fail(error).class(ErrorClass::Permanent))
    }

    fn invalid(self) -> StageResult<T> {
        self.map_err(|error| StageExit::failure(code::INVALID_INPUT, ErrorClass::Invalid, error.into()))
    }
}

//! Why a journal did not do what it was asked for.

use std::{borrow::Cow, fmt, time::SystemTime};

use crate::{
    code::{self, Code},
    exit::{BoxError, ErrorClass, StageExit},
};

/// What kind of trouble it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JournalErrorKind {
    /// There is a run of that id already.
    Exists,
    /// There is no such run, or none of this tenant: which of the two is not said.
    NotFound,
    /// The run has ended, so there is nothing to go on with.
    Ended,
    /// Another process goes on with the run.
    LeaseHeld {
        /// Until when, unless it prolongs its lease.
        until: SystemTime,
    },
    /// Another process has taken the run over.
    LeaseLost,
    /// The store does not answer, or not in time.
    Unavailable,
    /// There is no room left: a disk, or a table space.
    Full,
    /// The tenant has no room left.
    Quota,
    /// The store was made by another version of this library.
    Schema,
    /// The store, or the role it is used by, does not keep tenants apart.
    Unsafe,
    /// The run has no tenant, or one that cannot be a key.
    Tenant,
    /// There is no journal where one is needed.
    NoJournal,
    /// What was read is not what was written.
    Corrupt,
    /// What was written is not what this code reads.
    NotReadable,
    /// The pipeline is not the one that the run was begun with.
    Changed,
}

impl JournalErrorKind {
    /// The stable code.
    pub fn code(self) -> Code {
        match self {
            Self::Exists => code::RUN_EXISTS,
            Self::NotFound => code::RUN_NOT_FOUND,
            Self::Ended => code::RUN_ENDED,
            Self::LeaseHeld { .. } => code::LEASE_HELD,
            Self::LeaseLost => code::LEASE_LOST,
            Self::Unavailable => code::STORE_UNAVAILABLE,
            Self::Full => code::STORE_FULL,
            Self::Quota => code::QUOTA_EXCEEDED,
            Self::Schema => code::STORE_SCHEMA,
            Self::Unsafe => code::STORE_UNSAFE,
            Self::Tenant => code::TENANT_REQUIRED,
            Self::NoJournal => code::NO_JOURNAL,
            Self::Corrupt => code::STORE_CORRUPT,
            Self::NotReadable => code::NOT_READABLE,
            Self::Changed => code::PIPELINE_CHANGED,
        }
    }

    /// Whether it may go away by itself.
    pub fn class(self) -> ErrorClass {
        match self {
            Self::Unavailable | Self::Full | Self::Quota | Self::LeaseHeld { .. } => ErrorClass::Transient,
            Self::Tenant => ErrorClass::Invalid,
            _ => ErrorClass::Permanent,
        }
    }
}

/// A journal did not do what it was asked for.
///
/// ```
/// use stageflow_core::durable::{JournalError, JournalErrorKind};
///
/// let error = JournalError::new(JournalErrorKind::Full, "runs.db: no space left on device");
/// assert_eq!(error.code().as_str(), "STORE_FULL");
/// assert_eq!(error.to_string(), "runs.db: no space left on device");
/// ```
#[derive(Debug)]
pub struct JournalError {
    kind: JournalErrorKind,
    message: Cow<'static, str>,
    hint: Option<Cow<'static, str>>,
    source: Option<BoxError>,
}

impl JournalError {
    /// Trouble of a kind. The message says where and what; it holds no payload, no secret, and nothing of another tenant.
    pub fn new(kind: JournalErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, message: message.into(), hint: None, source: None }
    }

    /// What usually helps, where it is not what the code says.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What it follows from.
    #[must_use]
    pub fn source(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The kind.
    pub fn kind(&self) -> JournalErrorKind {
        self.kind
    }

    /// The stable code.
    pub fn code(&self) -> Code {
        self.kind.code()
    }

    /// What usually helps.
    pub fn help(&self) -> &str {
        self.hint.as_deref().or_else(|| self.code().hint()).unwrap_or_default()
    }

    /// How a stage leaves for this reason.
    pub fn into_exit(mut self) -> StageExit {
        let hint = self.hint.take();
        let exit = StageExit::failure(self.code(), self.kind.class(), Box::new(self));
        match hint {
            Some(hint) => exit.hint(hint),
            None => exit,
        }
    }
}

impl fmt::Display for JournalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for JournalError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

//! Why something of a tenant is refused.

use std::{error::Error, fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    code,
    exit::{ErrorClass, StageExit},
    id::TenantId,
    text::OneLine,
    time::Human,
};

/// What a quota limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum QuotaKind {
    /// Runs at a time.
    ConcurrentRuns,
    /// Stages in flight at a time.
    StagesInFlight,
    /// Runs that begin within a time.
    RunRate,
    /// Bytes in a store.
    StoredBytes,
    /// Cost within a window.
    Cost,
}

impl QuotaKind {
    /// All kinds.
    pub const ALL: [Self; 5] =
        [Self::ConcurrentRuns, Self::StagesInFlight, Self::RunRate, Self::StoredBytes, Self::Cost];

    /// As one word, as on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ConcurrentRuns => "concurrent_runs",
            Self::StagesInFlight => "stages_in_flight",
            Self::RunRate => "run_rate",
            Self::StoredBytes => "stored_bytes",
            Self::Cost => "cost",
        }
    }
}

impl fmt::Display for QuotaKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::ConcurrentRuns => "runs at a time",
            Self::StagesInFlight => "stages in flight",
            Self::RunRate => "runs for the time",
            Self::StoredBytes => "stored bytes",
            Self::Cost => "cost for the window",
        })
    }
}

/// A tenant has used up what it may use: code `QUOTA_EXCEEDED`. It names no tenant but the one that asked (rule S-33).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct QuotaExceeded {
    /// Whose quota it is; `None` for runs without a tenant, which are one.
    pub tenant: Option<TenantId>,
    /// What is limited.
    pub quota: QuotaKind,
    /// How much there may be.
    pub limit: u64,
    /// How much there was at that moment.
    pub used: u64,
    /// When it may help to come again, where that is known: for runs at a time it is when another one ends, which nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<Duration>,
    /// How long it has waited before it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waited: Option<Duration>,
}

impl QuotaExceeded {
    /// A refusal.
    pub fn new(tenant: Option<TenantId>, quota: QuotaKind, limit: u64, used: u64) -> Self {
        Self { tenant, quota, limit, used, retry_after: None, waited: None }
    }

    /// Says when it may help to come again.
    #[must_use]
    pub fn retry_after(mut self, after: impl Into<Option<Duration>>) -> Self {
        self.retry_after = after.into();
        self
    }

    /// Says how long it has waited.
    #[must_use]
    pub fn waited(mut self, waited: Duration) -> Self {
        self.waited = Some(waited);
        self
    }

    /// How a stage leaves for this reason: as a transient failure.
    pub fn into_exit(self) -> StageExit {
        StageExit::failure(code::QUOTA_EXCEEDED, ErrorClass::Transient, Box::new(self))
    }
}

impl fmt::Display for QuotaExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.tenant {
            Some(tenant) => write!(f, "tenant `{}`", OneLine(tenant))?,
            None => f.write_str("the runs without a tenant")?,
        }
        write!(f, ": {} of {} {}", self.used, self.limit, self.quota)?;
        if let Some(waited) = self.waited {
            write!(f, ", after a wait of {}", Human(waited))?;
        }
        match self.retry_after {
            Some(after) => write!(f, "; come again in {}", Human(after)),
            None => Ok(()),
        }
    }
}

impl Error for QuotaExceeded {}

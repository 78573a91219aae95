//! [`BulkheadSpec`] and [`RateLimitSpec`]: the configurations of `bulkhead` and `rate_limit`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use stageflow_dag::spec::{HumanDuration, SpecError};
use stageflow_interceptors::{Bulkhead, LimitBuildError, RateLimiter, WhenFull};

/// At most so many calls at a time: [`Bulkhead`] in data. What is left out is as in its builder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Bulkhead")]
pub struct BulkheadSpec {
    /// What is protected.
    pub name: String,
    /// How many calls may run at a time; 25 unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_concurrent: Option<u32>,
    /// How many calls may wait; 100 unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_queue: Option<u32>,
    /// How long a call may wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_timeout: Option<HumanDuration>,
    /// Whether each tenant has places and a queue of its own; off unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_tenant: Option<bool>,
    /// How many tenants are known at a time; 10,000 unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_keys: Option<usize>,
    /// What happens to a call for which there is no room; `wait` unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when_full: Option<WhenFullSpec>,
}

/// At most so much in a time: [`RateLimiter`] in data, where each call costs 1. What is left out is as in its builder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "RateLimit")]
pub struct RateLimitSpec {
    /// What is protected.
    pub name: String,
    /// The limits by name, all of which hold.
    pub limits: BTreeMap<String, LimitSpec>,
    /// Whether each tenant has a quota of its own; off unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_tenant: Option<bool>,
    /// How many tenants are known at a time; 10,000 unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_keys: Option<usize>,
    /// How many calls of one tenant may wait; 1,000 unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_queue: Option<u32>,
    /// How long a call may wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_wait: Option<HumanDuration>,
    /// What happens to a call for which there is no room; `wait` unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when_full: Option<WhenFullSpec>,
}

/// So many calls in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Limit")]
pub struct LimitSpec {
    /// How many calls.
    pub limit: u64,
    /// In which time.
    pub per: HumanDuration,
    /// How many at once, after it was not used for a while; as many as the limit unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u64>,
}

/// What happens to a call for which there is no room: [`WhenFull`] in data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "WhenFull")]
pub enum WhenFullSpec {
    /// The call waits for its turn.
    Wait,
    /// The call is refused at once, as a transient failure.
    Reject,
    /// The stage is skipped.
    Skip,
}

impl From<WhenFullSpec> for WhenFull {
    fn from(what: WhenFullSpec) -> Self {
        match what {
            WhenFullSpec::Wait => Self::Wait,
            WhenFullSpec::Reject => Self::Reject,
            WhenFullSpec::Skip => Self::Skip,
        }
    }
}

impl BulkheadSpec {
    /// The policy.
    ///
    /// # Errors
    ///
    /// `INVALID_CONFIG` if no call could ever run, or no tenant be known.
    pub fn into_policy(self) -> Result<Bulkhead, SpecError> {
        let mut bulkhead = Bulkhead::builder(self.name);
        if let Some(calls) = self.max_concurrent {
            bulkhead = bulkhead.max_concurrent(calls);
        }
        if let Some(calls) = self.max_queue {
            bulkhead = bulkhead.max_queue(calls);
        }
        if let Some(timeout) = self.queue_timeout {
            bulkhead = bulkhead.queue_timeout(timeout.0);
        }
        if let Some(apart) = self.per_tenant {
            bulkhead = bulkhead.per_tenant(apart);
        }
        if let Some(keys) = self.max_keys {
            bulkhead = bulkhead.max_keys(keys);
        }
        if let Some(what) = self.when_full {
            bulkhead = bulkhead.when_full(what.into());
        }
        bulkhead.build().map_err(|error| refused(&error))
    }
}

impl RateLimitSpec {
    /// The policy.
    ///
    /// # Errors
    ///
    /// `INVALID_CONFIG` without a limit, with one that could let nothing through, and if no tenant could be known.
    pub fn into_policy(self) -> Result<RateLimiter, SpecError> {
        let mut rate = RateLimiter::builder(self.name);
        for (name, LimitSpec { limit, per, burst }) in self.limits {
            rate = rate.dimension(name, limit, per.0, burst.unwrap_or(limit));
        }
        if let Some(apart) = self.per_tenant {
            rate = rate.per_tenant(apart);
        }
        if let Some(keys) = self.max_keys {
            rate = rate.max_keys(keys);
        }
        if let Some(calls) = self.max_queue {
            rate = rate.max_queue(calls);
        }
        if let Some(wait) = self.max_wait {
            rate = rate.max_wait(wait.0);
        }
        if let Some(what) = self.when_full {
            rate = rate.when_full(what.into());
        }
        rate.build().map_err(|error| refused(&error))
    }
}

/// The problems without the words around them, which name the policy once more.
fn refused(error: &LimitBuildError) -> SpecError {
    SpecError::new(error.problems().join("; "))
}

//! [`BreakerSpec`]: the configuration of `breaker`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use stageflow_dag::spec::HumanDuration;
use stageflow_interceptors::{BreakerConfigError, CircuitBreaker};

/// Does not make calls that would most likely fail: [`CircuitBreaker`] in data. What is left out is as in its builder.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Breaker")]
pub struct BreakerSpec {
    /// What fails, such as a service; unless set, each stage is a dependency of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dependency: Option<String>,
    /// Opens when this share of the calls in a window has failed; 0.5 unless set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_rate: Option<f64>,
    /// Judges by the calls of this time; `30s` without any window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_window: Option<HumanDuration>,
    /// Judges by the last so many calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count_window: Option<u32>,
    /// Judges a window by nothing less than so many calls; 20 unless set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_calls: Option<u32>,
    /// Opens after so many failures in a row; off unless set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consecutive: Option<u32>,
    /// Opens when calls are slow; off unless set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow_calls: Option<SlowCallsSpec>,
    /// How long it stays open; `10s` unless set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_for: Option<HumanDuration>,
    /// The longest it stays open; `5m` unless set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_open: Option<HumanDuration>,
    /// How far chance moves the time it stays open, as a share of it; 0.2 unless set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter: Option<f64>,
    /// How many probes it takes to close; 3 unless set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probes: Option<u32>,
    /// Whether each tenant has one to itself; on unless set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_tenant: Option<bool>,
    /// How many keys it knows at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_keys: Option<usize>,
    /// Lets a stage wait for so long while it is open, instead of rejecting the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait_while_open: Option<HumanDuration>,
}

/// When calls are slow.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SlowCalls")]
pub struct SlowCallsSpec {
    /// A call that takes at least as long is slow.
    pub threshold: HumanDuration,
    /// Which share of the calls opens the breaker.
    pub share: f64,
}

impl BreakerSpec {
    /// The policy.
    ///
    /// # Errors
    ///
    /// Everything about it that cannot work, at once.
    pub fn into_policy(self) -> Result<CircuitBreaker, BreakerConfigError> {
        let mut breaker = match self.dependency {
            Some(dependency) => CircuitBreaker::builder(dependency),
            None => CircuitBreaker::per_stage(),
        };
        if let Some(share) = self.failure_rate {
            breaker = breaker.failure_rate(share);
        }
        if let Some(span) = self.time_window {
            breaker = breaker.time_window(span.0);
        }
        if let Some(calls) = self.count_window {
            breaker = breaker.count_window(calls);
        }
        if let Some(calls) = self.min_calls {
            breaker = breaker.min_calls(calls);
        }
        if let Some(failures) = self.consecutive {
            breaker = breaker.consecutive(failures);
        }
        if let Some(SlowCallsSpec { threshold, share }) = self.slow_calls {
            breaker = breaker.slow_calls(threshold.0, share);
        }
        if let Some(time) = self.open_for {
            breaker = breaker.open_for(time.0);
        }
        if let Some(time) = self.max_open {
            breaker = breaker.max_open(time.0);
        }
        if let Some(share) = self.jitter {
            breaker = breaker.jitter(share);
        }
        if let Some(probes) = self.probes {
            breaker = breaker.probes(probes);
        }
        if let Some(apart) = self.per_tenant {
            breaker = breaker.per_tenant(apart);
        }
        if let Some(keys) = self.max_keys {
            breaker = breaker.max_keys(keys);
        }
        if let Some(time) = self.wait_while_open {
            breaker = breaker.wait_while_open(time.0);
        }
        breaker.build()
    }
}

//! [`RetrySpec`]: the configuration of `retry`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use stageflow_core::{Backoff, ErrorClass, Jitter};
use stageflow_dag::spec::{HumanDuration, SpecError};
use stageflow_interceptors::Retry;

/// Tries a stage again: [`Retry`] in data. What is left out is as in [`Retry::default`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Retry")]
pub struct RetrySpec {
    /// How many attempts there are in total, the first included; 3 unless set.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_attempts: Option<u32>,
    /// The delay from which the first is derived; `200ms` unless set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<HumanDuration>,
    /// How delays grow; `exponential` unless set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub growth: Option<GrowthSpec>,
    /// By what exponential delays grow; 2 unless set.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub factor: Option<f64>,
    /// What no delay exceeds; `30s` unless set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cap: Option<HumanDuration>,
    /// How chance spreads the delays; `full` unless set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter: Option<JitterSpec>,
    /// No retry begins later than this after the first attempt; no limit unless set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_elapsed: Option<HumanDuration>,
    /// What a delay that the other side asks for is cut to; `1m` unless set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint_max: Option<HumanDuration>,
    /// Which failures are tried again; `transient` and `timeout` unless set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on: Option<Vec<ClassSpec>>,
}

/// How delays grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Growth")]
pub enum GrowthSpec {
    /// By a factor.
    Exponential,
    /// By the base.
    Linear,
    /// Not at all.
    Constant,
}

/// How chance spreads the delays: [`Jitter`] in data.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Jitter")]
pub enum JitterSpec {
    /// Not at all.
    None,
    /// Evenly between nothing and the ceiling.
    Full,
    /// Evenly between half of the ceiling and the ceiling.
    Equal,
    /// Evenly between the base and three times the previous delay.
    Decorrelated,
    /// Evenly within this share of the ceiling, to both sides.
    Proportional(#[schemars(range(min = 0, max = 1))] f64),
}

/// What kind of failure it is: those of [`ErrorClass`] that may be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "RetriedClass")]
pub enum ClassSpec {
    /// Nobody said.
    Unclassified,
    /// Another attempt may help.
    Transient,
    /// Time ran out.
    Timeout,
}

impl RetrySpec {
    /// The policy.
    ///
    /// # Errors
    ///
    /// `INVALID_CONFIG` for no attempt, a factor below 1, and a share of jitter that is none.
    pub fn into_policy(self) -> Result<Retry, SpecError> {
        let base = self.base.map_or(Backoff::default().base(), |base| base.0);
        let mut backoff = match self.growth.unwrap_or(GrowthSpec::Exponential) {
            GrowthSpec::Exponential => Backoff::exponential(base),
            GrowthSpec::Linear => Backoff::linear(base),
            GrowthSpec::Constant => Backoff::constant(base),
        };
        if let Some(factor) = self.factor {
            if factor < 1.0 {
                return Err(SpecError::new(format!("delays cannot grow by a factor of {factor}"))
                    .at("/factor")
                    .help("use 1 or more"));
            }
            backoff = backoff.factor(factor);
        }
        if let Some(cap) = self.cap {
            backoff = backoff.cap(cap.0);
        }
        if let Some(jitter) = self.jitter {
            backoff = backoff.jitter(jitter.into_jitter()?);
        }
        let mut retry = Retry::with(backoff);
        if let Some(attempts) = self.max_attempts {
            if attempts == 0 {
                return Err(SpecError::new("a stage makes one attempt at least")
                    .at("/max_attempts")
                    .help("use 1 or more, or leave the policy out"));
            }
            retry = retry.max_attempts(attempts);
        }
        if let Some(limit) = self.max_elapsed {
            retry = retry.max_elapsed(limit.0);
        }
        if let Some(limit) = self.hint_max {
            retry = retry.hint_max(limit.0);
        }
        if let Some(classes) = self.on {
            retry = retry.on(classes.into_iter().map(ErrorClass::from));
        }
        Ok(retry)
    }
}

impl JitterSpec {
    fn into_jitter(self) -> Result<Jitter, SpecError> {
        Ok(match self {
            Self::None => Jitter::None,
            Self::Full => Jitter::Full,
            Self::Equal => Jitter::Equal,
            Self::Decorrelated => Jitter::Decorrelated,
            Self::Proportional(share) if (0.0..=1.0).contains(&share) => Jitter::Proportional(share),
            Self::Proportional(share) => {
                return Err(SpecError::new(format!("{share} is no share of a delay"))
                    .at("/jitter/proportional")
                    .help("use a number from 0 to 1"));
            }
        })
    }
}

impl From<ClassSpec> for ErrorClass {
    fn from(class: ClassSpec) -> Self {
        match class {
            ClassSpec::Unclassified => Self::Unclassified,
            ClassSpec::Transient => Self::Transient,
            ClassSpec::Timeout => Self::Timeout,
        }
    }
}

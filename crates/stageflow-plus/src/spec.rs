//! Policies for pipelines from data: retry, circuit breaker, limits and fallback by name, with configurations that people write.
//!
//! ```
//! use std::sync::Arc;
//! use stageflow_core::{StageContext, StageResult, stage_fn};
//! use stageflow_dag::{Pipeline, spec::{PipelineSpec, Registry, SpecError}};
//! use stageflow_plus::spec::StandardPolicies;
//!
//! async fn ask(_ctx: StageContext, question: Arc<String>) -> StageResult<String> {
//!     Ok(format!("{question}? 42"))
//! }
//!
//! let mut registry = Registry::new();
//! registry.standard_policies().stage("model", |(): ()| Ok::<_, SpecError>(stage_fn(ask)));
//!
//! let spec = PipelineSpec::from_json(r#"{
//!     "stageflow": 1,
//!     "name": "answer",
//!     "stages": {
//!         "ask": {
//!             "use": "model",
//!             "inputs": "input",
//!             "policies": {
//!                 "timeout": "30s",
//!                 "retry": { "max_attempts": 4, "base": "250ms" },
//!                 "breaker": { "dependency": "model", "consecutive": 5 },
//!                 "bulkhead": { "name": "model", "max_concurrent": 8 },
//!                 "rate_limit": { "name": "model", "limits": { "requests": { "limit": 60, "per": "1m", "burst": 10 } } }
//!             }
//!         }
//!     },
//!     "output": "ask"
//! }"#)?;
//! let pipeline: Pipeline<String, String> = registry.build(&spec)?;
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```

mod breaker;
mod limits;
mod retry;
#[cfg(test)]
mod tests;

use std::any::Any;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use stageflow_dag::spec::{Registry, SpecError};
use stageflow_interceptors::Fallback;

pub use self::{
    breaker::{BreakerSpec, SlowCallsSpec},
    limits::{BulkheadSpec, LimitSpec, RateLimitSpec, WhenFullSpec},
    retry::{ClassSpec, GrowthSpec, JitterSpec, RetrySpec},
};

/// Registers the policies that a person would set up with numbers.
pub trait StandardPolicies {
    /// Registers `retry` ([`RetrySpec`]), `breaker` ([`BreakerSpec`]), `bulkhead` ([`BulkheadSpec`]) and `rate_limit`
    /// ([`RateLimitSpec`]).
    ///
    /// Each use of one makes one of its own: a `bulkhead` of a stage is not shared with another stage, and one of the pipeline is shared by
    /// all of its stages. To share one between some, register a policy of your own that clones it.
    #[track_caller]
    fn standard_policies(&mut self) -> &mut Self;

    /// Registers a policy that answers with a constant in the place of a stage that fails: its configuration is the answer.
    ///
    /// `T` has to be the type of the stage's output; an answer of another type fails the stage with `REPLACED_TYPE`.
    #[track_caller]
    fn fallback_value<T>(&mut self, name: impl Into<String>) -> &mut Self
    where
        T: DeserializeOwned + JsonSchema + Any + Send + Sync;
}

impl StandardPolicies for Registry {
    fn standard_policies(&mut self) -> &mut Self {
        self.policy("retry", RetrySpec::into_policy)
            .policy("breaker", BreakerSpec::into_policy)
            .policy("bulkhead", BulkheadSpec::into_policy)
            .policy("rate_limit", RateLimitSpec::into_policy)
    }

    fn fallback_value<T>(&mut self, name: impl Into<String>) -> &mut Self
    where
        T: DeserializeOwned + JsonSchema + Any + Send + Sync,
    {
        self.policy(name, |answer: T| Ok::<_, SpecError>(Fallback::value(answer)))
    }
}

//! `delay` and `flaky`: time and trouble, for trying out policies.

use std::{sync::Arc, time::Duration};

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use stageflow::{prelude::*, spec::HumanDuration};

/// Passes its input on after a while.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Delay {
    /// How long.
    time: HumanDuration,
}

impl Stage for Delay {
    type Input = Arc<Value>;
    type Output = Value;

    async fn run(&self, _: &StageContext, input: Arc<Value>) -> StageResult<Value> {
        tokio::time::sleep(Duration::from(self.time)).await;
        Ok(Arc::unwrap_or_clone(input))
    }
}

/// Fails its first attempts in each run, as a service does that is overloaded, and then passes its input on.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Flaky {
    /// How many attempts fail.
    failures: u32,
    /// What they say.
    #[serde(default = "busy")]
    message: String,
    /// Whether another attempt may help: a retry asks for that.
    #[serde(default = "yes")]
    transient: bool,
}

fn busy() -> String {
    "the service is busy".to_owned()
}

fn yes() -> bool {
    true
}

impl Stage for Flaky {
    type Input = Arc<Value>;
    type Output = Value;
    const KIND: StageKind = StageKind::Work;

    async fn run(&self, ctx: &StageContext, input: Arc<Value>) -> StageResult<Value> {
        // Attempts are counted from one.
        if ctx.attempt() > self.failures {
            return Ok(Arc::unwrap_or_clone(input));
        }
        let failed = Err(self.message.clone());
        if self.transient { failed.transient() } else { failed.permanent() }
    }
}

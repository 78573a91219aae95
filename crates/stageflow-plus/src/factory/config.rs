//! Numbered stages as a configuration says.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use stageflow_core::StageKind;

/// Numbered stages as data: how many, how they are named, what each is configured with, and in which time they run.
///
/// It can be read by serde; fields that it does not know are errors. Only `prefix` and `count` are required.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use stageflow_plus::factory::ParallelConfig;
///
/// let shards: ParallelConfig<String> = serde_json::from_str(r#"{
///     "prefix": "shard",
///     "count": 8,
///     "max_in_flight": 4,
///     "config": "eu",
///     "timeout_ms": 2000,
///     "only": { "7": { "config": "us", "timeout_ms": 5000 } }
/// }"#)?;
/// assert_eq!(shards, ParallelConfig::new("shard", 8)
///     .max_in_flight(4)
///     .config("eu".to_owned())
///     .timeout(std::time::Duration::from_secs(2))
///     .only(7, |one| one.config("us".to_owned()).timeout(std::time::Duration::from_secs(5))));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, bound(deserialize = "C: Deserialize<'de> + Default"))]
pub struct ParallelConfig<C = ()> {
    pub(super) prefix: String,
    pub(super) count: usize,
    #[serde(default)]
    pub(super) config: C,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) kind: Option<StageKind>,
    #[serde(default, rename = "timeout_ms", with = "millis", skip_serializing_if = "Option::is_none")]
    pub(super) timeout: Option<Duration>,
    #[serde(
        default,
        rename = "attempt_timeout_ms",
        with = "millis",
        skip_serializing_if = "Option::is_none"
    )]
    pub(super) attempt_timeout: Option<Duration>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) max_in_flight: Option<u32>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) only: BTreeMap<usize, OneOf<C>>,
}

/// What is different about one of several stages; what it does not say is as for all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, bound(deserialize = "C: Deserialize<'de>"))]
pub struct OneOf<C = ()> {
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub(super) config: Option<C>,
    #[serde(default, rename = "timeout_ms", with = "millis", skip_serializing_if = "Option::is_none")]
    pub(super) timeout: Option<Duration>,
    #[serde(
        default,
        rename = "attempt_timeout_ms",
        with = "millis",
        skip_serializing_if = "Option::is_none"
    )]
    pub(super) attempt_timeout: Option<Duration>,
}

fn none<C>() -> Option<C> {
    None
}

/// Times in whole milliseconds; parts of one are written as one.
mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[expect(clippy::ref_option, reason = "serde gives it like this")]
    pub(super) fn serialize<S: Serializer>(time: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
        let millis = |time: Duration| u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        time.map(millis).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(from)?.map(Duration::from_millis))
    }
}

impl<C: Default> ParallelConfig<C> {
    /// So many stages with this prefix to their names, configured by default.
    pub fn new(prefix: impl Into<String>, count: usize) -> Self {
        Self {
            prefix: prefix.into(),
            count,
            config: C::default(),
            kind: None,
            timeout: None,
            attempt_timeout: None,
            max_in_flight: None,
            only: BTreeMap::new(),
        }
    }
}

impl<C> ParallelConfig<C> {
    /// What each stage is configured with: given to the function that makes it.
    #[must_use]
    pub fn config(mut self, config: C) -> Self {
        self.config = config;
        self
    }

    /// What kind of work it is; as a stage says itself unless set.
    #[must_use]
    pub fn kind(mut self, kind: StageKind) -> Self {
        self.kind = Some(kind);
        self
    }

    /// The time of each stage for all its attempts: [`StageBuilder::timeout`](stageflow_dag::StageBuilder::timeout).
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// The time for one attempt: [`StageBuilder::attempt_timeout`](stageflow_dag::StageBuilder::attempt_timeout).
    #[must_use]
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.attempt_timeout = Some(timeout);
        self
    }

    /// How many stages of a run of the whole pipeline may be in flight at a time:
    /// [`Builder::max_in_flight`](stageflow_dag::Builder::max_in_flight).
    #[must_use]
    pub fn max_in_flight(mut self, limit: u32) -> Self {
        self.max_in_flight = Some(limit);
        self
    }

    /// Says what is different about one of them.
    #[must_use]
    pub fn only(mut self, index: usize, different: impl FnOnce(OneOf<C>) -> OneOf<C>) -> Self {
        let one = OneOf { config: None, timeout: None, attempt_timeout: None };
        self.only.insert(index, different(one));
        self
    }
}

impl<C> OneOf<C> {
    /// What this one is configured with.
    #[must_use]
    pub fn config(mut self, config: C) -> Self {
        self.config = Some(config);
        self
    }

    /// Its time for all attempts.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Its time for one attempt.
    #[must_use]
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.attempt_timeout = Some(timeout);
        self
    }
}

//! Settings: what stages and pipelines can be told without a policy.

use std::{collections::BTreeMap, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::Value;
use stageflow_core::{Budget, FailurePolicy, FailureRules, Keep, StageKind, TimeLimit, code};

use super::{HumanDuration, SpecError, hint, read};
use crate::{
    draft::Setting,
    lint::{Allowed, Lint},
    plan::{Policies, StageSettings},
    problem::Quoted,
};

/// How a setting is read, and what it may be.
pub(super) struct Setter<T> {
    pub(super) name: &'static str,
    pub(super) set: fn(&Value, &mut T) -> Result<(), SpecError>,
    pub(super) schema: fn(&mut SchemaGenerator) -> Schema,
}

/// What the checks call a setting of a pipeline whose value can be wrong.
pub(super) fn checked_as(name: &str) -> Option<Setting> {
    Some(match name {
        "on_failure" => Setting::OnFailure,
        "max_in_flight" => Setting::MaxInFlight,
        "deadline" => Setting::Deadline,
        "stage_timeout" => Setting::Timeout("stage_timeout"),
        "attempt_timeout" => Setting::Timeout("attempt_timeout"),
        "idle_timeout" => Setting::Timeout("idle_timeout"),
        _ => return None,
    })
}

pub(super) fn is_setting(name: &str) -> bool {
    of_stage(name).is_some() || of_pipeline(name).is_some()
}

pub(super) fn of_stage(name: &str) -> Option<&'static Setter<StageSettings>> {
    STAGE.iter().find(|setter| setter.name == name)
}

pub(super) fn of_pipeline(name: &str) -> Option<&'static Setter<Policies>> {
    PIPELINE.iter().find(|setter| setter.name == name)
}

macro_rules! setters {
    ($target:ty: $($name:ident($type:ty) $set:expr;)+) => {
        &[$(Setter {
            name: stringify!($name),
            set: |value, target| {
                let set: fn($type, &mut $target) -> Result<(), SpecError> = $set;
                set(read::config::<$type>(Some(value))?, target)
            },
            schema: |generator| generator.subschema_for::<$type>(),
        }),+]
    };
}

pub(super) const STAGE: &[Setter<StageSettings>] = setters! { StageSettings:
    timeout(Limit) |limit, settings| { settings.timeouts.stage = limit.into(); Ok(()) };
    attempt_timeout(Limit) |limit, settings| { settings.timeouts.attempt = limit.into(); Ok(()) };
    idle_timeout(Limit) |limit, settings| { settings.timeouts.idle = limit.into(); Ok(()) };
    min_time(HumanDuration) |time, settings| { settings.min_time = time.0; Ok(()) };
    grace(HumanDuration) |time, settings| { settings.grace = Some(time.0); Ok(()) };
    cost(u64) |cost, settings| { settings.cost = Some(cost); Ok(()) };
    allow_lint(AllowedLints) |lints, settings| allow(lints, &mut settings.allowed);
};

pub(super) const PIPELINE: &[Setter<Policies>] = setters! { Policies:
    stage_timeout(Limit) |limit, policies| { policies.timeouts.stage = limit.into(); Ok(()) };
    attempt_timeout(Limit) |limit, policies| { policies.timeouts.attempt = limit.into(); Ok(()) };
    idle_timeout(Limit) |limit, policies| { policies.timeouts.idle = limit.into(); Ok(()) };
    deadline(HumanDuration) |time, policies| { policies.deadline = Some(time.0); Ok(()) };
    cleanup_budget(HumanDuration) |time, policies| { policies.cleanup_budget = time.0; Ok(()) };
    max_in_flight(u32) |limit, policies| { policies.max_in_flight = Some(limit); Ok(()) };
    limit_kind(KindLimits) |limits, policies| { policies.kind_limits = limits.0; Ok(()) };
    on_failure(OnFailure) |rules, policies| { policies.on_failure = Some(rules.0); Ok(()) };
    keep(Kept) |keep, policies| { policies.keep = keep.0; Ok(()) };
    budget(BudgetSpec) |budget, policies| { policies.budget = Some(budget.into()); Ok(()) };
    allow_lint(AllowedLints) |lints, policies| allow(lints, &mut policies.allowed);
};

type AllowedLints = BTreeMap<String, String>;

fn allow(lints: AllowedLints, allowed: &mut Vec<Allowed>) -> Result<(), SpecError> {
    for (name, reason) in lints {
        let Some(lint) = Lint::ALL.iter().find(|lint| lint.name() == name) else {
            let message = format!("no lint is named {}", Quoted(&name));
            let closest = hint::did_you_mean(&name, Lint::ALL.iter().map(|lint| lint.name()), &mut 1_000);
            let mut pointer = String::new();
            read::push(&mut pointer, &name);
            let error = SpecError::with_code(code::UNKNOWN_KIND, message).at(pointer);
            return Err(match closest {
                Some(closest) => error.help(closest),
                None => error.help("`Lint::ALL` lists them"),
            });
        };
        allowed.push(Allowed::new(*lint, reason));
    }
    Ok(())
}

/// A time, or `"none"` for no limit whatever pipeline and engine say.
struct Limit(Option<Duration>);

impl From<Limit> for TimeLimit {
    fn from(limit: Limit) -> Self {
        limit.0.into()
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "none" {
            return Ok(Self(None));
        }
        let time: HumanDuration = text.parse().map_err(serde::de::Error::custom)?;
        Ok(Self(Some(time.0)))
    }
}

impl JsonSchema for Limit {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "TimeLimit".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let time = generator.subschema_for::<HumanDuration>();
        json_schema!({ "anyOf": [time, { "const": "none", "description": "No limit, whatever pipeline and engine say." }] })
    }
}

struct KindLimits(Vec<(StageKind, u32)>);

impl<'de> Deserialize<'de> for KindLimits {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        BTreeMap::deserialize(deserializer).map(|limits| Self(limits.into_iter().collect()))
    }
}

impl JsonSchema for KindLimits {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "KindLimits".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let limit = serde_json::json!({ "type": "integer", "minimum": 1, "maximum": u32::MAX });
        let kinds: serde_json::Map<_, _> =
            StageKind::ALL.into_iter().map(|kind| (kind.as_str().to_owned(), limit.clone())).collect();
        json_schema!({ "type": "object", "properties": kinds, "additionalProperties": false })
    }
}

struct OnFailure(FailureRules);

/// What a failure means for the rest of a run, and what else ends it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rules {
    policy: FailurePolicy,
    max_failures: Option<u32>,
    tolerate_percent_of_ended: Option<OfEnded>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfEnded {
    percent: f64,
    min_samples: u32,
}

impl<'de> Deserialize<'de> for OnFailure {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let value = Value::deserialize(deserializer)?;
        if value.get("policy").is_none() {
            let policy: FailurePolicy = serde_json::from_value(value).map_err(D::Error::custom)?;
            return Ok(Self(policy.into()));
        }
        let said: Rules = serde_json::from_value(value).map_err(D::Error::custom)?;
        let mut rules = FailureRules::new(said.policy);
        if let Some(limit) = said.max_failures {
            rules = rules.max_failures(limit);
        }
        if let Some(OfEnded { percent, min_samples }) = said.tolerate_percent_of_ended {
            rules = rules.tolerate_percent_of_ended(percent, min_samples);
        }
        Ok(Self(rules))
    }
}

impl JsonSchema for OnFailure {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "OnFailure".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let percent = serde_json::json!({ "type": "number", "minimum": 0, "maximum": 100 });
        let count = serde_json::json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX });
        let policy = serde_json::json!({ "anyOf": [
            { "enum": ["fail_fast", "continue", "best_effort"] },
            { "type": "object", "properties": { "tolerate_count": count }, "required": ["tolerate_count"], "additionalProperties": false },
            { "type": "object", "properties": { "tolerate_percent": percent }, "required": ["tolerate_percent"], "additionalProperties": false },
        ] });
        let of_ended = serde_json::json!({
            "type": "object",
            "properties": { "percent": percent, "min_samples": count },
            "required": ["percent", "min_samples"],
            "additionalProperties": false,
        });
        json_schema!({ "anyOf": [policy, {
            "type": "object",
            "properties": { "policy": policy, "max_failures": count, "tolerate_percent_of_ended": of_ended },
            "required": ["policy"],
            "additionalProperties": false,
        }] })
    }
}

#[derive(Deserialize)]
#[serde(transparent)]
struct Kept(Keep);

impl JsonSchema for Kept {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Keep".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "enum": ["all", "output"] })
    }
}

/// What a run may use together with its child runs.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Budget")]
struct BudgetSpec {
    retries: Option<RetriesSpec>,
    /// In units of your choice.
    cost: Option<u64>,
}

/// So many retries for each stage, and a floor.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "RetryShare")]
struct RetriesSpec {
    ratio: f64,
    floor: u32,
}

impl From<BudgetSpec> for Budget {
    fn from(said: BudgetSpec) -> Self {
        let mut budget = Self::new();
        if let Some(RetriesSpec { ratio, floor }) = said.retries {
            budget = budget.retries(ratio, floor);
        }
        if let Some(cost) = said.cost {
            budget = budget.cost(cost);
        }
        budget
    }
}

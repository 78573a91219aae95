//! [`Registry`]: what data may use, by name.

use std::{
    any::{Any, TypeId},
    collections::BTreeMap,
    fmt,
    panic::{AssertUnwindSafe, Location, catch_unwind},
    sync::Arc,
};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde_json::Value;
use stageflow_core::{
    BoxError, Interceptor, Stage, StageInput, StageKind, code, input::InputShape, intercept::AnyInterceptor,
    stage::ErasedStage, text::panic_message, value::TypeTag,
};

use super::{SpecError, read, settings};
use crate::{
    draft::Place,
    plan::Condition,
    problem::{Problem, Quoted},
    stage_builder::condition,
    sub_pipeline::IntoStage,
};

/// How many stages a pipeline from data may have, where the registry says nothing else.
const MAX_STAGES: usize = 100_000;

type Make<T> = Box<dyn Fn(Option<&Value>) -> Result<T, SpecError> + Send + Sync>;

/// What data may use, by name: kinds of stages, policies, and conditions.
///
/// A program registers what it offers, and [builds](Self::build) pipelines of it. Nothing is registered in the whole process, and
/// nothing by default; what a name means is said once, and a second time is a problem that every build reports.
#[derive(Default)]
pub struct Registry {
    pub(super) stages: BTreeMap<String, StageEntry>,
    pub(super) policies: BTreeMap<String, Entry<AnyInterceptor>>,
    pub(super) predicates: BTreeMap<String, PredicateEntry>,
    pub(super) problems: Vec<Problem>,
    pub(super) max_stages: Option<usize>,
}

/// A constructor, and the schema of what it is given.
pub(super) struct Entry<T> {
    pub(super) place: Place,
    pub(super) make: Make<T>,
    pub(super) schema: fn(&mut SchemaGenerator) -> Schema,
    /// Whether the constructor's configuration may be left out.
    pub(super) is_optional: fn() -> bool,
    /// Whether there is nothing to configure.
    pub(super) is_unit: bool,
}

/// A kind of stage.
pub(super) struct StageEntry {
    pub(super) entry: Entry<Arc<dyn ErasedStage>>,
    pub(super) input: InputShape,
    pub(super) output: TypeTag,
    pub(super) work: StageKind,
}

/// A condition.
pub(super) struct PredicateEntry {
    pub(super) entry: Entry<Condition>,
    pub(super) of: TypeTag,
}

impl Registry {
    /// A registry of nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a kind of stage: a constructor of a stage or a pipeline from its configuration.
    ///
    /// The types of its input and output are those of the stage, and edges are checked against them. The configuration is what stands
    /// under `with`; without it the constructor is given what an empty object means, so that all of its fields may have defaults, and
    /// `()` is for kinds that have none. Give it `#[serde(deny_unknown_fields)]`, so that a misspelt field is an error.
    ///
    /// A constructor that fails or panics is a problem of each stage that uses it, with the code `INVALID_CONFIG`.
    #[track_caller]
    pub fn stage<C, S, E, F>(&mut self, name: impl Into<String>, make: F) -> &mut Self
    where
        C: DeserializeOwned + JsonSchema + 'static,
        S: IntoStage,
        E: Into<BoxError>,
        F: Fn(C) -> Result<S, E> + Send + Sync + 'static,
    {
        let place = Location::caller().into();
        let entry = entry(place, move |config: C| {
            make(config).map(|stage| Arc::new(stage.into_stage()) as Arc<dyn ErasedStage>).map_err(refused)
        });
        let stage = StageEntry {
            entry,
            input: <S::Stage as Stage>::Input::shape(),
            output: TypeTag::of::<<S::Stage as Stage>::Output>(),
            work: <S::Stage as Stage>::KIND,
        };
        let name = name.into();
        self.name(&name, place, "kinds of stages", self.stages.contains_key(&name));
        self.stages.entry(name).or_insert(stage);
        self
    }

    /// Registers a policy: a constructor of an interceptor from its configuration, for stages and for whole pipelines.
    ///
    /// Each use makes one of its own, and that of a pipeline stands around each of its stages. To share one between some stages,
    /// register a constructor that clones it. The names of settings, such as `timeout`, are taken.
    #[track_caller]
    pub fn policy<C, P, E, F>(&mut self, name: impl Into<String>, make: F) -> &mut Self
    where
        C: DeserializeOwned + JsonSchema + 'static,
        P: Interceptor,
        E: Into<BoxError>,
        F: Fn(C) -> Result<P, E> + Send + Sync + 'static,
    {
        let place = Location::caller().into();
        let name = name.into();
        if settings::is_setting(&name) {
            let message =
                format!("{} is the name of a setting, and cannot be that of a policy", Quoted(&name));
            self.problems.push(Problem::new(code::DUPLICATE, place, message));
            return self;
        }
        self.name(&name, place, "policies", self.policies.contains_key(&name));
        let policy = entry(place, move |config: C| make(config).map(AnyInterceptor::new).map_err(refused));
        self.policies.entry(name).or_insert(policy);
        self
    }

    /// Registers a condition for `when`: whether a stage runs, by its configuration and the value of an output of type `T`.
    ///
    /// If it panics in a run, it fails the stage.
    #[track_caller]
    pub fn predicate<C, T, F>(&mut self, name: impl Into<String>, holds: F) -> &mut Self
    where
        C: DeserializeOwned + JsonSchema + Send + Sync + 'static,
        T: Any + Send + Sync,
        F: Fn(&C, &T) -> bool + Send + Sync + 'static,
    {
        let place = Location::caller().into();
        let holds = Arc::new(holds);
        let entry = entry(place, move |config: C| {
            let holds = Arc::clone(&holds);
            let holds = move |value: &T| holds(&config, value);
            Ok(condition(holds))
        });
        let name = name.into();
        self.name(&name, place, "conditions", self.predicates.contains_key(&name));
        self.predicates.entry(name).or_insert(PredicateEntry { entry, of: TypeTag::of::<T>() });
        self
    }

    /// How many stages a pipeline from data may have; without a call 100,000.
    pub fn max_stages(&mut self, limit: usize) -> &mut Self {
        self.max_stages = Some(limit);
        self
    }

    /// What is registered: stages, then policies, then conditions, each by name.
    pub fn kinds(&self) -> impl Iterator<Item = RegisteredKind<'_>> {
        let stages = self.stages.iter().map(|(name, stage)| RegisteredKind::Stage {
            name,
            input: super::shape::describe(&stage.input),
            output: stage.output.short_name(),
            kind: stage.work,
        });
        let policies = self.policies.keys().map(|name| RegisteredKind::Policy { name });
        let predicates = self
            .predicates
            .iter()
            .map(|(name, predicate)| RegisteredKind::Predicate { name, of: predicate.of.short_name() });
        stages.chain(policies).chain(predicates)
    }

    pub(super) fn limit(&self) -> usize {
        self.max_stages.unwrap_or(MAX_STAGES).min(crate::plan::MAX_STAGES)
    }

    fn name(&mut self, name: &str, place: Place, what: &str, is_known: bool) {
        if is_known {
            let message = format!("two {what} are registered as {}", Quoted(name));
            self.problems
                .push(Problem::new(code::DUPLICATE, place, message).help("give each a name of its own"));
        }
    }
}

/// Something that is registered: what [`Registry::kinds`] lists.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegisteredKind<'r> {
    /// A kind of stage.
    Stage {
        /// What `use` calls it.
        name: &'r str,
        /// What it takes, in words.
        input: String,
        /// The type that it gives, without its path.
        output: String,
        /// What kind of work it is, where the data says nothing else.
        kind: StageKind,
    },
    /// A policy.
    Policy {
        /// What `policies` calls it.
        name: &'r str,
    },
    /// A condition.
    Predicate {
        /// What `when` calls it.
        name: &'r str,
        /// The type of the value that it looks at, without its path.
        of: String,
    },
}

fn entry<C, T>(place: Place, make: impl Fn(C) -> Result<T, SpecError> + Send + Sync + 'static) -> Entry<T>
where
    C: DeserializeOwned + JsonSchema + 'static,
{
    Entry {
        place,
        make: Box::new(move |config| {
            // One boundary for everything of the user's: reading the configuration, and constructing.
            catch_unwind(AssertUnwindSafe(|| make(read_config::<C>(config)?))).unwrap_or_else(|panic| {
                Err(SpecError::new(format!("its constructor panicked: {}", panic_message(panic))))
            })
        }),
        schema: |generator| generator.subschema_for::<C>(),
        is_optional: || catch_unwind(|| read_config::<C>(None).is_ok()).unwrap_or(false),
        is_unit: TypeId::of::<C>() == TypeId::of::<()>(),
    }
}

fn read_config<C: DeserializeOwned + 'static>(config: Option<&Value>) -> Result<C, SpecError> {
    let is_unit = TypeId::of::<C>() == TypeId::of::<()>();
    match config {
        Some(Value::Object(fields)) if is_unit && fields.is_empty() => read::config(None),
        config => read::config(config),
    }
}

/// An error of a constructor: its own place and help where it is ours.
fn refused<E: Into<BoxError>>(error: E) -> SpecError {
    match error.into().downcast::<SpecError>() {
        Ok(error) => *error,
        Err(error) => {
            let causes = std::iter::successors(error.source(), |cause| cause.source()).take(8);
            SpecError::new(causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}")))
        }
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("stages", &self.stages.keys())
            .field("policies", &self.policies.keys())
            .field("predicates", &self.predicates.keys())
            .finish_non_exhaustive()
    }
}

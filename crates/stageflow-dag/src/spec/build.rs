//! [`Registry::build`]: data to a draft, which is checked and frozen like one that was written in code.

use std::{any::Any, collections::HashMap, panic::Location, sync::Arc};

use stageflow_core::{
    Code, Stage, StageContext, StageExit, StageKind, StageResult, code, stage::ErasedStage, text::OneLine,
    value::TypeTag,
};

use super::{
    PipelineSpec, Registry, SpecError,
    entries::{Config, Entries},
    format::StageSpec,
    hint,
    order::{self, INPUT_NAME},
    pointer::{self, Pointers},
    registry::StageEntry,
    settings,
};
use crate::{
    draft::{Draft, NewStage, Place, Setting},
    pipeline::Pipeline,
    plan::{INPUT, Plan, StageSettings},
    port::Port,
    problem::{BuildError, Problem, Quoted},
    suggest::COMPARISONS,
};

impl Registry {
    /// Builds the pipeline that the data describes, with the checks of [`Builder::build`](crate::Builder::build) and those that the
    /// compiler makes in code.
    ///
    /// Stages stand in the pipeline in the order of the data, except that each stands behind what it waits for. The same data may be
    /// built any number of times; each time constructs stages and policies anew. Takes time linear in stages and edges, but for the
    /// logarithm of sorting them, and no stack.
    ///
    /// # Errors
    ///
    /// All problems at once, each with its place in the data ([`Problem::pointer`]): those of any pipeline, and `UNKNOWN_KIND`,
    /// `INVALID_CONFIG`, `TYPE_MISMATCH`, and `INVALID_SPEC` for what the format cannot mean. A stage that could not be constructed
    /// counts as one of its kind, so that it causes no second problem.
    #[track_caller]
    pub fn build<I, O>(&self, spec: &PipelineSpec) -> Result<Pipeline<I, O>, BuildError>
    where
        I: Any + Send + Sync,
        O: Any + Send + Sync,
    {
        let place = Location::caller().into();
        Build::new(self, spec, TypeTag::of::<I>(), place).run(TypeTag::of::<O>()).map(Pipeline::from_plan)
    }
}

/// A pipeline while it is built from data.
pub(super) struct Build<'s> {
    pub(super) registry: &'s Registry,
    pub(super) spec: &'s PipelineSpec,
    pub(super) draft: Draft,
    pub(super) pointers: Pointers<'s>,
    /// Where the stages of the data are in the pipeline.
    pub(super) known: HashMap<&'s str, u32>,
    /// For each stage of the pipeline its place in the data.
    pub(super) order: Vec<u32>,
    /// What each stage of the pipeline gives, where its kind is known.
    pub(super) outputs: Vec<Option<TypeTag>>,
    pub(super) input: TypeTag,
    /// Where `build` was called.
    pub(super) place: Place,
    /// How many more names and types are compared for the sake of hints.
    pub(super) left: usize,
}

/// The stage that is joining.
pub(super) struct Joining<'s> {
    pub(super) name: &'s str,
    /// Its place in the data.
    pub(super) at: String,
    pub(super) place: Place,
}

/// Stands for a stage that could not be constructed. It never runs: there is a problem.
struct Missing;

impl Stage for Missing {
    type Input = ();
    type Output = ();

    async fn run(&self, _: &StageContext, (): ()) -> StageResult<()> {
        Err(StageExit::internal("a stage that could not be constructed was built"))
    }
}

impl<'s> Build<'s> {
    fn new(registry: &'s Registry, spec: &'s PipelineSpec, input: TypeTag, place: Place) -> Self {
        let mut pointers = Pointers::new(spec);
        let named = place.marked(pointers.mark("/name".to_owned()));
        let mut draft = Draft::new(spec.name.as_str().into(), named);
        draft.limit = registry.limit();
        draft.found.clone_from(&registry.problems);
        Self {
            registry,
            spec,
            draft,
            pointers,
            known: HashMap::new(),
            order: Vec::new(),
            outputs: Vec::new(),
            input,
            place,
            left: COMPARISONS,
        }
    }

    fn run(mut self, output: TypeTag) -> Result<Plan, BuildError> {
        let stages = self.place.marked(self.pointers.mark("/stages".to_owned()));
        let mut last = INPUT;
        if self.spec.stages.len() > self.draft.limit {
            // More than that are not even looked at.
            self.draft.full = true;
        } else {
            self.place_stages();
            self.pipeline_policies();
            for index in 0..self.order.len() {
                self.stage(self.order[index]);
            }
            last = self.output(output);
        }
        let output = Port::<()>::new(self.draft.id, last).erase();
        let pointers = self.pointers;
        self.draft.build(self.input, output, stages).map_err(|error| error.pointed(|mark| pointers.get(mark)))
    }

    fn place_stages(&mut self) {
        self.order = order::of(self.spec);
        self.known.reserve(self.order.len());
        self.outputs.reserve(self.order.len());
        for (index, place) in (0..).zip(&self.order) {
            let Some((name, stage)) = self.spec.stages.get(*place as usize) else { continue };
            self.known.insert(name, index);
            self.outputs.push(self.registry.stages.get(&stage.kind).map(|entry| entry.output));
        }
    }

    fn stage(&mut self, place: u32) {
        let (spec, registry) = (self.spec, self.registry);
        let Some((name, said)) = spec.stages.get(place as usize) else { return };
        let kind = registry.stages.get(&said.kind);
        let call = kind.map_or(self.place, |kind| kind.entry.place);
        let joining =
            Joining { name, at: pointer::stage(name), place: call.marked(Pointers::of_stage(place)) };
        if name == INPUT_NAME {
            let message = "a stage cannot be named `input`, which is the pipeline's input".to_owned();
            self.report(&joining, code::INVALID_NAME, "", message, None);
        }
        let stage = self.construct(&joining, said, kind);
        let settings = said.policies.as_ref().map(|policies| self.stage_policies(&joining, policies));
        self.wire(&joining, said, kind);
        self.draft.join(NewStage {
            name: name.to_owned(),
            kind: said.work.or(kind.map(|kind| kind.work)).unwrap_or(StageKind::Transform),
            stage,
            place: joining.place,
            settings,
        });
    }

    fn construct(
        &mut self,
        joining: &Joining<'_>,
        said: &StageSpec,
        kind: Option<&StageEntry>,
    ) -> Arc<dyn ErasedStage> {
        let Some(kind) = kind else {
            let message = format!(
                "stage {} is to be a {}, and no kind of stage has that name",
                Quoted(joining.name),
                Quoted(&said.kind)
            );
            let known = self.registry.stages.keys().map(String::as_str);
            let hint = hint::did_you_mean(&said.kind, known, &mut self.left);
            self.report(joining, code::UNKNOWN_KIND, "/use", message, hint);
            return Arc::new(Missing);
        };
        match (kind.entry.make)(said.with.as_ref().map(|config| &config.0)) {
            Ok(stage) => stage,
            Err(error) => {
                let what = format!("stage {}", Quoted(joining.name));
                self.refused(joining, if said.with.is_some() { "/with" } else { "" }, &what, error);
                Arc::new(Missing)
            }
        }
    }

    fn stage_policies(&mut self, joining: &Joining<'_>, policies: &'s Entries<Config>) -> StageSettings {
        let mut set = StageSettings::default();
        for (name, config) in policies.iter() {
            let mut at = String::from("/policies");
            super::read::push(&mut at, name);
            let what = format!("policy {} of stage {}", Quoted(name), Quoted(joining.name));
            let result = if let Some(setter) = settings::of_stage(name) {
                (setter.set)(&config.0, &mut set)
            } else if let Some(policy) = self.registry.policies.get(name) {
                (policy.make)(Some(&config.0)).map(|policy| set.interceptors.push(policy))
            } else {
                let known = settings::STAGE.iter().map(|setter| setter.name);
                let known = known.chain(self.registry.policies.keys().map(String::as_str));
                let hint = match settings::of_pipeline(name) {
                    Some(_) => Some(
                        "it is a setting of the pipeline: move it to the `policies` at the top".to_owned(),
                    ),
                    None => hint::did_you_mean(name, known, &mut self.left),
                };
                let message = format!("{what}: neither a setting nor a policy has that name");
                self.report(joining, code::UNKNOWN_KIND, &at, message, hint);
                Ok(())
            };
            if let Err(error) = result {
                self.refused(joining, &at, &what, error);
            }
        }
        set
    }

    fn pipeline_policies(&mut self) {
        let top = Joining { name: "", at: String::new(), place: self.place };
        for (name, config) in self.spec.policies.iter().flat_map(Entries::iter) {
            let mut at = String::from("/policies");
            super::read::push(&mut at, name);
            let what = format!("policy {} of the pipeline", Quoted(name));
            let place = self.place.marked(self.pointers.mark(at.clone()));
            let result = if let Some(setter) = settings::of_pipeline(name) {
                let result = (setter.set)(&config.0, &mut self.draft.policies);
                let limited =
                    self.draft.policies.kind_limits.iter().map(|(kind, _)| Setting::KindLimit(*kind));
                let set: Vec<_> = if name == "limit_kind" { limited.collect() } else { Vec::new() };
                set.into_iter()
                    .chain(settings::checked_as(name))
                    .for_each(|setting| self.draft.set(setting, place));
                result
            } else if let Some(policy) = self.registry.policies.get(name) {
                (policy.make)(Some(&config.0)).map(|policy| {
                    self.draft.policies.interceptors.push(policy);
                    self.draft.intercepted_at.push(place);
                })
            } else {
                let known = settings::PIPELINE.iter().map(|setter| setter.name);
                let known = known.chain(self.registry.policies.keys().map(String::as_str));
                let hint = match (name, settings::of_stage(name)) {
                    ("timeout", _) => {
                        Some("write `stage_timeout` for each stage, or `deadline` for a run".to_owned())
                    }
                    (_, Some(_)) => {
                        Some("it is a setting of single stages: move it to their `policies`".to_owned())
                    }
                    (_, None) => hint::did_you_mean(name, known, &mut self.left),
                };
                let message = format!("{what}: neither a setting nor a policy has that name");
                self.report(&top, code::UNKNOWN_KIND, &at, message, hint);
                Ok(())
            };
            if let Err(error) = result {
                self.refused(&top, &at, &what, error);
            }
        }
    }

    /// The stage whose output is the pipeline's.
    fn output(&mut self, wanted: TypeTag) -> u32 {
        let name = self.spec.output.as_str();
        let (index, given) = match self.known.get(name) {
            _ if name == INPUT_NAME => (INPUT, Some(self.input)),
            Some(index) => (*index, self.outputs[*index as usize]),
            None => {
                let message =
                    format!("the pipeline's output is {}, and no stage has that name", Quoted(name));
                let hint =
                    hint::did_you_mean(name, self.spec.stages.iter().map(|(name, _)| name), &mut self.left);
                self.report_at(code::MISSING_DEP, "/output".to_owned(), message, hint);
                return INPUT;
            }
        };
        if let Some(given) = given.filter(|given| *given != wanted) {
            let (given, wanted) = super::shape::names(given, wanted);
            let message = format!("the pipeline is to give a {wanted}, and {} gives a {given}", Quoted(name));
            self.report_at(code::TYPE_MISMATCH, "/output".to_owned(), message, None);
        }
        index
    }

    /// What a constructor says.
    pub(super) fn refused(&mut self, joining: &Joining<'_>, at: &str, what: &str, error: SpecError) {
        let error = error.within(at);
        let message = format!("{what}: {}", OneLine(error.message()));
        self.report(joining, error.code(), error.pointer(), message, Some(OneLine(error.hint()).to_string()));
    }

    /// A problem of a stage, or of the pipeline where `joining` has no name.
    pub(super) fn report(
        &mut self,
        joining: &Joining<'_>,
        code: Code,
        at: &str,
        message: String,
        hint: Option<String>,
    ) {
        let place = joining.place.marked(self.pointers.mark(format!("{}{at}", joining.at)));
        let mut problem = Problem::new(code, place, message);
        if !joining.name.is_empty() {
            problem = problem.about([joining.name]);
        }
        self.draft.found.push(match hint {
            Some(hint) => problem.help(hint),
            None => problem,
        });
    }

    fn report_at(&mut self, code: Code, at: String, message: String, hint: Option<String>) {
        self.report(&Joining { name: "", at, place: self.place }, code, "", message, hint);
    }
}

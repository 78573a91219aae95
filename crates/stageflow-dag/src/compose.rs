//! Pipelines of pipelines, in one plan: one after the other, or side by side.

use std::{any::Any, collections::HashMap, marker::PhantomData, panic::Location, sync::Arc};

use stageflow_core::{Stage, StageContext, StageKind, StageResult, Timeouts, code, value::TypeTag};

use crate::{
    draft::{Draft, NewStage, Place},
    pipeline::Pipeline,
    plan::{Csr, Edge, EdgeKind, INPUT, Plan, StageSettings},
    port::Port,
    problem::{BuildError, Problem, Quoted},
};

/// What both of two zipped pipelines give.
pub(crate) type Pair<A, B> = (Arc<A>, Arc<B>);

/// # Composition
///
/// The stages of both pipelines become stages of one pipeline, so that they are in one run, one report and under
/// one failure policy. A stage that both have, because both were composed from a common part, is taken once if
/// it is wired the same way in both.
///
/// The name is `p+q`, or `p` if both are named so. Interceptors of a pipeline go on wrapping the stages they wrapped,
/// and no others; so do its timeouts for stages. What it allows it goes on allowing for those. All other settings (failure policy, limits, budget, deadline, what is kept) are those of
/// the first pipeline; those of the second are dropped.
impl<I: Any + Send + Sync, O: Any + Send + Sync> Pipeline<I, O> {
    /// One pipeline after the other: the output of this one is the input of `next`.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use stageflow_core::{StageContext, StageResult, stage_fn};
    /// # use stageflow_dag::{BuildError, Pipeline};
    /// # async fn count(_: StageContext, text: Arc<String>) -> StageResult<usize> { Ok(text.len()) }
    /// # async fn even(_: StageContext, n: Arc<usize>) -> StageResult<bool> { Ok(*n % 2 == 0) }
    /// # fn counting() -> Result<Pipeline<String, usize>, BuildError> {
    /// #     let mut p = Pipeline::builder("counting");
    /// #     let port = p.input();
    /// #     let port = p.stage("count", stage_fn(count)).inputs(port);
    /// #     p.build(port)
    /// # }
    /// # fn judging() -> Result<Pipeline<usize, bool>, BuildError> {
    /// #     let mut p = Pipeline::builder("judging");
    /// #     let port = p.input();
    /// #     let port = p.stage("even", stage_fn(even)).inputs(port);
    /// #     p.build(port)
    /// # }
    /// let both: Pipeline<String, bool> = counting()?.then(&judging()?)?;
    /// assert_eq!(both.name(), "counting+judging");
    /// # Ok::<_, BuildError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `DUPLICATE` for each name that both use for different stages.
    #[track_caller]
    pub fn then<N: Any + Send + Sync>(&self, next: &Pipeline<O, N>) -> Result<Pipeline<I, N>, BuildError> {
        let place = Location::caller().into();
        let mut merge = Merge::new(self.plan(), next.plan(), place);
        let output = merge.absorb(next.plan(), self.plan().output());
        merge.finish(TypeTag::of::<I>(), output, place).map(Pipeline::from_plan)
    }

    /// Both pipelines on the same input, and a stage `zip(…, …)` that pairs their outputs.
    ///
    /// # Errors
    ///
    /// `DUPLICATE` for each name that both use for different stages.
    #[track_caller]
    pub fn zip<P: Any + Send + Sync>(
        &self,
        other: &Pipeline<I, P>,
    ) -> Result<Pipeline<I, Pair<O, P>>, BuildError> {
        let place = Location::caller().into();
        let mut merge = Merge::new(self.plan(), other.plan(), place);
        let sides = [self.plan().output(), merge.absorb(other.plan(), INPUT)];
        let output = merge.join(sides, Zip::<O, P>(PhantomData), place);
        merge.finish(TypeTag::of::<I>(), output, place).map(Pipeline::from_plan)
    }
}

/// Pairs two outputs.
struct Zip<A, B>(PhantomData<fn(A, B)>);

impl<A: Any + Send + Sync, B: Any + Send + Sync> Stage for Zip<A, B> {
    type Input = Pair<A, B>;
    type Output = Pair<A, B>;

    async fn run(&self, _: &StageContext, pair: Pair<A, B>) -> StageResult<Pair<A, B>> {
        Ok(pair)
    }
}

/// A plan taken apart again, to take in another.
struct Merge {
    draft: Draft,
    problems: Vec<Problem>,
}

impl Merge {
    fn new(first: &Plan, second: &Plan, place: Place) -> Self {
        let name = if first.name == second.name {
            Arc::clone(&first.name)
        } else {
            format!("{}+{}", first.name, second.name).into()
        };
        let mut draft = Draft::new(name, place);
        draft.names = first.names.clone();
        draft.kinds = first.kinds.clone();
        draft.stages = first.stages.clone();
        draft.places = first.locations.iter().map(|place| (*place).into()).collect();
        draft.edges = Csr { starts: first.edges.starts.clone(), items: first.edges.items.clone() };
        draft.conditions = first.conditions.clone();
        draft.groups = first.groups;
        draft.settings =
            (0..draft.len()).filter_map(|stage| Some((stage, settings(first, stage)?))).collect();
        draft.policies = first.policies.clone();
        draft.policies.interceptors.clear();
        draft.policies.allowed.clear();
        draft.policies.timeouts = Timeouts::default();
        Self { draft, problems: Vec::new() }
    }

    /// Adds the stages of `other`, whose input comes from `input`; gives where its output is now.
    fn absorb(&mut self, other: &Plan, input: u32) -> u32 {
        let names = self.draft.names.clone();
        let mine: HashMap<&str, u32> = names.iter().zip(0..).collect();
        let moving = Moving::new(&self.draft, &mine, other, input);
        let before = self.draft.len();
        self.draft.groups += other.groups;
        self.draft.conditions.extend(other.conditions.iter().cloned());
        for (stage, name) in (0..).zip(other.names.iter()) {
            let new = Moved {
                row: other.edges(stage).iter().map(|edge| moving.edge(*edge)).collect(),
                kind: other.kind(stage),
                settings: settings(other, stage),
            };
            let place = other.location(stage).into();
            if let Some(&twin) = mine.get(name) {
                let is_same = moving.source(stage) < before && new.is(&self.draft, twin);
                self.problems
                    .extend((!is_same).then(|| duplicate(name, self.draft.places[twin as usize], place)));
                continue;
            }
            new.row.into_iter().for_each(|edge| self.draft.push(edge));
            self.draft.join(NewStage {
                name: name.to_owned(),
                kind: new.kind,
                stage: Arc::clone(&other.stages[stage as usize]),
                place,
                settings: new.settings,
            });
        }
        moving.source(other.output())
    }

    /// Adds a stage that takes both sides, under a name nobody has.
    fn join(&mut self, sides: [u32; 2], stage: impl Stage, place: Place) -> u32 {
        if !self.problems.is_empty() {
            // The indices of the sides are those of a merge without problems.
            return INPUT;
        }
        let draft = &mut self.draft;
        let [left, right] = sides.map(|side| if side == INPUT { "input" } else { draft.names.get(side) });
        let base = format!("zip({left}, {right})");
        let mut name = base.clone();
        let mut number = 2;
        while draft.names.iter().any(|known| known == name) {
            name = format!("{base} {number}");
            number += 1;
        }
        for source in sides {
            draft.push(Edge { source, kind: EdgeKind::One { owned: false } });
        }
        let stage = Arc::new(stage);
        draft.join(NewStage { name, kind: kind_of(&*stage), stage, place, settings: None })
    }

    fn finish(self, input: TypeTag, output: u32, place: Place) -> Result<Plan, BuildError> {
        if !self.problems.is_empty() {
            return Err(BuildError::new(self.draft.name, self.problems));
        }
        let output = Port::<()>::new(self.draft.id, output).erase();
        self.draft.build(input, output, place)
    }
}

fn kind_of<S: Stage>(_: &S) -> StageKind {
    S::KIND
}

/// What is set for a stage, with the pipeline's timeouts and interceptors made the stage's own, these outside of those it has, and
/// what it allows.
fn settings(plan: &Plan, stage: u32) -> Option<StageSettings> {
    let own = plan.settings(stage);
    let (shared, allowed) = (&plan.policies.interceptors, &plan.policies.allowed);
    if shared.is_empty() && allowed.is_empty() && !plan.policies.timeouts.is_set() {
        return own.cloned();
    }
    let mut settings = own.cloned().unwrap_or_default();
    settings.timeouts = settings.timeouts.or(plan.policies.timeouts);
    settings.interceptors.splice(0..0, shared.iter().cloned());
    settings.allowed.extend(allowed.iter().cloned());
    Some(settings)
}

fn duplicate(name: &str, first: Place, second: Place) -> Problem {
    let message = format!("both pipelines have a stage named {} (at {first} and at {second})", Quoted(name));
    Problem::new(code::DUPLICATE, second, message).about([name])
}

/// Where the parts of a plan are once a draft has taken them in.
struct Moving {
    stages: Vec<u32>,
    input: u32,
    groups: u32,
    conditions: u32,
}

impl Moving {
    fn new(draft: &Draft, mine: &HashMap<&str, u32>, other: &Plan, input: u32) -> Self {
        let mut next = draft.len();
        let place_of = |(stage, name)| match mine.get(name) {
            Some(&twin) if Arc::ptr_eq(&draft.stages[twin as usize], stage) => twin,
            _ => {
                next += 1;
                next - 1
            }
        };
        let stages = other.stages.iter().zip(other.names.iter()).map(place_of).collect();
        let conditions = u32::try_from(draft.conditions.len()).unwrap_or(u32::MAX);
        Self { stages, input, groups: draft.groups, conditions }
    }

    fn source(&self, old: u32) -> u32 {
        self.stages.get(old as usize).copied().unwrap_or(self.input)
    }

    fn edge(&self, old: Edge) -> Edge {
        let source = if old.kind.is_header() { INPUT } else { self.source(old.source) };
        let kind = match old.kind {
            EdgeKind::When(condition) => EdgeKind::When(self.conditions + condition),
            EdgeKind::Or { group, rest, optional } => {
                EdgeKind::Or { group: self.groups + group, rest, optional }
            }
            kind @ (EdgeKind::One { .. }
            | EdgeKind::Optional
            | EdgeKind::Many(_)
            | EdgeKind::Named(_)
            | EdgeKind::NamedOne { .. }
            | EdgeKind::After) => kind,
        };
        Edge { source, kind }
    }
}

/// What a stage of the other plan brings along.
struct Moved {
    row: Vec<Edge>,
    kind: StageKind,
    settings: Option<StageSettings>,
}

impl Moved {
    /// Whether the stage `twin` of `draft` is wired and set like this.
    fn is(&self, draft: &Draft, twin: u32) -> bool {
        let row = draft.edges.row(twin);
        self.kind == draft.kinds[twin as usize]
            && self.row.len() == row.len()
            && self.row.iter().zip(row).all(|(a, b)| same_edge(draft, *a, *b))
            && same_settings(self.settings.as_ref(), draft.settings.get(&twin))
    }
}

fn same_edge(draft: &Draft, a: Edge, b: Edge) -> bool {
    let predicate = |condition: u32| draft.conditions[condition as usize].predicate();
    let same_kind = match (a.kind, b.kind) {
        (EdgeKind::When(a), EdgeKind::When(b)) => Arc::ptr_eq(predicate(a), predicate(b)),
        (EdgeKind::Or { rest: a, optional: x, .. }, EdgeKind::Or { rest: b, optional: y, .. }) => {
            (a, x) == (b, y)
        }
        (a, b) => a == b,
    };
    a.source == b.source && same_kind
}

fn same_settings(a: Option<&StageSettings>, b: Option<&StageSettings>) -> bool {
    let values =
        |set: Option<&StageSettings>| set.map(|set| (set.timeouts, set.min_time, set.grace, set.cost));
    let wraps = |set: Option<&StageSettings>| -> Vec<String> {
        set.iter().flat_map(|set| &set.interceptors).map(|it| format!("{it:?}")).collect()
    };
    values(a) == values(b) && wraps(a) == wraps(b)
}

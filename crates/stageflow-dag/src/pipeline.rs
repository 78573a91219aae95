//! [`Pipeline`]: a checked, immutable graph of stages, which can stand in the place of a stage.

use std::{fmt, marker::PhantomData, panic::Location, sync::Arc, time::Duration};

use stageflow_core::Timeouts;

use crate::{
    builder::Builder,
    lint::{self, LintReport},
    plan::Plan,
    problem::Problem,
    render, svg,
    view::StageView,
};

/// A checked, immutable graph of stages from an `I` to an `O`.
///
/// It holds no state of any run: any number of runs of it, at the same time, never see each other (rule S-2).
/// Cloning it is cheap.
///
/// A pipeline can stand in the place of a stage, which takes an `Arc<I>`: as such it is a run of its own, a child of the run
/// it is part of (rule S-19). To have its stages in one run with others, use [`then`](Self::then) and
/// [`zip`](Self::zip).
pub struct Pipeline<I, O> {
    plan: Arc<Plan>,
    types: PhantomData<fn(I) -> O>,
}

impl Pipeline<(), ()> {
    /// Starts a pipeline. The types of input and output follow from the use of its ports.
    #[track_caller]
    pub fn builder<I>(name: impl Into<Arc<str>>) -> Builder<I> {
        Builder::new(name.into(), Location::caller())
    }
}

impl<I, O> Pipeline<I, O> {
    pub(crate) fn from_plan(plan: Plan) -> Self {
        Self { plan: Arc::new(plan), types: PhantomData }
    }

    /// The pipeline's name.
    pub fn name(&self) -> &str {
        self.plan.name()
    }

    /// How many stages there are.
    pub fn len(&self) -> usize {
        self.plan.len()
    }

    /// Never: a pipeline without stages is not built.
    pub fn is_empty(&self) -> bool {
        self.plan.is_empty()
    }

    /// The stages, in declaration order.
    pub fn stages(&self) -> impl ExactSizeIterator<Item = StageView<'_>> {
        StageView::all(&self.plan)
    }

    /// What is suspicious and not wrong: outputs nobody reads, stages without edges, and, with the code `POLICY_LINT`, what
    /// [`lint`](Self::lint) finds. Found at the first call.
    /// When the output can be there at the earliest, from the start of a run: the longest path over the
    /// [`min_time`](crate::StageBuilder::min_time) of the stages that it needs. A run with a deadline below that is refused.
    ///
    /// Of the sides of an `or` the shortest counts. Not counted are stages whose outputs are optional or not needed, and
    /// stages for which an interceptor may answer: one of its own or its pipeline's that does not stand right in
    /// `Authenticate`, `Tenant`, `Retry`, `Breaker`, `Limit`, `Timeout` or `Trace`. It is found when the pipeline is built, in
    /// time linear in stages and edges and without a stack.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use stageflow_core::{DurationExt, StageContext, StageResult, stage_fn};
    /// # use stageflow_dag::Pipeline;
    /// # async fn load(_: StageContext, id: Arc<u64>) -> StageResult<u64> { Ok(*id) }
    /// # async fn join(_: StageContext, (a, b): (Arc<u64>, Arc<u64>)) -> StageResult<u64> { Ok(*a + *b) }
    /// let mut p = Pipeline::builder("both");
    /// let id = p.input();
    /// let fast = p.stage("fast", stage_fn(load)).min_time(1.secs()).inputs(id);
    /// let slow = p.stage("slow", stage_fn(load)).min_time(4.secs()).inputs(id);
    /// let both = p.stage("both", stage_fn(join)).min_time(2.secs()).inputs((fast, slow));
    /// assert_eq!(p.build(both)?.min_time(), 6.secs());
    /// # Ok::<_, stageflow_dag::BuildError>(())
    /// ```
    pub fn min_time(&self) -> Duration {
        self.plan.min_time()
    }

    /// What the pipeline says about the time of its stages.
    pub fn timeouts(&self) -> Timeouts {
        self.plan.policies().timeouts
    }

    /// What is suspicious and not wrong: outputs nobody reads, stages without edges, attempts that get more time
    /// than their stage. Found at the first call.
    pub fn warnings(&self) -> &[Problem] {
        self.plan.warnings()
    }

    /// Policies that are fine one by one and go wrong together, with numbers: as far as the pipeline alone shows it. What an engine
    /// puts around it is looked at by `Engine::lint`.
    ///
    /// It follows pipelines that are stages. It knows what policies say of themselves, by
    /// [`Interceptor::describe`](stageflow_core::Interceptor::describe), and nothing about interceptors that do not.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use stageflow_core::{Backoff, Call, Interceptor, Next, PolicyFacts, RetryFacts, StageContext, StageResult, Value, stage_fn};
    /// # use stageflow_dag::{BuildError, Lint, Pipeline};
    /// # async fn call(_: StageContext, _: ()) -> StageResult<u32> { Ok(1) }
    /// struct Again;
    ///
    /// impl Interceptor for Again {
    ///     async fn around(&self, _call: &Call, next: Next<'_>) -> StageResult<Value> {
    ///         next.run().await // and again, and again
    ///     }
    ///
    ///     fn describe(&self) -> PolicyFacts {
    ///         RetryFacts::new(Backoff::default(), 3).into()
    ///     }
    /// }
    ///
    /// let mut p = Pipeline::builder::<()>("twice");
    /// p.retry(Again);
    /// let called = p.stage("call", stage_fn(call)).attempt_timeout(Duration::from_secs(5)).retry(Again).inputs(());
    /// let report = p.build(called)?.lint();
    /// assert_eq!(report.finding(Lint::NestedRetries).and_then(|finding| finding.calls()), Some(9));
    /// # Ok::<_, BuildError>(())
    /// ```
    pub fn lint(&self) -> LintReport {
        lint::lint(&self.plan, &lint::Around::default())
    }

    /// The pipeline for a terminal: one line per stage.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use stageflow_core::{StageContext, StageResult, stage_fn};
    /// # use stageflow_dag::Pipeline;
    /// # async fn load(_: StageContext, id: Arc<u64>) -> StageResult<String> { Ok(id.to_string()) }
    /// # async fn greet(_: StageContext, (name, _): (Option<Arc<String>>, Arc<u64>)) -> StageResult<String> { Ok(format!("{name:?}")) }
    /// let mut p = Pipeline::builder("greeting");
    /// let id = p.input();
    /// let name = p.stage("load", stage_fn(load)).inputs(id);
    /// let greeting = p.stage("greet", stage_fn(greet)).inputs((name.optional(), id));
    /// let pipeline = p.build(greeting)?;
    /// assert_eq!(pipeline.to_tree(), "\
    /// greeting: u64 → String (2 stages)
    /// ├─ load   transform  ← input
    /// ╰─ greet  transform  ← load?, input  → output
    /// ");
    /// # Ok::<_, stageflow_dag::BuildError>(())
    /// ```
    ///
    /// `a?` is optional, `a | b` delivers the first that completed, `[a, b]` is one list, `{a, b}` are read by
    /// name, `own a` is moved or cloned.
    pub fn to_tree(&self) -> String {
        render::tree(&self.plan)
    }

    /// The pipeline as a graph for Graphviz.
    pub fn to_dot(&self) -> String {
        render::dot(&self.plan)
    }

    /// The pipeline as a flowchart for Mermaid.
    pub fn to_mermaid(&self) -> String {
        render::mermaid(&self.plan)
    }

    /// The pipeline as a picture: an SVG document of its own, without scripts, styles or anything from elsewhere.
    ///
    /// Stages stand in columns, each right of all that it waits for; shape and colour are those of its kind, and a pipeline
    /// in the place of a stage has a second sheet behind it. Edges that are not plainly needed are dashed or dotted, with a legend
    /// below. Whole names are what a reader finds when pointing at a shape; longer ones are cut after 32 characters. The same pipeline is
    /// the same text on every machine.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use stageflow_core::{StageContext, StageResult, stage_fn};
    /// # use stageflow_dag::Pipeline;
    /// # async fn load(_: StageContext, id: Arc<u64>) -> StageResult<String> { Ok(id.to_string()) }
    /// let mut p = Pipeline::builder("greeting");
    /// let id = p.input();
    /// let name = p.stage("load", stage_fn(load)).inputs(id);
    /// let picture = p.build(name)?.to_svg();
    /// assert!(picture.starts_with("<svg xmlns=") && picture.contains(">load</text>"));
    /// # Ok::<_, stageflow_dag::BuildError>(())
    /// ```
    pub fn to_svg(&self) -> String {
        svg::svg(&self.plan)
    }

    /// What the executor reads.
    #[doc(hidden)]
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }
}

impl<I, O> Clone for Pipeline<I, O> {
    fn clone(&self) -> Self {
        Self { plan: Arc::clone(&self.plan), types: PhantomData }
    }
}

impl<I, O> fmt::Debug for Pipeline<I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline")
            .field("name", &self.name())
            .field("stages", &self.len())
            .finish_non_exhaustive()
    }
}

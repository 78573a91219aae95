//! A pipeline whose stages leave canaries wherever they can.

use std::{fmt, sync::Arc};

use stageflow_core::{
    ClassifyExt as _, ErrorClass, FailurePolicy, Stage, StageContext, StageExit, StageResult, durable::Pause,
    stage_fn,
};
use stageflow_dag::{Builder, Pipeline, Port, configured};

use super::{Canaries, CanaryTenant, Place};

/// The error of the stages that fail: its message may be seen, its cause may not.
#[derive(Debug)]
pub struct CanaryCause {
    message: String,
    cause: std::io::Error,
}

impl CanaryCause {
    fn of(tenant: &CanaryTenant) -> Self {
        let cause = std::io::Error::other(tenant.canary(Place::Cause));
        Self { message: tenant.canary(Place::Message), cause }
    }
}

impl fmt::Display for CanaryCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CanaryCause {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.cause)
    }
}

/// The tenant of a call, which has to be one of the canaries'.
fn tenant(ctx: &StageContext) -> StageResult<CanaryTenant> {
    CanaryTenant::of(ctx)
        .ok_or_else(|| StageExit::fail("the run has no tenant of `Canaries`").class(ErrorClass::Permanent))
}

/// Passes on what it is given, and adds a canary of its own.
fn adds() -> impl Stage<Input = Arc<String>, Output = String> {
    stage_fn(|ctx: StageContext, given: Arc<String>| async move {
        let tenant = tenant(&ctx)?;
        ctx.emit("canary.said", [("said", tenant.canary(Place::Field))]);
        // Others go on meanwhile: what they share with this call, it would notice.
        tokio::task::yield_now().await;
        Ok(format!("{given} {}", tenant.canary(Place::Output)))
    })
}

/// Fails before attempt number `until`.
fn fails(until: u32, class: ErrorClass) -> impl Stage<Input = Arc<String>, Output = String> {
    stage_fn(move |ctx: StageContext, given: Arc<String>| async move {
        let tenant = tenant(&ctx)?;
        if ctx.attempt() >= until {
            return Ok(format!("{given} {}", tenant.canary(Place::Output)));
        }
        let failed: Result<String, _> = Err(CanaryCause::of(&tenant));
        if class == ErrorClass::Transient { failed.transient() } else { failed.permanent() }
    })
}

fn panics() -> impl Stage<Input = Arc<String>, Output = String> {
    stage_fn(|ctx: StageContext, _: Arc<String>| async move {
        let tenant = tenant(&ctx)?;
        panic!("{}", tenant.canary(Place::Panic))
    })
}

impl Canaries {
    /// What the asking pipeline asks.
    pub const QUESTION: Pause<String> = Pause::new("question");

    /// A pipeline from text to text: it retries if it is let, fails, panics, fans out, and has a child. What it gives holds what it was
    /// given and the outputs of its stages; what it tells, in events, messages of errors and of a panic, is its tenant's.
    ///
    /// # Panics
    ///
    /// Its stage `panics` does, which the executor catches; the hook of the process is told.
    pub fn pipeline() -> Pipeline<String, String> {
        build("canaries", false, false)
    }

    /// The same with durable stages: it needs an engine with a journal.
    ///
    /// # Panics
    ///
    /// As [`pipeline`](Self::pipeline).
    pub fn durable_pipeline() -> Pipeline<String, String> {
        build("durable-canaries", true, false)
    }

    /// The same with a stage that asks a [question](Self::QUESTION) and waits for its answer.
    ///
    /// # Panics
    ///
    /// As [`pipeline`](Self::pipeline).
    pub fn asking_pipeline() -> Pipeline<String, String> {
        build("asking-canaries", true, true)
    }
}

fn build(name: &str, durable: bool, asking: bool) -> Pipeline<String, String> {
    let mut child = Pipeline::builder("kid");
    let given = child.input();
    let inner = child.stage("inner", adds()).inputs(given);
    let child: Pipeline<String, String> = child.build(inner).expect("the child is right");

    let mut p: Builder<String> = Pipeline::builder(name);
    p.on_failure(FailurePolicy::Continue);
    let given = if durable { p.durable_input() } else { p.input() };
    let first = configured(adds());
    let first = p.stage("first", if durable { first.durable() } else { first }).inputs(given);
    let flaky = p.stage("flaky", fails(2, ErrorClass::Transient)).inputs(first);
    let _fails = p.stage("fails", fails(u32::MAX, ErrorClass::Permanent)).inputs(first);
    let _panics = p.stage("panics", panics()).inputs(first);
    let parts = p.parallel("part", 0..3, |_| adds()).inputs(first);
    let kid = p.stage("kid", child).inputs(first);
    let asked = if asking { asks(&mut p, first) } else { first };
    let last = stage_fn(|_, (flaky, parts, kid, asked): Last| async move {
        let all = parts.iter().chain([&kid, &asked]).chain(&flaky);
        Ok(all.map(|one| one.as_str()).collect::<Vec<_>>().join(" "))
    });
    let last = configured(last);
    let last = p.stage("last", if durable { last.durable() } else { last }).inputs((
        flaky.optional(),
        parts,
        kid,
        asked,
    ));
    p.build(last).expect("the pipeline is right")
}

/// What the last stage reads.
type Last = (Option<Arc<String>>, Vec<Arc<String>>, Arc<String>, Arc<String>);

fn asks(p: &mut Builder<String>, first: Port<String>) -> Port<String> {
    let asks =
        stage_fn(|ctx: StageContext, _: Arc<String>| async move { ctx.pause(&Canaries::QUESTION).await });
    p.stage("asks", configured(asks).durable()).inputs(first)
}

//! Scripted stages: `fails(2).then_ok(5)` is a stage that fails twice and then gives 5.

use std::{
    any::Any,
    borrow::Cow,
    fmt,
    future::pending,
    marker::PhantomData,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use stageflow_core::{
    BoxError, Code, ErrorClass, Stage, StageContext, StageExit, StageInput, StageResult, code,
};

mod calls;
#[cfg(test)]
mod tests;

pub use calls::Calls;

/// A stage that does what a script says: one step for each call. An attempt is a call.
///
/// When the script is used up its last step repeats. Its place in the script is shared by everything that runs it, clones
/// included: calls at the same time take one step each, in the order in which they were first polled.
///
/// # Types
///
/// The output is that of [`ok`]; the input follows from what feeds the stage, with one exception. A plain `Port<T>` feeds an
/// `Arc<T>` as well as an `Owned<T>`, and the compiler does not choose. Say it with [`takes`](Self::takes), or begin with
/// [`script`], which names both types.
///
/// ```compile_fail,E0283
/// # use stageflow_dag::{Pipeline, Port};
/// # let mut p = Pipeline::builder("ask");
/// # let port: Port<u32> = p.input();
/// p.stage("llm", stageflow_testing::ok(5)).inputs(port); // an `Arc<u32>`, or an `Owned<u32>`?
/// ```
///
/// # Cancel safety
///
/// A call that is dropped has used its step up.
///
/// ```
/// use std::sync::Arc;
/// use stageflow_dag::Pipeline;
/// use stageflow_exec::PipelineExt;
/// use stageflow_testing::fails;
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let llm = fails(1).permanent().then_ok("hello".to_owned()).takes::<Arc<u32>>();
/// let calls = llm.calls();
///
/// let mut p = Pipeline::builder("ask");
/// let n = p.input();
/// let answer = p.stage("llm", llm).inputs(n);
/// let ask: Pipeline<u32, String> = p.build(answer)?;
///
/// assert!(ask.run(1).await.is_err());
/// assert_eq!(ask.run(2).await?.output(), "hello");
/// assert_eq!(calls.began(), 2);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a script does nothing until it is a stage of a pipeline"]
pub struct Script<I, O> {
    steps: Vec<Step<O>>,
    /// How many calls have begun: the place in the script.
    place: Arc<AtomicU64>,
    calls: Calls,
    input: PhantomData<fn(I)>,
}

/// A script whose next step waits first: made by [`waits`] and [`Script::then_waits`]. It is no stage before it has that step.
#[must_use = "a wait stands before a step: add one"]
pub struct Waits<I, O> {
    script: Script<I, O>,
    delay: Duration,
}

#[derive(Clone)]
struct Step<O> {
    /// How many calls do it.
    times: u64,
    delay: Duration,
    what: What<O>,
}

#[derive(Clone)]
enum What<O> {
    Ok(O),
    Fail { class: ErrorClass, code: Code },
    Panic,
    Hang,
    Skip(Cow<'static, str>),
    Exit(Arc<dyn Fn() -> StageExit + Send + Sync>),
}

/// What a step of a script that fails gives as error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("scripted failure of call {call}")]
#[non_exhaustive]
pub struct ScriptedFailure {
    /// Which call of the script it was, from 1.
    pub call: u64,
}

/// An empty script, with the types of the stage it will be. Without a step its calls fail.
///
/// ```
/// use std::sync::Arc;
/// use stageflow_testing::script;
/// let stage = script::<Arc<String>, usize>().then_hangs();
/// # let _ = stage;
/// ```
pub fn script<I, O>() -> Script<I, O> {
    Script { steps: Vec::new(), place: Arc::default(), calls: Calls::default(), input: PhantomData }
}

/// A script that begins with this output.
pub fn ok<I, O>(output: O) -> Script<I, O> {
    script().then_ok(output)
}

/// A script whose first `calls` calls fail: transient, unless it says otherwise.
pub fn fails<I, O>(calls: u64) -> Script<I, O> {
    script().then_fails(calls)
}

/// A script whose first step comes after a delay. The time is tokio's: pause it in tests.
pub fn waits<I, O>(delay: Duration) -> Waits<I, O> {
    script().then_waits(delay)
}

/// A script that begins with a panic.
pub fn panics<I, O>() -> Script<I, O> {
    script().then_panics()
}

/// A script that begins with a call that never ends by itself.
pub fn hangs<I, O>() -> Script<I, O> {
    script().then_hangs()
}

/// A script that begins with [`StageExit::skip`].
pub fn skips<I, O>(reason: impl Into<Cow<'static, str>>) -> Script<I, O> {
    script().then_skips(reason)
}

/// A script that begins by leaving as `exit` says.
pub fn exits<I, O>(exit: impl Fn() -> StageExit + Send + Sync + 'static) -> Script<I, O> {
    script().then_exits(exit)
}

macro_rules! steps {
    ($script:ident) => {
        /// Then a call gives this output.
        pub fn then_ok(self, output: O) -> $script<I, O> {
            self.step(1, What::Ok(output))
        }

        /// Then so many calls fail: transient, unless it says otherwise.
        pub fn then_fails(self, calls: u64) -> $script<I, O> {
            self.step(calls, What::Fail { class: ErrorClass::Transient, code: code::STAGE_FAILED })
        }

        /// Then a call panics.
        pub fn then_panics(self) -> $script<I, O> {
            self.step(1, What::Panic)
        }

        /// Then a call never ends by itself.
        pub fn then_hangs(self) -> $script<I, O> {
            self.step(1, What::Hang)
        }

        /// Then a call leaves by [`StageExit::skip`].
        pub fn then_skips(self, reason: impl Into<Cow<'static, str>>) -> $script<I, O> {
            self.step(1, What::Skip(reason.into()))
        }

        /// Then a call leaves as `exit` says.
        pub fn then_exits(self, exit: impl Fn() -> StageExit + Send + Sync + 'static) -> $script<I, O> {
            self.step(1, What::Exit(Arc::new(exit)))
        }
    };
}

impl<I, O> Waits<I, O> {
    steps!(Script);

    /// Waits longer.
    pub fn then_waits(mut self, delay: Duration) -> Self {
        self.delay = self.delay.saturating_add(delay);
        self
    }

    fn step(self, times: u64, what: What<O>) -> Script<I, O> {
        let Self { mut script, delay } = self;
        script.steps.push(Step { times, delay, what });
        script
    }
}

impl<I, O> Script<I, O> {
    steps!(Script);

    /// The next step waits first, in each of its calls.
    pub fn then_waits(self, delay: Duration) -> Waits<I, O> {
        Waits { script: self, delay }
    }

    /// The failures of the last step are permanent; without effect on other steps.
    pub fn permanent(self) -> Self {
        self.class(ErrorClass::Permanent)
    }

    /// The failures of the last step are transient, as they are without this; without effect on other steps.
    pub fn transient(self) -> Self {
        self.class(ErrorClass::Transient)
    }

    /// The class of the failures of the last step; without effect on other steps.
    pub fn class(mut self, new: ErrorClass) -> Self {
        if let Some(What::Fail { class, .. }) = self.steps.last_mut().map(|step| &mut step.what) {
            *class = new;
        }
        self
    }

    /// The code of the failures of the last step; without effect on other steps.
    pub fn code(mut self, new: Code) -> Self {
        if let Some(What::Fail { code, .. }) = self.steps.last_mut().map(|step| &mut step.what) {
            *code = new;
        }
        self
    }

    /// Says what the stage takes, where the compiler cannot tell: `ok(5).takes::<Arc<String>>()`.
    pub fn takes<J: Is<I>>(self) -> Script<J, O> {
        Script { steps: self.steps, place: self.place, calls: self.calls, input: PhantomData }
    }

    /// Counts the calls of this script and of its clones, also when it is part of a pipeline.
    pub fn calls(&self) -> Calls {
        self.calls.clone()
    }

    fn step(mut self, times: u64, what: What<O>) -> Self {
        self.steps.push(Step { times, delay: Duration::ZERO, what });
        self
    }

    /// The step of the call `number`, counted from 0; the last one once all are used up.
    fn step_of(&self, mut number: u64) -> Option<&Step<O>> {
        for step in &self.steps {
            match number.checked_sub(step.times) {
                None => return Some(step),
                Some(rest) => number = rest,
            }
        }
        self.steps.iter().rev().find(|step| step.times > 0)
    }
}

/// One type: what [`Script::takes`] asks for.
#[doc(hidden)]
pub trait Is<T> {}

impl<T> Is<T> for T {}

impl<I: StageInput, O: Clone + Any + Send + Sync> Stage for Script<I, O> {
    type Input = I;
    type Output = O;

    async fn run(&self, _ctx: &StageContext, input: I) -> StageResult<O> {
        drop(input);
        let number = self.place.fetch_add(1, Ordering::Relaxed);
        let call = self.calls.begin();
        let done = match self.step_of(number) {
            Some(step) => step.play(number + 1).await,
            None => Err(StageExit::fail("the script has no step").class(ErrorClass::Permanent)),
        };
        call.end();
        // Here, so that a panic of the script's counts as an end.
        done.map(|output| output.unwrap_or_else(|| panic!("a scripted panic in call {}", number + 1)))
    }
}

impl<O: Clone> Step<O> {
    /// What the call gives; `None` for a panic.
    async fn play(&self, call: u64) -> StageResult<Option<O>> {
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        match &self.what {
            What::Ok(output) => Ok(Some(output.clone())),
            What::Fail { class, code } => {
                Err(StageExit::fail(BoxError::from(ScriptedFailure { call })).class(*class).code(*code))
            }
            What::Panic => Ok(None),
            What::Hang => pending().await,
            What::Skip(reason) => Err(StageExit::skip(reason.clone())),
            What::Exit(exit) => Err(exit()),
        }
    }
}

impl<I, O: Clone> Clone for Script<I, O> {
    fn clone(&self) -> Self {
        Self {
            steps: self.steps.clone(),
            place: Arc::clone(&self.place),
            calls: self.calls.clone(),
            input: PhantomData,
        }
    }
}

impl<I, O> fmt::Debug for Script<I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps = self.steps.iter().map(|step| match &step.what {
            What::Ok(_) => "ok".to_owned(),
            What::Fail { .. } => format!("fails({})", step.times),
            What::Panic => "panics".to_owned(),
            What::Hang => "hangs".to_owned(),
            What::Skip(_) => "skips".to_owned(),
            What::Exit(_) => "exits".to_owned(),
        });
        f.debug_tuple("Script").field(&steps.collect::<Vec<_>>().join(", ")).finish()
    }
}

impl<I, O> fmt::Debug for Waits<I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waits").field("script", &self.script).field("delay", &self.delay).finish()
    }
}

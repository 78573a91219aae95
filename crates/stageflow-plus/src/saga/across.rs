//! [`RunSaga`]: stages of one run that are undone when the run does not complete.

use std::{
    collections::HashMap,
    fmt,
    future::Future,
    marker::PhantomData,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use stageflow_core::{
    Call, Interceptor, Layer, Next, RunId, RunOutcome, Stage, StageContext, StageResult, Value, code,
    intercept::Placement,
};
use stageflow_dag::{IntoStage, StageBuilder};

use super::{
    Saga,
    config::Config,
    journal::{CleanUp, Journal, Undo},
    report::StepState,
};

/// A saga across the stages of a run: stages that are given an undo by [`UndoExt::undo`] are its steps.
///
/// At the end of a run that completed it is committed. At any other end its clean-up undoes what was done, in reverse order of
/// completion, over all stages, and within the clean-up budget.
///
/// # Guarantees
///
/// - A step is done once an attempt of its stage has given its output, whatever interceptors make of that output then. Each such attempt is a step.
/// - What an attempt that failed has left behind is the attempt's own business. One that was dropped on its way, or ran out of time, is in
///   doubt, and the saga is stuck if the run does not complete. A stage with a `grace` may end first.
/// - Each run has a saga of its own. A child run is a run: what completed in it stays, so the stage it stands for may need an undo as well.
///
/// ```
/// use std::sync::Arc;
/// use stageflow_core::{StageContext, StageResult, stage_fn};
/// use stageflow_dag::{BuildError, Pipeline};
/// use stageflow_plus::saga::{RunSaga, Saga, UndoExt};
///
/// async fn book(_ctx: StageContext, city: Arc<String>) -> StageResult<u32> { Ok(city.len() as u32) }
/// async fn cancel(_ctx: StageContext, _booking: Arc<u32>) -> StageResult<()> { Ok(()) }
/// async fn pay(_ctx: StageContext, booking: Arc<u32>) -> StageResult<u32> { Ok(100 * *booking) }
///
/// let trip = RunSaga::new(Saga::new("trip"));
///
/// let mut p = Pipeline::builder("travel");
/// let city = p.input();
/// let booking = p.stage("book", stage_fn(book)).undo(&trip, cancel).inputs(city);
/// let paid = p.stage("pay", stage_fn(pay)).inputs(booking); // if it fails, the booking is cancelled
/// let travel: Pipeline<String, u32> = p.build(paid)?;
/// # Ok::<_, BuildError>(())
/// ```
#[derive(Clone)]
pub struct RunSaga {
    config: Arc<Config>,
    runs: Arc<Mutex<HashMap<RunId, Arc<Journal>>>>,
}

impl RunSaga {
    /// A saga for each run of the pipelines that use it.
    pub fn new(saga: Saga) -> Self {
        Self { config: saga.0, runs: Arc::default() }
    }

    /// How many runs have one that has not ended.
    pub fn open(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RunId, Arc<Journal>>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The journal of the run; its first stage begins it, and has the run settle it at its end.
    fn journal(&self, ctx: &StageContext) -> Arc<Journal> {
        let run = ctx.identity().run_id();
        let journal = {
            let mut runs = self.lock();
            if let Some(journal) = runs.get(&run) {
                return Arc::clone(journal);
            }
            let journal = Journal::new(&self.config, ctx);
            runs.insert(run, Arc::clone(&journal));
            journal
        };
        // Whatever is left of it comes to the clean-up: no stage settles it.
        journal.leave();
        let entry = Entry { saga: self.clone(), run };
        let clean_up = CleanUp::new(&journal);
        let context = ctx.clone();
        ctx.on_cleanup(async move {
            let _entry = entry;
            match context.scope().outcome() {
                Some(RunOutcome::Completed | RunOutcome::CompletedWithFailures) => {
                    clean_up.commit();
                    Ok(())
                }
                Some(outcome) => clean_up.settle(&format!("the run ended as {outcome}")).await,
                None => clean_up.settle("there is no run").await,
            }
        });
        journal
    }
}

/// Forgets the journal of a run at its end.
struct Entry {
    saga: RunSaga,
    run: RunId,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let last = self.saga.lock().remove(&self.run);
        drop(last);
    }
}

/// Gives stages an undo.
pub trait UndoExt: Sized {
    /// What the stage gives.
    type Output;

    /// Has `undo` called with the output of this stage if the run does not complete.
    #[must_use]
    fn undo<U, Fut>(self, saga: &RunSaga, undo: U) -> Self
    where
        U: Fn(StageContext, Arc<Self::Output>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = StageResult<()>> + Send + 'static;

    /// The same, with what an operator needs to find what was done, such as the id of a booking.
    #[must_use]
    fn undo_with_reference<U, Fut>(
        self,
        saga: &RunSaga,
        undo: U,
        reference: impl Fn(&Self::Output) -> String + Send + Sync + 'static,
    ) -> Self
    where
        U: Fn(StageContext, Arc<Self::Output>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = StageResult<()>> + Send + 'static;
}

impl<I, S: IntoStage> UndoExt for StageBuilder<'_, I, S> {
    type Output = <S::Stage as Stage>::Output;

    fn undo<U, Fut>(self, saga: &RunSaga, undo: U) -> Self
    where
        U: Fn(StageContext, Arc<Self::Output>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = StageResult<()>> + Send + 'static,
    {
        self.intercept(Undoes {
            saga: saga.clone(),
            undo: Arc::new(undo),
            reference: None,
            output: PhantomData,
        })
    }

    fn undo_with_reference<U, Fut>(
        self,
        saga: &RunSaga,
        undo: U,
        reference: impl Fn(&Self::Output) -> String + Send + Sync + 'static,
    ) -> Self
    where
        U: Fn(StageContext, Arc<Self::Output>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = StageResult<()>> + Send + 'static,
    {
        let reference: Option<Refer<Self::Output>> = Some(Box::new(reference));
        self.intercept(Undoes { saga: saga.clone(), undo: Arc::new(undo), reference, output: PhantomData })
    }
}

type Refer<O> = Box<dyn Fn(&O) -> String + Send + Sync>;

/// Writes down what the attempts of a stage have done.
struct Undoes<U, O> {
    saga: RunSaga,
    undo: Arc<U>,
    reference: Option<Refer<O>>,
    output: PhantomData<fn() -> O>,
}

impl<U, Fut, O> Interceptor for Undoes<U, O>
where
    U: Fn(StageContext, Arc<O>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = StageResult<()>> + Send + 'static,
    O: Send + Sync + 'static,
{
    async fn around(&self, call: &Call, next: Next<'_>) -> StageResult<Value> {
        let ctx = call.context();
        let journal = self.saga.journal(ctx);
        let step = journal.begin(ctx.stage_name().to_owned());
        let mut attempt = Attempt { journal: &journal, step, is_over: false };
        let result = next.run().await;
        attempt.is_over = true;
        match &result {
            Ok(value) => match value.clone().downcast::<O>() {
                Ok(output) => {
                    // What panics here must not hide that the step is done.
                    let refer = || self.reference.as_ref().map(|reference| reference(&output));
                    let reference = catch_unwind(AssertUnwindSafe(refer)).ok().flatten();
                    let (undo, ctx) = (Arc::clone(&self.undo), ctx.clone());
                    let undo: Undo = Arc::new(move || Box::pin(undo(ctx.clone(), Arc::clone(&output))));
                    journal.done(step, Some(undo), reference);
                }
                // The stage has not done it: something replaced it.
                Err(_) => journal.not_done(step, StepState::Failed, None),
            },
            Err(exit) => {
                let ran_out = [code::ATTEMPT_TIMEOUT, code::IDLE_TIMEOUT, code::STAGE_TIMEOUT];
                let is_dropped = exit.error_code().is_some_and(|code| ran_out.contains(&code));
                let state = if is_dropped { StepState::InDoubt } else { StepState::Failed };
                journal.not_done(step, state, Some(exit));
            }
        }
        result
    }

    fn name(&self) -> String {
        format!("Undo({})", self.saga.config.name)
    }

    fn placement(&self) -> Placement {
        Placement::Inside(Layer::Inner)
    }
}

/// An attempt on its way. Dropped before its end, nobody knows what it has done.
struct Attempt<'a> {
    journal: &'a Journal,
    step: usize,
    is_over: bool,
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.journal.not_done(self.step, StepState::InDoubt, None);
        }
    }
}

impl fmt::Debug for RunSaga {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunSaga").field("name", &self.config.name).field("open", &self.open()).finish()
    }
}

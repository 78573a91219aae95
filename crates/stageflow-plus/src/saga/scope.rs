//! A saga within the code of a stage: `saga.step("hotel", book(…), |booking| cancel(booking)).await?`.

use std::{
    any::Any,
    fmt,
    future::{Future, IntoFuture, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
};

use stageflow_core::{ErrorClass, StageContext, StageExit, StageResult, caught::poll_caught, code};

use super::{
    Saga,
    journal::{CleanUp, Journal, Scope, Undo, Undoing, caught, words},
    report::{SagaEnd, SagaStuck, StepState},
};

impl Saga {
    /// Runs the body of a stage as this saga: with its output the saga is committed, and with any other way out it is rolled back.
    ///
    /// # Errors
    ///
    /// What the body leaves with, once everything is undone; `SAGA_STUCK` if something could not be.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the rest to the clean-up of the run.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use stageflow_core::{StageContext, StageExit, StageResult};
    /// use stageflow_plus::saga::Saga;
    ///
    /// async fn book(what: &'static str) -> StageResult<String> {
    ///     if what == "car" { Err(StageExit::fail("no car is left")) } else { Ok(format!("{what}/17")) }
    /// }
    /// async fn cancel(booking: Arc<String>) -> StageResult<()> {
    ///     println!("cancelled {booking}");
    ///     Ok(())
    /// }
    ///
    /// async fn trip(ctx: StageContext, (): ()) -> StageResult<Vec<Arc<String>>> {
    ///     Saga::new("trip")
    ///         .run(&ctx, |saga| async move {
    ///             let flight = saga.step("flight", book("flight"), cancel).await?;
    ///             let hotel = saga.step("hotel", book("hotel"), cancel).await?;
    ///             let car = saga.step("car", book("car"), cancel).await?; // fails: the hotel is cancelled, then the flight
    ///             Ok(vec![flight, hotel, car])
    ///         })
    ///         .await
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let failed = trip(StageContext::for_test(), ()).await.expect_err("there is no car");
    /// assert_eq!(failed.to_string(), "failed: no car is left");
    /// # }
    /// ```
    pub async fn run<O, Fut>(&self, ctx: &StageContext, body: impl FnOnce(SagaScope) -> Fut) -> StageResult<O>
    where
        Fut: Future<Output = StageResult<O>> + Send,
        O: Send,
    {
        let journal = Journal::new(&self.0, ctx);
        let clean_up = CleanUp::new(&journal);
        ctx.on_cleanup(async move { clean_up.settle("its stage was dropped").await });
        let _left = Left(Arc::clone(&journal));
        let ended = {
            let body = body(SagaScope(Arc::clone(&journal)));
            let mut body = pin!(body);
            poll_fn(|cx| poll_caught(body.as_mut(), cx)).await
        };
        let because = match &ended {
            Ok(Ok(_)) if !journal.has_abandoned() => {
                journal.end(true, None);
                return ended.unwrap_or_else(|panic| resume_unwind(panic));
            }
            Ok(Ok(_)) => {
                journal.settle(Scope::Abandoned, "", true).await;
                return ended.unwrap_or_else(|panic| resume_unwind(panic));
            }
            Ok(Err(exit)) => words(exit),
            Err(_) => "it panicked".to_owned(),
        };
        let end = journal.settle(Scope::All, &because, true).await;
        match (ended, journal.report()) {
            (Ok(Err(exit)), Some(report)) if end == SagaEnd::Stuck => Err(SagaStuck::exit(report, exit)),
            (Ok(ended), _) => ended,
            (Err(panic), _) => resume_unwind(panic),
        }
    }
}

/// Tells the journal that the stage's future is gone.
struct Left(Arc<Journal>);

impl Drop for Left {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// A saga on its way: what the body of [`Saga::run`] is given. Clones are the same saga.
#[derive(Clone)]
pub struct SagaScope(pub(super) Arc<Journal>);

impl SagaScope {
    /// A step: `action` does it, and `undo` undoes it, given what the action gave. It begins when it is awaited.
    ///
    /// Steps may be awaited at the same time, by `join!` for instance: they are undone one after the other all the same, in reverse
    /// order of completion. A step whose future is dropped before its end is ended and undone when the saga ends, whether that is
    /// committed or not.
    ///
    /// The action outlives the stage's future if that is dropped: it goes on in a task for up to
    /// [`finish_within`](Saga::finish_within), for which the run waits before it begins its clean-up.
    pub fn step<O, U>(
        &self,
        name: impl Into<String>,
        action: impl Future<Output = StageResult<O>> + Send + 'static,
        undo: impl Fn(Arc<O>) -> U + Send + Sync + 'static,
    ) -> Step<O>
    where
        O: Send + Sync + 'static,
        U: Future<Output = StageResult<()>> + Send + 'static,
    {
        let undo = Arc::new(move |output| Box::pin(undo(output)) as Undoing);
        self.new_step(name.into(), Box::pin(action), Some(undo))
    }

    /// A step that cannot be undone, or need not be: it stays done whatever follows. Best the last one.
    pub fn step_for_good<O: Send + Sync + 'static>(
        &self,
        name: impl Into<String>,
        action: impl Future<Output = StageResult<O>> + Send + 'static,
    ) -> Step<O> {
        self.new_step(name.into(), Box::pin(action), None)
    }

    fn new_step<O>(&self, name: String, action: Action<O>, undo: Option<UndoWith<O>>) -> Step<O> {
        Step { journal: Arc::clone(&self.0), name, action, undo, reference: None }
    }
}

type Action<O> = Pin<Box<dyn Future<Output = StageResult<O>> + Send>>;
type UndoWith<O> = Arc<dyn Fn(Arc<O>) -> Undoing + Send + Sync>;
type Reference<O> = Box<dyn FnOnce(&O) -> Option<String> + Send>;

/// A step that begins when it is awaited: made by [`SagaScope::step`].
#[must_use = "a step does nothing unless it is awaited"]
pub struct Step<O> {
    journal: Arc<Journal>,
    name: String,
    action: Action<O>,
    undo: Option<UndoWith<O>>,
    reference: Option<Reference<O>>,
}

impl<O> Step<O> {
    /// What an operator needs to find what was done, such as the id of a booking: it is in reports and in the event `saga.stuck`.
    pub fn reference(mut self, reference: impl FnOnce(&O) -> String + Send + 'static) -> Self {
        self.reference = Some(Box::new(move |output| Some(reference(output))));
        self
    }

    pub(super) fn reference_opt(
        mut self,
        reference: impl FnOnce(&O) -> Option<String> + Send + 'static,
    ) -> Self {
        self.reference = Some(Box::new(reference));
        self
    }
}

/// How an action ended, or what it panicked with.
type Ended<O> = Result<StageResult<Arc<O>>, Box<dyn Any + Send>>;

impl<O: Send + Sync + 'static> IntoFuture for Step<O> {
    type Output = StageResult<Arc<O>>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Self { journal, name, action, undo, reference } = self;
            if journal.is_over() {
                let error = "the saga of this step has ended: steps belong into its body";
                return Err(StageExit::fail(error).class(ErrorClass::Permanent));
            }
            let step = journal.begin(name);
            let ended = Arc::new(Mutex::new(None));
            let (writes, into) = (Arc::clone(&journal), Arc::clone(&ended));
            journal.add_action(
                step,
                Box::pin(async move {
                    let result = act(&writes, step, action, undo, reference).await;
                    *into.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
                }),
            );
            let mut waits = Waits { journal: &journal, step, is_over: false };
            poll_fn(|cx| journal.poll_action(step, cx)).await;
            waits.is_over = true;
            let ended: Option<Ended<O>> = ended.lock().unwrap_or_else(PoisonError::into_inner).take();
            match ended {
                Some(Ok(result)) => result,
                Some(Err(panic)) => resume_unwind(panic),
                None => Err(StageExit::fail("the saga of this step has ended")),
            }
        })
    }
}

/// Does a step, and writes down how that went: at one with its end, so that nothing can come between.
async fn act<O: Send + Sync + 'static>(
    journal: &Journal,
    step: usize,
    action: Action<O>,
    undo: Option<UndoWith<O>>,
    reference: Option<Reference<O>>,
) -> Ended<O> {
    match caught(action).await {
        Ok(Ok(output)) => {
            let output = Arc::new(output);
            let shared = Arc::clone(&output);
            let undo = undo.map(|undo| Arc::new(move || undo(Arc::clone(&shared))) as Undo);
            // What panics here must not hide that the step is done.
            let reference = reference
                .and_then(|reference| catch_unwind(AssertUnwindSafe(|| reference(&output))).ok().flatten());
            journal.done(step, undo, reference);
            Ok(Ok(output))
        }
        Ok(Err(exit)) => {
            journal.not_done(step, StepState::Failed, Some(&exit));
            Ok(Err(exit))
        }
        Err(panic) => {
            let exit = StageExit::failure(code::PANIC, ErrorClass::Panic, "the action panicked".into());
            journal.not_done(step, StepState::Failed, Some(&exit));
            Err(panic)
        }
    }
}

/// Who waits for a step, until they are dropped.
struct Waits<'a> {
    journal: &'a Journal,
    step: usize,
    is_over: bool,
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.journal.abandon(self.step);
        }
    }
}

impl fmt::Debug for SagaScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SagaScope").field("saga", &self.0.config.name).finish_non_exhaustive()
    }
}

impl<O> fmt::Debug for Step<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Step").field("name", &self.name).finish_non_exhaustive()
    }
}

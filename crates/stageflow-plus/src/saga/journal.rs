//! What one saga has done so far, and what of it is on its way: outlives the future of its stage.

use std::{
    any::Any,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use stageflow_core::{
    BoxError, Code, FieldValue, StageContext, StageExit, StageResult, caught::poll_caught, code,
};
use tokio::runtime::Handle;

use super::{
    config::Config,
    desk::StuckSaga,
    report::{SagaEnd, SagaReport, SagaStuck, StepReport, StepState},
    settle,
};

pub(super) type Undoing = Pin<Box<dyn Future<Output = StageResult<()>> + Send>>;
pub(super) type Undo = Arc<dyn Fn() -> Undoing + Send + Sync>;
/// An action that writes into the journal how it has ended, or all undos together.
pub(super) type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

pub(super) struct Journal {
    pub(super) config: Arc<Config>,
    pub(super) ctx: StageContext,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    steps: Vec<Record>,
    /// How many were done so far.
    done: u64,
    /// Actions on their way, by their steps.
    actions: Vec<(usize, Work)>,
    settling: Option<Work>,
    report: Option<SagaReport>,
    /// Why it was not committed in the first place.
    because: Option<String>,
    /// Whether the stage's future is gone.
    is_left: bool,
    is_paused: bool,
    /// Whether nobody comes after the stage's future.
    is_last: bool,
}

pub(super) struct Record {
    pub(super) name: String,
    pub(super) state: StepState,
    /// The how-manieth that was done.
    pub(super) order: u64,
    pub(super) undo: Option<Undo>,
    pub(super) reference: Option<String>,
    pub(super) attempts: u32,
    pub(super) failure: Option<(Code, String)>,
    /// Whether nobody waits for it any more.
    pub(super) is_abandoned: bool,
}

/// Which steps are undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    All,
    /// Those that nobody waits for any more.
    Abandoned,
}

impl Journal {
    pub(super) fn new(config: &Arc<Config>, ctx: &StageContext) -> Arc<Self> {
        Arc::new(Self { config: Arc::clone(config), ctx: ctx.clone(), state: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lists the steps that will follow.
    pub(super) fn plan(&self, names: impl Iterator<Item = String>) {
        self.lock().steps.extend(names.map(|name| Record::new(name, StepState::NotStarted)));
    }

    /// Begins a step, and gives its number: that of the plan, if it is the next there.
    pub(super) fn begin(&self, name: String) -> usize {
        let mut state = self.lock();
        let is_next = |record: &Record| record.state == StepState::NotStarted && record.name == name;
        if let Some(planned) = state.steps.iter().position(is_next) {
            if let Some(record) = state.steps.get_mut(planned) {
                record.state = StepState::Running;
            }
            return planned;
        }
        state.steps.push(Record::new(name, StepState::Running));
        state.steps.len() - 1
    }

    pub(super) fn done(&self, step: usize, undo: Option<Undo>, reference: Option<String>) {
        let mut state = self.lock();
        state.done += 1;
        let order = state.done;
        if let Some(record) = state.steps.get_mut(step) {
            (record.state, record.order) = (StepState::Done, order);
            (record.undo, record.reference) = (undo, reference);
        }
    }

    /// The action of a step failed, or was interrupted.
    pub(super) fn not_done(&self, step: usize, as_what: StepState, exit: Option<&StageExit>) {
        let failure = exit.map(|exit| (exit.error_code().unwrap_or(code::STAGE_FAILED), words(exit)));
        self.change(step, |record| (record.state, record.failure) = (as_what, failure));
    }

    pub(super) fn change<R>(&self, step: usize, change: impl FnOnce(&mut Record) -> R) -> Option<R> {
        self.lock().steps.get_mut(step).map(change)
    }

    /// The step that is to be undone next: of those that are done, the last.
    pub(super) fn last_done(&self, scope: Scope) -> Option<(usize, String, Undo)> {
        let state = self.lock();
        let done = state.steps.iter().enumerate().filter(|(_, record)| {
            record.state == StepState::Done && (scope == Scope::All || record.is_abandoned)
        });
        let with_undo = done.filter_map(|(step, record)| Some((step, record, record.undo.clone()?)));
        let (step, record, undo) = with_undo.max_by_key(|(_, record, _)| record.order)?;
        Some((step, record.name.clone(), undo))
    }

    pub(super) fn add_action(&self, step: usize, action: Work) {
        self.lock().actions.push((step, action));
    }

    fn take_action(&self, step: usize) -> Option<Work> {
        let mut state = self.lock();
        let at = state.actions.iter().position(|(known, _)| *known == step)?;
        Some(state.actions.swap_remove(at).1)
    }

    /// Goes on with an action. It stays in the journal between polls, so that others can go on with it.
    pub(super) fn poll_action(&self, step: usize, cx: &mut Context<'_>) -> Poll<()> {
        let Some(mut action) = self.take_action(step) else { return Poll::Ready(()) };
        let polled = action.as_mut().poll(cx);
        if polled.is_pending() {
            self.add_action(step, action);
        }
        polled
    }

    /// Goes on with all actions that are on their way.
    pub(super) fn poll_actions(&self, cx: &mut Context<'_>) -> Poll<()> {
        let steps: Vec<usize> = self.lock().actions.iter().map(|(step, _)| *step).collect();
        let mut all = Poll::Ready(());
        for step in steps {
            if self.poll_action(step, cx).is_pending() {
                all = Poll::Pending;
            }
        }
        all
    }

    /// Drops what is still on its way: nobody knows how far it has come.
    pub(super) fn interrupt(&self) {
        let mut state = self.lock();
        let actions = std::mem::take(&mut state.actions);
        for (step, _) in &actions {
            if let Some(record) = state.steps.get_mut(*step) {
                record.state = StepState::InDoubt;
            }
        }
        drop(state);
        for (_, action) in actions {
            let _panicked = catch_unwind(AssertUnwindSafe(|| drop(action)));
        }
    }

    /// Nobody waits for a step any more.
    pub(super) fn abandon(&self, step: usize) {
        self.change(step, |record| record.is_abandoned = true);
    }

    pub(super) fn has_abandoned(&self) -> bool {
        let state = self.lock();
        !state.actions.is_empty() || state.steps.iter().any(|record| record.is_abandoned)
    }

    /// Undoes what is to be undone. Whoever awaits it may leave, and another goes on where it was.
    pub(super) async fn settle(self: &Arc<Self>, scope: Scope, because: &str, in_stage: bool) -> SagaEnd {
        if self.lock().settling.is_none() && self.lock().report.is_none() {
            let work = settle::settle(Arc::clone(self), scope, because.to_owned(), in_stage);
            self.lock().settling = Some(Box::pin(work));
        }
        self.pause(false);
        std::future::poll_fn(|cx| self.poll_settling(cx)).await;
        self.lock().report.as_ref().map_or(SagaEnd::RolledBack, |report| report.end)
    }

    /// Goes on with the undos that have begun.
    pub(super) fn poll_settling(&self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(mut work) = self.lock().settling.take() else { return Poll::Ready(()) };
        let polled = work.as_mut().poll(cx);
        if polled.is_pending() {
            self.lock().settling = Some(work);
        }
        polled
    }

    /// Whether the call of an undo is to be dropped, and made again when somebody goes on.
    pub(super) fn is_paused(&self) -> bool {
        self.lock().is_paused
    }

    pub(super) fn pause(&self, is_paused: bool) {
        self.lock().is_paused = is_paused;
    }

    /// Whether it has ended, or is being undone.
    pub(super) fn is_over(&self) -> bool {
        let state = self.lock();
        state.report.is_some() || state.settling.is_some() || state.is_left
    }

    /// How it ended, if it has.
    pub(super) fn report(&self) -> Option<SagaReport> {
        self.lock().report.clone()
    }

    /// Ends it, and tells everybody. The undos are let go of unless somebody may need them.
    pub(super) fn end(self: &Arc<Self>, is_committed: bool, because: Option<String>) {
        let mut state = self.lock();
        let has = |wanted: StepState| state.steps.iter().any(|record| record.state == wanted);
        let is_stuck = has(StepState::Stuck) || (has(StepState::InDoubt) && !is_committed);
        let end = match (is_stuck, is_committed) {
            (true, _) => SagaEnd::Stuck,
            (false, true) => SagaEnd::Committed,
            (false, false) => SagaEnd::RolledBack,
        };
        let because = because.map(|because| state.because.get_or_insert(because).clone());
        let identity = self.ctx.identity();
        let report = SagaReport {
            saga: (*self.config.name).to_owned(),
            run_id: identity.run_id(),
            tenant: identity.tenant_id().cloned(),
            stage: self.ctx.stage_name().to_owned(),
            attempt: self.ctx.attempt(),
            end,
            because,
            steps: state.steps.iter().map(Record::report).collect(),
        };
        state.report = Some(report.clone());
        let mut undos = Vec::new();
        if end != SagaEnd::Stuck {
            undos.extend(state.steps.iter_mut().map(|record| record.undo.take()));
        }
        drop(state);
        let _panicked = catch_unwind(AssertUnwindSafe(|| drop(undos)));
        self.tell(&report);
        if let (SagaEnd::Stuck, Some(desk)) = (end, &self.config.desk) {
            desk.put(StuckSaga::new(Arc::clone(self), report.clone()));
        }
        if let Some(told) = &self.config.on_end {
            let _panicked = catch_unwind(AssertUnwindSafe(|| told(&report)));
        }
    }

    fn tell(&self, report: &SagaReport) {
        let count = |state| FieldValue::from(report.in_state(state).count());
        let because = || FieldValue::from(report.because.clone().unwrap_or_default());
        let list = |state| FieldValue::from(report.list(state));
        let saga = ("saga", FieldValue::from(&*self.config.name));
        match report.end {
            SagaEnd::Committed => {
                let fields = [saga, ("done", count(StepState::Done)), ("in_doubt", list(StepState::InDoubt))];
                self.ctx.emit("saga.committed", fields);
            }
            SagaEnd::RolledBack => {
                let fields = [saga, ("undone", count(StepState::Undone)), ("because", because())];
                self.ctx.emit("saga.rolled_back", fields);
            }
            SagaEnd::Stuck => {
                let fields = [
                    saga,
                    ("because", because()),
                    ("stuck", list(StepState::Stuck)),
                    ("in_doubt", list(StepState::InDoubt)),
                    ("undone", list(StepState::Undone)),
                    ("still_done", list(StepState::Done)),
                ];
                self.ctx.emit("saga.stuck", fields);
            }
        }
    }

    /// Nobody will go on with it: what was not undone until now stays.
    fn give_up(self: &Arc<Self>, because: &str) {
        let settling = self.lock().settling.take();
        let _panicked = catch_unwind(AssertUnwindSafe(|| drop(settling)));
        self.interrupt();
        let mut state = self.lock();
        if state.report.is_some() {
            return;
        }
        for record in &mut state.steps {
            let is_left = record.state == StepState::Done && record.undo.is_some();
            if is_left || record.state == StepState::Undoing {
                record.state = StepState::Stuck;
                record.failure.get_or_insert_with(|| (code::CLEANUP_TIMEOUT, because.to_owned()));
            }
        }
        drop(state);
        self.end(false, Some(because.to_owned()));
    }

    /// The future of the stage is gone. What is on its way goes on for a while, and the run waits for that before it begins its clean-up:
    /// an action or an undo may itself be what the clean-up would have to wait for.
    pub(super) fn leave(self: &Arc<Self>) {
        let mut state = self.lock();
        state.is_left = true;
        let (is_last, is_over) = (state.is_last, state.report.is_some());
        let is_busy = !state.actions.is_empty() || state.settling.is_some();
        drop(state);
        if is_over {
            return;
        }
        if is_last {
            return self.give_up("nothing came after its stage that could have undone it");
        }
        if is_busy {
            let Ok(runtime) = Handle::try_current() else { return self.interrupt() };
            let (journal, hold) = (Arc::clone(self), self.ctx.hold());
            runtime.spawn(async move {
                settle::finish(&journal).await;
                drop(journal);
                drop(hold);
            });
        }
    }

    /// Makes what a stuck saga has left ready to be undone once more.
    pub(super) fn reopen(&self) {
        let mut state = self.lock();
        state.report = None;
        for record in &mut state.steps {
            if record.state == StepState::Stuck {
                (record.state, record.failure) = (StepState::Done, None);
            }
        }
    }
}

impl Record {
    fn new(name: String, state: StepState) -> Self {
        let (order, attempts, is_abandoned) = (0, 0, false);
        Self { name, state, order, undo: None, reference: None, attempts, failure: None, is_abandoned }
    }

    fn report(&self) -> StepReport {
        StepReport {
            name: self.name.clone(),
            state: self.state,
            reference: self.reference.clone(),
            undo_attempts: self.attempts,
            code: self.failure.as_ref().map(|(code, _)| *code),
            error: self.failure.as_ref().map(|(_, error)| error.clone()),
        }
    }
}

/// Undoes what its stage has left, as a clean-up of the run. Dropped before its end, it says so.
pub(super) struct CleanUp {
    journal: Arc<Journal>,
    is_done: bool,
}

impl CleanUp {
    pub(super) fn new(journal: &Arc<Journal>) -> Self {
        Self { journal: Arc::clone(journal), is_done: false }
    }

    pub(super) async fn settle(mut self, because: &str) -> Result<(), BoxError> {
        let was_over = self.journal.report().is_some();
        let end = self.journal.settle(Scope::All, because, false).await;
        self.is_done = true;
        match self.journal.report() {
            Some(report) if end == SagaEnd::Stuck && !was_over => Err(Box::new(SagaStuck::new(report, None))),
            _ => Ok(()),
        }
    }

    pub(super) fn commit(mut self) {
        self.is_done = true;
        self.journal.interrupt();
        self.journal.end(true, None);
    }
}

impl Drop for CleanUp {
    fn drop(&mut self) {
        if self.is_done {
            return;
        }
        let mut state = self.journal.lock();
        state.is_last = true;
        let is_left = state.is_left;
        drop(state);
        // As long as the stage is there it settles its saga itself.
        if is_left {
            self.journal.give_up("its clean-up was dropped before it had ended");
        }
    }
}

/// Why it left, without saying that it failed.
pub(super) fn words(exit: &StageExit) -> String {
    let words = exit.to_string();
    words.strip_prefix("failed: ").map_or(words.clone(), str::to_owned)
}

/// What a future of the user's gave, or what it panicked with.
pub(super) async fn caught<O>(
    mut future: Pin<Box<dyn Future<Output = O> + Send>>,
) -> Result<O, Box<dyn Any + Send>> {
    let output = std::future::poll_fn(|cx| poll_caught(future.as_mut(), cx)).await;
    let _panicked = catch_unwind(AssertUnwindSafe(|| drop(future)));
    output
}

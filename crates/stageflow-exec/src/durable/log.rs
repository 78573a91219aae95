//! What one run writes, in the order of its numbers.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use stageflow_core::{
    CancelCause, CustomEvent, EventKind, FieldValue, SnapshotBuilder, StageOutcome,
    durable::{
        AttemptEnd, Encoded, Entry, EntryKind, Journal, JournalError, JournalErrorKind, JournaledRun,
        RunHeader, RunKey, RunLease, StageEnd,
    },
    event::NO_STAGE,
    time::{Randomness, SeededRandom},
};
use stageflow_dag::plan::Plan;

use super::{
    Durability, OnLoss, Restored,
    direct::{Cue, Director},
    facts,
    guarded::{Guarded, guarded, told},
    known::{Known, path_of},
};
use crate::{ending::EndCause, run::RunCore};

/// So many entries that nobody waits for are kept before they are sent.
const KEPT_MAX: usize = 256;

/// What one run writes: of a root run, or of a child run within it.
pub(crate) struct RunLog {
    pub(crate) whole: Arc<Whole>,
    /// Before the names of the stages: those of the stages that lead to a child run.
    prefix: Box<str>,
    pub(crate) restored: Restored,
    /// The run that a child run is within, and in the place of which stage.
    above: Option<(Weak<RunCore>, u32)>,
    /// Whether it goes on with what the journal had at the beginning: not if it is made again since.
    goes_on: bool,
}

/// What a root run and its child runs write together.
pub(crate) struct Whole {
    pub(crate) rules: Durability,
    /// What a run begins with, until it has begun.
    pub(crate) input: Mutex<Option<Encoded>>,
    seed: u64,
    branch_of: OnceLock<RunKey>,
    /// Known once the run is let in.
    of_run: OnceLock<(RunKey, RunLease)>,
    book: Mutex<Book>,
    lost: OnceLock<JournalError>,
    known: Known,
    root: OnceLock<Weak<RunCore>>,
    /// The child runs that have gone on, by their prefixes.
    gone_on: Mutex<HashSet<Box<str>>>,
}

#[derive(Default)]
struct Book {
    /// How many entries there are, those that were not sent included.
    count: u64,
    kept: Vec<Entry>,
    /// Retries and cost, as they were written last.
    spent: (u64, u64),
    /// How many random numbers an attempt has drawn.
    draws: HashMap<(Box<str>, u32), u64>,
    released: bool,
    /// Whether the last entry of this process is on its way.
    closed: bool,
}

impl RunLog {
    fn of_root(whole: Whole, restored: Restored) -> Self {
        Self { whole: Arc::new(whole), prefix: Box::from(""), restored, above: None, goes_on: true }
    }

    /// Of a run that begins.
    pub(crate) fn fresh(rules: &Durability, input: Option<Encoded>, seed: u64) -> Self {
        let whole = Whole::new(rules.clone(), seed, Known::default());
        *whole.input.lock().unwrap_or_else(PoisonError::into_inner) = input;
        Self::of_root(whole, Restored::default())
    }

    /// Of a run that begins with what another has: the entries that it has from there.
    pub(crate) fn branch(rules: &Durability, of: JournaledRun, known: Known, restored: Restored) -> Self {
        let whole = Whole::new(rules.clone(), of.header.seed, known);
        *whole.input.lock().unwrap_or_else(PoisonError::into_inner) = of.header.input;
        {
            let mut book = whole.book();
            book.count = u64::try_from(of.entries.len()).unwrap_or(u64::MAX);
            book.kept = (1..).zip(of.entries).map(|(seq, entry)| Entry { seq, ..entry }).collect();
        }
        whole.branch_of.get_or_init(|| of.header.key);
        Self::of_root(whole, restored)
    }

    /// Of a run that goes on under a lease.
    pub(crate) fn resumed(
        rules: &Durability,
        (key, lease): (RunKey, RunLease),
        seed: u64,
        known: Known,
        restored: Restored,
    ) -> Self {
        let whole = Whole::new(rules.clone(), seed, known);
        {
            let mut book = whole.book();
            book.count = whole.known.count;
            book.spent = whole.known.spent;
        }
        whole.begun(key, lease);
        Self::of_root(whole, restored)
    }

    /// Checks that the run is that which was written, or is a branch of one of the same tenant: what a tenant has given is for no other.
    pub(crate) fn check(&self, snapshot: &SnapshotBuilder) -> Result<(), JournalError> {
        let of_run = self.whole.of_run().map(|(key, _)| key);
        let Some(of) = of_run.or(self.whole.branch_of.get()) else { return Ok(()) };
        let is_same = of_run.is_none_or(|key| snapshot.run_set() == Some(key.run()));
        if is_same && snapshot.tenant_id() == Some(of.tenant()) {
            return Ok(());
        }
        let message = format!("{of} goes on under its own id and for its own tenant only");
        let error = JournalError::new(JournalErrorKind::Tenant, message);
        Err(error.hint("begin a run of its own, with an input of its own"))
    }

    /// Of a child run in the place of a stage of `parent`, whose log this is. The first one goes on with what the journal has of it;
    /// made again, it begins anew.
    pub(crate) fn within(
        &self,
        parent: &Arc<RunCore>,
        stage: u32,
        plan: &Plan,
    ) -> Result<Self, JournalError> {
        let prefix = format!("{}/", self.path(parent, stage)).into_boxed_str();
        let whole = Arc::clone(&self.whole);
        let goes_on = self.goes_on
            && whole.gone_on.lock().unwrap_or_else(PoisonError::into_inner).insert(prefix.clone());
        let restored = if goes_on { whole.known.restore(plan, &prefix)? } else { Restored::default() };
        Ok(Self { whole, prefix, restored, above: Some((Arc::downgrade(parent), stage)), goes_on })
    }

    /// The name of a stage in the journal.
    pub(crate) fn path(&self, run: &RunCore, stage: u32) -> Arc<str> {
        path_of(&self.prefix, run.plan.stage_name(stage))
    }

    /// An attempt begins. Whoever resumes the run counts it, so it is on its way at once where another may follow.
    #[cold]
    pub(crate) fn attempt_started(&self, run: &RunCore, stage: u32, attempt: u32) {
        let at_once = attempt > 1 || run.plan.is_durable(stage);
        let kind = EntryKind::AttemptStarted { stage: self.path(run, stage), attempt };
        self.whole.note(run, kind, at_once);
    }

    /// What an attempt came to.
    #[cold]
    pub(crate) fn attempt_ended(&self, run: &RunCore, stage: u32, attempt: u32, end: AttemptEnd) {
        let kind = EntryKind::AttemptEnded { stage: self.path(run, stage), attempt, end };
        self.whole.note(run, kind, false);
    }

    /// An attempt asks for another, of a stage with nothing around it.
    #[cold]
    pub(crate) fn attempt_asks_again(
        &self,
        run: &RunCore,
        stage: u32,
        attempt: u32,
        reason: &str,
        after: Option<Duration>,
    ) {
        self.attempt_ended(run, stage, attempt, AttemptEnd::Retry { reason: reason.to_owned(), after });
    }

    /// Who says when the attempts of a replay begin, and what they give.
    #[inline]
    pub(crate) fn director(&self) -> Option<&Arc<dyn Director>> {
        self.whole.rules.director.as_ref()
    }

    /// Waits for the cue of an attempt, in a replay.
    pub(crate) async fn cue(&self, run: &RunCore, stage: u32, attempt: u32) -> Option<Cue> {
        let director = self.director()?;
        Some(director.cue(self.path(run, stage), attempt).await)
    }

    /// Something was decided.
    #[cold]
    pub(crate) fn decided(&self, run: &RunCore, stage: u32, attempt: u32, event: &CustomEvent) {
        let fields = event.fields().map(|(key, value)| {
            let value = match value {
                // JSON has no such number.
                FieldValue::Float(number) if !number.is_finite() => FieldValue::Text(number.to_string()),
                value => value.clone(),
            };
            (key.into(), value)
        });
        let kind = EntryKind::Decided {
            stage: if stage == NO_STAGE { "".into() } else { self.path(run, stage) },
            attempt,
            name: event.name().into(),
            fields: fields.collect(),
        };
        self.whole.note(run, kind, false);
    }

    /// A stage has ended that is not durable, or without an output.
    #[cold]
    pub(crate) fn ended(&self, run: &RunCore, stage: u32, outcome: &StageOutcome) {
        if self.restored.has(stage) {
            return;
        }
        let end = match outcome {
            StageOutcome::Completed => StageEnd::Completed,
            StageOutcome::Skipped(cause) => StageEnd::Skipped(cause.clone()),
            StageOutcome::Failed(failure) => StageEnd::Failed(failure.into()),
            StageOutcome::Blocked { by } => StageEnd::Blocked { by: by.clone() },
            _ => return,
        };
        self.whole.note(run, self.end_of(run, stage, end), false);
    }

    fn end_of(&self, run: &RunCore, stage: u32, end: StageEnd) -> EntryKind {
        let cell = run.cell(stage);
        EntryKind::StageEnded {
            stage: self.path(run, stage),
            attempts: cell.attempts(),
            took: cell.started_ago(run.now()).unwrap_or_default(),
            end,
            wiring: run.plan.wiring(stage),
        }
    }

    /// Writes what a durable stage gave: durable when the answer completes.
    pub(crate) fn commit(&self, run: &RunCore, stage: u32, output: Encoded) -> Option<Waiting> {
        let kind = self.end_of(run, stage, StageEnd::Completed);
        self.whole.send(run, Some((kind, Some(output))))
    }

    /// The next random number of an attempt: it follows from the run, so that a replay and a resumed run draw the same.
    pub(crate) fn random(&self, run: &RunCore, stage: u32, attempt: u32) -> u64 {
        let name: Box<str> = format!("{}{}", self.prefix, run.plan.stage_name(stage)).into();
        let mut key = self.whole.seed ^ u64::from(attempt).rotate_left(32);
        for byte in name.bytes() {
            key = (key ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        let mut book = self.whole.book();
        let draws = book.draws.entry((name, attempt)).or_default();
        *draws += 1;
        SeededRandom::new(key.wrapping_add(draws.wrapping_mul(0x9E37_79B9_7F4A_7C15))).next_u64()
    }
}

impl Whole {
    fn new(rules: Durability, seed: u64, known: Known) -> Self {
        Self {
            rules,
            input: Mutex::default(),
            seed,
            branch_of: OnceLock::new(),
            of_run: OnceLock::new(),
            book: Mutex::default(),
            lost: OnceLock::new(),
            known,
            root: OnceLock::new(),
            gone_on: Mutex::default(),
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells it whose it is.
    pub(crate) fn belongs_to(&self, root: &Arc<RunCore>) {
        self.root.get_or_init(|| Arc::downgrade(root));
    }

    pub(crate) fn journal(&self) -> &Arc<dyn Journal> {
        &self.rules.journal
    }

    /// Retries and cost that the run had used before it was resumed.
    pub(crate) fn spent(&self) -> (u64, u64) {
        self.known.spent
    }

    /// The key and the lease of the run, once it has begun.
    pub(crate) fn of_run(&self) -> Option<&(RunKey, RunLease)> {
        self.of_run.get()
    }

    /// The header of a run that begins.
    pub(crate) fn header(&self, run: &RunCore, key: RunKey, started: SystemTime) -> RunHeader {
        RunHeader {
            key,
            snapshot: facts::kept(&run.snapshot),
            input: self.input.lock().unwrap_or_else(PoisonError::into_inner).take(),
            started,
            seed: self.seed,
            branch_of: self.branch_of.get().map(RunKey::run),
        }
    }

    /// The run has begun.
    pub(crate) fn begun(&self, key: RunKey, lease: RunLease) {
        self.of_run.get_or_init(|| (key, lease));
    }

    /// What went wrong, once the run goes on without a journal, or has stopped for it.
    pub(crate) fn lost(&self) -> Option<&JournalError> {
        self.lost.get()
    }

    /// Whether there is something that was not sent.
    pub(crate) fn has_kept(&self) -> bool {
        !self.book().kept.is_empty()
    }

    /// Notes an entry that nobody waits for.
    pub(crate) fn note(&self, run: &RunCore, kind: EntryKind, at_once: bool) {
        if self.lost.get().is_some() {
            return;
        }
        let full = {
            let mut book = self.book();
            if book.released {
                return;
            }
            book.push(run, kind, None);
            book.kept.len() >= KEPT_MAX
        };
        if at_once || full || self.rules.director.is_some() {
            // Eager: it is on its way, and what goes wrong shows at the next entry that is waited for.
            drop(self.send(run, None));
        }
    }

    /// Sends what was kept, and after it one more: `None` for a run that is not written any more.
    pub(crate) fn send(&self, run: &RunCore, last: Option<(EntryKind, Option<Encoded>)>) -> Option<Waiting> {
        if self.lost.get().is_some() {
            return None;
        }
        let (key, lease) = self.of_run.get()?;
        // The journal takes entries in the order of the calls, so that this lock makes it the order of the numbers.
        let root = self.root.get().and_then(Weak::upgrade);
        let mut book = self.book();
        if book.released {
            return None;
        }
        if let Some(root) = &root {
            book.spent(root);
        }
        if let Some((kind, payload)) = last {
            book.push(run, kind, payload);
        }
        let entries = std::mem::take(&mut book.kept);
        Some(guarded(|| self.rules.journal.append(key, *lease, entries)))
    }

    /// Whether the caller is to write the last entry of this process: nobody else has, and the run is in the journal.
    pub(crate) fn close(&self) -> bool {
        self.of_run.get().is_some() && !std::mem::replace(&mut self.book().closed, true)
    }

    /// Says that an entry could not be written, and stops the run unless it is to go on: whether it goes on.
    pub(crate) fn lose(
        &self,
        run: &RunCore,
        stage: Option<u32>,
        error: JournalError,
    ) -> Result<(), JournalError> {
        let taken_over = error.kind() == JournalErrorKind::LeaseLost;
        let goes_on = self.rules.on_loss == OnLoss::GoOn && !taken_over;
        let fields = [("code", error.code().as_str().to_owned()), ("reason", error.to_string())];
        let event = CustomEvent::new("journal.lost", fields);
        if !goes_on {
            // Before the others can see that nothing is written any more.
            stop(run, stage, taken_over);
        }
        if self.lost.set(again(&error)).is_ok() {
            run.emit(stage.unwrap_or(NO_STAGE), 0, EventKind::Custom(Arc::new(event)));
        }
        if goes_on { Ok(()) } else { Err(error) }
    }

    /// Gives the lease back, unless the run has ended for good.
    pub(crate) fn release(&self) {
        let Some((key, lease)) = self.of_run.get() else { return };
        let mut book = self.book();
        if !std::mem::replace(&mut book.released, true) {
            told(|| self.rules.journal.release(key, *lease));
        }
    }

    /// The run has ended for good, and its lease with it.
    pub(crate) fn set_ended(&self) {
        self.book().released = true;
    }
}

/// Ends a run that is not written any more, and the runs that it is within: none of them goes on, whatever its rules about failures are.
fn stop(run: &RunCore, stage: Option<u32>, taken_over: bool) {
    run.end(if taken_over {
        EndCause::Cancel(CancelCause::TakenOver)
    } else {
        let stage = stage.map_or_else(String::new, |stage| run.plan.stage_name(stage).to_owned());
        EndCause::Failure { stage }
    });
    let above = run.log.as_ref().and_then(|log| log.above.as_ref());
    if let Some((Some(above), stage)) = above.map(|(run, stage)| (run.upgrade(), *stage)) {
        stop(&above, Some(stage), taken_over);
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        self.release();
    }
}

impl Book {
    fn push(&mut self, run: &RunCore, kind: EntryKind, payload: Option<Encoded>) {
        self.count += 1;
        let at = run.shared.clock.wall().duration_since(UNIX_EPOCH).unwrap_or_default();
        let at = u64::try_from(at.as_nanos()).unwrap_or(u64::MAX);
        self.kept.push(Entry { seq: self.count, at, kind, payload });
    }

    /// Notes what was used of the budget, if that has changed.
    fn spent(&mut self, root: &RunCore) {
        let Some(account) = root.account.get() else { return };
        let spent = (account.retries().0, account.costs().spent);
        if spent != self.spent {
            self.spent = spent;
            self.push(root, EntryKind::Spent { retries: spent.0, cost: spent.1 }, None);
        }
    }
}

/// The same error once more, without what it follows from.
pub(crate) fn again(error: &JournalError) -> JournalError {
    JournalError::new(error.kind(), error.to_string()).hint(error.help().to_owned())
}

/// Polls an answer that somebody may be tired of waiting for.
pub(crate) type Waiting = Guarded<()>;

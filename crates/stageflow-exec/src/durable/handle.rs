//! Asking for runs that were begun before.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};
use stageflow_core::{
    RunId, TenantId, Value, code,
    durable::{
        Answered, Encoded, EntryKind, Journal, JournalError, JournalErrorKind, JournaledRun, Pause,
        PauseRecord, RunKey, RunLease, RunSummary,
    },
    value::TypeTag,
};
use stageflow_dag::{
    Pipeline,
    plan::{Plan, SPECIAL},
};
use tokio::{runtime::Handle, sync::oneshot};

use super::{
    Durability, RunLog, facts,
    guarded::told,
    known::{Known, first_of},
};
use crate::{
    engine::{Engine, EngineShared},
    error::RunError,
    handle::RunBuilder,
    run::RunCore,
    worker::panic_message,
};

/// What a run of `plan` writes, if it writes anything.
pub(crate) fn log_of(
    shared: &EngineShared,
    plan: &Plan,
    input: &Value,
) -> Result<Option<Box<RunLog>>, RunError> {
    let Some(rules) = &shared.durability else {
        if plan.has_durable() && !shared.may_be_undurable() {
            let message = format!("`{}` has durable stages, and the engine has no journal", plan.name());
            return Err(RunError::refused(code::NO_JOURNAL, message));
        }
        return Ok(None);
    };
    if !plan.has_durable() && !rules.every_run {
        return Ok(None);
    }
    let input = match plan.input_codec() {
        Some(codec) => {
            let encoded = catch_unwind(AssertUnwindSafe(|| codec.encode(input))).map_err(|panic| {
                let message = format!("the input of `{}` panicked while it was written: ", plan.name());
                RunError::refused(code::PANIC, message + &panic_message(panic))
            })?;
            Some(encoded.map_err(|error| {
                let message = format!("the input of `{}` cannot be kept: {error}", plan.name());
                RunError::refused(code::NOT_STORABLE, message)
            })?)
        }
        None if plan.has_durable() && plan.input_readers() > 0 && !input.is_unit() => {
            let message = format!(
                "`{}` has durable stages, and its input is not kept: it could not be resumed",
                plan.name()
            );
            return Err(RunError::refused(code::INPUT_NOT_DURABLE, message));
        }
        None => None,
    };
    Ok(Some(Box::new(RunLog::fresh(rules, input, shared.random.next_u64()))))
}

/// Charges the account of a run with what it used before it was resumed.
pub(crate) fn carry(run: &Arc<RunCore>) {
    if let Some(log) = &run.log {
        log.whole.belongs_to(run);
    }
    if let Some((retries, cost)) = run.log.as_ref().map(|log| log.whole.spent())
        && (retries, cost) != (0, 0)
    {
        run.account().carry(retries, cost);
    }
}

/// A lease that is given back unless its run begins.
struct Claimed {
    journal: Arc<dyn Journal>,
    key: RunKey,
    lease: RunLease,
    is_used: bool,
}

impl Drop for Claimed {
    fn drop(&mut self) {
        if !self.is_used {
            told(|| self.journal.release(&self.key, self.lease));
        }
    }
}

/// Takes a run over. It does so in a task of its own: dropped on its way, it would leave a lease behind that nobody knows of.
async fn claim(journal: Arc<dyn Journal>, key: RunKey) -> Result<(Claimed, JournaledRun), JournalError> {
    let claiming = async move {
        let (lease, run) = journal.claim(&key).await?;
        Ok((Claimed { journal, key, lease, is_used: false }, run))
    };
    let Ok(handle) = Handle::try_current() else { return claiming.await };
    let (tell, told) = oneshot::channel();
    handle.spawn(async move {
        // Whoever does not want it any more gives it back by dropping it.
        let _unwanted = tell.send(claiming.await);
    });
    let panicked = |_| {
        let message = "the journal panicked, or the runtime is shutting down";
        Err(JournalError::new(JournalErrorKind::Unavailable, message))
    };
    told.await.unwrap_or_else(panicked)
}

impl Engine {
    /// Takes over a run that nobody goes on with: its stages that have ended are not called again, the others are, on what the journal
    /// has. The run that `.await` or [`start`](RunBuilder::start) of the answer begins is the same: it has its id, its tenant and the
    /// other facts, what is left of its deadline by the wall clock, and what is left of its attempts and its budget.
    ///
    /// Extensions come back if they were inserted by name, and the idempotency key always; others are given once more:
    /// `.extension(…)`. Of what a stage gave that is
    /// not durable nothing is kept: it is called again if somebody reads it.
    ///
    /// # Errors
    ///
    /// `RUN_NOT_FOUND`, `RUN_ENDED`, `LEASE_HELD` while another process goes on with it; `PIPELINE_CHANGED` and `NOT_READABLE` if it was
    /// begun with a pipeline that this one does not continue: the run stays as it is then, and can be resumed by the code that began
    /// it; whatever the journal is in trouble with.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future, or the answer before it has begun, gives the run free again.
    pub async fn resume<I, O>(
        &self,
        pipeline: &Pipeline<I, O>,
        tenant: impl Into<TenantId>,
        run: RunId,
    ) -> Result<RunBuilder<O>, RunError>
    where
        I: Send + Sync + 'static,
        O: Send + Sync + 'static,
    {
        let rules = self.durability()?;
        let key = RunKey::new(tenant, run);
        let claimed = claim(Arc::clone(&rules.journal), key.clone()).await;
        let (mut claimed, journaled) = claimed.map_err(RunError::journal)?;
        let plan = Arc::clone(pipeline.plan());
        let known = Known::of(&journaled);
        let input = input_of(&plan, &key, &journaled).map_err(RunError::journal)?;
        let restored = known.restore(&plan, "").map_err(RunError::journal)?;
        let header = journaled.header;
        let since = self.shared.clock.wall().duration_since(header.started).unwrap_or(Duration::ZERO);
        let snapshot = facts::resumed(&header, since).map_err(RunError::journal)?;
        claimed.is_used = true;
        let log = RunLog::resumed(rules, (key, claimed.lease), header.seed, known.for_children(), restored);
        Ok(RunBuilder::resumed(self.clone(), plan, input, snapshot, Box::new(log)))
    }

    /// Begins another run with what a run has, up to a stage: that stage and all that follow from it are called again, the others are
    /// not. It is a run of its own, with an id of its own and the whole of its deadline and budget; its header says what it is a branch
    /// of. The run that it branches from may have ended or not, and stays as it is.
    ///
    /// # Errors
    ///
    /// `RUN_NOT_FOUND`; `MISSING_DEP` for a stage that the pipeline does not have; `PIPELINE_CHANGED` and `NOT_READABLE` as for
    /// [`resume`](Self::resume); whatever the journal is in trouble with.
    pub async fn branch<I, O>(
        &self,
        pipeline: &Pipeline<I, O>,
        tenant: impl Into<TenantId>,
        run: RunId,
        from: &str,
    ) -> Result<RunBuilder<O>, RunError>
    where
        I: Send + Sync + 'static,
        O: Send + Sync + 'static,
    {
        let rules = self.durability()?;
        let key = RunKey::new(tenant, run);
        let plan = Arc::clone(pipeline.plan());
        let Some(from) = plan.index_of(from) else {
            let message = format!("`{}` has no stage `{from}` to branch from", plan.name());
            return Err(RunError::refused(code::MISSING_DEP, message));
        };
        let loaded = rules.journal.load(&key).await.map_err(RunError::journal)?;
        let none = || JournalError::new(JournalErrorKind::NotFound, format!("there is no {key}"));
        let mut journaled = loaded.ok_or_else(none).map_err(RunError::journal)?;
        let input = input_of(&plan, &key, &journaled).map_err(RunError::journal)?;
        let called = after(&plan, from);
        journaled.entries.retain(|entry| {
            let EntryKind::StageEnded { stage, .. } = &entry.kind else { return false };
            plan.index_of(&first_of(stage)).is_none_or(|root| !called[root as usize])
        });
        let known = Known::of(&journaled);
        let restored = known.restore(&plan, "").map_err(RunError::journal)?;
        let snapshot = journaled.header.snapshot.to_builder();
        let log = RunLog::branch(rules, journaled, known.for_children(), restored);
        Ok(RunBuilder::resumed(self.clone(), plan, input, snapshot, Box::new(log)))
    }

    /// The runs of a tenant that have not ended, the oldest first, at most so many of those after `after`: what a process looks
    /// through when it starts.
    ///
    /// # Errors
    ///
    /// Whatever the journal is in trouble with, `NO_JOURNAL` without one.
    pub async fn unfinished(
        &self,
        tenant: impl Into<TenantId>,
        after: Option<RunId>,
        limit: usize,
    ) -> Result<Vec<RunSummary>, RunError> {
        let tenant = tenant.into();
        self.durability()?.journal.unfinished(&tenant, after, limit).await.map_err(RunError::journal)
    }

    /// What the journal has of a run.
    ///
    /// # Errors
    ///
    /// Whatever the journal is in trouble with, `NO_JOURNAL` without one.
    pub async fn journaled(
        &self,
        tenant: impl Into<TenantId>,
        run: RunId,
    ) -> Result<Option<JournaledRun>, RunError> {
        let key = RunKey::new(tenant, run);
        self.durability()?.journal.load(&key).await.map_err(RunError::journal)
    }

    /// The pauses of a run that wait for their answer.
    ///
    /// # Errors
    ///
    /// Whatever the journal is in trouble with, `NO_JOURNAL` without one.
    pub async fn pauses(
        &self,
        tenant: impl Into<TenantId>,
        run: RunId,
    ) -> Result<Vec<PauseRecord>, RunError> {
        let key = RunKey::new(tenant, run);
        self.durability()?.journal.pauses(&key).await.map_err(RunError::journal)
    }

    /// Answers a pause of a run, wherever that is: in this process, in another, or in none at the moment. The first answer counts.
    ///
    /// # Errors
    ///
    /// `NOT_STORABLE` for an answer that cannot be written; whatever the journal is in trouble with, `NO_JOURNAL` without one.
    pub async fn answer<T: Serialize + DeserializeOwned>(
        &self,
        tenant: impl Into<TenantId>,
        run: RunId,
        pause: &Pause<T>,
        answer: T,
    ) -> Result<Answered, RunError> {
        let key = RunKey::new(tenant, run);
        let rules = self.durability()?;
        let answer: Encoded = pause.codec().encode(&answer).map_err(|error| {
            let message = format!("the answer of pause `{}` cannot be kept: {error}", pause.token());
            RunError::refused(code::NOT_STORABLE, message)
        })?;
        let taken = rules.journal.answer(&key, pause.token(), answer, None).await;
        rules.answered.notify_waiters();
        taken.map_err(RunError::journal)
    }

    fn durability(&self) -> Result<&Durability, RunError> {
        let none = || RunError::refused(code::NO_JOURNAL, "the engine has no journal");
        self.shared.durability.as_ref().ok_or_else(none)
    }
}

/// A stage, and the stages that follow from it.
fn after(plan: &Plan, stage: u32) -> Vec<bool> {
    let mut found = vec![false; plan.len()];
    let mut open = vec![stage];
    while let Some(stage) = open.pop() {
        if std::mem::replace(&mut found[stage as usize], true) {
            continue;
        }
        open.extend(plan.successors(stage).iter().map(|&successor| match successor & SPECIAL {
            0 => successor,
            _ => plan.specials()[(successor & !SPECIAL) as usize].target,
        }));
    }
    found
}

/// The input that a run was begun with, if the run is the one of the key.
pub(super) fn input_of(plan: &Plan, key: &RunKey, run: &JournaledRun) -> Result<Value, JournalError> {
    run.header.check()?;
    let begun = run.header.snapshot.pipeline();
    if begun != &**plan.name() {
        let message = format!("{key} is one of pipeline `{begun}`, not of `{}`", plan.name());
        return Err(JournalError::new(JournalErrorKind::Changed, message));
    }
    match (&run.header.input, plan.input_codec()) {
        (Some(input), Some(codec)) => codec.decode(input).map_err(|error| {
            let message = format!("the input of {key} cannot be read: {error}");
            JournalError::new(JournalErrorKind::NotReadable, message).source(error)
        }),
        (None, _) if plan.input_readers() == 0 || plan.input() == TypeTag::of::<()>() => Ok(Value::new(())),
        (Some(_), None) if plan.input_readers() == 0 => Ok(Value::new(())),
        _ => {
            let message =
                format!("the input of {key} was kept in another way than `{}` keeps it now", plan.name());
            Err(JournalError::new(JournalErrorKind::Changed, message))
        }
    }
}

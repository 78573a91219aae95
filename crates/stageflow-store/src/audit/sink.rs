//! [`AuditSink`]: what an auditor asks for, from the events of runs to an audit log.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use stageflow_core::{
    DropReason, Event, EventSink, FieldValue, TenantId,
    audit::{AuditLog, AuditRecord},
    durable::{JournalError, JournalErrorKind},
    event::Taken,
};
use tokio::runtime::Handle;

use super::{
    rules,
    wait::{self, Waited},
};

/// Of how many tenants it is kept apart what was lost of them.
const TENANTS: usize = 4_096;
/// How long to wait before a second attempt, and at most before any other.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(5);
/// The same, while the log has been down for longer than the patience.
const GLANCE: Duration = Duration::from_millis(500);

/// Makes audit records of the events of runs, and writes them to an [`AuditLog`].
///
/// | action | decision |
/// |---|---|
/// | `auth.accepted`, `auth.denied`, `tenant.denied` | `granted`, `denied` |
/// | `pipeline.denied`, and `stage.failed` for a denial | `denied` |
/// | `tenant.quota_exceeded`, `admission.shed` | `refused` |
/// | `admission.admitted` | `admitted` |
/// | `guard.decided` | the verdict |
/// | `guard.blocked`, `audit.guard_opened` | `blocked`; `opened`: the guard has failed, and the content went on |
/// | `pause.opened`, `pause.answered`, `pause.expired` | `asked`, `answered`, `expired` |
/// | `run.resumed`, `run.branched`, `journal.lost`, `saga.stuck` | `resumed`, `branched`, `undurable`, `stuck` |
/// | `audit.…` of a stage's own | the field `decision`, or `told` |
/// | `audit.gap` | `lost`: so many events did not come here |
/// | the begin and the end of each run, [on demand](Self::with_runs) | `admitted`, the outcome |
///
/// A record has the tenant, who asked, the run, the stage, and the number of the event in its run. Of policies it has fields that are
/// named in a list; messages of errors, inputs and outputs are never in it.
///
/// # Guarantees
///
/// - An event counts as delivered when its record is durable, and not before: the account of the sink is that of the log
///   (rule S-29).
/// - The records of a run are written in the order of its events. A record whose write was not answered is written again, so it
///   may be there twice; the number of the event tells.
/// - A log that is down is tried again, with a back-off, for as long as the [patience](Self::patience) lasts. Events queue up
///   meanwhile, in front of the sink. What does not fit there, and what is given up, is counted, and announced by a record
///   `audit.gap` of the same tenant as soon as the log takes one.
/// - No run waits for the log, or notices that it is down. So this is no proof that a decision was recorded *before* it took
///   effect.
///
/// The engine queues events before it, of all kinds. Where the room should be for those alone that an auditor asks for, and
/// where they should wait on a disk once it is full, put a bounded sink and a filter before it:
///
/// ```ignore
/// let audit = Arc::new(AuditSink::new(store).patience(Duration::MAX));
/// let wants = Arc::clone(&audit);
/// let queue = Arc::clone(&audit).bounded(10_000).class(EventClass::Terminal, Policy::spill("/var/lib/audit"));
/// let engine = Engine::builder().sink(queue.filter(move |event| wants.wants(event))).build()?;
/// ```
pub struct AuditSink<L: ?Sized> {
    unowned: TenantId,
    runs: bool,
    patience: Duration,
    runtime: Option<Handle>,
    state: Mutex<State>,
    log: Arc<L>,
}

#[derive(Default)]
struct State {
    /// Since when the log is down.
    down: Option<Instant>,
    /// What was given up and is not announced yet.
    missing: BTreeMap<TenantId, Missing>,
}

#[derive(Clone, Copy)]
struct Missing {
    records: u64,
    /// When the first of them was made.
    since: SystemTime,
    why: &'static str,
}

impl<L: AuditLog + ?Sized> AuditSink<L> {
    /// Writes to a log. One that needs a runtime uses that in which this is called.
    pub fn new(log: Arc<L>) -> Self {
        Self {
            unowned: TenantId::from("-"),
            runs: false,
            patience: Duration::from_secs(60),
            runtime: Handle::try_current().ok(),
            state: Mutex::default(),
            log,
        }
    }

    /// Under which tenant the records of runs without a tenant are kept, and those of tenants that cannot be a key: `-` unless it is
    /// said.
    #[must_use]
    pub fn unowned(mut self, tenant: impl Into<TenantId>) -> Self {
        self.unowned = tenant.into();
        self
    }

    /// Records the begin and the end of each run as well.
    #[must_use]
    pub fn with_runs(mut self) -> Self {
        self.runs = true;
        self
    }

    /// How long a log may be down before events are given up; a minute unless it is said. From then on each is tried once, so
    /// that the queue does not stand still.
    #[must_use]
    pub fn patience(mut self, time: Duration) -> Self {
        self.patience = time;
        self
    }

    /// Whether it makes a record of an event: for a filter before it.
    pub fn wants(&self, event: &Event) -> bool {
        rules::is_wanted(event, self.runs)
    }

    /// How many records were given up and are not announced in the log yet.
    pub fn unannounced(&self) -> u64 {
        self.lock().missing.values().map(|missing| missing.records).sum()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes records of one tenant; gives why it did not.
    fn write(&self, records: &[AuditRecord]) -> Result<(), &'static str> {
        let mut pause = BACK_OFF.0;
        loop {
            let down = self.lock().down.map(|since| since.elapsed());
            let is_over = down.is_some_and(|down| down >= self.patience);
            let limit = if is_over { GLANCE.min(ATTEMPT) } else { ATTEMPT };
            let problem = match self.attempt(records.to_vec(), limit) {
                Ok(()) => {
                    self.lock().down = None;
                    return Ok(());
                }
                Err(problem) => problem,
            };
            if !problem.may_pass {
                return Err(problem.why);
            }
            let since = *self.lock().down.get_or_insert_with(Instant::now);
            if is_over || since.elapsed() >= self.patience {
                return Err(problem.why);
            }
            std::thread::park_timeout(pause.min(self.patience.saturating_sub(since.elapsed())));
            pause = (pause * 2).min(BACK_OFF.1);
        }
    }

    fn attempt(&self, records: Vec<AuditRecord>, limit: Duration) -> Result<(), Problem> {
        let runtime = Handle::try_current().ok().or_else(|| self.runtime.clone());
        let _entered = runtime.as_ref().map(Handle::enter);
        match wait::block_on(self.log.record(records), limit) {
            Waited::Done(Ok(())) => Ok(()),
            Waited::Done(Err(error)) => Err(Problem::of(&error)),
            Waited::NotYet => Err(Problem { may_pass: true, why: "the audit log did not answer" }),
        }
    }

    /// Writes the records of one tenant, before them what was given up of it; gives whether they are durable. If not, so many
    /// events are missing.
    fn keep(&self, tenant: &TenantId, records: Vec<AuditRecord>, count: u64) -> bool {
        let missing = self.lock().missing.get(tenant).copied();
        let since = records.first().map_or_else(SystemTime::now, |record| record.at);
        let announced = missing.map(|missing| missing.record(tenant.clone()));
        let all: Vec<_> = announced.into_iter().chain(records).collect();
        match self.write(&all) {
            Ok(()) => {
                if let Some(told) = missing {
                    self.announced(tenant, told.records);
                }
                true
            }
            Err(why) => {
                if count > 0 {
                    self.lock().miss(tenant, &self.unowned, Missing { records: count, since, why });
                }
                false
            }
        }
    }

    fn announced(&self, tenant: &TenantId, told: u64) {
        let mut state = self.lock();
        if let Some(missing) = state.missing.get_mut(tenant) {
            missing.records -= told.min(missing.records);
            if missing.records == 0 {
                state.missing.remove(tenant);
            }
        }
    }

    /// The tenant as the log can have it: the records of any other are kept with those of nobody.
    fn owned(&self, mut record: AuditRecord) -> AuditRecord {
        if !can_be_key(&record.tenant) {
            let said = rules::short(record.tenant.as_str());
            record.fields.push(("tenant".to_owned(), FieldValue::from(said)));
            record.tenant = self.unowned.clone();
        }
        record
    }
}

/// What came together of one tenant.
#[derive(Default)]
struct Batch<'a> {
    records: Vec<AuditRecord>,
    events: Vec<&'a Event>,
    /// How many events are missing if it cannot be written.
    count: u64,
}

/// What every store takes as a tenant.
fn can_be_key(tenant: &TenantId) -> bool {
    let text = tenant.as_str();
    !text.is_empty() && text.len() <= 255 && !text.chars().any(char::is_control)
}

/// Why an attempt has not succeeded.
struct Problem {
    may_pass: bool,
    why: &'static str,
}

impl Problem {
    fn of(error: &JournalError) -> Self {
        let why = match error.kind() {
            JournalErrorKind::Full => "the audit log is full",
            JournalErrorKind::Quota => "the tenant has no room left",
            JournalErrorKind::Schema => "the audit log is of another version",
            JournalErrorKind::Unsafe => "the audit log does not keep tenants apart",
            JournalErrorKind::Tenant => "the tenant cannot be a key",
            _ => "the audit log did not take it",
        };
        Self { may_pass: error.kind().class().may_retry(), why }
    }
}

impl State {
    fn miss(&mut self, tenant: &TenantId, unowned: &TenantId, missing: Missing) {
        // What nobody can say of whom it was is better than a list without a bound.
        let full = self.missing.len() >= TENANTS && !self.missing.contains_key(tenant);
        let whose = if full { unowned } else { tenant };
        let entry = self.missing.entry(whose.clone());
        let entry = entry.or_insert(Missing { records: 0, ..missing });
        entry.records += missing.records;
        entry.since = entry.since.min(missing.since);
    }
}

impl Missing {
    fn record(self, tenant: TenantId) -> AuditRecord {
        AuditRecord {
            tenant,
            at: self.since,
            who: None,
            run: None,
            stage: None,
            action: "audit.gap".to_owned(),
            decision: "lost".to_owned(),
            reason: self.why.to_owned(),
            fields: vec![("dropped".to_owned(), self.records.into())],
        }
    }
}

impl<L: AuditLog + ?Sized> EventSink for AuditSink<L> {
    fn on_event(&self, event: &Event) {
        self.take_all(vec![event.clone()]);
    }

    fn take_all(&self, events: Vec<Event>) -> Taken {
        let mut taken = Taken::default();
        let mut by_tenant: BTreeMap<TenantId, Batch<'_>> = BTreeMap::new();
        let mut put = |record: AuditRecord, event, count| {
            let record = self.owned(record);
            let batch = by_tenant.entry(record.tenant.clone()).or_default();
            batch.records.push(record);
            batch.events.extend(event);
            batch.count += count;
        };
        for event in &events {
            if !self.wants(event) {
                taken.took(event);
                continue;
            }
            // A gap is announced again by whoever has told of it.
            put(rules::record(event, &self.unowned), Some(event), u64::from(!event.is_gap()));
            if let Some((others, count)) = rules::of_others(event, &self.unowned) {
                put(others, None, count);
            }
        }
        for (tenant, batch) in by_tenant {
            let kept = self.keep(&tenant, batch.records, batch.count);
            for event in batch.events {
                if kept { taken.took(event) } else { taken.lost(event, DropReason::Failed) }
            }
        }
        taken
    }

    /// Announces what was given up, of tenants that have had no record since.
    fn on_flush(&self) {
        let missing: Vec<_> =
            self.lock().missing.iter().map(|(tenant, one)| (tenant.clone(), *one)).collect();
        for (tenant, one) in missing {
            if self.write(&[one.record(tenant.clone())]).is_err() {
                return;
            }
            self.announced(&tenant, one.records);
        }
    }
}

impl<L: ?Sized> fmt::Debug for AuditSink<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditSink")
            .field("unowned", &self.unowned)
            .field("runs", &self.runs)
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}

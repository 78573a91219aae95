//! The suite finds what is wrong with a store: each of these breaks one promise.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::SystemTime,
};

use stageflow_core::{
    RunId, TenantId, UserId,
    audit::{AuditLog, AuditRecord, Audited, ErasureReceipt, TenantData, TenantUsage},
    durable::{
        Ack, Answered, Encoded, Entry, Journal, JournalErrorKind, JournalFuture, JournaledRun, PauseRecord,
        PauseState, RunHeader, RunKey, RunLease, RunSummary,
    },
    idempotency::{Answer, Begin, Fingerprint, IdempotencyStore, Lease, StoreFuture, StoreKey},
};

use super::Backend;
use crate::{MemoryStore, memory::MemoryAnswers};

/// What is wrong with a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// It acknowledges the last entry of several, and does not keep it.
    LosesEntries,
    /// It appends when somebody waits for it.
    AppendsLazily,
    /// It writes what it can of an append.
    WritesParts,
    /// It takes entries under any lease.
    TakesOldLeases,
    /// It frees a run under any lease.
    FreesUnderOldLeases,
    /// It gives away what is held.
    GivesAway,
    /// It keeps what is released.
    NeverReleases,
    /// It lists the newest first.
    ListsBackwards,
    /// It lists the first page for ever.
    IgnoresPages,
    /// It forgets what has ended at any time.
    ForgetsAll,
    /// It opens a pause anew each time.
    OpensAgain,
    /// It takes each answer.
    TakesAllAnswers,
    /// It shows runs of other tenants.
    ShowsOthers,
    /// It tells a run of another tenant from none.
    TellsOthersFromNone,
    /// It says that it has erased.
    ErasesNothing,
    /// It erases everybody.
    ErasesAll,
    /// It writes records in another order.
    RecordsBackwards,
    /// It writes hashes of nothing.
    HashesNothing,
    /// It lets everybody be the first.
    AllAreFirst,
    /// It answers other inputs.
    IgnoresInputs,
    /// It takes an answer under any lease.
    TakesLateAnswers,
    /// It keeps answers for ever.
    NeverExpires,
    /// It never frees an abandoned key.
    NeverAbandons,
}

#[derive(Clone)]
struct Broken {
    store: MemoryStore,
    fault: Fault,
    /// The last lease of each run, by its key.
    leases: Arc<Mutex<BTreeMap<RunKey, RunLease>>>,
    /// The last lease of each answer, by its key.
    answering: Arc<Mutex<BTreeMap<StoreKey, Lease>>>,
}

impl Broken {
    fn new(fault: Fault) -> Self {
        Self { store: MemoryStore::new(), fault, leases: Arc::default(), answering: Arc::default() }
    }

    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    fn remember(&self, key: &RunKey, lease: RunLease) -> RunLease {
        self.leases.lock().unwrap().insert(key.clone(), lease);
        lease
    }

    fn last(&self, key: &RunKey, lease: RunLease) -> RunLease {
        self.leases.lock().unwrap().get(key).copied().unwrap_or(lease)
    }

    /// The run of that id, whosever it is.
    fn of_anybody(&self, key: &RunKey) -> Option<RunKey> {
        self.leases.lock().unwrap().keys().find(|known| known.run() == key.run()).cloned()
    }
}

impl Journal for Broken {
    fn begin(&self, header: Arc<RunHeader>) -> JournalFuture<'_, RunLease> {
        Box::pin(async move {
            let key = header.key.clone();
            Ok(self.remember(&key, self.store.begin(header).await?))
        })
    }

    fn append(&self, key: &RunKey, lease: RunLease, mut entries: Vec<Entry>) -> Ack {
        let lease = if self.is(Fault::TakesOldLeases) { self.last(key, lease) } else { lease };
        if self.is(Fault::LosesEntries) && entries.len() > 1 {
            entries.pop();
        }
        if self.is(Fault::AppendsLazily) {
            let (store, key) = (self.store.clone(), key.clone());
            return Box::pin(async move { store.append(&key, lease, entries).await });
        }
        if self.is(Fault::WritesParts) && entries.len() > 1 {
            let each: Vec<_> =
                entries.into_iter().map(|entry| self.store.append(key, lease, vec![entry])).collect();
            return Box::pin(async move {
                for ack in each {
                    ack.await?;
                }
                Ok(())
            });
        }
        self.store.append(key, lease, entries)
    }

    fn claim<'a>(&'a self, key: &'a RunKey) -> JournalFuture<'a, (RunLease, JournaledRun)> {
        Box::pin(async move {
            if self.is(Fault::GivesAway) {
                self.store.expire_leases();
            }
            let claimed = self.store.claim(key).await;
            if self.is(Fault::TellsOthersFromNone)
                && claimed.as_ref().is_err_and(|error| error.kind() == JournalErrorKind::NotFound)
                && self.of_anybody(key).is_some()
            {
                return Err(crate::rows::ended(key));
            }
            let (lease, run) = claimed?;
            Ok((self.remember(key, lease), run))
        })
    }

    fn release(&self, key: &RunKey, lease: RunLease) {
        match self.fault {
            Fault::NeverReleases => {}
            Fault::FreesUnderOldLeases => self.store.release(key, self.last(key, lease)),
            _ => self.store.release(key, lease),
        }
    }

    fn load<'a>(&'a self, key: &'a RunKey) -> JournalFuture<'a, Option<JournaledRun>> {
        Box::pin(async move {
            let others = self.of_anybody(key).filter(|_| self.is(Fault::ShowsOthers));
            self.store.load(&others.unwrap_or_else(|| key.clone())).await
        })
    }

    fn unfinished<'a>(
        &'a self,
        tenant: &'a TenantId,
        after: Option<RunId>,
        limit: usize,
    ) -> JournalFuture<'a, Vec<RunSummary>> {
        Box::pin(async move {
            let after = after.filter(|_| !self.is(Fault::IgnoresPages));
            let mut runs = self.store.unfinished(tenant, after, limit).await?;
            if self.is(Fault::ListsBackwards) {
                runs.reverse();
            }
            Ok(runs)
        })
    }

    fn forget_ended<'a>(&'a self, tenant: &'a TenantId, before: SystemTime) -> JournalFuture<'a, u64> {
        let all = crate::rows::time_of(i64::MAX);
        self.store.forget_ended(tenant, if self.is(Fault::ForgetsAll) { all } else { before })
    }

    fn pause<'a>(
        &'a self,
        key: &'a RunKey,
        lease: RunLease,
        record: &'a PauseRecord,
    ) -> JournalFuture<'a, PauseState> {
        Box::pin(async move {
            let state = self.store.pause(key, lease, record).await?;
            Ok(if self.is(Fault::OpensAgain) { PauseState::Open { expires: record.expires } } else { state })
        })
    }

    fn pause_state<'a>(&'a self, key: &'a RunKey, token: &'a str) -> JournalFuture<'a, Option<PauseState>> {
        self.store.pause_state(key, token)
    }

    fn answer<'a>(
        &'a self,
        key: &'a RunKey,
        token: &'a str,
        answer: Encoded,
        by: Option<&'a UserId>,
    ) -> JournalFuture<'a, Answered> {
        Box::pin(async move {
            let told = self.store.answer(key, token, answer, by).await?;
            Ok(if self.is(Fault::TakesAllAnswers) { Answered::Taken } else { told })
        })
    }

    fn pauses<'a>(&'a self, key: &'a RunKey) -> JournalFuture<'a, Vec<PauseRecord>> {
        self.store.pauses(key)
    }

    fn describe(&self) -> String {
        "broken".to_owned()
    }
}

impl AuditLog for Broken {
    fn record(&self, mut records: Vec<AuditRecord>) -> Ack {
        if self.is(Fault::RecordsBackwards) {
            records.reverse();
        }
        self.store.record(records)
    }

    fn read<'a>(&'a self, tenant: &'a TenantId, after: u64, limit: usize) -> JournalFuture<'a, Vec<Audited>> {
        Box::pin(async move {
            let mut records = self.store.read(tenant, after, limit).await?;
            if self.is(Fault::HashesNothing) {
                records.iter_mut().for_each(|audited| audited.hash = [0; 32]);
            }
            Ok(records)
        })
    }
}

impl TenantData for Broken {
    fn usage<'a>(&'a self, tenant: &'a TenantId) -> JournalFuture<'a, TenantUsage> {
        self.store.usage(tenant)
    }

    fn erase<'a>(
        &'a self,
        tenant: &'a TenantId,
        by: Option<&'a UserId>,
        reason: &'a str,
    ) -> JournalFuture<'a, ErasureReceipt> {
        Box::pin(async move {
            if self.is(Fault::ErasesNothing) {
                let other = TenantId::from(format!("nobody {tenant}"));
                let receipt = self.store.erase(&other, by, reason).await?;
                return Ok(ErasureReceipt { tenant: tenant.clone(), ..receipt });
            }
            if self.is(Fault::ErasesAll) {
                let all: Vec<_> = self.leases.lock().unwrap().keys().cloned().collect();
                for key in all {
                    self.store.erase(key.tenant(), None, reason).await?;
                }
            }
            self.store.erase(tenant, by, reason).await
        })
    }
}

struct BrokenAnswers {
    answers: MemoryAnswers,
    broken: Broken,
}

impl IdempotencyStore for BrokenAnswers {
    fn begin<'a>(&'a self, key: &'a StoreKey, fingerprint: &'a Fingerprint) -> StoreFuture<'a, Begin> {
        Box::pin(async move {
            let same = Fingerprint::from(1);
            let inputs = if self.broken.is(Fault::IgnoresInputs) { &same } else { fingerprint };
            let begun = self.answers.begin(key, inputs).await?;
            let mut answering = self.broken.answering.lock().unwrap();
            if let Begin::First(lease) = &begun {
                answering.insert(key.clone(), *lease);
            }
            match (begun, answering.get(key)) {
                (Begin::InFlight(_), Some(lease)) if self.broken.is(Fault::AllAreFirst) => {
                    Ok(Begin::First(*lease))
                }
                (begun, _) => Ok(begun),
            }
        })
    }

    fn complete<'a>(&'a self, key: &'a StoreKey, lease: Lease, answer: Answer) -> StoreFuture<'a, bool> {
        Box::pin(async move {
            let stored = self.answers.complete(key, lease, answer).await?;
            Ok(stored || self.broken.is(Fault::TakesLateAnswers))
        })
    }

    fn abandon(&self, key: &StoreKey, lease: Lease) {
        if !self.broken.is(Fault::NeverAbandons) {
            self.answers.abandon(key, lease);
        }
    }

    fn keeps_bytes(&self) -> bool {
        true
    }
}

impl Backend for Broken {
    type Store = Self;
    type Answers = BrokenAnswers;

    async fn open(&self) -> Self {
        self.clone()
    }

    fn answers(&self, store: &Self) -> BrokenAnswers {
        BrokenAnswers { answers: store.store.answers(), broken: store.clone() }
    }

    async fn expire_leases(&self) {
        self.store.expire_leases();
    }

    async fn expire_answers(&self) {
        if !self.is(Fault::NeverExpires) {
            self.store.expire_answers();
        }
    }
}

/// What the suite says of a store with this fault.
async fn found(fault: Fault) -> Option<String> {
    let suite = tokio::spawn(async move {
        let broken = Broken::new(fault);
        super::journal(&broken).await;
        super::answers(&broken).await;
        super::audit(&broken).await;
        super::tenants(&broken).await;
    });
    let panic = suite.await.err()?.into_panic();
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
}

#[tokio::test(start_paused = true)]
async fn each_fault_is_found_for_what_it_is() {
    let faults = [
        (Fault::LosesEntries, "the same handle reads what it has written"),
        (Fault::AppendsLazily, "each is written"),
        (Fault::WritesParts, "and none of them is written"),
        (Fault::TakesOldLeases, "LeaseLost"),
        (Fault::FreesUnderOldLeases, "LeaseHeld"),
        (Fault::GivesAway, "LeaseHeld"),
        (Fault::NeverReleases, "it hangs"),
        (Fault::ListsBackwards, "the oldest first"),
        (Fault::IgnoresPages, "a run is on one page"),
        (Fault::ForgetsAll, "left: 2"),
        (Fault::OpensAgain, "as it was opened before"),
        (Fault::TakesAllAnswers, "AlreadyAnswered"),
        (Fault::ShowsOthers, "is_none()"),
        (Fault::TellsOthersFromNone, "NotFound"),
        (Fault::ErasesNothing, "runs, entries, a pause and an answer"),
        (Fault::ErasesAll, "LeaseHeld"),
        (Fault::RecordsBackwards, "of one tenant in this order"),
        (Fault::HashesNothing, "the chain holds"),
        (Fault::AllAreFirst, "its lease holds"),
        (Fault::IgnoresInputs, "in flight"),
        (Fault::TakesLateAnswers, "an answer is given once"),
        (Fault::NeverExpires, "it should be the first"),
        (Fault::NeverAbandons, "it hangs"),
    ];
    let mut missed = Vec::new();
    for (fault, expected) in faults {
        let said = found(fault).await;
        if !said.as_ref().is_some_and(|said| said.contains(expected)) {
            missed.push((fault, expected, said));
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
}

//! The sink, before logs that work, are down, refuse and hang.

mod chain;
mod outages;
mod records;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::SystemTime,
};

use stageflow_core::{
    ContextSnapshot, CustomEvent, Event, EventKind, FieldValue, RunInfo, SnapshotBuilder, TenantId,
    audit::{AuditLog, AuditRecord, Audited},
    durable::{Ack, JournalError, JournalErrorKind, JournalFuture},
    event::{EventRecord, NO_STAGE, StageNames},
};

use super::AuditSink;

struct Names;

impl StageNames for Names {
    fn stage_name(&self, _: u32) -> &str {
        "fetch"
    }
}

fn run_of(snapshot: SnapshotBuilder) -> Arc<RunInfo> {
    let snapshot = snapshot.pipeline("tickets").build();
    Arc::new(RunInfo::new(Arc::new(snapshot), SystemTime::UNIX_EPOCH, Arc::new(Names)))
}

fn run(tenant: &str) -> Arc<RunInfo> {
    run_of(ContextSnapshot::builder().tenant(tenant))
}

fn event(run: &Arc<RunInfo>, seq: u64, kind: EventKind) -> Event {
    let stage = if matches!(kind, EventKind::StageFailed(_)) { 0 } else { NO_STAGE };
    Event::new(Arc::clone(run), EventRecord { seq, nanos: seq * 1_000, stage, attempt: 0, kind })
}

fn says(run: &Arc<RunInfo>, seq: u64, name: &str, fields: &[(&str, FieldValue)]) -> Event {
    let fields = fields.iter().map(|(key, value)| (*key, value.clone()));
    event(run, seq, EventKind::Custom(Arc::new(CustomEvent::new(name, fields))))
}

fn denied(run: &Arc<RunInfo>, seq: u64) -> Event {
    says(run, seq, "auth.denied", &[("reason", "missing".into())])
}

/// A log in memory, and what it does with the next calls.
#[derive(Default)]
struct Log(Mutex<Inside>);

#[derive(Default)]
struct Inside {
    records: BTreeMap<TenantId, Vec<AuditRecord>>,
    /// What is wrong with it, for as many calls as there are entries.
    wrong: Vec<Wrong>,
    calls: u32,
}

#[derive(Clone, Copy)]
enum Wrong {
    Refuses(JournalErrorKind),
    Hangs,
    /// It has taken the records, and says that it has not.
    Forgets,
}

impl Log {
    fn with(wrong: impl IntoIterator<Item = Wrong>) -> Arc<Self> {
        let mut wrong: Vec<_> = wrong.into_iter().collect();
        wrong.reverse();
        Arc::new(Self(Mutex::new(Inside { wrong, ..Inside::default() })))
    }

    fn mends(&self) {
        self.0.lock().unwrap().wrong.clear();
    }

    fn calls(&self) -> u32 {
        self.0.lock().unwrap().calls
    }

    fn of(&self, tenant: &str) -> Vec<AuditRecord> {
        self.0.lock().unwrap().records.get(&TenantId::from(tenant)).cloned().unwrap_or_default()
    }

    /// `action decision` of each record of a tenant.
    fn lines(&self, tenant: &str) -> Vec<String> {
        self.of(tenant).iter().map(|one| format!("{} {}", one.action, one.decision)).collect()
    }
}

impl AuditLog for Log {
    fn record(&self, records: Vec<AuditRecord>) -> Ack {
        let mut inside = self.0.lock().unwrap();
        inside.calls += 1;
        let wrong = inside.wrong.pop();
        if matches!(wrong, None | Some(Wrong::Forgets)) {
            for record in records {
                inside.records.entry(record.tenant.clone()).or_default().push(record);
            }
        }
        match wrong {
            None => Box::pin(std::future::ready(Ok(()))),
            Some(Wrong::Refuses(kind)) => Box::pin(std::future::ready(Err(JournalError::new(kind, "down")))),
            Some(Wrong::Forgets) => {
                let error = JournalError::new(JournalErrorKind::Unavailable, "the connection is lost");
                Box::pin(std::future::ready(Err(error)))
            }
            Some(Wrong::Hangs) => Box::pin(std::future::pending()),
        }
    }

    fn read<'a>(&'a self, _: &'a TenantId, _: u64, _: usize) -> JournalFuture<'a, Vec<Audited>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }
}

fn sink(log: &Arc<Log>) -> AuditSink<Log> {
    AuditSink::new(Arc::clone(log))
}

fn field<'a>(record: &'a AuditRecord, key: &str) -> Option<&'a FieldValue> {
    record.fields.iter().find(|(known, _)| known == key).map(|(_, value)| value)
}

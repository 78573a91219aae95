//! Records that are only ever added to.

use std::sync::Arc;

use stageflow_core::{
    RunId, TenantId,
    audit::{AuditLog, AuditRecord, Audited},
};
use tokio::task::JoinSet;

use super::{
    Backend,
    kit::{moment, tenant},
};
use crate::audit::verify;

fn record(tenant: &TenantId, number: u64) -> AuditRecord {
    AuditRecord {
        tenant: tenant.clone(),
        at: moment(number),
        who: number.is_multiple_of(2).then(|| "ada".into()),
        run: number.is_multiple_of(3).then(RunId::new),
        stage: Some("späť".to_owned()),
        action: "auth.denied".to_owned(),
        decision: "denied".to_owned(),
        reason: format!("reason \"{number}\""),
        fields: vec![("number".to_owned(), number.into()), ("part".to_owned(), (0.1 * number as f64).into())],
    }
}

async fn read(log: &impl AuditLog, tenant: &TenantId) -> Vec<Audited> {
    log.read(tenant, 0, 10_000).await.expect("the log is read")
}

fn numbers(records: &[Audited]) -> Vec<u64> {
    records.iter().map(|audited| audited.seq).collect()
}

pub(super) async fn records_come_back_in_an_unbroken_chain(backend: &impl Backend) {
    let (one, other) = (tenant(), tenant());
    let store = backend.open().await;
    let made: Vec<_> = (0..6).map(|number| record(if number < 4 { &one } else { &other }, number)).collect();
    let mixed = [0, 4, 1, 2, 5, 3].map(|number: usize| made[number].clone());
    drop(store.record(mixed[..3].to_vec()));
    store.record(mixed[3..].to_vec()).await.expect("they are written");
    store.record(Vec::new()).await.expect("nothing is written");
    for (tenant, made) in [(&one, &made[..4]), (&other, &made[4..])] {
        let all = read(&store, tenant).await;
        assert!(all.iter().map(|audited| &audited.record).eq(made), "of one tenant in this order");
        verify(None, &all).expect("the chain holds");
        let after = store.read(tenant, 1, 2).await.expect("a page");
        assert_eq!(after, all[1..all.len().min(3)]);
        verify(Some(&all[0]), &after).expect("a page is a part of the chain");
    }
    assert!(store.record(vec![record(&"".into(), 1)]).await.is_err(), "there is no record without a tenant");
}

pub(super) async fn the_chain_goes_on_after_a_restart(backend: &impl Backend) {
    let tenant = tenant();
    for number in 0..3 {
        let store = backend.open().await;
        store.record(vec![record(&tenant, number)]).await.expect("it is written");
    }
    let all = read(&backend.open().await, &tenant).await;
    assert_eq!(numbers(&all), [1, 2, 3]);
    verify(None, &all).expect("the chain holds");
}

pub(super) async fn records_made_at_once_have_no_gap(backend: &impl Backend) {
    let tenant = tenant();
    let mut tasks = JoinSet::new();
    for _ in 0..2 {
        let store = Arc::new(backend.open().await);
        for task in 0..8 {
            let (store, tenant) = (Arc::clone(&store), tenant.clone());
            tasks.spawn(async move {
                for number in 0..5 {
                    let made = vec![record(&tenant, task * 100 + number)];
                    store.record(made).await.expect("it is written");
                }
            });
        }
    }
    tasks.join_all().await;
    let all = read(&backend.open().await, &tenant).await;
    assert!(numbers(&all).into_iter().eq(1..=80), "from 1, without gaps");
    verify(None, &all).expect("the chain holds");
}

pub(super) async fn a_changed_record_is_found(backend: &impl Backend) {
    let tenant = tenant();
    let store = backend.open().await;
    store.record((0..4).map(|number| record(&tenant, number)).collect()).await.expect("they are written");
    let all = read(&store, &tenant).await;
    let mut changed = all.clone();
    changed[1].record.reason = "another".to_owned();
    assert!(verify(None, &changed).is_err(), "a record was changed");
    let mut missing = all.clone();
    missing.remove(2);
    assert!(verify(None, &missing).is_err(), "a record is missing");
    assert!(verify(None, &all[1..]).is_err(), "the first is missing");
}

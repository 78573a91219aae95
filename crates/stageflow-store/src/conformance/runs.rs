//! Begin, append, read, list and forget.

use std::{sync::Arc, time::Duration};

use stageflow_core::{
    ContextSnapshot, Priority, RunId,
    durable::{
        Encoded, Entry, EntryKind, Journal as _, JournalErrorKind, RunHeader, RunKey, RunLease, RunState,
    },
    time::SeededRandom,
};

use super::{
    Backend,
    kit::{begun, end, ended, entries, entry, header, header_of, moment, question, read, refused, tenant},
};

pub(super) async fn what_was_acknowledged_is_read_again(backend: &impl Backend) {
    let tenant = tenant();
    let store = backend.open().await;
    let (key, lease) = begun(&store, &tenant).await;
    let large = Entry { payload: Some(Encoded::new(9, vec![0xAB; 1 << 20])), ..entry(3) };
    let empty = Entry { payload: Some(Encoded::new(1, Vec::new())), ..entry(4) };
    let decided = EntryKind::Decided {
        stage: "späť\u{1F980}".into(),
        attempt: 2,
        name: "retry.scheduled".into(),
        fields: vec![("delay".into(), 0.1_f64.into()), ("exact".into(), 31.245270191439438_f64.into())],
    };
    let decided = Entry { seq: 5, at: 5, kind: decided, payload: None };
    let written = [entry(1), entry(2), large, empty, decided];
    store.append(&key, lease, written[..1].to_vec()).await.expect("one entry is written");
    store.append(&key, lease, written[1..].to_vec()).await.expect("several entries are written");
    assert_eq!(read(&store, &key).await, written, "the same handle reads what it has written");
    assert_eq!(read(&backend.open().await, &key).await, written, "another handle reads it");
    drop(store);
    assert_eq!(read(&backend.open().await, &key).await, written, "a handle after all others reads it");
}

pub(super) async fn every_part_of_a_header_comes_back(backend: &impl Backend) {
    let tenant = tenant();
    let run = RunId::new();
    let mut snapshot = ContextSnapshot::builder()
        .run(run)
        .tenant(tenant.as_str())
        .user("ada")
        .request("r-1")
        .pipeline("conformance")
        .execution_mode("fast")
        .priority(Priority::High)
        .deadline(Duration::from_millis(1_500))
        .metadata("a", 0.1);
    let mut extensions = stageflow_core::Extensions::default();
    extensions.insert_named("limit", 7_u32).expect("a number is JSON");
    snapshot = snapshot.extensions(extensions);
    let header = Arc::new(RunHeader {
        key: RunKey::new(tenant.as_str(), run),
        snapshot: snapshot.build(),
        input: Some(Encoded::new(3, vec![0, 1, 255])),
        started: moment(0) + Duration::from_nanos(123_456_789),
        seed: u64::MAX,
        branch_of: Some(RunId::new()),
    });
    let store = backend.open().await;
    store.begin(Arc::clone(&header)).await.expect("it is begun");
    let read = backend.open().await.load(&header.key).await.expect("it is read").expect("it is there").header;
    assert_eq!(read.key, header.key);
    assert_eq!(read.input, header.input);
    assert_eq!(read.started, header.started, "to the nanosecond");
    assert_eq!((read.seed, read.branch_of), (header.seed, header.branch_of));
    assert_eq!(json(&read.snapshot), json(&header.snapshot));
    assert_eq!(read.snapshot.extensions().restore::<u32>("limit").ok().flatten(), Some(7));
    let bare = RunHeader { input: None, branch_of: None, ..(*header_of(&tenant, RunId::new())).clone() };
    store.begin(Arc::new(bare.clone())).await.expect("it is begun");
    let read = store.load(&bare.key).await.expect("it is read").expect("it is there");
    assert_eq!((read.header.input, read.header.branch_of, read.entries), (None, None, Vec::new()));
}

fn json(snapshot: &ContextSnapshot) -> serde_json::Value {
    serde_json::to_value(snapshot).expect("a snapshot is JSON")
}

pub(super) async fn appends_become_durable_in_their_order(backend: &impl Backend) {
    let tenant = tenant();
    let store = backend.open().await;
    let mut runs = Vec::new();
    for _ in 0..8 {
        runs.push(begun(&store, &tenant).await);
    }
    let mut acks = Vec::new();
    for seq in 1..=100 {
        for (key, lease) in &runs {
            acks.push(store.append(key, *lease, vec![entry(seq)]));
        }
    }
    for ack in acks.into_iter().rev() {
        ack.await.expect("each is written");
    }
    for (key, _) in &runs {
        assert_eq!(read(&store, key).await, entries(1..=100));
    }
}

pub(super) async fn a_dropped_ack_loses_nothing(backend: &impl Backend) {
    let store = backend.open().await;
    let (key, lease) = begun(&store, &tenant()).await;
    for seq in 1..=20 {
        drop(store.append(&key, lease, vec![entry(seq)]));
    }
    store.append(&key, lease, Vec::new()).await.expect("nothing is written after all else");
    assert_eq!(read(&backend.open().await, &key).await, entries(1..=20), "and what was before is durable");
    drop(store.append(&key, lease, vec![entry(21)]));
    store.release(&key, lease);
    drop(store);
    let store = backend.open().await;
    loop {
        // A store may flush behind its last handle.
        match store.claim(&key).await {
            Ok((_, run)) => break assert_eq!(run.entries, entries(1..=21)),
            Err(error) => assert_eq!(error.code().as_str(), "LEASE_HELD"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(super) async fn an_append_is_written_as_a_whole_or_not_at_all(backend: &impl Backend) {
    let store = backend.open().await;
    let (key, lease) = begun(&store, &tenant()).await;
    store.append(&key, lease, entries(1..=2)).await.expect("they are written");
    for wrong in [vec![entry(4)], vec![entry(3), entry(5)], vec![entry(2)], vec![entry(3), entry(3)]] {
        assert!(store.append(&key, lease, wrong).await.is_err(), "entries with a gap are refused");
        assert_eq!(read(&store, &key).await, entries(1..=2), "and none of them is written");
    }
    store.append(&key, lease, entries(3..=4)).await.expect("what follows is written");
    assert_eq!(read(&store, &key).await, entries(1..=4));
}

pub(super) async fn a_run_is_begun_once(backend: &impl Backend) {
    let tenant = tenant();
    let store = backend.open().await;
    let header = header(&tenant);
    let lease = store.begin(Arc::clone(&header)).await.expect("it is begun");
    refused(store.begin(Arc::clone(&header)).await, JournalErrorKind::Exists);
    refused(backend.open().await.begin(Arc::clone(&header)).await, JournalErrorKind::Exists);
    store.append(&header.key, lease, vec![end(1, moment(1))]).await.expect("it ends");
    refused(store.begin(Arc::clone(&header)).await, JournalErrorKind::Exists);
    assert_eq!(read(&store, &header.key).await.len(), 1, "what was written stays");
}

pub(super) async fn an_ended_run_takes_nothing_more(backend: &impl Backend) {
    let store = backend.open().await;
    let (key, lease) = begun(&store, &tenant()).await;
    store.append(&key, lease, vec![end(1, moment(1))]).await.expect("it ends");
    refused(store.append(&key, lease, vec![entry(2)]).await, JournalErrorKind::Ended);
    refused(store.pause(&key, lease, &question("late", None)).await, JournalErrorKind::Ended);
    assert_eq!(read(&store, &key).await.len(), 1);
}

pub(super) async fn a_refused_append_does_not_disturb_others(backend: &impl Backend) {
    let tenant = tenant();
    let store = backend.open().await;
    let mut runs = Vec::new();
    for _ in 0..10 {
        runs.push(begun(&store, &tenant).await);
    }
    let unknown = RunKey::new(tenant.as_str(), RunId::new());
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for (number, (key, lease)) in runs.iter().enumerate() {
        let wrong = match number % 3 {
            0 => (key, RunLease { epoch: lease.epoch + 1 }, vec![entry(1)]),
            1 => (&unknown, *lease, vec![entry(1)]),
            _ => (key, *lease, vec![entry(7)]),
        };
        bad.push(store.append(wrong.0, wrong.1, wrong.2));
        good.push(store.append(key, *lease, entries(1..=3)));
    }
    for (number, ack) in bad.into_iter().enumerate() {
        let result = ack.await;
        if number % 3 == 2 {
            assert!(result.is_err(), "a gap is refused");
        } else {
            refused(result, JournalErrorKind::LeaseLost);
        }
    }
    for ack in good {
        ack.await.expect("what is right is written");
    }
    for (key, _) in &runs {
        assert_eq!(read(&store, key).await, entries(1..=3));
    }
    assert!(store.load(&unknown).await.expect("it is read").is_none());
}

pub(super) async fn unfinished_runs_come_in_order_and_by_pages(backend: &impl Backend) {
    let (tenant, other) = (tenant(), tenant());
    let store = backend.open().await;
    let random = SeededRandom::new(1);
    let ids: Vec<_> = (0..7).map(|millis| RunId::from_parts(moment(millis * 1_000), &random)).collect();
    // Begun in another order than that of their ids.
    for number in [3, 0, 6, 1, 5, 2, 4] {
        let lease = store.begin(header_of(&tenant, ids[number])).await.expect("it is begun");
        store.begin(header_of(&other, ids[number])).await.expect("it is begun");
        let key = RunKey::new(tenant.as_str(), ids[number]);
        if number == 5 {
            store.append(&key, lease, vec![end(1, moment(1))]).await.expect("it ends");
        }
        if number == 2 {
            store.release(&key, lease);
        }
    }
    let all = store.unfinished(&tenant, None, 100).await.expect("they are listed");
    let order: Vec<_> = all.iter().map(|summary| summary.key.run()).collect();
    assert_eq!(order, [ids[0], ids[1], ids[2], ids[3], ids[4], ids[6]], "the oldest first");
    for summary in &all {
        assert_eq!(*summary.key.tenant(), tenant);
        assert_eq!((summary.pipeline.as_str(), summary.started), ("conformance", moment(0)));
        let state = if summary.key.run() == ids[2] { RunState::Resumable } else { RunState::Running };
        assert_eq!(summary.state, state);
    }
    let mut pages = Vec::new();
    let mut after = None;
    loop {
        let page = store.unfinished(&tenant, after, 4).await.expect("a page");
        assert!(page.len() <= 4);
        let Some(last) = page.last() else { break };
        after = Some(last.key.run());
        pages.extend(page);
        assert!(pages.len() <= all.len(), "a run is on one page");
    }
    assert_eq!(pages, all, "the pages are the whole");
    let after_ended = store.unfinished(&tenant, Some(ids[5]), 100).await.expect("a page after an ended run");
    assert_eq!(after_ended, all[5..]);
    backend.expire_leases().await;
    let states = store.unfinished(&tenant, None, 100).await.expect("they are listed");
    assert!(states.iter().all(|summary| summary.state == RunState::Resumable), "nobody goes on with them");
}

pub(super) async fn ended_runs_are_forgotten_when_asked_for(backend: &impl Backend) {
    let (tenant, other) = (tenant(), tenant());
    let store = backend.open().await;
    let old = ended(&store, &tenant, moment(10)).await;
    let new = ended(&store, &tenant, moment(30)).await;
    let others = ended(&store, &other, moment(10)).await;
    let (open, lease) = begun(&store, &tenant).await;
    store.pause(&open, lease, &question("q", None)).await.expect("it asks");
    assert_eq!(store.forget_ended(&tenant, moment(20)).await.expect("it forgets"), 1);
    assert!(store.load(&old).await.expect("it is read").is_none(), "it was forgotten");
    for kept in [&new, &others, &open] {
        assert!(store.load(kept).await.expect("it is read").is_some(), "it stays");
    }
    assert_eq!(
        store.forget_ended(&tenant, moment(1 << 40)).await.expect("it forgets"),
        1,
        "but the open one"
    );
    store.append(&open, lease, vec![entry(1)]).await.expect("an unfinished run goes on");
}

pub(super) async fn a_tenant_that_cannot_be_a_key_is_refused(backend: &impl Backend) {
    let store = backend.open().await;
    for wrong in [String::new(), "a\nb".to_owned(), "a\0".to_owned(), "x".repeat(256)] {
        let header = header_of(&wrong.as_str().into(), RunId::new());
        let key = &header.key;
        refused(store.begin(Arc::clone(&header)).await, JournalErrorKind::Tenant);
        refused(store.append(key, RunLease { epoch: 1 }, vec![entry(1)]).await, JournalErrorKind::Tenant);
        refused(store.load(key).await, JournalErrorKind::Tenant);
        refused(store.claim(key).await, JournalErrorKind::Tenant);
        refused(store.unfinished(key.tenant(), None, 1).await, JournalErrorKind::Tenant);
    }
}

pub(super) async fn any_other_text_is_a_tenant(backend: &impl Backend) {
    let store = backend.open().await;
    let unique = RunId::new();
    let texts = ["%", "_", "'; DROP TABLE runs; --", "\"", "\\", " ", "ünïcödé \u{1F980}", "A", "a"];
    let mut runs = Vec::new();
    for text in texts.map(|text| format!("{text}{unique}")).into_iter().chain(["y".repeat(255)]) {
        let (key, lease) = begun(&store, &text.as_str().into()).await;
        store.append(&key, lease, vec![entry(1)]).await.expect("it is written");
        runs.push(key);
    }
    for key in &runs {
        let listed = store.unfinished(key.tenant(), None, 10).await.expect("they are listed");
        assert!(listed.iter().any(|summary| summary.key == *key));
        assert!(listed.iter().all(|summary| summary.key.tenant() == key.tenant()));
        assert_eq!(read(&store, key).await, entries(1..=1));
    }
}

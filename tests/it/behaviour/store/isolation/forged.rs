//! What a tenant has given goes on for no other, whatever a caller says and whatever somebody has written into the store.

use std::{sync::Arc, time::SystemTime};

use stageflow::{
    ContextSnapshot, RunId, SnapshotBuilder, TenantId, code, configured,
    durable::{Codec, Journal as _, RunHeader, RunKey},
    prelude::*,
    store::MemoryStore,
};

fn doubled() -> Pipeline<u32, u32> {
    let mut p = Pipeline::builder("doubled");
    let n = p.durable_input();
    let twice = stage_fn(|ctx: StageContext, n: Arc<u32>| async move {
        assert_eq!(ctx.identity().tenant_id().map(TenantId::as_str), Some("acme"), "of no other");
        Ok(*n * 2)
    });
    let twice = p.stage("twice", configured(twice).durable()).inputs(n);
    p.build(twice).expect("it builds")
}

/// A run of `acme` that nobody goes on with, whose snapshot in the store is this.
async fn left(store: &MemoryStore, run: RunId, snapshot: ContextSnapshot) {
    let input = Some(Codec::json().encode(&21_u32).expect("a number"));
    let header = RunHeader {
        key: RunKey::new("acme", run),
        snapshot,
        input,
        started: SystemTime::UNIX_EPOCH,
        seed: 7,
        branch_of: None,
    };
    let header = Arc::new(header);
    let lease = store.begin(Arc::clone(&header)).await.expect("it begins");
    store.release(&header.key, lease);
}

fn snapshot(run: RunId) -> ContextSnapshot {
    ContextSnapshot::builder().run(run).tenant("acme").pipeline("doubled").build()
}

/// T09, N4: the tenant in the stored JSON was edited.
#[tokio::test(start_paused = true)]
async fn a_run_whose_stored_tenant_was_edited_is_not_resumed() {
    let store = MemoryStore::new();
    let engine = Engine::builder().journal(store.clone()).build().expect("an engine");
    for edited in ["globex".into(), serde_json::Value::Null] {
        let run = RunId::new();
        let mut json = serde_json::to_value(snapshot(run)).expect("JSON");
        json["identity"]["tenant"] = edited;
        left(&store, run, serde_json::from_value(json).expect("a snapshot")).await;
        let resumed = engine.resume(&doubled(), "acme", run).await.expect_err("it was edited");
        assert_eq!(resumed.code(), code::STORE_CORRUPT, "{resumed}");
        let branched = engine.branch(&doubled(), "acme", run, "twice").await.expect_err("it was edited");
        assert_eq!(branched.code(), code::STORE_CORRUPT, "{branched}");
        assert!(engine.resume(&doubled(), "globex", run).await.is_err(), "and it is not of the other either");
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_goes_on_for_its_own_tenant_only() {
    let store = MemoryStore::new();
    let engine = Engine::builder().journal(store.clone()).build().expect("an engine");
    let (run, pipeline) = (RunId::new(), doubled());
    left(&store, run, snapshot(run)).await;
    let resumed = || async { engine.resume(&pipeline, "acme", run).await.expect("it is free") };
    let changed = [
        resumed().await.tenant("globex").await,
        resumed().await.with(SnapshotBuilder::without_tenant).await,
        resumed().await.run(RunId::new()).await,
        engine.branch(&pipeline, "acme", run, "twice").await.expect("it is there").tenant("globex").await,
    ];
    for refused in changed {
        let error = refused.expect_err("it is another's");
        assert_eq!(error.code(), code::TENANT_REQUIRED, "{error}");
        assert!(error.report().is_none(), "no stage was called");
    }
    assert!(engine.unfinished("globex", None, 10).await.expect("it is read").is_empty());
    // It is still there, and its own.
    let branch = engine.branch(&pipeline, "acme", run, "twice").await.expect("it is there").await;
    assert_eq!(*branch.expect("it goes on").output(), 42);
    assert_eq!(*resumed().await.await.expect("it goes on").output(), 42);
}

//! What an auditor reads of running pipelines.

use std::sync::Arc;

use stageflow::{
    DropReason, TenantId,
    audit::{AuditLog as _, Audited, TenantData as _},
    events::{Policy, SinkExt as _},
    interceptors::{AuthError, Authenticate, Authenticator, Credentials, Principal, TenantGuard},
    plus::guard::{GuardExt as _, Guards, OnError, Verdict, async_guard},
    prelude::*,
    store::{
        MemoryStore,
        audit::{AuditSink, verify},
    },
    testing::contract,
};

use super::super::kit::{gives, solo};

struct Keys;

impl Authenticator for Keys {
    async fn authenticate(&self, shown: &Credentials) -> Result<Principal, AuthError> {
        if shown.matches("right") {
            Ok(Principal::builder("ada").tenant("acme").build())
        } else {
            Err(AuthError::invalid("no such key"))
        }
    }
}

async fn read(store: &MemoryStore, tenant: &str) -> Vec<Audited> {
    let records = store.read(&TenantId::from(tenant), 0, 1_000).await.expect("it is read");
    verify(None, &records).expect("the chain holds");
    records
}

fn lines(records: &[Audited]) -> Vec<String> {
    let line = |one: &Audited| {
        let record = &one.record;
        let who = record.who.as_ref().map_or("nobody", |who| who.as_str());
        format!("{who}: {} {} ({})", record.action, record.decision, record.reason)
    };
    records.iter().map(line).collect()
}

/// Who was let in, who was not, and a guard that let something pass for it could not tell.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_auditor_reads_who_was_let_do_what_and_why() {
    let store = MemoryStore::new();
    let auth = Authenticate::new(Keys);
    let engine = Engine::builder()
        .interceptor(TenantGuard::new(&auth).allow(["acme"]))
        .interceptor(auth)
        .sink(AuditSink::new(Arc::new(store.clone())))
        .build()
        .expect("an engine");
    let broken = async_guard("pii", |_, _: Arc<String>| async move {
        StageResult::<Verdict<String>>::Err(StageExit::fail("the model is down: my key is hunter2"))
    });
    let mut p = Pipeline::builder("ask");
    let question = p.input();
    let safe = p.guard("guard", Guards::all().with(broken.on_error(OnError::Open))).over(question);
    let said =
        stage_fn(|_, safe: Arc<stageflow::plus::guard::Guarded<String>>| async move { Ok(safe.to_string()) });
    let said = p.stage("answer", said).inputs(safe);
    let ask: Pipeline<String, String> = p.build(said).expect("it builds");
    let run = |key: &str| engine.run(&ask, "hunter2".to_owned()).extension(Credentials::api_key(key));
    run("right").tenant("acme").await.expect("it is let in");
    run("wrong").tenant("acme").await.expect_err("it is not");
    run("right").tenant("globex").await.expect_err("it is of another");
    run("wrong").await.expect_err("it is nobody's");
    engine.flush().await;

    let acme = read(&store, "acme").await;
    assert_eq!(
        lines(&acme),
        [
            "ada: auth.accepted granted (credentials)",
            "ada: guard.decided error (guard_error)",
            "ada: audit.guard_opened opened (guard_error)",
            "ada: guard.decided allow ()",
            "nobody: auth.denied denied (invalid)",
            "nobody: pipeline.denied denied (DENIED)",
        ]
    );
    assert_eq!(
        lines(&read(&store, "globex").await),
        ["ada: auth.denied denied (tenant_mismatch)", "nobody: pipeline.denied denied (DENIED)"]
    );
    assert_eq!(read(&store, "-").await.len(), 2, "of runs that are nobody's");
    let all = serde_json::to_string(&acme).expect("JSON");
    assert!(!all.contains("hunter2"), "{all}");

    // The end of a tenant's data is not the end of its audit log.
    let receipt = store.erase(&"acme".into(), Some(&"dpo".into()), "asked for").await.expect("it is erased");
    let after = read(&store, "acme").await;
    let last = after.last().expect("there is one");
    assert_eq!((after.len(), &*last.record.action, last.seq), (7, "tenant.erased", receipt.audit_seq));
    assert_eq!(last.hash, receipt.audit_hash);
}

/// S-29: what has no room is counted, and announced in the log itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s_29_an_auditor_is_told_of_what_is_missing() {
    let store = MemoryStore::new();
    let sink = Arc::new(AuditSink::new(Arc::new(store.clone())));
    let wants = Arc::clone(&sink);
    let bounded = Arc::new(
        Arc::clone(&sink)
            .bounded(1)
            .class(stageflow::EventClass::Terminal, Policy::drop_newest().capacity(1)),
    );
    let engine = Engine::builder()
        .sink(Arc::clone(&bounded).filter(move |event| wants.wants(event)))
        .build()
        .expect("an engine");
    let tells = solo(stage_fn(|ctx: StageContext, (): ()| async move {
        (0..1_000).for_each(|n| ctx.emit("audit.told", [("n", n)]));
        Ok(1_u32)
    }));
    engine.run(&tells, ()).tenant("acme").await.expect("nobody waits for the log");
    engine.run(&solo(gives(1_u32)), ()).tenant("acme").await.expect("it goes on");
    engine.flush().await;
    bounded.shutdown(5.secs()).await;
    let account = bounded.account();
    assert!(account.is_balanced() && account.emitted == 1_000 && account.in_flight == 0, "{account}");
    let records = read(&store, "acme").await;
    let told = records.iter().filter(|one| one.record.action == "audit.told").count();
    let gaps = records.iter().filter(|one| one.record.action == "audit.gap");
    let missing: i64 = gaps
        .flat_map(|one| &one.record.fields)
        .filter(|(key, _)| key == "dropped")
        .map(|(_, value)| if let stageflow::FieldValue::Int(count) = value { *count } else { 0 })
        .sum();
    assert_eq!(told as u64, account.delivered);
    assert_eq!(missing as u64, account.dropped_by(DropReason::Full), "{account}");
    assert!(missing > 0, "there was too much");
}

#[tokio::test(start_paused = true)]
async fn the_sink_obeys_the_rules_of_sinks() {
    contract::sink(AuditSink::new(Arc::new(MemoryStore::new())).with_runs()).await.expect("it obeys");
}

//! Connections are lost: at every message of the protocol, by the server, and with the server.

use std::time::{Duration, SystemTime};

use stageflow_core::{
    TenantId,
    audit::AuditLog as _,
    durable::{Answered, Encoded, Journal as _, PauseRecord, PauseState, RunKey},
    idempotency::{Answer, Begin, Fingerprint, IdempotencyKey, IdempotencyStore as _, StoreKey},
};
use stageflow_store::{PostgresStore, audit, postgres::PostgresOptions};
use stageflow_test_postgres::{APP, Cluster};
use tokio::task::JoinSet;

use crate::{
    kit::{Db, connect, end, header, key, output},
    proxy::Proxy,
};

/// Everything that a store does, in one order. What is acknowledged has to be there although a connection was lost in the middle.
async fn work(store: &PostgresStore, tenant: &str) -> RunKey {
    let key = key(tenant);
    let first = store.begin(header(&key)).await.expect("it begins");
    let (two, three) =
        (store.append(&key, first, vec![output(1), output(2)]), store.append(&key, first, vec![output(3)]));
    two.await.expect("it is written");
    three.await.expect("so is what follows");
    store.release(&key, first);
    let (second, run) = store.claim(&key).await.expect("it is free at once");
    assert_eq!((second.epoch, run.entries.len()), (2, 3));
    let opened = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
    let record = PauseRecord { stage: "ask".into(), token: "approval".into(), opened, expires: None };
    let state = store.pause(&key, second, &record).await.expect("it pauses");
    assert_eq!(state, PauseState::Open { expires: None });
    let answered = store.answer(&key, "approval", Encoded::new(1, b"yes".to_vec()), None).await;
    assert_eq!(answered.expect("it is answered"), Answered::Taken);
    let answers = store.answers();
    let of = StoreKey::for_stage(Some(tenant.into()), "pay", "charge", IdempotencyKey::new("order-17"));
    let Begin::First(lease) = answers.begin(&of, &Fingerprint::from(1)).await.expect("it answers") else {
        panic!("nobody else asks")
    };
    let paid = Answer::Encoded(Encoded::new(1, b"paid".to_vec()));
    assert!(answers.complete(&of, lease, paid).await.expect("it is stored"));
    store.append(&key, second, vec![output(4), end(5)]).await.expect("it is written");
    let run = store.load(&key).await.expect("it answers").expect("it is there");
    assert_eq!(run.entries, [output(1), output(2), output(3), output(4), end(5)]);
    key
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_cut_at_any_even_message_loses_nothing() {
    cut_at_every_other_message(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_cut_at_any_odd_message_loses_nothing() {
    cut_at_every_other_message(1).await;
}

async fn cut_at_every_other_message(first: u64) {
    let db = Db::new().await;
    let cluster = Cluster::shared().expect("a server").socket();
    let run = |cut_at: u64| {
        let mut config = db.database.app();
        async move {
            let proxy = Proxy::cutting(cluster, cut_at);
            config = through(&config, &proxy);
            let options = PostgresOptions::new().connections(1);
            let store =
                connect(config, options).await.unwrap_or_else(|error| panic!("cut at {cut_at}: {error}"));
            work(&store, &format!("cut-{cut_at}")).await;
            drop(store);
            proxy.passed()
        }
    };
    let whole = run(u64::MAX).await;
    assert!(whole > 100, "{whole} messages");
    let mut cuts = JoinSet::new();
    for cut_at in (first..whole).step_by(2) {
        if cuts.len() == 8 {
            cuts.join_next().await.expect("one of them").expect("it loses nothing");
        }
        cuts.spawn(run(cut_at));
    }
    while let Some(cut) = cuts.join_next().await {
        cut.expect("it loses nothing");
    }
    let runs = i64::try_from((whole - first).div_ceil(2)).expect("a number") + 1;
    assert_eq!(db.number("SELECT count(*) FROM stageflow.runs WHERE outcome IS NOT NULL").await, runs);
    assert_eq!(db.number("SELECT count(*) FROM stageflow.entries").await, 5 * runs);
}

fn through(config: &tokio_postgres::Config, proxy: &Proxy) -> tokio_postgres::Config {
    let mut other = tokio_postgres::Config::new();
    other.host_path(proxy.folder()).user(APP).dbname(config.get_dbname().expect("it has one"));
    other
}

/// Audit records are written once: where the answer is lost, so is what became of them, and the chain stands either way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_audit_log_that_is_cut_off_has_no_gap() {
    let db = Db::new().await;
    let cluster = Cluster::shared().expect("a server").socket();
    for cut_at in 0..60 {
        let proxy = Proxy::cutting(cluster, cut_at);
        let store = connect(through(&db.database.app(), &proxy), PostgresOptions::new().connections(1)).await;
        let store = store.unwrap_or_else(|error| panic!("cut at {cut_at}: {error}"));
        let tenant = TenantId::from(format!("cut-{cut_at}"));
        let mut acknowledged = 0;
        for _ in 0..3 {
            acknowledged +=
                u64::from(store.record(vec![crate::rls::audit_record(tenant.as_str())]).await.is_ok());
        }
        let there = store.read(&tenant, 0, 10).await.expect("it answers");
        audit::verify(None, &there).expect("the chain stands");
        let there = there.len() as u64;
        assert!(
            acknowledged >= 2 && (acknowledged..=3).contains(&there),
            "cut at {cut_at}: {acknowledged} of {there}"
        );
    }
}

/// The server ends connections, one of its processes is killed, which ends all, and then the server itself goes and comes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_goes_and_comes_back_loses_nothing() {
    let cluster = Cluster::start().unwrap_or_else(|error| panic!("{error}"));
    let db = Db::on(&cluster).await;
    let store = db.store_with(PostgresOptions::new().answer_within(Duration::from_secs(30))).await;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut runs = JoinSet::new();
    for number in 0..16 {
        let (store, stopped) = (store.clone(), stopped.clone());
        runs.spawn(async move {
            let key = key(&format!("tenant-{}", number % 4));
            let lease = store.begin(header(&key)).await.expect("it begins");
            let mut seq = 0;
            while !*stopped.borrow() {
                seq += 1;
                let written = store.append(&key, lease, vec![output(seq)]).await;
                written.unwrap_or_else(|error| panic!("entry {seq} of run {number}: {error}"));
            }
            (key, seq)
        });
    }
    let written = || async { number_of_entries(&db.database.connect("postgres").await).await };
    let mut before = 0;
    for round in 0..6 {
        before = grown(&written, before).await;
        let admin = db.database.connect("postgres").await;
        match round {
            0..=2 => {
                let end =
                    format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{APP}'");
                admin.batch_execute(&end).await.expect("they are ended");
            }
            3 => {
                let any = format!("SELECT pid FROM pg_stat_activity WHERE usename = '{APP}' LIMIT 1");
                // The store may be on its way back to the server: it asks until there is one.
                let process: i32 = loop {
                    if let Some(row) = admin.query_opt(&any, &[]).await.expect("it answers") {
                        break row.get(0);
                    }
                };
                let killed = std::process::Command::new("kill").args(["-9", &process.to_string()]).status();
                assert!(killed.expect("kill is there").success());
                recovered(&db).await;
            }
            _ => {
                cluster.stop().expect("it stops");
                cluster.restart().expect("it starts");
            }
        }
    }
    grown(&written, before).await;
    stop.send(true).expect("they listen");
    while let Some(run) = runs.join_next().await {
        let (key, seq) = run.expect("nothing is refused");
        let run = store.load(&key).await.expect("it answers").expect("it is there");
        assert_eq!(run.entries, (1..=seq).map(output).collect::<Vec<_>>());
    }
}

async fn number_of_entries(admin: &tokio_postgres::Client) -> i64 {
    crate::kit::number(admin, "SELECT count(*) FROM stageflow.entries").await
}

/// Waits until there are more entries than before.
async fn grown<F: Future<Output = i64>>(written: &impl Fn() -> F, before: i64) -> i64 {
    for _ in 0..500 {
        let now = written().await;
        if now > before + 16 {
            return now;
        }
        // sleeps: a server and its clock are waited for, which no test can pause
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("nothing is written any more")
}

/// Waits until the server takes connections again, after one of its processes was killed.
async fn recovered(db: &Db) {
    crate::kit::until("the server takes connections", || async {
        match db.database.config("postgres").connect(tokio_postgres::NoTls).await {
            Ok((client, connection)) => {
                tokio::spawn(connection);
                client.batch_execute("SELECT 1").await.is_ok()
            }
            Err(_) => false,
        }
    })
    .await;
}

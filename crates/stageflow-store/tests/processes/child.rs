//! What the children do.

use std::path::{Path, PathBuf};

use stageflow_core::{
    durable::{Journal as _, JournalErrorKind, RunLease},
    idempotency::{Answer, Begin, Fingerprint, IdempotencyKey, IdempotencyStore as _, StoreKey},
};
use stageflow_store::{
    SqliteStore,
    sqlite::{Fsync, Sqlite},
};
use tokio::task::JoinSet;

use crate::kit::{Acks, TOGETHER, appended, header, key};

/// Not a test: the other tests run this program once more, and it comes here.
#[test]
fn child() {
    let Some(name) = std::env::var("STORE_CHILD").ok() else { return };
    let dir = PathBuf::from(std::env::var_os("STORE_DIR").expect("a child has a directory"));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build();
    runtime.expect("a runtime").block_on(async {
        match name.as_str() {
            "writes" => writes_without_end(&dir).await,
            "script" => script(&dir).await,
            "duplicates" => duplicates(&dir).await,
            other => panic!("there is no child `{other}`"),
        }
    });
}

fn number(name: &str) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// How many runs go on at once.
const RUNS: u64 = 6;

/// Goes on with the runs that are there, or begins them, until it is killed.
async fn writes_without_end(dir: &Path) {
    let store = Sqlite::builder(dir.join("runs.db")).open().expect("it is opened");
    let first = number("STORE_FIRST");
    let mut tasks = JoinSet::new();
    for run in first..first + RUNS {
        let (store, dir) = (store.clone(), dir.to_owned());
        tasks.spawn(async move {
            let mut acks = Acks::open(&dir);
            let (lease, mut entries) = match store.claim(&key(run)).await {
                Ok((lease, known)) => (lease, known.entries.len() as u64),
                Err(error) if error.kind() == JournalErrorKind::NotFound => {
                    (store.begin(header(run)).await.expect("it is begun"), 0)
                }
                Err(error) => panic!("the last process is dead, so its runs are free: {error}"),
            };
            acks.write(run, entries);
            loop {
                let next = appended(run, entries / TOGETHER);
                store.append(&key(run), lease, next).await.expect("it is written");
                entries += TOGETHER;
                acks.write(run, entries);
            }
        });
    }
    drop(tasks.join_all().await);
}

/// Always does the same, and goes on after an error as a run would: once more, a few times.
async fn script(dir: &Path) {
    let fsync = if number("STORE_NORMAL") == 1 { Fsync::Normal } else { Fsync::Full };
    let Ok(store) = Sqlite::builder(dir.join("runs.db")).fsync(fsync).open() else { return };
    let mut acks = Acks::open(dir);
    let mut leases = Vec::new();
    for run in 0..3 {
        leases.push(begun(&store, run, &mut acks).await);
    }
    for round in 0..number("STORE_ROUNDS") {
        // All at once, so that they share a commit.
        let asked: Vec<_> = leases
            .iter()
            .zip(0..)
            .map(|(lease, run)| lease.map(|lease| store.append(&key(run), lease, appended(run, round))))
            .collect();
        for (run, asked) in (0..).zip(asked) {
            let Some(asked) = asked else { continue };
            let lease = &mut leases[usize::try_from(run).expect("a small number")];
            if asked.await.is_ok() || again(&store, run, round, *lease).await {
                acks.write(run, (round + 1) * TOGETHER);
            } else {
                *lease = None;
            }
        }
        if round % 3 == 2 {
            use stageflow_core::audit::TenantData as _;
            // Has the file take the log over.
            drop(store.erase(&"other".into(), None, "asked for").await);
        }
    }
}

async fn begun(store: &SqliteStore, run: u64, acks: &mut Acks) -> Option<RunLease> {
    for _ in 0..3 {
        if let Ok(lease) = store.begin(header(run)).await {
            acks.write(run, 0);
            return Some(lease);
        }
    }
    None
}

async fn again(store: &SqliteStore, run: u64, round: u64, lease: Option<RunLease>) -> bool {
    let Some(lease) = lease else { return false };
    for _ in 0..3 {
        if store.append(&key(run), lease, appended(run, round)).await.is_ok() {
            return true;
        }
    }
    false
}

/// Asks for one effect many times at once; who is first has it.
async fn duplicates(dir: &Path) {
    let store = SqliteStore::open(dir.join("runs.db")).expect("it is opened");
    let mut calls = JoinSet::new();
    for _ in 0..number("STORE_CALLS") {
        let (answers, dir) = (store.answers(), dir.to_owned());
        calls.spawn(async move {
            let key = StoreKey::for_stage(Some("tenant".into()), "p", "s", IdempotencyKey::new("k"));
            loop {
                match answers.begin(&key, &Fingerprint::from(1)).await.expect("it answers") {
                    Begin::First(lease) => {
                        Acks::open(&dir).write(0, 1);
                        let answer = Answer::Encoded(stageflow_core::durable::Encoded::new(1, b"done"));
                        assert!(answers.complete(&key, lease, answer).await.expect("it answers"));
                    }
                    Begin::InFlight(wait) => wait.await,
                    Begin::Done(Answer::Encoded(answer)) => break assert_eq!(answer.bytes, b"done"),
                    other => panic!("it should be first, wait, or have an answer, and is {other:?}"),
                }
            }
        });
    }
    drop(calls.join_all().await);
}

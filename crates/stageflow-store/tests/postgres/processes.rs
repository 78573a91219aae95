//! Several processes, real ones: this program once more, told by a variable what it is. They are killed at any instant.

use std::{process::Stdio, time::Duration};

use stageflow_core::{
    RunId,
    durable::{Encoded, Journal as _, JournalErrorKind, RunKey},
    idempotency::{Answer, Begin, Fingerprint, IdempotencyKey, IdempotencyStore as _, StoreKey},
};
use stageflow_store::postgres::PostgresOptions;
use stageflow_test_postgres::{APP, Database};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    task::JoinSet,
};
use tokio_postgres::{Config, NoTls};

use crate::kit::{Db, connect, header, output};

const ROLE: &str = "STAGEFLOW_TEST_POSTGRES_STORE";

/// Starts this test once more as a child, with words for it.
fn child(test: &str, words: &str) -> (Child, Lines<BufReader<ChildStdout>>) {
    let program = std::env::current_exe().expect("we are a program");
    let mut child = Command::new(program)
        .args(["--exact", test, "--nocapture"])
        .env(ROLE, words)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts once more");
    let lines = BufReader::new(child.stdout.take().expect("it is a pipe")).lines();
    (child, lines)
}

/// The words for this process, if it is a child.
fn words() -> Option<Vec<String>> {
    let words = std::env::var(ROLE).ok()?;
    Some(words.split(' ').map(str::to_owned).collect())
}

/// How to get to a database, as words.
fn place(database: &Database) -> String {
    let config = database.app();
    let [tokio_postgres::config::Host::Unix(folder)] = config.get_hosts() else { panic!("a socket") };
    format!("{} {}", folder.display(), config.get_dbname().expect("it has one"))
}

fn config(folder: &str, name: &str, role: &str) -> Config {
    let mut config = Config::new();
    config.host_path(folder).dbname(name).user(role);
    config
}

/// What the test reads, on a line of its own.
#[expect(clippy::print_stdout, reason = "a child talks to its test so")]
fn say(line: &str) {
    println!("\n{line}");
}

/// How often a process is killed: by each of so many, one after the other.
const KILLERS: u64 = 4;
const KILLS: u64 = 52;

/// A process that goes on with a run, an entry after the other, and says what was acknowledged. It is killed, another takes the run over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_every_kill() {
    const NAME: &str = "processes::what_was_acknowledged_survives_every_kill";
    if let Some(words) = words() {
        return go_on(&words).await;
    }
    let db = Db::new().await;
    let store = db.store().await;
    let place = place(&db.database);
    let mut killers = JoinSet::new();
    for killer in 0..KILLERS {
        let (store, place) = (store.clone(), place.clone());
        killers.spawn(async move {
            let key = RunKey::new(format!("tenant-{killer}"), RunId::new());
            let (mut known, mut kills) = (0_u64, 0);
            while kills < KILLS {
                let words = format!("{place} {} {}", key.tenant(), key.run());
                let (mut child, mut lines) = child(NAME, &words);
                // At another instant each time: one in four anywhere from its start, the others some time after they have written.
                if kills % 4 != 0 {
                    known = known.max(heard(&mut lines).await.unwrap_or_default());
                }
                let patience = Duration::from_millis((kills * 7 + killer * 13) % 40);
                let more = async {
                    while let Some(seq) = heard(&mut lines).await {
                        known = known.max(seq);
                    }
                };
                let _killed = tokio::time::timeout(patience, more).await;
                child.kill().await.expect("it is killed");
                // What it had said before.
                while let Some(seq) = heard(&mut lines).await {
                    known = known.max(seq);
                }
                kills += 1;
                let entries =
                    store.load(&key).await.expect("it answers").map(|run| run.entries).unwrap_or_default();
                let there = entries.len() as u64;
                assert!(there >= known, "kill {kills}: {known} were acknowledged, {there} are there");
                assert_eq!(entries, (1..=there).map(output).collect::<Vec<_>>(), "kill {kills}");
            }
            known
        });
    }
    let mut all = 0;
    while let Some(killer) = killers.join_next().await {
        all += killer.expect("nothing is lost");
    }
    assert!(all > 100, "they write between two kills: {all}");
}

/// The next entry that a child says was acknowledged; `None` when it has ended.
async fn heard(lines: &mut Lines<BufReader<ChildStdout>>) -> Option<u64> {
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some(seq) = line.strip_prefix("acknowledged ") {
            return Some(seq.parse().expect("a number"));
        }
    }
    None
}

/// The child: begins the run or takes it over, and adds entries until it is killed.
async fn go_on(words: &[String]) {
    let [folder, name, tenant, run] = words else { panic!("{words:?}") };
    let key = RunKey::new(tenant.as_str(), run.parse().expect("an id"));
    let options = PostgresOptions::new().connections(1).lease(Duration::from_millis(100));
    let store = connect(config(folder, name, APP), options).await.expect("the store opens");
    let (lease, mut seq) = match store.begin(header(&key)).await {
        Ok(lease) => (lease, 0),
        Err(error) => {
            assert_eq!(error.kind(), JournalErrorKind::Exists, "{error}");
            loop {
                match store.claim(&key).await {
                    Ok((lease, run)) => break (lease, run.entries.len() as u64),
                    // sleeps: a server and its clock are waited for, which no test can pause
                    Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        }
    };
    loop {
        // Two at a time, so that some are in flight.
        let (one, two) = (seq + 1, seq + 2);
        let first = store.append(&key, lease, vec![output(one)]);
        let second = store.append(&key, lease, vec![output(two)]);
        first.await.expect("it is written");
        say(&format!("acknowledged {one}"));
        second.await.expect("it is written");
        say(&format!("acknowledged {two}"));
        seq = two;
    }
}

const PROCESSES: usize = 4;
const CALLS: usize = 250;

/// A thousand callers of one key, in four processes: one effect, a thousand times the same answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_duplicates_in_four_processes_have_one_effect() {
    const NAME: &str = "processes::a_thousand_duplicates_in_four_processes_have_one_effect";
    if let Some(words) = words() {
        return call(&words).await;
    }
    let db = Db::new().await;
    db.admin
        .batch_execute("CREATE TABLE public.effects (at timestamptz DEFAULT clock_timestamp())")
        .await
        .expect("a table");
    let words = place(&db.database);
    let children: Vec<_> = (0..PROCESSES).map(|_| child(NAME, &words)).collect();
    let mut answered = 0;
    for (mut child, mut lines) in children {
        while let Ok(Some(line)) = lines.next_line().await {
            if let Some(calls) = line.strip_prefix("answered ") {
                answered += calls.parse::<usize>().expect("a number");
            }
        }
        assert!(child.wait().await.expect("it ends").success());
    }
    assert_eq!(answered, PROCESSES * CALLS);
    assert_eq!(db.number("SELECT count(*) FROM public.effects").await, 1);
}

/// The child: many callers of the same key.
async fn call(words: &[String]) {
    let [folder, name] = words else { panic!("{words:?}") };
    let store = connect(config(folder, name, APP), PostgresOptions::new()).await.expect("the store opens");
    let (effects, connection) = config(folder, name, "postgres").connect(NoTls).await.expect("it answers");
    tokio::spawn(connection);
    let effects = std::sync::Arc::new(effects);
    let mut calls = JoinSet::new();
    for _ in 0..CALLS {
        let (answers, effects) = (store.answers(), std::sync::Arc::clone(&effects));
        calls.spawn(async move {
            let key =
                StoreKey::for_stage(Some("acme".into()), "pay", "charge", IdempotencyKey::new("order-17"));
            loop {
                match answers.begin(&key, &Fingerprint::from(17)).await.expect("it answers") {
                    Begin::First(lease) => {
                        effects
                            .execute("INSERT INTO public.effects DEFAULT VALUES", &[])
                            .await
                            .expect("it has an effect");
                        let answer = Answer::Encoded(Encoded::new(1, b"paid".to_vec()));
                        assert!(answers.complete(&key, lease, answer).await.expect("it is stored"));
                    }
                    Begin::InFlight(wait) => wait.await,
                    Begin::Done(Answer::Encoded(answer)) => return answer.bytes,
                    other => panic!("{other:?}"),
                }
            }
        });
    }
    let mut answered = 0;
    while let Some(answer) = calls.join_next().await {
        assert_eq!(answer.expect("it is answered"), b"paid");
        answered += 1;
    }
    say(&format!("answered {answered}"));
}

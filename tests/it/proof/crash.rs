//! A process is killed again and again: nothing durable is repeated, and nothing is lost (issue 7: proof).

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use stageflow::{
    RunOutcome, TenantId,
    durable::Journal,
    store::{PostgresStore, SqliteStore, postgres::PostgresOptions},
};
use stageflow_test_postgres::{APP, Database};

/// How often a process is killed, for each store.
const KILLS: u64 = 205;

/// The stages whose output a stage reads, of those that are durable.
const READS: &[(&str, &[&str])] =
    &[("b", &["a"]), ("c", &["a"]), ("d", &["a"]), ("e", &["b", "c"]), ("f", &["e"])];

fn begin(store: &[&str; 2], effects: &Path, runs: u32) -> Child {
    Command::new(env!("CARGO_BIN_EXE_stageflow-crash"))
        .args(store)
        .arg(effects)
        .arg(runs.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the process begins")
}

/// Kills a process again and again, each a little later or earlier, until so many were killed before they came to their end.
fn kill_again_and_again(store: &[&str; 2], effects: &Path, until: Duration) {
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let mut killed = 0;
    for begun in 0.. {
        if killed >= KILLS {
            break;
        }
        assert!(begun < 5 * KILLS, "only {killed} of {begun} were killed before their end");
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let mut child = begin(store, effects, 1);
        // The time is the fault: at which instant of a run it comes is what the loop is about.
        std::thread::park_timeout(Duration::from_micros(
            random % u64::try_from(until.as_micros()).expect("it is short"),
        ));
        killed += u64::from(child.try_wait().expect("it is asked").is_none());
        child.kill().expect("it is killed");
        let ended = child.wait_with_output().expect("it is waited for");
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.code().is_none_or(|code| code == 0), "{said}");
    }
}

/// The last process, which nobody kills.
fn to_the_end(store: &[&str; 2], effects: &Path) {
    let ended = begin(store, effects, 0).wait_with_output().expect("it is waited for");
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
}

/// What the effects say: no stage whose output was read has an effect afterwards, and each run gave what it should.
fn verify(effects: &Path) -> BTreeSet<String> {
    let text = std::fs::read_to_string(effects).expect("it is read");
    let mut runs: BTreeMap<&str, Vec<(&str, u32)>> = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split(' ');
        let (Some(run), Some(stage), Some(value)) = (words.next(), words.next(), words.next()) else {
            panic!("half a line: {line:?}");
        };
        runs.entry(run).or_default().push((stage, value.parse().expect("it is a number")));
    }
    let mut repeated = 0;
    for (run, effects) in &runs {
        let mut read = BTreeSet::new();
        let mut seen = BTreeSet::new();
        for (stage, value) in effects {
            // What nobody has read may be done again.
            repeated += usize::from(!seen.insert(*stage));
            assert!(!read.contains(stage), "{run}: `{stage}` is repeated after it was read: {effects:?}");
            read.extend(
                READS
                    .iter()
                    .filter(|(reader, _)| reader == stage)
                    .flat_map(|(_, reads)| reads.iter().copied()),
            );
            let expected = match *stage {
                "a" => 1,
                "b" => 2,
                "c" => 11,
                "d" => 101,
                _ => 114,
            };
            assert_eq!(*value, expected, "{run}: `{stage}`");
        }
        assert!(read.contains("e"), "{run} did not come to its end: {effects:?}");
    }
    assert!(repeated > 0, "no kill came between an effect and its record: the loop proves nothing");
    runs.into_keys().map(str::to_owned).collect()
}

async fn all_ended(journal: &impl Journal, runs: &BTreeSet<String>) {
    let tenant = TenantId::from("crash");
    let left = journal.unfinished(&tenant, None, 1_000).await.expect("they are listed");
    assert_eq!(left, [], "nothing is left");
    for run in runs {
        let key = stageflow::durable::RunKey::new(tenant.clone(), run.parse().expect("it is an id"));
        let run = journal.load(&key).await.expect("it is read").expect("it is there");
        assert_eq!(run.outcome(), Some(RunOutcome::Completed), "{key}");
        let numbers: Vec<_> = run.entries.iter().map(|entry| entry.seq).collect();
        assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>(), "{key}");
    }
}

#[tokio::test]
async fn a_process_with_sqlite_is_killed_again_and_again() {
    let folder = std::env::temp_dir().join(format!("stageflow-crash-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let (file, effects) = (folder.join("runs.db"), folder.join("effects"));
    let store = ["sqlite", file.to_str().expect("it is UTF-8")];
    kill_again_and_again(&store, &effects, Duration::from_millis(25));
    to_the_end(&store, &effects);
    let runs = verify(&effects);
    all_ended(&SqliteStore::open(&file).expect("it opens"), &runs).await;
    std::fs::remove_dir_all(folder).expect("it is removed");
}

#[tokio::test]
async fn a_process_with_postgresql_is_killed_again_and_again() {
    let database = Database::shared().await;
    PostgresStore::migrate(&database.owner(), APP).await.expect("it is migrated");
    let effects = std::env::temp_dir().join(format!("stageflow-crash-{}", std::process::id()));
    let config = database.app();
    let host = match config.get_hosts() {
        [tokio_postgres::config::Host::Unix(path)] => path.display().to_string(),
        other => panic!("it is a socket: {other:?}"),
    };
    let url = format!("host={host} user={APP} dbname={}", config.get_dbname().expect("it has a name"));
    let store = ["postgres", &*url];
    kill_again_and_again(&store, &effects, Duration::from_millis(60));
    let journal = PostgresStore::connect_with(config, tokio_postgres::NoTls, PostgresOptions::new());
    let journal = journal.await.expect("it connects");
    let tenant = TenantId::from("crash");
    // The leases of the last that were killed have to end.
    for _ in 0..50 {
        to_the_end(&store, &effects);
        if journal.unfinished(&tenant, None, 1).await.expect("they are listed").is_empty() {
            break;
        }
    }
    all_ended(&journal, &verify(&effects)).await;
    std::fs::remove_file(effects).expect("it is removed");
}

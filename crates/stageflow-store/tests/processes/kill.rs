//! `kill -9`, many times: what was acknowledged is there, and the next process goes on at once.

use std::{collections::BTreeMap, fs, time::Duration};

use stageflow_core::{Randomness as _, durable::Journal as _, time::SeededRandom};
use stageflow_store::SqliteStore;

use crate::kit::{Dir, acknowledged, child, entry, key};

const KILLS: u64 = 200;

#[tokio::test]
async fn nothing_acknowledged_is_lost_however_often_its_process_is_killed() {
    let dir = Dir::new();
    let random = SeededRandom::new(7);
    let mut known = BTreeMap::new();
    let mut written = 0;
    for kill in 0..KILLS {
        // A few processes go on with the same runs, then others are begun.
        let first = kill / 4 * 6;
        let mut process =
            child("writes", &dir.0).env("STORE_FIRST", first.to_string()).spawn().expect("a child");
        let before = fs::metadata(dir.acks()).map_or(0, |acks| acks.len());
        let mut waited = Duration::ZERO;
        while fs::metadata(dir.acks()).map_or(0, |acks| acks.len()) == before {
            assert!(waited < Duration::from_secs(20), "a child acknowledges something");
            assert_eq!(process.try_wait().expect("a child"), None, "a child goes on until it is killed");
            tokio::time::sleep(Duration::from_millis(1)).await;
            waited += Duration::from_millis(1);
        }
        tokio::time::sleep(Duration::from_micros(random.next_u64() % 12_000)).await;
        process.kill().expect("SIGKILL");
        let ended = process.wait_with_output().expect("a child ends");
        assert!(!ended.status.success());
        let told = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(!told.contains("panicked"), "{told}");
        let acks = acknowledged(&fs::read_to_string(dir.acks()).expect("acks"));
        for (run, entries) in &acks[written..] {
            known.insert(*run, *entries);
        }
        written = acks.len();
        let store = SqliteStore::open(dir.file()).expect("it is opened");
        for run in first..first + 6 {
            check(&store, run, known.get(&run).copied()).await;
        }
    }
    let store = SqliteStore::open(dir.file()).expect("it is opened");
    for (run, entries) in &known {
        check(&store, *run, Some(*entries)).await;
    }
    assert!(written > 1_000, "much was acknowledged: {written}");
}

async fn check(store: &SqliteStore, run: u64, acknowledged: Option<u64>) {
    let found = store.load(&key(run)).await.expect("it is read");
    let Some(found) = found else {
        return assert_eq!(acknowledged, None, "run {run} was acknowledged");
    };
    let entries = found.entries.len() as u64;
    assert!(entries >= acknowledged.unwrap_or_default(), "run {run}: {entries} of {acknowledged:?}");
    assert_eq!(entries % crate::kit::TOGETHER, 0, "an append is there as a whole or not at all");
    assert!((1..).map(|seq| entry(run, seq)).zip(found.entries).all(|(written, read)| written == read));
}

//! The end at every write and every sync, and errors there: nothing acknowledged is lost, and what is left has no gap.

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use stageflow_core::durable::Journal as _;
use stageflow_store::SqliteStore;

use crate::{
    faults::{Disk, Kind, Layer, Left, Operation},
    kit::{Dir, TOGETHER, acknowledged, entry, key},
};

const EVERY: [Left; 5] = [Left::All, Left::Torn, Left::Synced, Left::EveryOther, Left::TornOnDisk];

/// What is left of a script that ended somewhere.
#[derive(Default)]
struct Seen {
    states: HashSet<u64>,
    checked: usize,
    /// How many states had lost something that was acknowledged.
    lossy: usize,
}

impl Seen {
    /// Checks all states in which a script may have ended before operation `next`.
    async fn check(&mut self, disk: &Disk, all: &[Operation], next: usize, lefts: &[Left], may_lose: bool) {
        for left in lefts {
            let files = disk.left(all, next, *left);
            let mut hasher = DefaultHasher::new();
            files.hash(&mut hasher);
            if !self.states.insert(hasher.finish()) {
                continue;
            }
            let may_lose = may_lose && *left > Left::Torn;
            let place = format!("before operation {next} of {}, {left:?}", all.len());
            self.checked += 1;
            self.lossy += usize::from(check(&files, may_lose, &place).await);
        }
    }
}

/// Opens what is left, and looks; gives whether something that was acknowledged is lost.
async fn check(files: &BTreeMap<String, Vec<u8>>, may_lose: bool, place: &str) -> bool {
    let dir = Dir::new();
    for (file, bytes) in files.iter().filter(|(file, _)| *file != "acks") {
        fs::write(dir.0.join(file), bytes).expect("a file is made");
    }
    let acks = files.get("acks").map(|acks| String::from_utf8_lossy(acks).into_owned()).unwrap_or_default();
    let acknowledged: BTreeMap<u64, u64> = acknowledged(&acks).into_iter().collect();
    let store = match SqliteStore::open(dir.file()) {
        Ok(store) => store,
        Err(error) => panic!("{place}: what is left cannot be opened: {error}"),
    };
    let mut is_lossy = false;
    for run in 0..3 {
        let found = store.load(&key(run)).await.unwrap_or_else(|error| panic!("{place}: {error}"));
        let expected = acknowledged.get(&run);
        let entries = found.as_ref().map(|found| found.entries.len() as u64);
        let is_lost = entries < expected.copied();
        assert!(!is_lost || may_lose, "{place}: run {run} has {entries:?} entries of {expected:?}");
        is_lossy |= is_lost;
        let Some(found) = found else { continue };
        assert_eq!(entries.unwrap_or_default() % TOGETHER, 0, "{place}: an append as a whole or not at all");
        for (seq, read) in (1..).zip(found.entries) {
            assert_eq!(read, entry(run, seq), "{place}: the first entries, without a gap");
        }
        store
            .claim(&key(run))
            .await
            .unwrap_or_else(|error| panic!("{place}: nobody goes on with it: {error}"));
    }
    is_lossy
}

async fn end_everywhere(settings: &[(&str, String)], may_lose: bool) -> Seen {
    let layer = Layer::build();
    let dir = Dir::new();
    let all = layer.record(&dir, 7, settings);
    let syncs = all.iter().filter(|operation| operation.kind == Kind::Sync { failed: false }).count();
    assert!(syncs > 8 && all.len() > 60, "{} operations with {syncs} syncs were recorded", all.len());
    let (mut disk, mut seen) = (Disk::default(), Seen::default());
    for next in 0..all.len() {
        seen.check(&disk, &all, next, &EVERY, may_lose).await;
        disk.step(&all, next);
    }
    seen.check(&disk, &all, all.len(), &EVERY, may_lose).await;
    assert!(seen.checked > 100, "{} states", seen.checked);
    seen
}

#[tokio::test]
async fn the_end_at_any_write_or_sync_loses_nothing_acknowledged() {
    assert_eq!(end_everywhere(&[], false).await.lossy, 0);
}

#[tokio::test]
async fn without_a_sync_at_each_commit_a_loss_of_power_takes_the_last_and_leaves_no_gap() {
    let seen = end_everywhere(&[("STORE_NORMAL", "1".to_owned())], true).await;
    assert!(seen.lossy > 0, "as is said of it; and so this test would see a loss");
}

/// Errors of the system.
const EIO: u32 = 5;
const ENOSPC: u32 = 28;

async fn fail_everywhere(error: u32, times: u32) {
    let layer = Layer::build();
    let rounds = 4;
    let counted = layer.record(&Dir::new(), rounds, &[]);
    let operations = counted.iter().filter(|operation| operation.file != "acks").count();
    let mut complete = 0;
    for at in 1..=operations {
        let settings = [
            ("FAULTS_AT", at.to_string()),
            ("FAULTS_TIMES", times.to_string()),
            ("FAULTS_ERROR", error.to_string()),
        ];
        let all = layer.record(&Dir::new(), rounds, &settings);
        let (mut disk, mut seen) = (Disk::default(), Seen::default());
        for number in 0..all.len() {
            // Also where it ends soon after, and before much else has gone right.
            if number == at + 2 || number == at + 12 {
                seen.check(&disk, &all, number, &[Left::All, Left::Synced], false).await;
            }
            disk.step(&all, number);
        }
        seen.check(&disk, &all, all.len(), &EVERY, false).await;
        let acks = all.iter().filter(|operation| operation.file == "acks").count();
        complete += usize::from(acks == 3 * (1 + 4));
    }
    let most = complete > operations / 2;
    assert_eq!(most, times < 1_000, "an error that passes is survived: {complete} of {operations}");
}

#[tokio::test]
async fn an_error_at_any_write_or_sync_loses_nothing_acknowledged() {
    fail_everywhere(EIO, 1).await;
}

#[tokio::test]
async fn a_disk_that_is_full_for_a_while_loses_nothing_acknowledged() {
    fail_everywhere(ENOSPC, 4).await;
}

#[tokio::test]
async fn a_disk_that_dies_loses_nothing_acknowledged() {
    fail_everywhere(EIO, 1_000_000).await;
}

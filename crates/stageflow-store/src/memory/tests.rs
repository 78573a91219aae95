use stageflow_core::durable::JournalErrorKind;

use super::*;
use crate::conformance::{self, Backend};

struct Memory(MemoryStore);

impl Backend for Memory {
    type Store = MemoryStore;
    type Answers = MemoryAnswers;

    async fn open(&self) -> MemoryStore {
        self.0.clone()
    }

    fn answers(&self, store: &MemoryStore) -> MemoryAnswers {
        store.answers()
    }

    async fn expire_leases(&self) {
        self.0.expire_leases();
    }

    async fn expire_answers(&self) {
        self.0.expire_answers();
    }
}

#[tokio::test(start_paused = true)]
async fn it_is_a_journal() {
    conformance::journal(&Memory(MemoryStore::new())).await;
}

#[tokio::test(start_paused = true)]
async fn it_is_a_store_of_answers() {
    conformance::answers(&Memory(MemoryStore::new())).await;
}

#[tokio::test(start_paused = true)]
async fn it_is_an_audit_log() {
    conformance::audit(&Memory(MemoryStore::new())).await;
}

#[tokio::test(start_paused = true)]
async fn it_keeps_tenants_apart() {
    conformance::tenants(&Memory(MemoryStore::new())).await;
}

fn header() -> Arc<RunHeader> {
    let run = RunId::new();
    let snapshot = stageflow_core::ContextSnapshot::builder().run(run).tenant("a").build();
    let (key, started) = (RunKey::new("a", run), SystemTime::UNIX_EPOCH);
    Arc::new(RunHeader { key, snapshot, input: None, started, seed: 0, branch_of: None })
}

#[tokio::test(start_paused = true)]
async fn a_lease_ends_some_time_after_the_run_was_last_written() {
    let store = MemoryStore::new().lease(Duration::from_secs(10));
    let header = header();
    let lease = store.begin(header.clone()).await.expect("it is begun");
    tokio::time::sleep(Duration::from_secs(9)).await;
    store.append(&header.key, lease, Vec::new()).await.expect("it goes on");
    tokio::time::sleep(Duration::from_secs(9)).await;
    match store.claim(&header.key).await.map_err(|error| error.kind()) {
        Err(JournalErrorKind::LeaseHeld { until }) => {
            let left = until.duration_since(store.wall()).expect("it is later");
            assert_eq!(left, Duration::from_secs(1));
        }
        _ => panic!("it is held"),
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    store.claim(&header.key).await.expect("it is free");
}

#[tokio::test(start_paused = true)]
async fn without_a_lease_a_run_is_held_until_it_is_released() {
    let store = MemoryStore::new();
    let header = header();
    let lease = store.begin(header.clone()).await.expect("it is begun");
    tokio::time::sleep(Duration::from_secs(1_000_000)).await;
    assert!(store.claim(&header.key).await.is_err());
    store.release(&header.key, lease);
    store.claim(&header.key).await.expect("it is free");
}

#[tokio::test(start_paused = true)]
async fn a_pause_ends_with_the_clock_of_the_runtime() {
    let store = MemoryStore::new();
    let header = header();
    let lease = store.begin(header.clone()).await.expect("it is begun");
    let expires = store.wall().checked_add(Duration::from_secs(60));
    let record = PauseRecord { stage: "s".into(), token: "q".into(), opened: store.wall(), expires };
    let state = store.pause(&header.key, lease, &record).await.expect("it is opened");
    assert_eq!(state, PauseState::Open { expires });
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(store.pause_state(&header.key, "q").await.expect("it is read"), Some(PauseState::Expired));
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_an_answer_wakes_with_it() {
    use stageflow_core::idempotency::{
        Answer, Begin, Fingerprint, IdempotencyKey, IdempotencyStore as _, StoreKey,
    };
    let answers = MemoryStore::new().answers().lease(Duration::from_secs(600));
    let key = StoreKey::for_stage(Some("a".into()), "p", "s", IdempotencyKey::new("k"));
    let inputs = Fingerprint::from(1);
    let Begin::First(lease) = answers.begin(&key, &inputs).await.expect("it answers") else {
        panic!("it should be the first");
    };
    let Begin::InFlight(wait) = answers.begin(&key, &inputs).await.expect("it answers") else {
        panic!("it should wait");
    };
    let before = Instant::now();
    let answer = Answer::Encoded(Encoded::new(1, b"a"));
    let (_, stored) = tokio::join!(wait, answers.complete(&key, lease, answer));
    assert!(stored.expect("it answers"));
    assert_eq!(before.elapsed(), Duration::ZERO, "at once");
}

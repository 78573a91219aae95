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

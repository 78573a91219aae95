//! The suite that every store has to pass: the contracts of [`Journal`], [`IdempotencyStore`], [`AuditLog`] and [`TenantData`] as tests.
//!
//! Whoever writes a store implements [`Backend`] in its tests and has each part run:
//!
//! ```
//! use stageflow_store::{MemoryStore, conformance::{self, Backend}, memory::MemoryAnswers};
//!
//! struct Memory(MemoryStore);
//!
//! impl Backend for Memory {
//!     type Store = MemoryStore;
//!     type Answers = MemoryAnswers;
//!
//!     async fn open(&self) -> MemoryStore {
//!         self.0.clone()
//!     }
//!
//!     fn answers(&self, store: &MemoryStore) -> MemoryAnswers {
//!         store.answers()
//!     }
//!
//!     async fn expire_leases(&self) {
//!         self.0.expire_leases();
//!     }
//!
//!     async fn expire_answers(&self) {
//!         self.0.expire_answers();
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let memory = Memory(MemoryStore::new());
//! conformance::journal(&memory).await;
//! conformance::answers(&memory).await;
//! conformance::audit(&memory).await;
//! conformance::tenants(&memory).await;
//! # }
//! ```
//!
//! Each case uses tenants of its own, so a store may be shared with other tests, as long as those mind no lease that ends. A case that
//! fails panics with its name and what was expected; one that hangs is given up after a minute.
//!
//! What it cannot show is that entries survive a crash: that needs the file system or the network under the store to fail.

mod answers;
mod audit;
mod kit;
mod leases;
mod pauses;
mod runs;
mod tenants;
#[cfg(test)]
mod tests;

use std::{future::Future, time::Duration};

use stageflow_core::{
    audit::{AuditLog, TenantData},
    durable::Journal,
    idempotency::IdempotencyStore,
};

/// A store under test.
pub trait Backend: Send + Sync {
    /// A handle of it.
    type Store: Journal + AuditLog + TenantData;
    /// Its answers.
    type Answers: IdempotencyStore;

    /// Opens it once more, as another process would: what any handle was acknowledged is there.
    fn open(&self) -> impl Future<Output = Self::Store> + Send;

    /// The answers beside a handle.
    fn answers(&self, store: &Self::Store) -> Self::Answers;

    /// Ends all leases, of runs and of answers in flight, as though their time had come.
    fn expire_leases(&self) -> impl Future<Output = ()> + Send;

    /// Ends all answers that were given, as though their time had come.
    fn expire_answers(&self) -> impl Future<Output = ()> + Send;
}

/// How long a case may take.
const PATIENCE: Duration = Duration::from_secs(60);

async fn case(name: &str, test: impl Future<Output = ()>) {
    let ended = tokio::time::timeout(PATIENCE, test).await;
    assert!(ended.is_ok(), "{name}: it hangs");
}

macro_rules! run_cases {
    ($backend:expr, $module:ident: $($case:ident),* $(,)?) => {
        $(case(concat!(stringify!($module), "::", stringify!($case)), $module::$case($backend)).await;)*
    };
}

/// The contract of [`Journal`]: durability, order, fencing, leases, listings, pauses.
///
/// # Panics
///
/// When the store does not keep it.
pub async fn journal<B: Backend>(backend: &B) {
    run_cases!(backend, runs:
        what_was_acknowledged_is_read_again,
        every_part_of_a_header_comes_back,
        appends_become_durable_in_their_order,
        a_dropped_ack_loses_nothing,
        an_append_is_written_as_a_whole_or_not_at_all,
        a_run_is_begun_once,
        an_ended_run_takes_nothing_more,
        a_refused_append_does_not_disturb_others,
        unfinished_runs_come_in_order_and_by_pages,
        ended_runs_are_forgotten_when_asked_for,
        a_tenant_that_cannot_be_a_key_is_refused,
        any_other_text_is_a_tenant,
    );
    run_cases!(backend, leases:
        a_held_run_is_not_given_away,
        a_run_is_taken_over_when_its_lease_has_ended,
        an_old_lease_is_worth_nothing,
        an_old_lease_frees_nothing,
        a_released_run_is_free_at_once,
        of_many_claims_one_succeeds,
        an_ended_run_is_not_claimed,
    );
    run_cases!(backend, pauses:
        a_pause_is_opened_once_and_answered_once,
        several_pauses_wait_at_once,
        an_answer_survives,
        of_many_answers_one_is_taken,
        a_pause_ends_without_an_answer,
        nobody_waits_for_other_answers,
        an_old_lease_opens_no_pause,
    );
}

/// The contract of [`IdempotencyStore`], for a store that keeps bytes.
///
/// # Panics
///
/// When the store does not keep it.
pub async fn answers<B: Backend>(backend: &B) {
    run_cases!(backend, answers:
        of_many_calls_one_is_the_first,
        an_answer_is_given_again,
        a_failure_is_given_again,
        other_inputs_are_a_mismatch,
        an_abandoned_key_is_free,
        a_lease_that_has_ended_changes_nothing,
        an_answer_has_its_time,
        keys_are_not_mixed_up,
        a_key_without_a_tenant_is_refused,
    );
}

/// The contract of [`AuditLog`].
///
/// # Panics
///
/// When the store does not keep it.
pub async fn audit<B: Backend>(backend: &B) {
    run_cases!(backend, audit:
        records_come_back_in_an_unbroken_chain,
        the_chain_goes_on_after_a_restart,
        records_made_at_once_have_no_gap,
        a_changed_record_is_found,
    );
}

/// That tenants are apart, and the contract of [`TenantData`].
///
/// # Panics
///
/// When the store does not keep it.
pub async fn tenants<B: Backend>(backend: &B) {
    run_cases!(backend, tenants:
        another_tenant_finds_nothing_out,
        another_tenant_changes_nothing,
        one_id_is_two_runs_for_two_tenants,
        usage_counts_what_is_there,
        an_erasure_leaves_nothing_of_one_and_all_of_others,
        a_run_that_is_erased_goes_no_further,
    );
}

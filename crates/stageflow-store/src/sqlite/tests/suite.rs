//! The suite that every store has to pass.

use super::kit::{Dir, File};
use crate::conformance;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_a_journal() {
    conformance::journal(&File(Dir::new())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_a_store_of_answers() {
    conformance::answers(&File(Dir::new())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_an_audit_log() {
    conformance::audit(&File(Dir::new())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_keeps_tenants_apart() {
    conformance::tenants(&File(Dir::new())).await;
}

//! Idempotency in running pipelines, in paused time.

mod kit;
mod late;
mod leases;
mod running;
mod stores;

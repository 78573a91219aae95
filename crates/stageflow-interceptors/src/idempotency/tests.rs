//! Idempotency in running pipelines, in paused time.

mod kit;
mod leases;
mod running;
mod stores;

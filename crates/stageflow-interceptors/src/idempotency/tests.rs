//! Idempotency in running pipelines, in paused time.

mod kit;
mod running;
mod stores;

//! Idempotency in running pipelines, in paused time.

mod kit;
mod late;
mod running;
mod stores;

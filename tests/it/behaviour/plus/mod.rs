//! Ready-made stages in running pipelines.

mod batch;
mod enrich;
mod factory;
mod fan_out;
mod guard;
mod retry;
mod router;
mod saga;
mod spec;

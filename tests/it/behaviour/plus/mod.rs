//! Ready-made stages in running pipelines.

mod batch;
mod enrich;
mod factory;
mod fan_out;
mod guard;
mod production;
mod retry_stage;
mod router;
mod saga;

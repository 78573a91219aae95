//! Ready-made stages in running pipelines.

mod enrich;
mod factory;
mod batch;
mod fan_out;
mod production;
mod retry_stage;
mod router;
mod saga;

//! Ready-made stages in running pipelines.

mod enrich;
mod fan_out;
mod router;

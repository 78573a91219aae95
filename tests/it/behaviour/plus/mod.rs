//! Ready-made stages in running pipelines.

mod batch;
mod fan_out;
mod router;
mod saga;

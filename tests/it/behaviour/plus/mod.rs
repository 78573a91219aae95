//! Ready-made stages in running pipelines.

mod fan_out;
mod guard;
mod router;

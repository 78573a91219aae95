//! The rate limiter: its decision, its queue, and itself around the stages of a run.

mod edges;
mod gcra;
mod headers;
mod limiter;
mod pipeline;

//! The bulkhead as a plain object and around the stages of a run.

mod pipeline;
mod places;

//! Unit tests of the vocabulary: one module per subject.

mod backoff;
mod context;
mod exit;
mod facts;
mod ids;
mod snapshot;
mod text;
mod values;

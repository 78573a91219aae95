//! What the bench `overhead` and its helper `memory` share: graphs, stage bodies, rows and the stopwatch.
//!
//! Nothing here knows a goal; those are in `overhead/goals.rs`.

#![expect(
    clippy::missing_panics_doc,
    reason = "a bench that cannot go on panics, and its reader is the maintainer"
)]

pub mod graph;
pub mod hand;
pub mod ours;
pub mod stopwatch;
pub mod work;

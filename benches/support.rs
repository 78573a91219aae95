//! What the bench `overhead`, its helper `memory` and `stress` share: graphs, stage bodies, rows, the stopwatch and
//! facts about the machine.
//!
//! Nothing here knows a goal; those are in `overhead/goals.rs`.

#![expect(
    clippy::missing_panics_doc,
    reason = "a bench that cannot go on panics, and its reader is the maintainer"
)]

pub mod graph;
pub mod hand;
pub mod machine;
pub mod ours;
pub mod stopwatch;
pub mod work;

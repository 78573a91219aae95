//! What the benches `overhead`, `policies`, `events`, `plus` and `store`, the helper `memory` and `stress` share: graphs, stage bodies, rows, the stopwatch,
//! counts of instructions, tables and facts about the machine.
//!
//! Nothing here knows a goal; those are in the `goals.rs` of each bench.

#![expect(
    clippy::missing_panics_doc,
    reason = "a bench that cannot go on panics, and its reader is the maintainer"
)]

pub mod callgrind;
#[cfg(feature = "plus")]
pub mod fan_out;
pub mod graph;
pub mod hand;
pub mod machine;
pub mod options;
pub mod ours;
pub mod report;
pub mod stopwatch;
pub mod table;
pub mod work;

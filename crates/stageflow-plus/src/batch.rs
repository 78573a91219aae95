//! Batches: windows over a collection ([`Windows`]), and one call for the items of many runs ([`Batcher`]).

mod batcher;
mod builder;
mod error;
mod flight;
mod hub;
mod item;
mod queue;
mod stage;
#[cfg(test)]
mod tests;
mod window;
mod windows;

pub use self::{
    batcher::{Batcher, BatcherStats},
    builder::{BatcherBuilder, BatcherError},
    error::{BatchFailed, BatchRefused},
    item::Batch,
    queue::{FlushedBy, RefusedBy},
    stage::{WindowSource, WindowsExt, WindowsOver, WindowsStage},
    window::{ClosedBy, Window},
    windows::{LastWindow, Windower, Windows, WindowsBuilder, WindowsError},
};

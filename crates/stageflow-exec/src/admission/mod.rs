//! Admission of runs: [`BackpressureMonitor`], its pure state, and what a run does until it is let in.

mod builder;
mod entry;
mod error;
mod monitor;
mod permit;
mod state;
#[cfg(test)]
mod tests;
mod turnstile;

pub(crate) use self::entry::Admission;
pub use self::{
    builder::{BackpressureBuildError, BackpressureBuilder},
    error::Overloaded,
    monitor::{BackpressureMonitor, BackpressureStats},
    permit::AdmissionPermit,
    state::ShedRule,
};

//! Steps that are undone in reverse when a later one fails: [`Saga`] within a stage, and [`RunSaga`] across the stages of a run.

mod across;
mod config;
mod desk;
mod journal;
mod report;
mod scope;
mod sequence;
mod settle;
#[cfg(test)]
mod tests;

pub use self::{
    across::{RunSaga, UndoExt},
    config::{OnStuck, Saga},
    desk::{SagaDesk, StuckSaga},
    report::{SagaEnd, SagaReport, SagaStuck, StepReport, StepState},
    scope::{SagaScope, Step},
    sequence::{FnStep, SagaStage, SagaStep, saga_step},
};

//! The inputs of a call, for functions of the user that look at them.

use std::{any::Any, sync::Arc};

use stageflow_core::{
    Next, StageInputs,
    input::{InputItem, Inputs},
};

/// The inputs of a call: shared, and read by their types.
///
/// A stage that takes [`Owned`](stageflow_core::Owned) gets clones of its inputs as long as somebody keeps these.
#[derive(Clone, Debug)]
pub struct CallInputs(Inputs);

impl CallInputs {
    pub(crate) fn of(next: &Next<'_>) -> Self {
        Self(next.inputs())
    }

    #[cfg(feature = "fallback")]
    pub(crate) fn into_source(self) -> impl stageflow_core::input::InputSource {
        self.0.into_source()
    }

    /// The input at `index`, if it is a `T`. Each port of a tuple is one; a fan-in counts as one more than it has ports, and
    /// these follow.
    pub fn input<T: Any + Send + Sync>(&self, index: usize) -> Option<Arc<T>> {
        match self.0.get(index)? {
            InputItem::One(value) => value.clone().downcast().ok(),
            _ => None,
        }
    }

    /// The inputs by name, of a stage that takes [`StageInputs`].
    pub fn named(&self) -> Option<&StageInputs> {
        (0..).map_while(|index| self.0.get(index)).find_map(|item| match item {
            InputItem::Named(inputs) => Some(inputs),
            _ => None,
        })
    }
}

//! Why a bulkhead refused a call.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use stageflow_core::{ErrorClass, StageExit, code, text::OneLine, time::Human};

use super::Shared;

/// A bulkhead has no room for the call. As a failure of a stage it has the code `BULKHEAD_FULL` and is transient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BulkheadFull {
    bulkhead: Arc<str>,
    max_concurrent: usize,
    max_queue: usize,
    waited: Option<Duration>,
}

impl BulkheadFull {
    pub(super) fn no_room(shared: &Shared) -> Self {
        Self {
            bulkhead: Arc::clone(&shared.name),
            max_concurrent: shared.max_concurrent,
            max_queue: shared.max_queue,
            waited: None,
        }
    }

    pub(super) fn waited(shared: &Shared, waited: Duration) -> Self {
        Self { waited: Some(waited), ..Self::no_room(shared) }
    }

    /// The name of the dependency.
    pub fn bulkhead(&self) -> &str {
        &self.bulkhead
    }

    /// How long the call has waited in vain; `None` if there was no place in the queue for it.
    pub fn wait(&self) -> Option<Duration> {
        self.waited
    }

    /// How a stage leaves for this reason.
    pub fn into_exit(self) -> StageExit {
        StageExit::failure(code::BULKHEAD_FULL, ErrorClass::Transient, Box::new(self))
    }
}

impl fmt::Display for BulkheadFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bulkhead, max_concurrent, max_queue, waited } = self;
        write!(f, "the bulkhead `{}` is full: {max_concurrent} at a time, ", OneLine(bulkhead))?;
        match waited {
            None => write!(f, "and no place among {max_queue} that may wait"),
            Some(waited) => write!(f, "and no turn within {}", Human(*waited)),
        }
    }
}

impl Error for BulkheadFull {}

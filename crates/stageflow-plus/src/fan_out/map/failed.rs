//! Why a map failed.

use std::{error::Error, fmt};

use stageflow_core::{ErrorClass, Failure, StageExit, code};

use super::super::{failures::Failures, outcome::MapSummary};

/// How many failures an error keeps.
pub(super) const KEPT: usize = 16;

/// More items of a map have failed than are tolerated: the cause of the failure of its stage.
///
/// Where none is tolerated, the stage fails with code and class of the item. Otherwise the code is `TOO_MANY_FAILURES`, and the class
/// that of the failure which was one too many.
#[derive(Clone, Debug)]
pub struct MapFailed {
    /// In the order in which they came; never empty.
    pub(super) failures: Vec<(usize, Failure)>,
    pub(super) summary: MapSummary,
    pub(super) tolerated: Failures,
    pub(super) last: Failure,
}

impl MapFailed {
    /// The first failures, with the numbers of their items, in the order in which they came: 16 at most.
    pub fn failures(&self) -> impl Iterator<Item = (usize, &Failure)> {
        self.failures.iter().map(|(index, failure)| (*index, failure))
    }

    /// How many items ended how.
    pub fn summary(&self) -> &MapSummary {
        &self.summary
    }

    pub(super) fn into_exit(self) -> StageExit {
        let class = self.last.class();
        let is_its_own = self.tolerated == Failures::none() || class == ErrorClass::Denied;
        let code = if is_its_own { self.last.code() } else { code::TOO_MANY_FAILURES };
        let hint = self.last.hint().map(str::to_owned).filter(|_| is_its_own);
        let exit = StageExit::failure(code, class, Box::new(self));
        match hint {
            Some(hint) => exit.hint(hint),
            None => exit,
        }
    }
}

impl fmt::Display for MapFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.tolerated != Failures::none() {
            write!(f, "{}, {}; the first: ", self.summary, self.tolerated)?;
        }
        let Some((index, failure)) = self.failures.first() else { return Ok(()) };
        match self.summary.total {
            Some(total) => write!(f, "item {index} of {total}: {}", failure.message()),
            None => write!(f, "item {index}: {}", failure.message()),
        }
    }
}

impl Error for MapFailed {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.failures.first().map(|(_, failure)| failure as &(dyn Error + 'static))
    }
}

//! What a run asks its log, if it has one.

use crate::run::RunCore;

impl RunCore {
    /// An attempt begins.
    #[inline]
    pub(crate) fn mark_attempt(&self, stage: u32, attempt: u32) {
        self.cell(stage).mark_attempt(attempt);
        if let Some(log) = &self.log {
            log.attempt_started(self, stage, attempt);
        }
    }

    /// How many attempts of a stage were made before the run was resumed.
    #[inline]
    pub(crate) fn spent_attempts(&self, stage: u32) -> u32 {
        self.log.as_ref().map_or(0, |log| log.restored.attempts(stage))
    }

    /// Whether a stage ends as it has ended before the run was resumed.
    pub(crate) fn is_restored(&self, stage: u32) -> bool {
        self.log.as_ref().is_some_and(|log| log.restored.has(stage))
    }

    /// Whether somebody says when its attempts begin and end.
    #[inline]
    pub(crate) fn is_directed(&self) -> bool {
        self.log.as_ref().is_some_and(|log| log.director().is_some())
    }

    /// Whether the time of a stage may be up: in a replay, where it was.
    #[inline]
    pub(crate) fn may_time_out(&self, stage: u32) -> bool {
        let Some(log) = &self.log else { return true };
        log.director().is_none_or(|director| director.is_timed(&log.path(self, stage)))
    }
}

//! What every guard has beside its check: a name, a time, and what its failure means.

use std::{sync::Arc, time::Duration};

/// What a guard that gives no verdict means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// The content is blocked.
    #[default]
    Block,
    /// The content is taken as allowed. Each time leaves the event `audit.guard_opened`, and the output says so:
    /// [`Guarded::is_opened`](super::Guarded::is_opened).
    Open,
}

/// What a guard has beside its check; without a word no time of its own, and a failure blocks.
#[derive(Clone, Debug, Default)]
pub struct GuardRules {
    pub(super) name: Option<Arc<str>>,
    pub(super) timeout: Option<Duration>,
    pub(super) on_error: OnError,
}

impl GuardRules {
    /// The rules of a guard with a name of its own.
    pub fn named(name: impl Into<Arc<str>>) -> Self {
        Self { name: Some(name.into()), ..Self::default() }
    }

    /// The time for one check; then the guard has failed.
    #[must_use]
    pub fn timeout(mut self, time: Duration) -> Self {
        self.timeout = Some(time);
        self
    }

    /// What a failure of the guard means.
    #[must_use]
    pub fn on_error(mut self, on_error: OnError) -> Self {
        self.on_error = on_error;
        self
    }
}

/// The settings that every guard of this module has.
macro_rules! rule_setters {
    () => {
        /// Its name in events and errors.
        pub fn named(mut self, name: impl Into<std::sync::Arc<str>>) -> Self {
            self.rules.name = Some(name.into());
            self
        }

        /// The time for one check; then the guard has failed. Without a call there is none but that of the stage.
        pub fn timeout(mut self, time: std::time::Duration) -> Self {
            self.rules.timeout = Some(time);
            self
        }

        /// What it means if the guard fails, panics or takes too long; [`OnError::Block`](crate::guard::OnError::Block) unless set.
        pub fn on_error(mut self, on_error: $crate::guard::OnError) -> Self {
            self.rules.on_error = on_error;
            self
        }
    };
}

pub(super) use rule_setters;

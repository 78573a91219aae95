//! What a bounded sink says: of one event, of its queue, of its end.

use std::fmt;

use serde::Serialize;
use stageflow_core::{DropReason, SinkAccount, event::backlog::Pushed};

/// What became of an event that was emitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "an event may have been dropped"]
#[non_exhaustive]
pub enum Verdict {
    /// It will be delivered.
    Queued,
    /// It will be delivered if there is room for it before its time is up.
    Waiting,
    /// It will be delivered after what is in files, unless the files fail. It may go to one itself.
    Spilling,
    /// It will be delivered, and the oldest one of its class will not.
    Replacing,
    /// It will not be delivered.
    Dropped(DropReason),
}

impl Verdict {
    /// Whether it may still be delivered.
    pub fn is_accepted(self) -> bool {
        !matches!(self, Self::Dropped(_))
    }
}

impl From<Pushed> for Verdict {
    fn from(pushed: Pushed) -> Self {
        match pushed {
            Pushed::Queued => Self::Queued,
            Pushed::Waiting => Self::Waiting,
            Pushed::Spilling => Self::Spilling,
            Pushed::InPlace => Self::Replacing,
            Pushed::Dropped(reason) => Self::Dropped(reason),
        }
    }
}

/// How full a bounded sink is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Pressure {
    /// How many events wait in memory.
    pub queued: usize,
    /// How many waited there at most.
    pub highest: usize,
    /// How many events there is room for, all classes together.
    pub capacity: usize,
    /// Whether it has been at least 80 % full, and not been down to 20 % since.
    pub is_high: bool,
}

/// What became of all events of a bounded sink, by the time of its shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Receipt {
    /// The account after the shutdown.
    pub account: SinkAccount,
    /// Events that were queued when the time was up: they are dropped.
    pub abandoned: u64,
    /// Those of them that were in files. The files are deleted.
    pub abandoned_in_files: u64,
    /// Events that the sink was given and has not come back from. They stay in flight.
    pub stuck: u64,
}

impl Receipt {
    /// Whether the sink had time for everything.
    pub fn is_complete(&self) -> bool {
        self.abandoned == 0 && self.stuck == 0
    }
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.account)?;
        if self.abandoned_in_files > 0 {
            write!(f, ", {} abandoned in files", self.abandoned_in_files)?;
        }
        if self.stuck > 0 {
            write!(f, ", {} of them in the hands of a sink that does not come back", self.stuck)?;
        }
        Ok(())
    }
}

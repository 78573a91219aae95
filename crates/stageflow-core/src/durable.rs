//! What a run leaves behind when its process dies: journals, what they hold, and how values get into them.
//!
//! The executor writes and reads; a [`Journal`] keeps. `stageflow-store` has journals in memory, in SQLite and in PostgreSQL, and the
//! suite that any other has to pass.

mod codec;
mod diff;
mod entry;
mod error;
mod journal;
mod pause;

pub use self::{
    codec::{AnyCodec, Codec, CodecError, Encoded},
    diff::{Changed, Only, RunDiff, StageDiff, StageTimes},
    entry::{AttemptEnd, Entry, EntryKind, JournaledFailure, StageEnd},
    error::{JournalError, JournalErrorKind},
    journal::{Ack, Journal, JournalFuture, JournaledRun, RunHeader, RunKey, RunLease, RunState, RunSummary},
    pause::{Answered, Pause, PauseRecord, PauseState},
};

#[cfg(test)]
mod tests;

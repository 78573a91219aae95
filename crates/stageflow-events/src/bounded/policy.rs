//! How much room a class of events has, and what happens when it is taken.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use stageflow_core::event::backlog::{Room, Rule};

/// What happens to the events of a class when their room is taken, and how much room that is.
///
/// ```
/// use stageflow_core::{DurationExt, EventClass, Recorder};
/// use stageflow_events::{Policy, SinkExt};
///
/// let sink = Recorder::new()
///     .bounded(1_000)
///     .class(EventClass::Progress, Policy::sample(100).capacity(10_000))
///     .class(EventClass::Decision, Policy::wait(1.secs()));
/// # drop(sink);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    rule: Rule,
    capacity: Option<usize>,
    files: Option<Files>,
}

/// Where events wait, and how many bytes of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Files {
    pub(super) directory: PathBuf,
    pub(super) max_bytes: u64,
}

impl Policy {
    /// The event that finds no room is dropped.
    pub const fn drop_newest() -> Self {
        Self::new(Rule::DropNewest)
    }

    /// The oldest event of the class is dropped, and the new one is queued.
    pub const fn drop_oldest() -> Self {
        Self::new(Rule::DropOldest)
    }

    /// While the room is at least half full one event of `every` is queued. When it is full, none.
    pub const fn sample(every: u32) -> Self {
        Self::new(Rule::Sample(every))
    }

    /// The event waits for room, at most for `time`, and is dropped then.
    ///
    /// What comes from an engine waits in memory, as many events as the capacity beside it: no run waits (rule S-29).
    /// [`Bounded::emit_blocking`](crate::Bounded::emit_blocking) has its caller wait.
    pub const fn wait(time: Duration) -> Self {
        Self::new(Rule::Wait(time))
    }

    /// Events that find no room wait in files in `directory`, in their order, until there is.
    ///
    /// See [`Spill`] for the limits of it.
    pub fn spill(directory: impl AsRef<Path>) -> Spill {
        let files = Files { directory: directory.as_ref().to_owned(), max_bytes: 1 << 30 };
        Spill { files, capacity: None, hand_over: 16_384 }
    }

    /// How many events of the class are queued; at least one. Without it, the room that the class has by default.
    pub const fn capacity(mut self, events: usize) -> Self {
        self.capacity = Some(events);
        self
    }

    const fn new(rule: Rule) -> Self {
        Self { rule, capacity: None, files: None }
    }

    pub(super) fn room(&self, default: usize) -> Room {
        Room { capacity: self.capacity.unwrap_or(default).max(1), rule: self.rule }
    }

    pub(super) fn files(self) -> Option<Files> {
        self.files
    }
}

/// A [`Policy`] that has events wait in files; made by [`Policy::spill`].
///
/// - Nothing is delivered before what came earlier: events come back in the order in which they went.
/// - Files are written and read by a thread of their own. Behind a full room stands a hand-over in memory, from which
///   events are written 256 and more at a time; what finds that full as well is dropped as
///   [`Full`](stageflow_core::DropReason::Full), and so is what `max_bytes` leaves no room for.
/// - Events that cannot be written, such as to a full disk, are dropped as
///   [`Unwritten`](stageflow_core::DropReason::Unwritten). What cannot be read back, because it is damaged or gone, is
///   dropped as [`Unread`](stageflow_core::DropReason::Unread): up to 1,024 events that were written together.
/// - It is for floods, not for crashes: nothing is forced to the disk, and nothing is read by another process. Files
///   of a process that has died are deleted by the next one that uses the directory.
/// - In memory stays what the events of a run share, a line on each 256 to 1,024 events that are on the disk, and the
///   errors of up to 1,024 failures. Of further failures code, class, stage, attempts, hint and the texts of all causes
///   come back, but the error is not of its type any more.
/// - On Unix the files can be read by their owner only.
///
/// ```
/// use stageflow_core::{EventClass, Recorder};
/// use stageflow_events::{Policy, SinkExt};
///
/// let directory = std::env::temp_dir().join(format!("stageflow-doc-spill-{}", std::process::id()));
/// let sink = Recorder::new()
///     .bounded(1_000)
///     .class(EventClass::Progress, Policy::spill(&directory).max_bytes(100_000_000));
/// # drop(sink);
/// # let _ = std::fs::remove_dir_all(directory);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spill {
    files: Files,
    capacity: Option<usize>,
    hand_over: usize,
}

impl Spill {
    /// How many bytes there are in files at most; 1 GiB by default.
    #[must_use]
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.files.max_bytes = bytes;
        self
    }

    /// How many events wait in memory for being written, beside the room; 16,384 by default, at least one.
    #[must_use]
    pub fn hand_over(mut self, events: usize) -> Self {
        self.hand_over = events;
        self
    }

    /// [`Policy::capacity`]: how many events are in memory before any goes to a file. It may be exceeded by 64.
    #[must_use]
    pub fn capacity(mut self, events: usize) -> Self {
        self.capacity = Some(events);
        self
    }
}

impl From<Spill> for Policy {
    fn from(Spill { files, capacity, hand_over }: Spill) -> Self {
        Self { rule: Rule::Spill(hand_over), capacity, files: Some(files) }
    }
}

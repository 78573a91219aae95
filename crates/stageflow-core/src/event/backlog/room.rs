//! How much room there is, and what happens when it is taken.

use std::time::Duration;

use super::super::{EventClass, EventKind};

/// Who has how much room.
#[derive(Clone, Debug)]
pub enum Rooms {
    /// One for all classes. The last eighth is kept for events that end a stage, and as much again, beyond the
    /// capacity, for those that end a run.
    Shared(usize),
    /// Each class has its own, in the order of [`EventClass::ALL`].
    Own([Room; EventClass::ALL.len()]),
}

/// The room of a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    pub capacity: usize,
    pub rule: Rule,
}

/// What happens when a room is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    DropNewest,
    DropOldest,
    /// From half of the capacity on one of so many is kept; when it is full, none.
    Sample(u32),
    /// Events wait for room for so long, as many as the capacity beside it.
    Wait(Duration),
    /// Events wait elsewhere. So many are kept beside the capacity until they are there.
    Spill(usize),
}

impl Rooms {
    /// The room of a class that has its own.
    pub(super) fn of(&self, class: EventClass) -> Option<&Room> {
        match self {
            Self::Shared(_) => None,
            Self::Own(rooms) => rooms.get(class as usize),
        }
    }

    /// How many events there may be for one of this kind to be let in.
    pub(super) fn shared_room(&self, kind: &EventKind) -> usize {
        let Self::Shared(capacity) = *self else { return 0 };
        let reserve = capacity / 8;
        // The end of a run tells the reader what it missed, so it has room even in a full queue.
        match kind {
            EventKind::PipelineEnded { .. } => capacity + reserve + 1,
            kind if kind.is_terminal() => capacity,
            _ => capacity - reserve,
        }
    }

    pub fn capacity(&self) -> usize {
        match self {
            Self::Shared(capacity) => *capacity,
            Self::Own(rooms) => rooms.iter().fold(0, |sum, room| sum.saturating_add(room.capacity)),
        }
    }
}

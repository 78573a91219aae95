//! What a gap in a stream of events is made of.

use std::{cmp, fmt};

use serde::{Serialize, Serializer, ser::SerializeMap};

use super::{DropReason, Event, EventClass, account::write_counts};

/// The events that a [`Gap`](super::EventKind::Gap) stands for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    pub(super) numbers: Option<(u64, u64)>,
    pub(super) classes: [u64; EventClass::ALL.len()],
    pub(super) reasons: [u64; DropReason::ALL.len()],
    pub(super) elsewhere: u64,
}

impl Losses {
    /// How many events of the run are missing.
    pub fn total(&self) -> u64 {
        self.classes.iter().sum()
    }

    /// How many of a class.
    pub fn of_class(&self, class: EventClass) -> u64 {
        self.classes[class as usize]
    }

    /// How many for a reason.
    pub fn for_reason(&self, reason: DropReason) -> u64 {
        self.reasons[reason as usize]
    }

    /// The lowest and the highest number of those that are missing; events in between may have been delivered.
    pub fn numbers(&self) -> Option<(u64, u64)> {
        self.numbers
    }

    /// How many events of other runs are missing, for which no event of theirs could say so.
    pub fn elsewhere(&self) -> u64 {
        self.elsewhere
    }

    /// A whole batch, lost for one reason.
    pub(super) fn of_batch(
        classes: [u64; EventClass::ALL.len()],
        reason: DropReason,
        numbers: Option<(u64, u64)>,
    ) -> Self {
        let mut losses = Self { numbers, classes, ..Self::default() };
        losses.reasons[reason as usize] = losses.total();
        losses
    }

    #[doc(hidden)]
    pub fn is_empty(&self) -> bool {
        self.numbers.is_none() && self.elsewhere == 0
    }

    #[doc(hidden)]
    pub fn add(&mut self, event: &Event, class: EventClass, reason: DropReason) {
        self.classes[class as usize] += 1;
        self.reasons[reason as usize] += 1;
        self.span(event.seq(), event.seq());
    }

    #[doc(hidden)]
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.classes.iter_mut().zip(other.classes) {
            *mine += theirs;
        }
        for (mine, theirs) in self.reasons.iter_mut().zip(other.reasons) {
            *mine += theirs;
        }
        self.elsewhere += other.elsewhere;
        if let Some((first, last)) = other.numbers {
            self.span(first, last);
        }
    }

    /// Losses of which no event of the same run can tell any more.
    #[doc(hidden)]
    pub fn add_elsewhere(&mut self, other: &Self) {
        self.elsewhere += other.total() + other.elsewhere;
    }

    fn span(&mut self, first: u64, last: u64) {
        let (low, high) = self.numbers.unwrap_or((first, last));
        self.numbers = Some((cmp::min(low, first), cmp::max(high, last)));
    }

    fn by_class(&self) -> [(&'static str, u64); EventClass::ALL.len()] {
        EventClass::ALL.map(|class| (class.as_str(), self.of_class(class)))
    }

    fn by_reason(&self) -> [(&'static str, u64); DropReason::ALL.len()] {
        DropReason::ALL.map(|reason| (reason.as_str(), self.for_reason(reason)))
    }
}

impl Serialize for Losses {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("first_seq", &self.numbers.map(|(first, _)| first))?;
        map.serialize_entry("last_seq", &self.numbers.map(|(_, last)| last))?;
        map.serialize_entry("by_class", &Counts(&self.by_class()))?;
        map.serialize_entry("by_reason", &Counts(&self.by_reason()))?;
        map.serialize_entry("elsewhere", &self.elsewhere)?;
        map.end()
    }
}

/// Those that are not zero.
struct Counts<'a>(&'a [(&'static str, u64)]);

impl Serialize for Counts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().copied().filter(|(_, count)| *count > 0))
    }
}

impl fmt::Display for Losses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} events dropped", self.total())?;
        write_counts(f, &self.by_reason())?;
        if self.elsewhere > 0 {
            write!(f, ", and {} of other runs", self.elsewhere)?;
        }
        Ok(())
    }
}

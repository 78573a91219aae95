//! What happened in a simulation, as lines and as one number.

use std::{collections::HashMap, fmt};

use stageflow_core::{Event, RunId, durable::JournaledRun};

/// The story of a simulation: every event of every run, in order, with its virtual time.
///
/// Two simulations in which the same happened at the same times have equal traces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    lines: Vec<String>,
    hash: TraceHash,
}

/// A number that stands for a [`Trace`], or for the journal of a run: equal for equal ones, and as good as never for others.
///
/// FNV-1a of 64 bits (Fowler, Noll, Vo) over the lines, and of a trace over the exact times.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TraceHash(u64);

impl Default for TraceHash {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl TraceHash {
    /// The number that stands for what a run did as its journal has it: the attempts, decisions and ends of its stages, and its own end,
    /// one after the other, without times and without its id. A [`Replay`](crate::Replay) that did the same has the same.
    pub fn of_journal(run: &JournaledRun) -> Self {
        let mut hash = Self::default();
        for line in run.entries.iter().filter_map(|entry| entry.kind.decision()) {
            hash.write(line.as_bytes());
            hash.write(b"\n");
        }
        hash
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

impl fmt::Display for TraceHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for TraceHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Trace {
    /// The trace of these events, which stand in the order in which they were emitted. Runs are numbered as they appear.
    pub fn of(events: &[Event]) -> Self {
        let mut runs: HashMap<RunId, usize> = HashMap::new();
        let mut trace = Self::default();
        for event in events {
            let next = runs.len() + 1;
            let run = *runs.entry(event.run_id()).or_insert(next);
            let line = format!("run {run} {event}");
            trace.hash.write(&event.elapsed().as_nanos().to_le_bytes());
            trace.hash.write(line.as_bytes());
            trace.lines.push(line);
        }
        trace
    }

    /// One line per event: run, number, time, name, stage, details.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// The number that stands for it.
    pub fn hash(&self) -> TraceHash {
        self.hash
    }

    /// The first line in which two traces differ: its index, and the line of each.
    pub fn first_difference<'a>(
        &'a self,
        other: &'a Self,
    ) -> Option<(usize, Option<&'a str>, Option<&'a str>)> {
        let longer = self.lines.len().max(other.lines.len());
        let line = |trace: &'a Self, index: usize| trace.lines.get(index).map(String::as_str);
        let differs = |index: &usize| line(self, *index) != line(other, *index);
        (0..longer).find(differs).map(|index| (index, line(self, index), line(other, index)))
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            writeln!(f, "{line}")?;
        }
        write!(f, "trace {}", self.hash)
    }
}

//! A simulation that failed: which seed, why, what had happened, and how to see it again.

use std::{error::Error, fmt};

use crate::trace::{Trace, TraceHash};

/// How many lines of the trace a failure prints.
const TAIL: usize = 20;

/// Why simulations failed. Prints the seed and the command that replays it.
#[derive(Debug)]
#[non_exhaustive]
pub enum SimFailure {
    /// A seed failed.
    Seed {
        /// The seed.
        seed: u64,
        /// What the panic said, or what the simulation waited for when nothing could happen any more.
        message: String,
        /// What had happened until then.
        trace: Trace,
        /// The hash of a second simulation of the seed.
        replayed: TraceHash,
    },
    /// A seed gave two traces: something is not under the control of the simulation.
    Differs {
        /// The seed.
        seed: u64,
        /// The first line that differs, in both.
        lines: (Option<String>, Option<String>),
    },
    /// Faults never struck, with any seed: a test that relies on them has shown nothing.
    NeverFired {
        /// Their names.
        faults: Vec<String>,
        /// How many seeds there were.
        seeds: u64,
    },
    /// There was no seed to simulate.
    NoSeeds,
}

impl fmt::Display for SimFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seed { seed, message, trace, replayed } => {
                writeln!(f, "seed {seed} failed: {message}")?;
                let skipped = trace.lines().len().saturating_sub(TAIL);
                if skipped > 0 {
                    writeln!(f, "  … {skipped} events before")?;
                }
                for line in &trace.lines()[skipped..] {
                    writeln!(f, "  {line}")?;
                }
                if *replayed == trace.hash() {
                    writeln!(f, "trace {}, and the same when simulated again", trace.hash())?;
                } else {
                    writeln!(f, "trace {}, but {replayed} when simulated again: {OUTSIDE}", trace.hash())?;
                }
                write_command(f, *seed)
            }
            Self::Differs { seed, lines: (first, second) } => {
                let end = "the end of the trace";
                writeln!(f, "seed {seed} gave two traces: {OUTSIDE}")?;
                writeln!(f, "  first:  {}", first.as_deref().unwrap_or(end))?;
                writeln!(f, "  second: {}", second.as_deref().unwrap_or(end))?;
                write_command(f, *seed)
            }
            Self::NeverFired { faults, seeds } => {
                write!(f, "with {seeds} seeds these faults never struck: {}", faults.join(", "))?;
                write!(f, "\nhint: raise the rate or the number of seeds, or check the name of the stage")
            }
            Self::NoSeeds => write!(f, "there is no seed to simulate: the range is empty"),
        }
    }
}

const OUTSIDE: &str =
    "a stage reads another clock, takes other random numbers, starts threads, or iterates over a `HashMap`";

fn write_command(f: &mut fmt::Formatter<'_>, seed: u64) -> fmt::Result {
    // The thread of a test has the test's name.
    let thread = std::thread::current();
    let test = thread.name().filter(|name| *name != "main").unwrap_or_default();
    write!(f, "replay: {}={seed} cargo test {test}", super::seeds::SEED_VARIABLE)
}

impl Error for SimFailure {}

//! Proof: the rules of the executor (S-4 … S-19) under random graphs, faults at every point, and load; `policies` for S-20 … S-25.

mod blocked;
mod budget;
mod cancel;
#[cfg(unix)]
mod crash;
mod deadline;
mod depth;
mod isolation;
mod oracle;
mod pause;
mod policies;
mod races;
mod seeds;
mod shutdown;
mod wakers;

use std::{panic, sync::Once};

/// The message of panics and failures that belong to a test.
const ON_PURPOSE: &str = "on purpose";

/// Keeps panics that belong to a test out of the output, also on the threads of runtimes.
fn panics_on_purpose_are_silent() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let others = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if info.payload_as_str() != Some(ON_PURPOSE) {
                others(info);
            }
        }));
    });
}

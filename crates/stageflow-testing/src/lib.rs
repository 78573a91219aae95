//! Testing pipelines: what a test of a pipeline needs, and nothing that a production build should have.
//!
//! | to … | see |
//! |---|---|
//! | run a pipeline in virtual time, with everything drawn from a seed | [`Sim`], [`Seeds`], [`Trace`] |
//! | let things go wrong | [`Faults`], [`Latency`], [`FaultInjector`] |
//! | cancel a run at each of its polls | [`Sim::cancel_at_every_poll`], [`Ledger`] |

mod faults;
mod latency;
mod ledger;
mod sim;
mod trace;

#[doc(inline)]
pub use self::{
    faults::{Fault, FaultInjector, Faults, INJECTED, OUT_OF_MEMORY},
    latency::Latency,
    ledger::{Lease, Ledger},
    sim::{CancelAtEveryPoll, CancelProblem, CancelReport, Seeds, Sim, SimFailure, SimReport},
    trace::{Trace, TraceHash},
};

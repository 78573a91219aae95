//! The queue against its bounds, and the gate.

mod gate;
mod queue;
mod tenants;

//! What a user of the public API sees.

mod absurd;
mod branches;
mod cancel;
mod child;
mod child_stop;
mod cleanup;
mod events;
mod explain;
mod hostile;
mod identity;
mod inputs;
mod interceptors;
mod kit;
mod lifetime;
mod limits;
mod outcomes;
mod panics;
mod schedule;
mod security;
mod sinks;
mod streams;

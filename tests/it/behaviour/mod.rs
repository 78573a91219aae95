//! What a user of the public API sees.

mod branches;
mod cancel;
mod child;
mod child_stop;
mod cleanup;
mod events;
mod kit;
mod outcomes;
mod schedule;

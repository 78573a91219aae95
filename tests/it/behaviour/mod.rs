//! What a user of the public API sees.

mod branches;
mod cancel;
mod cleanup;
mod kit;
mod outcomes;
mod schedule;

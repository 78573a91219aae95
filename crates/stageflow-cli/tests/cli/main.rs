//! The binary as people meet it: exit codes, what is on stdout, what is on stderr.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod examples;
mod files;
#[cfg(unix)]
mod guide;
mod kit;
mod looking;
mod running;
#[cfg(unix)]
mod signals;
mod stages;

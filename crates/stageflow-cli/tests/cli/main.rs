//! The binary as people meet it: exit codes, what is on stdout, what is on stderr.

mod examples;
mod files;
mod kit;
mod looking;
mod running;
#[cfg(unix)]
mod signals;
mod stages;

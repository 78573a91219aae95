//! The store in a file: the suite, and what is its own.

mod kit;
mod suite;

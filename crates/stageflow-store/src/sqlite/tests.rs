//! The store in a file: the suite, and what is its own.

mod bounds;
mod data;
mod files;
mod kit;
mod leases;
mod suite;

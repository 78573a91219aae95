//! Integration tests.

mod behaviour;
mod proof;

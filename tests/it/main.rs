//! Integration tests.

mod proof;

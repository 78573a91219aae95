//! Metrics on their own.

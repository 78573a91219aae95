//! Accounts of sinks.

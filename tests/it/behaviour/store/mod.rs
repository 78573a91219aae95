//! Runs that outlive their process, and tenants that do not see each other.

mod audit;
mod isolation;
mod redaction;

//! Runs that outlive their process, and tenants that do not see each other.

mod admitted;
mod audit;
mod durable;
mod isolation;
mod pauses;
mod redaction;
mod resumed;
mod support;

//! Runs that outlive their process, and tenants that do not see each other.

mod admitted;
mod durable;
mod pauses;
mod resumed;
mod support;

//! Runs that outlive their process, and tenants that do not see each other.

mod durable;
mod pauses;
mod replay;
mod resumed;
mod support;

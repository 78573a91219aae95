//! Runs that outlive their process, and tenants that do not see each other.

mod attacks;
mod crashes;
mod durable;
mod pauses;
mod resumed;
mod scripted;
mod support;

//! Runs that outlive their process, and tenants that do not see each other.

mod admitted;
mod attacks;
mod audit;
mod crashes;
mod durable;
mod isolation;
mod pauses;
mod redaction;
mod replay;
mod resumed;
mod scripted;
mod support;

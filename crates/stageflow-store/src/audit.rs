//! The chain of an audit log: whoever changes or takes out a record breaks it.

mod rules;
mod sink;
mod wait;

pub use sink::AuditSink;

#[cfg(test)]
mod tests;

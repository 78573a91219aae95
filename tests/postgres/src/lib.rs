//! A throw-away PostgreSQL for the tests, the examples and the load tests of this workspace.
//!
//! [`Cluster::shared`] is one server for all tests of a run of the test runner, with a `Database` for each test;
//! [`Cluster::start`] is one of its own, for tests that stop it. It listens on a Unix socket in a folder of its own and on no port, and
//! it ends with whoever it was started for, also if that was killed: a watcher waits for exactly this.
//!
//! ```no_run
//! use stageflow_test_postgres::Cluster;
//!
//! let cluster = Cluster::start().expect("a server");
//! println!("psql -h {} -U postgres postgres", cluster.socket().display());
//! ```
#![cfg(unix)]

mod cluster;
#[cfg(feature = "database")]
mod database;
mod programs;
mod user;

#[cfg(feature = "database")]
pub use self::database::Database;
pub use self::{
    cluster::{APP, Cluster, OWNER},
    programs::{MINIMUM, PACKAGED, PROVISION, Programs},
};

/// Why there is no server: a text for whoever runs the tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(String);

impl Error {
    fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests;

//! Where runs and answers are kept: in memory, in a file of SQLite, in PostgreSQL.
//!
//! Each store is a [`Journal`](stageflow_core::durable::Journal), has a handle that is an
//! [`IdempotencyStore`](stageflow_core::idempotency::IdempotencyStore), and keeps tenants apart.
//!
//! | module | feature | what it holds |
//! |---|---|---|
//! | [`memory`] | | [`MemoryStore`]: for tests, and for runs that need not survive their process |
#![cfg_attr(
    feature = "sqlite",
    doc = "| [`sqlite`] | `sqlite` | [`SqliteStore`]: a file, which several processes of one machine may share |"
)]
#![cfg_attr(
    feature = "postgres",
    doc = "| [`postgres`] | `postgres` | [`PostgresStore`]: a database with row-level security, which many machines may share |"
)]
//! | [`audit`] | | how the chain of an audit log is checked |
#![cfg_attr(
    feature = "conformance",
    doc = "| [`conformance`] | `conformance` | the suite that every store has to pass |"
)]

pub mod audit;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod memory;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg_attr(
    not(any(feature = "sqlite", feature = "postgres")),
    expect(dead_code, reason = "a store in memory needs no columns")
)]
mod rows;
#[cfg(feature = "sqlite")]
pub mod sqlite;

pub use memory::MemoryStore;
#[cfg(feature = "postgres")]
pub use postgres::PostgresStore;
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteStore;

//! Where runs and answers are kept: in memory, in a file of SQLite, in PostgreSQL.
//!
//! Each store is a [`Journal`](stageflow_core::durable::Journal), and keeps tenants apart.

pub mod audit;

//! The store in PostgreSQL, on a server of its own: contracts, tenants, lost connections, killed processes.
#![cfg(unix)]

mod audit;
mod conformance;
mod drops;
mod guard;
mod kit;
mod processes;
mod proxy;
mod rls;
mod slow;

//! [`Scope`]: the one place through which statements reach the data of tenants.

use rusqlite::{Connection, OptionalExtension as _, Params, Row, ToSql, params_from_iter};
use stageflow_core::{TenantId, durable::JournalError};

use crate::rows;

/// A statement that is about one tenant: its first parameter.
#[derive(Clone, Copy)]
pub(super) struct Sql(&'static str);

impl Sql {
    /// A statement. As a constant one that forgets the tenant does not compile.
    ///
    /// # Panics
    ///
    /// If it neither compares with the tenant nor inserts it.
    pub(super) const fn new(text: &'static str) -> Self {
        assert!(binds_tenant(text), "the statement is not about one tenant");
        Self(text)
    }
}

/// Whether a statement is about the tenant that is its first parameter.
pub(super) const fn binds_tenant(text: &str) -> bool {
    contains(text.as_bytes(), b"tenant = ?1") || contains(text.as_bytes(), b"VALUES (?1,")
}

const fn contains(text: &[u8], part: &[u8]) -> bool {
    let mut start = 0;
    while start + part.len() <= text.len() {
        let mut same = 0;
        while same < part.len() && text[start + same] == part[same] {
            same += 1;
        }
        if same == part.len() {
            return true;
        }
        start += 1;
    }
    false
}

/// A connection, for one tenant.
pub(super) struct Scope<'a> {
    connection: &'a Connection,
    tenant: &'a str,
}

impl<'a> Scope<'a> {
    /// # Errors
    ///
    /// The tenant cannot be a key.
    pub(super) fn new(connection: &'a Connection, tenant: &'a TenantId) -> Result<Self, JournalError> {
        Ok(Self { connection, tenant: rows::tenant(tenant)? })
    }

    /// Runs a statement; gives how many rows it has changed.
    pub(super) fn execute(&self, sql: Sql, parameters: &[&dyn ToSql]) -> rusqlite::Result<usize> {
        self.connection.prepare_cached(sql.0)?.execute(self.bound(parameters))
    }

    /// The row that a statement finds, if it finds one.
    pub(super) fn find<T>(
        &self,
        sql: Sql,
        parameters: &[&dyn ToSql],
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Option<T>> {
        self.connection.prepare_cached(sql.0)?.query_row(self.bound(parameters), read).optional()
    }

    /// All rows that a statement finds.
    pub(super) fn list<T>(
        &self,
        sql: Sql,
        parameters: &[&dyn ToSql],
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Vec<T>> {
        self.connection.prepare_cached(sql.0)?.query_map(self.bound(parameters), read)?.collect()
    }

    /// The tenant, before all other parameters.
    fn bound<'b>(&'b self, parameters: &'b [&'b dyn ToSql]) -> impl Params + 'b {
        let tenant: &dyn ToSql = &self.tenant;
        params_from_iter(std::iter::once(tenant).chain(parameters.iter().copied()))
    }
}

//! Before anything is read or written: whether this role is held to one tenant at a time.

use deadpool_postgres::Pool;
use stageflow_core::durable::{JournalError, JournalErrorKind};

use super::{schema, trouble::Trouble};

const FINDINGS: &str = include_str!("guard.sql");

/// Refuses tables of another version, a role that could see rows of other tenants, and tables that are not protected.
pub(super) async fn check(pool: &Pool) -> Result<(), Trouble> {
    let client = pool.get().await?;
    schema::check(&client).await?;
    let findings = client.query(FINDINGS, &[]).await?;
    let findings: Vec<String> = findings.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    if findings.is_empty() {
        return Ok(());
    }
    let said = format!("the database does not keep tenants apart: {}", findings.join("; "));
    Err(JournalError::new(JournalErrorKind::Unsafe, said)
        .hint("connect as a role that neither owns the tables nor is a superuser nor has BYPASSRLS, and protect every table of the schema `stageflow` as schema.sql does")
        .into())
}

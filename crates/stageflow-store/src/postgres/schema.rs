//! The tables: their SQL, and their version.

use stageflow_core::durable::{JournalError, JournalErrorKind};
use tokio_postgres::{Client, Config, Socket, tls::MakeTlsConnect};

use super::trouble::Trouble;

/// The version that this code reads and writes.
pub(super) const VERSION: i32 = 1;

/// How the tables of this version are made.
pub(super) const SQL: &str = include_str!("schema.sql");

/// Of all who migrate a database at the same time one does.
const LOCK: &str = "SELECT pg_advisory_xact_lock(hashtextextended('stageflow.schema', 0))";

/// The version that is there, if one is.
const THERE: &str = "SELECT to_regprocedure('stageflow.schema_version()') IS NOT NULL";
const WHICH: &str = "SELECT stageflow.schema_version()";

pub(super) async fn migrate<T>(owner: &Config, tls: T, app_role: &str) -> Result<(), JournalError>
where
    T: MakeTlsConnect<Socket>,
    T::Stream: Send + 'static,
{
    let made = async {
        let (mut client, connection) = owner.connect(tls).await?;
        let connection = tokio::spawn(connection);
        let transaction = client.transaction().await?;
        transaction.batch_execute(LOCK).await?;
        let there: bool = transaction.query_one(THERE, &[]).await?.try_get(0)?;
        if there {
            let version = transaction.query_one(WHICH, &[]).await?.try_get(0)?;
            known(Some(version))?;
        } else {
            transaction.batch_execute(&SQL.replace(":\"app\"", &quoted(app_role))).await?;
        }
        transaction.commit().await?;
        drop(client);
        let _ended = connection.await;
        Ok(())
    };
    made.await.map_err(|trouble: Trouble| trouble.error)
}

/// Whether the tables that are there are those of this code.
pub(super) async fn check(client: &Client) -> Result<(), Trouble> {
    let there: bool = client.query_one(THERE, &[]).await?.try_get(0)?;
    let version = if there { Some(client.query_one(WHICH, &[]).await?.try_get(0)?) } else { None };
    Ok(known(version)?)
}

fn known(version: Option<i32>) -> Result<(), JournalError> {
    let (said, hint) = match version {
        Some(VERSION) => return Ok(()),
        Some(other) if other > VERSION => (
            format!("the schema `stageflow` is of version {other}, and this code knows version {VERSION}"),
            "run a newer version of this library: it was migrated by one",
        ),
        Some(other) => (
            format!("the schema `stageflow` is of version {other}, and this code needs version {VERSION}"),
            "migrate it as its owner: `PostgresStore::migrate`",
        ),
        None => (
            format!(
                "there is no schema `stageflow`, or the role may not see it; this code needs version {VERSION}"
            ),
            "make it as its owner: `PostgresStore::migrate`, or run schema.sql",
        ),
    };
    Err(JournalError::new(JournalErrorKind::Schema, said).hint(hint))
}

/// A name as SQL has it.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_are_quoted() {
        assert_eq!(super::quoted("a\"; DROP ROLE b"), "\"a\"\"; DROP ROLE b\"");
    }
}

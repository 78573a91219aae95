//! The one way to the tables: a transaction that has named its tenant.

use std::{future::Future, time::Duration};

use deadpool_postgres::{Object, Pool};
use futures_util::future::{BoxFuture, join_all};
use stageflow_core::{
    TenantId,
    durable::{JournalError, JournalFuture},
};
use tokio::{
    runtime::Handle,
    time::{Instant, timeout_at},
};
use tokio_postgres::{Error, Row, types::ToSql};

use super::trouble::{Trouble, late};
use crate::rows;

/// Where every transaction begins: whatever the role or the database has as a default.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";

/// Names the tenant, until the end of the transaction and no longer.
const TENANT: &str = "SELECT set_config('stageflow.tenant', $1, true)";

/// How long to wait before asking once more: this, then twice of it, up to the second.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

/// A statement and its parameters.
pub(super) type Statement<'a> = (&'static str, Vec<&'a (dyn ToSql + Sync)>);

/// Connections, and how long to wait for an answer.
#[derive(Clone)]
pub(super) struct Access {
    pub(super) pool: Pool,
    pub(super) within: Duration,
    pub(super) runtime: Handle,
}

impl Access {
    /// Does something in a task of its own: whoever waits may go.
    pub(super) fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, JournalError>> + Send + 'static,
    ) -> JournalFuture<'static, T> {
        let task = self.runtime.spawn(work);
        Box::pin(async move {
            match task.await {
                Ok(done) => done,
                Err(error) => Err(late("its task has ended").source(error)),
            }
        })
    }

    /// Asks as often as it may help, within the time for an answer. What is asked for has to stand being done twice.
    pub(super) async fn repeat<T, F: Future<Output = Result<T, Trouble>>>(
        &self,
        mut once: impl FnMut() -> F,
    ) -> Result<T, JournalError> {
        let end = Instant::now() + self.within;
        let (mut pause, longest) = PAUSES;
        let mut last = None;
        loop {
            match timeout_at(end, once()).await {
                Ok(Ok(done)) => return Ok(done),
                Ok(Err(Trouble { error, retry: false })) => return Err(error),
                Ok(Err(Trouble { error, .. })) => last = Some(error),
                Err(_) => return Err(last.unwrap_or_else(|| late("a statement"))),
            }
            if Instant::now() + pause >= end {
                return Err(last.unwrap_or_else(|| late("a statement")));
            }
            tokio::time::sleep(pause).await;
            pause = longest.min(pause * 2);
        }
    }

    /// The same, once.
    pub(super) async fn once<T>(
        &self,
        work: impl Future<Output = Result<T, Trouble>>,
    ) -> Result<T, JournalError> {
        self.once_within(self.within, work).await
    }

    /// The same, once, in a time of its own.
    pub(super) async fn once_within<T>(
        &self,
        within: Duration,
        work: impl Future<Output = Result<T, Trouble>>,
    ) -> Result<T, JournalError> {
        match tokio::time::timeout(within, work).await {
            Ok(done) => done.map_err(|trouble| trouble.error),
            Err(_) => Err(late("a statement")),
        }
    }

    /// A transaction of statements for a tenant, sent at once: all or none of them has happened.
    pub(super) async fn with_tenant(
        &self,
        tenant: &TenantId,
        statements: &[Statement<'_>],
    ) -> Result<Vec<Vec<Row>>, Trouble> {
        let mut connection = Connection::of(&self.pool).await?;
        connection.transaction(&[(tenant, statements)]).await
    }
}

/// A connection that goes back to its pool only between two transactions: one that is given up in the middle is closed, and the
/// server rolls it back.
pub(super) struct Connection {
    object: Option<Object>,
    busy: bool,
}

impl Connection {
    pub(super) async fn of(pool: &Pool) -> Result<Self, Trouble> {
        Ok(Self { object: Some(pool.get().await?), busy: false })
    }

    fn client(&self) -> Result<&Object, Trouble> {
        self.object.as_ref().ok_or_else(|| late("the connection is closed").into())
    }

    /// One transaction of statements, each for its tenant, sent at once.
    pub(super) async fn transaction(
        &mut self,
        work: &[(&TenantId, &[Statement<'_>])],
    ) -> Result<Vec<Vec<Row>>, Trouble> {
        let object = self.client()?;
        let tenant = object.prepare_cached(TENANT).await?;
        let mut prepared = Vec::new();
        for (of, statements) in work {
            rows::tenant(of)?;
            for (sql, parameters) in *statements {
                prepared.push((object.prepare_cached(sql).await?, parameters));
            }
        }
        let names: Vec<&str> = work.iter().map(|(of, _)| of.as_str()).collect();
        self.busy = true;
        let client: &tokio_postgres::Client = self.client()?;
        let mut sent: Vec<BoxFuture<'_, Result<Option<Vec<Row>>, Error>>> = Vec::new();
        // Each is sent when it is first polled, and they are polled in this order.
        sent.push(Box::pin(async { client.batch_execute(BEGIN).await.map(|()| None) }));
        let mut next = prepared.iter();
        for (index, (_, statements)) in work.iter().enumerate() {
            let (tenant, name) = (&tenant, &names[index]);
            sent.push(Box::pin(async move { client.query(tenant, &[name]).await.map(|_| None) }));
            for (statement, parameters) in next.by_ref().take(statements.len()) {
                sent.push(Box::pin(async move { client.query(statement, parameters).await.map(Some) }));
            }
        }
        sent.push(Box::pin(async { client.batch_execute("COMMIT").await.map(|()| None) }));
        let answers = join_all(sent).await;
        let ended = answers.last().is_some_and(Result::is_ok);
        // The first error is the reason; those after it follow from it, and the commit was a rollback.
        let answers: Result<Vec<Option<Vec<Row>>>, Error> = answers.into_iter().collect();
        self.busy = !ended;
        let answers = answers?;
        Ok(answers.into_iter().flatten().collect())
    }

    /// Begins a transaction for a tenant whose statements depend on one another.
    pub(super) async fn begin(&mut self, tenant: &TenantId) -> Result<(), Trouble> {
        let name = rows::tenant(tenant)?;
        self.busy = true;
        let client = self.client()?;
        client.batch_execute(BEGIN).await?;
        client.query(&client.prepare_cached(TENANT).await?, &[&name]).await?;
        Ok(())
    }

    pub(super) async fn query(&self, (sql, parameters): Statement<'_>) -> Result<Vec<Row>, Trouble> {
        let client = self.client()?;
        Ok(client.query(&client.prepare_cached(sql).await?, &parameters).await?)
    }

    pub(super) async fn commit(mut self) -> Result<(), Trouble> {
        self.client()?.batch_execute("COMMIT").await?;
        self.busy = false;
        Ok(())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.busy
            && let Some(object) = self.object.take()
        {
            drop(Object::take(object));
        }
    }
}

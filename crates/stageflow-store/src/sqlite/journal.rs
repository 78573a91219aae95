//! [`SqliteStore`] as a journal: what is asked of it goes to its threads.

use std::{
    future::ready,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use rusqlite::Connection;
use stageflow_core::{
    RunId, TenantId, UserId,
    durable::{
        Ack, Answered, Encoded, Entry, Journal, JournalError, JournalFuture, JournaledRun, PauseRecord,
        PauseState, RunHeader, RunKey, RunLease, RunSummary,
    },
};
use tokio::sync::oneshot;

use super::{
    SqliteStore,
    error::Stop,
    owner::Owner,
    runs::{self, Runs},
    writer,
};
use crate::rows;

/// What a request needs beside its data.
const REQUEST_BYTES: usize = 256;

/// What a thread of the store was asked for; dropping it loses the answer only.
pub(super) struct Answer<T>(oneshot::Receiver<Result<T, JournalError>>);

impl<T> Future for Answer<T> {
    type Output = Result<T, JournalError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|answer| answer.unwrap_or_else(|_| Err(writer::closed())))
    }
}

impl SqliteStore {
    /// Has something written: it is taken when this returns.
    pub(super) fn write<T: Send + 'static>(
        &self,
        bytes: usize,
        mut work: impl FnMut(&Connection, &Owner) -> Result<T, Stop> + Send + 'static,
    ) -> Answer<T> {
        let shared = Arc::clone(&self.inner.shared);
        let work = move |connection: &Connection| work(connection, &shared.owner);
        Answer(self.inner.shared.queue.ask(bytes + REQUEST_BYTES, work))
    }

    /// Has something read.
    pub(super) fn look<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection, &Owner) -> Result<T, Stop> + Send + 'static,
    ) -> Answer<T> {
        let shared = Arc::clone(&self.inner.shared);
        Answer(self.inner.reader.ask(move |connection| read(connection, &shared.owner)))
    }
}

impl Journal for SqliteStore {
    fn begin(&self, header: Arc<RunHeader>) -> JournalFuture<'_, RunLease> {
        let text = match rows::header_text(&header) {
            Ok(text) => text,
            Err(error) => return Box::pin(ready(Err(error))),
        };
        let bytes = text.len() + header.input.as_ref().map_or(0, |input| input.bytes.len());
        Box::pin(self.write(bytes, move |connection, owner| {
            Runs::new(connection, &header.key)?.begin(&header, &text, owner)
        }))
    }

    fn append(&self, key: &RunKey, lease: RunLease, entries: Vec<Entry>) -> Ack {
        let texts: Result<Vec<_>, _> =
            entries.iter().map(|entry| rows::kind_text(key, &entry.kind)).collect();
        let texts = match texts {
            Ok(texts) => texts,
            Err(error) => return Box::pin(ready(Err(error))),
        };
        let sizes = entries.iter().zip(&texts).map(|(entry, text)| {
            text.len() + entry.payload.as_ref().map_or(0, |payload| payload.bytes.len()) + REQUEST_BYTES
        });
        let (bytes, key) = (sizes.sum(), key.clone());
        Box::pin(
            self.write(bytes, move |connection, _| {
                Runs::new(connection, &key)?.append(lease, &entries, &texts)
            }),
        )
    }

    fn claim<'a>(&'a self, key: &'a RunKey) -> JournalFuture<'a, (RunLease, JournaledRun)> {
        let key = key.clone();
        Box::pin(self.write(0, move |connection, owner| Runs::new(connection, &key)?.claim(owner)))
    }

    fn release(&self, key: &RunKey, lease: RunLease) {
        let key = key.clone();
        drop(self.write(0, move |connection, _| Runs::new(connection, &key)?.release(lease)));
    }

    fn load<'a>(&'a self, key: &'a RunKey) -> JournalFuture<'a, Option<JournaledRun>> {
        let key = key.clone();
        Box::pin(self.look(move |connection, _| Runs::new(connection, &key)?.load()))
    }

    fn unfinished<'a>(
        &'a self,
        tenant: &'a TenantId,
        after: Option<RunId>,
        limit: usize,
    ) -> JournalFuture<'a, Vec<RunSummary>> {
        let tenant = tenant.clone();
        Box::pin(
            self.look(move |connection, owner| runs::unfinished(connection, &tenant, after, limit, owner)),
        )
    }

    fn forget_ended<'a>(&'a self, tenant: &'a TenantId, before: SystemTime) -> JournalFuture<'a, u64> {
        let tenant = tenant.clone();
        Box::pin(self.write(0, move |connection, _| runs::forget(connection, &tenant, before)))
    }

    fn pause<'a>(
        &'a self,
        key: &'a RunKey,
        lease: RunLease,
        record: &'a PauseRecord,
    ) -> JournalFuture<'a, PauseState> {
        let (key, record) = (key.clone(), record.clone());
        Box::pin(self.write(0, move |connection, _| Runs::new(connection, &key)?.pause(lease, &record)))
    }

    fn pause_state<'a>(&'a self, key: &'a RunKey, token: &'a str) -> JournalFuture<'a, Option<PauseState>> {
        let (key, token) = (key.clone(), token.to_owned());
        Box::pin(self.look(move |connection, _| Runs::new(connection, &key)?.pause_state(&token)))
    }

    fn answer<'a>(
        &'a self,
        key: &'a RunKey,
        token: &'a str,
        answer: Encoded,
        by: Option<&'a UserId>,
    ) -> JournalFuture<'a, Answered> {
        let (key, token, by) = (key.clone(), token.to_owned(), by.cloned());
        Box::pin(self.write(answer.bytes.len(), move |connection, _| {
            Runs::new(connection, &key)?.answer(&token, &answer, by.as_ref())
        }))
    }

    fn pauses<'a>(&'a self, key: &'a RunKey) -> JournalFuture<'a, Vec<PauseRecord>> {
        let key = key.clone();
        Box::pin(self.look(move |connection, _| Runs::new(connection, &key)?.pauses()))
    }

    fn poll_interval(&self) -> Duration {
        Duration::from_millis(100)
    }

    fn describe(&self) -> String {
        format!("SQLite {}", self.path().display())
    }
}

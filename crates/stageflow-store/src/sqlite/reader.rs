//! The thread that reads: each question sees the file as it is at one moment.

use std::{
    path::Path,
    sync::{
        Mutex, PoisonError,
        mpsc::{Receiver, Sender},
    },
};

use rusqlite::Connection;
use stageflow_core::durable::JournalError;
use tokio::sync::oneshot;

use super::error::Stop;

type Question = Box<dyn FnOnce(&Path, &Connection) + Send>;

/// Where questions go.
pub(super) struct Reader(Mutex<Option<Sender<Question>>>);

impl Reader {
    pub(super) fn new(questions: Sender<Question>) -> Self {
        Self(Mutex::new(Some(questions)))
    }

    /// Has something read.
    pub(super) fn ask<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, Stop> + Send + 'static,
    ) -> oneshot::Receiver<Result<T, JournalError>> {
        let (answer, answered) = oneshot::channel();
        let question: Question = Box::new(move |path, connection| {
            if !answer.is_closed() {
                let read = at_one_moment(connection, read).map_err(|stop| stop.at(path));
                drop(answer.send(read));
            }
        });
        if let Some(questions) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            // Without a thread the answer is dropped, which says so.
            drop(questions.send(question));
        }
        answered
    }

    /// Takes no more questions.
    pub(super) fn close(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

fn at_one_moment<T>(
    connection: &Connection,
    read: impl FnOnce(&Connection) -> Result<T, Stop>,
) -> Result<T, Stop> {
    let transaction = connection.unchecked_transaction()?;
    read(&transaction)
}

/// Reads until there are no more questions.
pub(super) fn run(path: &Path, connection: &Connection, questions: &Receiver<Question>) {
    for question in questions {
        question(path, connection);
    }
}

//! The thread that writes events to files and reads them back.

mod directory;
mod store;

use std::{
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
};

use serde::Serialize;
use stageflow_core::{EventClass, event::backlog::DiskJob};

use self::{
    directory::{Directory, Media},
    store::{Store, Written},
};
use super::{policy::Files, shared::Shared};

/// What of the events of a class is in files; see [`Bounded::spilled`](crate::Bounded::spilled).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Spilled {
    /// How many events are in files or on the way there: in flight, in the account.
    pub events: u64,
    /// How many bytes the files have.
    pub bytes: u64,
    /// How many bytes they had at most.
    pub most_bytes: u64,
    /// How many files of processes that have died were deleted.
    pub swept: u64,
    /// What went wrong last.
    pub last_error: Option<String>,
}

/// Is told of each trouble once.
pub(super) type OnTrouble = Arc<dyn Fn(EventClass, &str) + Send + Sync>;

/// What the thread works for: a class, and its files.
pub(super) struct Spiller {
    class: EventClass,
    store: Store,
    /// The last write has failed, and the last read: while a disk is full, what is on it can be read.
    in_trouble: [bool; 2],
}

impl Spiller {
    pub(super) fn new(class: EventClass, Files { directory, max_bytes }: Files) -> Self {
        Self::with(class, Box::new(Directory::new(directory)), max_bytes)
    }

    fn with(class: EventClass, media: Box<dyn Media>, max_bytes: u64) -> Self {
        Self { class, store: Store::new(media, max_bytes), in_trouble: [false; 2] }
    }

    pub(super) fn class(&self) -> EventClass {
        self.class
    }

    fn work(&mut self, shared: &Shared, job: DiskJob) {
        match job {
            DiskJob::Write(class, id, waiters) => {
                let Written { kept, lost, error } = self.store.write(id, waiters);
                self.note(shared, false, error);
                shared.written(class, id, &kept, lost);
            }
            DiskJob::Read(class, id) => {
                let (read, error) = match self.store.read(id) {
                    Ok(read) => (Some(read), None),
                    Err(error) => (None, Some(error)),
                };
                self.note(shared, true, error);
                shared.came_back(class, id, read);
            }
        }
    }

    /// Notes how it is, and tells of a trouble that is new.
    fn note(&mut self, shared: &Shared, was_read: bool, error: Option<String>) {
        let is_new = !mem::replace(&mut self.in_trouble[usize::from(was_read)], error.is_some());
        let on_trouble =
            shared.note_spilled(self.class, self.store.bytes(), self.store.swept(), error.as_deref());
        if let (true, Some(on_trouble), Some(error)) = (is_new, on_trouble, error) {
            let _ = catch_unwind(AssertUnwindSafe(|| on_trouble(self.class, &error)));
        }
    }
}

pub(super) fn start(shared: &Arc<Shared>, spillers: Vec<Spiller>) {
    let ours = Arc::clone(shared);
    let body = move || {
        let mut gone = Gone { shared: ours, spillers };
        run(&gone.shared, &mut gone.spillers);
    };
    if thread::Builder::new().name("stageflow-spill".to_owned()).spawn(body).is_err() {
        shared.disk_has_ended();
    }
}

fn run(shared: &Shared, spillers: &mut [Spiller]) {
    for spiller in spillers.iter_mut() {
        let error = spiller.store.open().err();
        spiller.note(shared, false, error);
    }
    let mut was_read = false;
    while let Some(job) = shared.next_disk_job(was_read) {
        was_read = matches!(job, DiskJob::Read(..));
        let (DiskJob::Write(class, ..) | DiskJob::Read(class, ..)) = job;
        let Some(spiller) = spillers.iter_mut().find(|spiller| spiller.class == class) else { continue };
        // What is dropped behind a job may be the user's: it panics after all is said.
        let _ = catch_unwind(AssertUnwindSafe(|| spiller.work(shared, job)));
    }
}

/// Deletes the files at the end of the thread, and says that it has ended.
struct Gone {
    shared: Arc<Shared>,
    spillers: Vec<Spiller>,
}

impl Drop for Gone {
    fn drop(&mut self) {
        for spiller in &mut self.spillers {
            spiller.store.close();
            spiller.note(&self.shared, false, None);
        }
        self.shared.disk_has_ended();
    }
}

#[cfg(test)]
mod tests;

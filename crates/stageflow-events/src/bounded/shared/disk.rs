//! What the thread for files shares with the others.

use std::{mem, sync::Arc};

use super::{
    DiskJob, DropReason, EventClass, Lost, OnTrouble, PoisonError, Shared, Spilled, Spiller, Thread, Waiter,
};

impl Shared {
    pub(in crate::bounded) fn set_on_trouble(&self, on_trouble: OnTrouble) {
        let before = self.lock().disk.on_trouble.replace(on_trouble);
        drop(before);
    }

    pub(in crate::bounded) fn spilled(&self, class: EventClass) -> Spilled {
        let state = self.lock();
        Spilled { events: state.backlog.away_in(class), ..state.disk.spilled[class as usize].clone() }
    }

    /// What the thread for files is to work for, if there is to be one.
    pub(in crate::bounded) fn take_spillers(&self) -> Vec<Spiller> {
        let mut state = self.lock();
        let spillers = mem::take(&mut state.disk.spillers);
        if !spillers.is_empty() {
            state.disk.thread = Thread::Awake;
        }
        spillers
    }

    /// Waits for something to do; `None` when there will be nothing any more.
    pub(in crate::bounded) fn next_disk_job(&self, was_read: bool) -> Option<DiskJob> {
        let mut state = self.lock();
        loop {
            state.disk.thread = Thread::Awake;
            if let Some(job) = state.backlog.disk_job(was_read) {
                return Some(job);
            }
            if state.backlog.is_closed() && state.backlog.account().spilled == 0 {
                return None;
            }
            state.disk.thread = Thread::Sleeps;
            state = self.disk.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    #[cfg(test)]
    pub(in crate::bounded) fn disk_rests(&self) -> bool {
        let state = self.lock();
        state.disk.thread == Thread::Sleeps && !state.backlog.has_disk_job()
    }

    pub(in crate::bounded) fn written(
        &self,
        class: EventClass,
        id: u64,
        kept: &[Waiter],
        lost: Vec<(Waiter, DropReason)>,
    ) {
        let mut gone = Lost::new();
        let mut state = self.lock();
        let before = state.backlog.written(class, id, kept, lost, &mut gone);
        self.unlock(state, &gone);
        drop(before);
    }

    pub(in crate::bounded) fn came_back(&self, class: EventClass, id: u64, read: Option<Vec<Waiter>>) {
        let mut state = self.lock();
        let rest = state.backlog.came_back(class, id, read);
        if matches!(state.thread, Thread::Naps | Thread::Sleeps) {
            state.thread = Thread::Awake;
            self.work.notify_one();
        }
        drop(state);
        drop(rest);
    }

    /// Says how it is; gives whom to tell of trouble.
    pub(in crate::bounded) fn note_spilled(
        &self,
        class: EventClass,
        bytes: u64,
        swept: u64,
        error: Option<&str>,
    ) -> Option<OnTrouble> {
        let mut state = self.lock();
        let spilled = &mut state.disk.spilled[class as usize];
        spilled.bytes = bytes;
        spilled.most_bytes = spilled.most_bytes.max(bytes);
        spilled.swept = swept;
        if let Some(error) = error {
            spilled.last_error = Some(error.to_owned());
        }
        state.disk.on_trouble.as_ref().map(Arc::clone)
    }

    pub(in crate::bounded) fn disk_has_ended(&self) {
        let mut state = self.lock();
        state.disk.thread = Thread::Ended;
        // There is something only if the thread has died: the sink does not wait for it.
        state.backlog.lose_parcels(DropReason::Unread);
        let gone = state.backlog.take_gone();
        self.work.notify_one();
        self.tell(state);
        drop(gone);
    }
}

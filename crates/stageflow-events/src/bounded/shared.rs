//! What those who emit, the thread of the sink and those who wait for it share.

mod disk;

use std::{
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use stageflow_core::{
    DropReason, Event, EventClass, SinkAccount,
    event::{
        Taken,
        backlog::{Backlog, DiskJob, Lost, Pushed, Room, Rooms, Rule, Waiter},
    },
};

use super::{
    spill::{OnTrouble, Spilled, Spiller},
    verdict::{Pressure, Receipt},
};

/// How many events go to a sink at a time.
const BATCH: usize = 256;
/// How long the thread naps when it finds nothing, and how often in a row, before it sleeps until it is woken: while
/// events come steadily nobody has to wake it.
const NAP: Duration = Duration::from_millis(1);
const NAPS: u32 = 20;
/// How long a shutdown whose time is up still waits for files to be deleted.
const TIDY: Duration = Duration::from_millis(100);

type OnDrop = Arc<dyn Fn(&Event, DropReason) + Send + Sync>;

pub(super) struct Shared {
    state: Mutex<State>,
    /// Whether the thread was started: a look without the lock.
    started: AtomicBool,
    /// The thread has something to do.
    work: Condvar,
    /// The thread for files has something to do.
    disk: Condvar,
    /// There may be room, or a thread has ended.
    moved: Condvar,
}

struct State {
    backlog: Backlog,
    on_drop: Option<OnDrop>,
    thread: Thread,
    disk: Disk,
    /// The place up to which somebody waits for a flush, and up to which there was one.
    flush: (u64, u64),
    wakers: Vec<Waker>,
    /// Threads that wait for room.
    waiting: usize,
    receipt: Option<Receipt>,
    /// The losses at the end have been told.
    said_all: bool,
}

/// The thread for files, where events spill.
struct Disk {
    thread: Thread,
    /// Until the thread has them.
    spillers: Vec<Spiller>,
    /// How it is, by class.
    spilled: [Spilled; EventClass::ALL.len()],
    on_trouble: Option<OnTrouble>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Thread {
    None,
    Awake,
    Naps,
    Sleeps,
    Ended,
}

/// What the thread is to do next.
pub(super) enum Work {
    Events(Vec<Event>),
    Flush(u64),
    Over,
}

impl Shared {
    pub(super) fn new(rooms: Rooms) -> Self {
        let disk = Disk {
            thread: Thread::None,
            spillers: Vec::new(),
            spilled: Default::default(),
            on_trouble: None,
        };
        let state = State {
            backlog: Backlog::new(rooms),
            on_drop: None,
            thread: Thread::None,
            disk,
            flush: (0, 0),
            wakers: Vec::new(),
            waiting: 0,
            receipt: None,
            said_all: false,
        };
        Self {
            state: Mutex::new(state),
            started: AtomicBool::new(false),
            work: Condvar::new(),
            disk: Condvar::new(),
            moved: Condvar::new(),
        }
    }

    pub(super) fn set_room(&self, class: EventClass, room: Room) {
        self.lock().backlog.set_room(class, room);
    }

    pub(super) fn set_spiller(&self, class: EventClass, spiller: Option<Spiller>) {
        let mut state = self.lock();
        state.disk.spillers.retain(|known| known.class() != class);
        state.disk.spillers.extend(spiller);
    }

    pub(super) fn set_on_drop(&self, on_drop: OnDrop) {
        let before = self.lock().on_drop.replace(on_drop);
        drop(before);
    }

    pub(super) fn account(&self) -> SinkAccount {
        self.lock().backlog.account()
    }

    pub(super) fn pressure(&self) -> Pressure {
        let state = self.lock();
        Pressure {
            queued: state.backlog.queued(),
            highest: state.backlog.highest(),
            capacity: state.backlog.capacity(),
            is_high: state.backlog.is_high(),
        }
    }

    pub(super) fn push_one(&self, event: Event, class: EventClass) -> Pushed {
        let mut lost = Lost::new();
        let mut state = self.lock();
        let pushed = state.backlog.push(event, class, &mut lost);
        self.unlock(state, &lost);
        pushed
    }

    /// Queues events, each of its own class or, where they are given, of these.
    pub(super) fn push_all(&self, events: Vec<Event>, classes: Option<Vec<EventClass>>) {
        let mut lost = Lost::new();
        let mut state = self.lock();
        match classes {
            None => state.backlog.push_all(events, &mut lost),
            Some(classes) => {
                for (event, class) in events.into_iter().zip(classes) {
                    state.backlog.push(event, class, &mut lost);
                }
            }
        }
        self.unlock(state, &lost);
    }

    /// Waits for room, where the policy says so.
    pub(super) fn push_waiting(&self, event: Event, class: EventClass) -> Pushed {
        let mut state = self.lock();
        if let Some(Room { rule: Rule::Wait(time), .. }) = state.backlog.room(class) {
            let until = now().checked_add(time);
            while !state.backlog.has_room(class) && !state.backlog.is_closed() {
                let left = until.map_or(time, |until| until.saturating_duration_since(now()));
                if left.is_zero() {
                    let (reason, mut lost) = (DropReason::Expired, Lost::new());
                    state.backlog.refuse(event, class, reason, &mut lost);
                    self.unlock(state, &lost);
                    return Pushed::Dropped(reason);
                }
                state.waiting += 1;
                state = wait(&self.moved, state, left);
                state.waiting -= 1;
            }
        }
        let mut lost = Lost::new();
        let pushed = state.backlog.push(event, class, &mut lost);
        self.unlock(state, &lost);
        pushed
    }

    /// Gives the lock back, wakes the thread if it sleeps, and tells of what was lost.
    fn unlock(&self, mut state: MutexGuard<'_, State>, lost: &Lost) {
        let wakes = match state.thread {
            Thread::Sleeps => true,
            Thread::Naps => state.backlog.is_high() || state.backlog.queued() >= BATCH * 4,
            Thread::None | Thread::Awake | Thread::Ended => false,
        };
        if wakes {
            state.thread = Thread::Awake;
        }
        let wakes_disk = state.disk.thread == Thread::Sleeps && state.backlog.has_disk_job();
        if wakes_disk {
            state.disk.thread = Thread::Awake;
        }
        let on_drop = if lost.is_empty() { None } else { state.on_drop.clone() };
        drop(state);
        if wakes {
            self.work.notify_one();
        }
        if wakes_disk {
            self.disk.notify_one();
        }
        if let Some(on_drop) = on_drop {
            for (event, reason) in lost {
                // What it panics with is no matter of whoever emits.
                let _ = catch_unwind(AssertUnwindSafe(|| on_drop(event, *reason)));
            }
        }
    }

    /// Whether there is work and no thread: then there is one from now on, unless [`has_no_thread`](Self::has_no_thread).
    pub(super) fn needs_thread(&self) -> bool {
        if self.started.load(Ordering::Relaxed) {
            return false;
        }
        let mut state = self.lock();
        let needs = state.thread == Thread::None && state.backlog.last() > 0;
        if needs {
            state.thread = Thread::Awake;
            self.started.store(true, Ordering::Relaxed);
        }
        needs
    }

    #[cfg(test)]
    pub(super) fn sleeps(&self) -> bool {
        self.lock().thread == Thread::Sleeps
    }

    pub(super) fn has_no_thread(&self) {
        let mut state = self.lock();
        state.thread = Thread::None;
        self.started.store(false, Ordering::Relaxed);
    }

    pub(super) fn has_ended(&self) {
        let mut state = self.lock();
        state.thread = Thread::Ended;
        self.tell(state);
    }

    /// Wakes everybody who waits.
    fn tell(&self, mut state: MutexGuard<'_, State>) {
        let wakers = mem::take(&mut state.wakers);
        drop(state);
        self.moved.notify_all();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Waits for something to do.
    pub(super) fn next(&self) -> Work {
        let mut naps = 0;
        let mut state = self.lock();
        loop {
            state.thread = Thread::Awake;
            let (wanted, done) = state.flush;
            let asked = wanted > done && state.backlog.is_settled_to(wanted);
            if asked && state.backlog.queued() > 0 {
                return Work::Flush(wanted);
            }
            let mut lost = Lost::new();
            let most = BATCH.min(state.backlog.capacity() / 4).max(1);
            let mut events = state.backlog.take(most, &mut lost);
            if events.is_empty() && !lost.is_empty() {
                // Something expired while what comes before it is still in a file.
                self.unlock(state, &lost);
                drop(lost);
                state = self.lock();
                continue;
            }
            let is_away = events.is_empty() && state.backlog.is_away();
            if events.is_empty() && !is_away && (asked || state.backlog.is_closed() && !state.said_all) {
                // Nothing may come any more: the last losses are told without an event behind them.
                state.said_all = state.backlog.is_closed();
                events = state.backlog.take_untold();
            }
            if !events.is_empty() {
                let frees = state.waiting > 0;
                self.unlock(state, &lost);
                if frees {
                    self.moved.notify_all();
                }
                return Work::Events(events);
            }
            if asked {
                return Work::Flush(wanted);
            }
            if state.backlog.is_closed() && !is_away {
                return Work::Over;
            }
            if is_away && state.disk.thread == Thread::Sleeps && state.backlog.has_disk_job() {
                state.disk.thread = Thread::Awake;
                self.disk.notify_one();
            }
            if naps < NAPS {
                naps += 1;
                state.thread = Thread::Naps;
                state = wait(&self.work, state, NAP);
            } else {
                state.thread = Thread::Sleeps;
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                naps = 0;
            }
        }
    }

    pub(super) fn settle(&self, taken: Option<Taken>) {
        let run = self.lock().backlog.settle(taken);
        // It is the user's.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(run)));
    }

    pub(super) fn flushed(&self, mark: u64) {
        let mut state = self.lock();
        state.flush.1 = state.flush.1.max(mark);
        self.tell(state);
    }

    /// The place up to which it has to be flushed; `None` if nothing was emitted.
    pub(super) fn ask_for_flush(&self) -> Option<u64> {
        let mut state = self.lock();
        let mark = state.backlog.last();
        if mark == 0 {
            return None;
        }
        // An earlier flush of the same place is no answer: the sink may have been busy with it.
        state.flush.0 = state.flush.0.max(mark);
        state.flush.1 = state.flush.1.min(mark - 1);
        drop(state);
        self.work.notify_one();
        Some(mark)
    }

    pub(super) fn poll_flushed(&self, mark: u64, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        let over = matches!(state.thread, Thread::None | Thread::Ended) || state.receipt.is_some();
        if state.flush.1 >= mark || over {
            return Poll::Ready(());
        }
        state.wakers.push(cx.waker().clone());
        Poll::Pending
    }

    /// Lets nothing in any more, and waits for the thread to end.
    pub(super) fn shut_down(&self, budget: Duration) -> Receipt {
        let mut state = self.close();
        let until = now().checked_add(budget);
        while !matches!(state.thread, Thread::None | Thread::Ended) && state.receipt.is_none() {
            let left = until.map_or(budget, |until| until.saturating_duration_since(now()));
            if left.is_zero() {
                break;
            }
            state = wait(&self.moved, state, left);
        }
        let mut lost = Lost::new();
        let in_files = state.backlog.account().spilled;
        let abandoned = state.backlog.abandon(&mut lost);
        let gone = state.backlog.take_gone();
        state = self.tidy_up(state, until);
        let (stuck, account) = (state.backlog.in_hand(), state.backlog.account());
        let (before, before_in_files) =
            state.receipt.map_or((0, 0), |receipt| (receipt.abandoned, receipt.abandoned_in_files));
        let receipt = Receipt {
            account,
            abandoned: abandoned + before,
            abandoned_in_files: in_files + before_in_files,
            stuck,
        };
        state.receipt = Some(receipt);
        let wakers = mem::take(&mut state.wakers);
        self.unlock(state, &lost);
        self.moved.notify_all();
        wakers.into_iter().for_each(Waker::wake);
        drop(gone);
        receipt
    }

    /// Gives the thread for files the time to delete them.
    fn tidy_up<'a>(&self, mut state: MutexGuard<'a, State>, until: Option<Instant>) -> MutexGuard<'a, State> {
        self.disk.notify_one();
        let grace = now().checked_add(TIDY);
        let until = until.max(grace);
        while matches!(state.disk.thread, Thread::Awake | Thread::Sleeps) {
            let left = until.map_or(TIDY, |until| until.saturating_duration_since(now()));
            if left.is_zero() {
                break;
            }
            state = wait(&self.moved, state, left);
        }
        state
    }

    pub(super) fn poll_receipt(&self, cx: &mut Context<'_>) -> Option<Receipt> {
        let mut state = self.lock();
        if state.receipt.is_none() {
            state.wakers.push(cx.waker().clone());
        }
        state.receipt
    }

    /// The sink is not needed any more: waits for a while until everything is delivered.
    pub(super) fn leave(&self, linger: Duration) {
        let mut state = self.close();
        let until = now().checked_add(linger);
        let lives = |thread| !matches!(thread, Thread::None | Thread::Ended);
        while (lives(state.thread) || lives(state.disk.thread)) && state.receipt.is_none() {
            let left = until.map_or(linger, |until| until.saturating_duration_since(now()));
            if left.is_zero() {
                return;
            }
            state = wait(&self.moved, state, left);
        }
    }

    fn close(&self) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        state.backlog.close();
        state.flush.0 = state.backlog.last();
        state.flush.1 = state.flush.1.min(state.flush.0.saturating_sub(1));
        self.work.notify_one();
        self.disk.notify_one();
        self.moved.notify_all();
        state
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wait<'a>(on: &Condvar, state: MutexGuard<'a, State>, time: Duration) -> MutexGuard<'a, State> {
    on.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner).0
}

#[expect(clippy::disallowed_methods, reason = "threads wait by the machine's time")]
fn now() -> Instant {
    Instant::now()
}

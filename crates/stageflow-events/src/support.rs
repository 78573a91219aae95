//! Events and sinks for the tests of this crate.

use std::{
    sync::{Arc, Condvar, Mutex},
    time::SystemTime,
};

use stageflow_core::{
    ContextSnapshot, CustomEvent, Event, EventKind, EventSink, RunInfo, RunOutcome,
    event::{EventRecord, StageNames},
};

struct Names;

impl StageNames for Names {
    fn stage_name(&self, _: u32) -> &str {
        "fetch"
    }
}

/// A run of its own.
pub(crate) fn run() -> Arc<RunInfo> {
    let snapshot = ContextSnapshot::builder().tenant("acme").build();
    Arc::new(RunInfo::new(Arc::new(snapshot), SystemTime::UNIX_EPOCH, Arc::new(Names)))
}

pub(crate) fn event(run: &Arc<RunInfo>, seq: u64, kind: EventKind) -> Event {
    Event::new(Arc::clone(run), EventRecord { seq, nanos: seq * 1_000, stage: 0, attempt: 1, kind })
}

pub(crate) fn started(run: &Arc<RunInfo>, numbers: impl IntoIterator<Item = u64>) -> Vec<Event> {
    numbers.into_iter().map(|seq| event(run, seq, EventKind::StageStarted)).collect()
}

pub(crate) fn says(run: &Arc<RunInfo>, seq: u64, name: &str, text: &str) -> Event {
    event(run, seq, EventKind::Custom(Arc::new(CustomEvent::new(name, [("text", text)]))))
}

pub(crate) fn ended() -> EventKind {
    EventKind::PipelineEnded { outcome: RunOutcome::Completed, failure: None, cancelled: None }
}

/// A sink that takes nothing before it is opened.
#[derive(Clone, Default)]
pub(crate) struct Door(Arc<(Mutex<Inside>, Condvar)>);

#[derive(Default)]
struct Inside {
    open: bool,
    arrived: bool,
    seen: Vec<Event>,
    flushed: u32,
}

impl Door {
    pub(crate) fn open(&self) {
        self.0.0.lock().unwrap().open = true;
        self.0.1.notify_all();
    }

    /// Waits until an event stands before it.
    pub(crate) fn wait_for_somebody(&self) {
        let inside = self.0.0.lock().unwrap();
        drop(self.0.1.wait_while(inside, |inside| !inside.arrived).unwrap());
    }

    pub(crate) fn seen(&self) -> Vec<Event> {
        self.0.0.lock().unwrap().seen.clone()
    }

    pub(crate) fn flushed(&self) -> u32 {
        self.0.0.lock().unwrap().flushed
    }
}

impl EventSink for Door {
    fn on_event(&self, event: &Event) {
        let mut inside = self.0.0.lock().unwrap();
        inside.arrived = true;
        self.0.1.notify_all();
        let mut inside = self.0.1.wait_while(inside, |inside| !inside.open).unwrap();
        inside.seen.push(event.clone());
    }

    fn on_flush(&self) {
        self.0.0.lock().unwrap().flushed += 1;
    }
}

/// The numbers that were seen, and for gaps how many are missing.
pub(crate) fn numbers(events: &[Event]) -> Vec<Result<u64, u64>> {
    let number = |event: &Event| match event.kind() {
        EventKind::Gap { losses, .. } => Err(losses.total() + losses.elsewhere()),
        _ => Ok(event.seq()),
    };
    events.iter().map(number).collect()
}

/// Polls on this thread until there is a result.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut cx = std::task::Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut cx) {
            std::task::Poll::Ready(output) => return output,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}

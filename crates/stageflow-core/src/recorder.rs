//! A sink that keeps every event in memory.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use crate::event::{Delivery, Event, EventSink, Taken};

/// Keeps every event in memory, in the order of delivery: for tests and for looking at a run afterwards.
///
/// Clones share one record. It is unbounded by design: attach it to runs of known size.
///
/// ```
/// use stageflow_core::Recorder;
/// let recorder = Recorder::new();
/// let sink = recorder.clone(); // goes to `Engine::builder().sink(…)`
/// assert!(recorder.events().is_empty());
/// # let _ = sink;
/// ```
#[derive(Clone, Default)]
pub struct Recorder {
    events: Arc<Mutex<Vec<Event>>>,
}

impl Recorder {
    /// An empty record.
    pub fn new() -> Self {
        Self::default()
    }

    /// All events so far.
    pub fn events(&self) -> Vec<Event> {
        self.lock().clone()
    }

    /// The names of all events so far, each with its stage: `stage.completed fetch`.
    pub fn lines(&self) -> Vec<String> {
        self.lock()
            .iter()
            .map(|event| match event.stage() {
                Some(stage) => format!("{} {stage}", event.name()),
                None => event.name().into_owned(),
            })
            .collect()
    }

    /// How many events there are.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Forgets all events.
    pub fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Event>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EventSink for Recorder {
    fn on_event(&self, event: &Event) {
        self.lock().push(event.clone());
    }

    fn take_all(&self, mut events: Vec<Event>) -> Taken {
        let taken = Taken::all(&events);
        self.lock().append(&mut events);
        taken
    }

    fn delivery(&self) -> Delivery {
        Delivery::Inline
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("events", &self.len()).finish()
    }
}

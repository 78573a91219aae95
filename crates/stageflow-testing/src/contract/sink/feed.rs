//! Hands events to a sink from several threads, and looks at the time.

use std::{
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use stageflow_core::{Event, EventSink};

use crate::contract::drive::{guarded, message};

/// What became of the events.
#[derive(Default)]
pub(super) struct Fed {
    /// The events the sink panicked on, and what it said.
    pub(super) panics: Vec<(String, String)>,
    /// The event that took longest.
    pub(super) slowest: Option<(String, Duration)>,
    /// How many threads have not come back.
    pub(super) stuck: usize,
}

/// Hands over the events of each run, in order, from a thread for each.
///
/// The threads block, and so does this: it waits for the machine's time, which a paused clock of tokio's would jump over.
pub(super) fn feed<S: EventSink>(sink: &Arc<S>, runs: &[Vec<Event>], limit: Duration) -> Fed {
    let (tell, told) = mpsc::channel();
    for run in runs {
        let (sink, run, tell) = (Arc::clone(sink), run.clone(), tell.clone());
        thread::spawn(move || {
            for event in &run {
                let began = now();
                let panic = guarded(|| sink.on_event(event)).err();
                let panic = panic.map(|payload| message(&payload));
                let told = tell.send(Told::Event(event.name().into_owned(), began.elapsed(), panic));
                if told.is_err() {
                    return;
                }
            }
            // Nobody may listen any more: then it was too slow, which is known.
            let _told = tell.send(Told::Ended);
        });
    }
    let mut fed = Fed { stuck: runs.len(), ..Fed::default() };
    // Longer than the limit, so that what is merely slow is told from what is stuck.
    while fed.stuck > 0 {
        match told.recv_timeout(limit.saturating_mul(2)) {
            Ok(Told::Event(name, took, panic)) => {
                if let Some(panic) = panic {
                    fed.panics.push((name.clone(), panic));
                }
                if fed.slowest.as_ref().is_none_or(|(_, most)| took > *most) {
                    fed.slowest = Some((name, took));
                }
            }
            Ok(Told::Ended) => fed.stuck -= 1,
            Err(_) => break,
        }
    }
    fed
}

enum Told {
    Event(String, Duration, Option<String>),
    Ended,
}

#[expect(clippy::disallowed_methods, reason = "what blocks a thread takes the machine's time, not the run's")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}

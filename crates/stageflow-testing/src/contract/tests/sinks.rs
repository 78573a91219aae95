//! Sinks that obey, and sinks that do not.

use std::{
    collections::BTreeSet,
    sync::{Arc, Condvar, Mutex},
};

use stageflow_core::{Delivery, Event, EventSink, Recorder, RunId};

use super::breaks;
use crate::contract;

struct Calls<F>(F, Delivery);

impl<F: Fn(&Event) + Send + Sync + 'static> EventSink for Calls<F> {
    fn on_event(&self, event: &Event) {
        (self.0)(event);
    }

    fn delivery(&self) -> Delivery {
        self.1
    }
}

/// A sink of a function.
fn calls<F: Fn(&Event) + Send + Sync + 'static>(call: F, delivery: Delivery) -> Calls<F> {
    Calls(call, delivery)
}

/// A sink that keeps what a function makes of each event.
struct Keeps(Mutex<Vec<(RunId, u64)>>, Keep);

type Keep = fn(&mut Vec<(RunId, u64)>, (RunId, u64));

impl EventSink for Keeps {
    fn on_event(&self, event: &Event) {
        (self.1)(&mut self.0.lock().unwrap(), (event.run_id(), event.seq()));
    }
}

async fn kept(keep: Keep) -> Result<(), contract::ContractError> {
    contract::sink_that_keeps(Keeps(Mutex::default(), keep), |sink| sink.0.lock().unwrap().clone()).await
}

#[tokio::test(start_paused = true)]
async fn sinks_that_obey_pass() {
    contract::sink(Recorder::new()).await.unwrap();
    let keeps =
        |recorder: &Recorder| recorder.events().iter().map(|event| (event.run_id(), event.seq())).collect();
    contract::sink_that_keeps(Recorder::new(), keeps).await.unwrap();
    contract::sink(calls(|event| drop(serde_json::to_string(event)), Delivery::default())).await.unwrap();
    kept(Vec::push).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn it_is_given_events_of_every_kind() {
    let names = Arc::new(Mutex::new(BTreeSet::new()));
    let seen = Arc::clone(&names);
    let sink = calls(move |event| seen.lock().unwrap().extend([event.name().into_owned()]), Delivery::Inline);
    contract::sink(sink).await.unwrap();
    let names = names.lock().unwrap();
    let expected = [
        "contract.said",
        "events.gap",
        "pipeline.cancelled",
        "pipeline.child_started",
        "pipeline.cleanup_failed",
        "pipeline.completed",
        "pipeline.failed",
        "pipeline.started",
        "stage.blocked",
        "stage.cancelled",
        "stage.completed",
        "stage.failed",
        "stage.skipped",
        "stage.started",
    ];
    assert_eq!(names.iter().map(String::as_str).collect::<Vec<_>>(), expected);
}

#[tokio::test(start_paused = true)]
async fn it_must_not_panic() {
    let sink = calls(|event| assert!(event.stage().is_some(), "no stage"), Delivery::Inline);
    breaks(
        contract::sink(sink).await,
        "a sink takes every kind of event without panicking",
        "given `pipeline.started`: no stage",
    );
}

#[tokio::test(start_paused = true)]
async fn it_must_say_how_it_is_given_events() {
    let rule = "a sink says how it is given events";
    breaks(
        contract::sink(calls(|_| {}, Delivery::Queued { capacity: 0 })).await,
        rule,
        "a queue without room",
    );
}

/// Blocks until it is let go: the thread of the check is left behind, so the test lets it go.
#[tokio::test(start_paused = true)]
async fn it_must_not_block() {
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let closed = Arc::clone(&gate);
    let sink = calls(
        move |_| {
            let (open, changed) = &*closed;
            drop(changed.wait_while(open.lock().unwrap(), |open| !*open).unwrap());
        },
        Delivery::Inline,
    );
    let result = contract::sink(sink).await;
    *gate.0.lock().unwrap() = true;
    gate.1.notify_all();
    breaks(result, "a sink does not block", "1 of 1 threads still wait in it");
}

#[tokio::test(start_paused = true)]
async fn it_must_not_be_slow() {
    let sink = calls(
        |event| {
            if event.name() == "pipeline.completed" {
                // Longer than is allowed, and shorter than what counts as stuck.
                let never = (Mutex::new(()), Condvar::new());
                let wait = std::time::Duration::from_millis(600);
                drop(never.1.wait_timeout_while(never.0.lock().unwrap(), wait, |()| true).unwrap());
            }
        },
        Delivery::Inline,
    );
    breaks(contract::sink(sink).await, "a sink does not block", "`pipeline.completed` took ");
}

/// Two runs that wait for each other.
#[tokio::test(start_paused = true)]
async fn it_must_take_events_of_several_runs() {
    struct Turns {
        state: Mutex<(Option<RunId>, bool)>,
        changed: Condvar,
    }
    struct OneRunOnly(Arc<Turns>);
    impl EventSink for OneRunOnly {
        fn on_event(&self, event: &Event) {
            let mut state = self.0.state.lock().unwrap();
            let own = event.run_id();
            if event.name() == "pipeline.started" {
                state.0.get_or_insert(own);
            }
            // Another run's events wait for ever, once the first has ended.
            state = self.0.changed.wait_while(state, |state| !state.1 && state.0 != Some(own)).unwrap();
            drop(state);
        }

        fn delivery(&self) -> Delivery {
            Delivery::Inline
        }
    }
    let turns = Arc::new(Turns { state: Mutex::default(), changed: Condvar::new() });
    let result = contract::sink(OneRunOnly(Arc::clone(&turns))).await;
    turns.state.lock().unwrap().1 = true;
    turns.changed.notify_all();
    breaks(result, "a sink takes events of several runs at the same time", " threads still wait in it");
}

#[tokio::test(start_paused = true)]
async fn it_must_keep_every_event_once() {
    let rule = "a sink keeps every event once";
    breaks(
        kept(|all, event| {
            if event.1 != 1 {
                all.push(event);
            }
        })
        .await,
        rule,
        "it kept [3, 4",
    );
    breaks(kept(|all, event| all.extend([event, event])).await, rule, "it kept [1, 1, ");
}

#[tokio::test(start_paused = true)]
async fn it_must_keep_events_in_order() {
    let rule = "a sink keeps the events of a run in the order of their sequence numbers";
    breaks(kept(|all, event| all.insert(0, event)).await, rule, "given [1, 3, 4");
}

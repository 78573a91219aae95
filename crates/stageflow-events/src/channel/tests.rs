//! The stream of a channel, on its own.

use stageflow_core::EventSink;

use super::*;
use crate::support::{block_on, ended, event, numbers, run, started};

/// S-29: in order, what does not fit is announced, and the end of the run has room.
#[test]
fn a_reader_is_told_what_it_missed() {
    let ((sink, mut events), run) = (channel(8), run());
    sink.take_all(started(&run, 1..=20));
    sink.on_event(&event(&run, 21, ended()));
    assert!(events.account().is_balanced());
    drop(sink);
    let mut seen = Vec::new();
    while let Some(event) = block_on(events.next()) {
        seen.push(event);
        assert!(events.account().is_balanced());
    }
    assert_eq!(numbers(&seen)[6..], [Ok(7), Err(13), Ok(21)]);
    assert_eq!((events.account().delivered, events.account().dropped_full), (8, 13));
}

/// Losses that no event stands behind are told at the end.
#[test]
fn the_last_losses_are_told_before_the_end() {
    let ((sink, mut events), run) = (channel(1), run());
    sink.take_all(started(&run, 1..=5));
    drop(sink);
    let mut seen = Vec::new();
    while let Some(event) = block_on(events.next()) {
        seen.push(event);
    }
    assert_eq!(numbers(&seen), [Ok(1), Err(4)]);
}

/// A reader that waits is woken by an event of another thread, and by the end.
#[test]
fn a_reader_that_waits_is_woken() {
    let ((sink, mut events), run) = (channel(8), run());
    let reader = std::thread::spawn(move || {
        let first = block_on(events.next()).map(|event| event.seq());
        (first, block_on(events.next()).is_none())
    });
    sink.take_all(started(&run, 1..=1));
    drop(sink);
    assert_eq!(reader.join().unwrap(), (Some(1), true));
}

/// Nobody reads any more: what waits and what comes is counted.
#[test]
fn what_nobody_reads_is_counted() {
    let ((sink, events), run) = (channel(8), run());
    sink.take_all(started(&run, 1..=3));
    drop(events);
    sink.take_all(started(&run, 4..=5));
    let account = sink.own_account().expect("it has one");
    assert_eq!((account.dropped_abandoned, account.dropped_closed, account.in_flight), (3, 2, 0));
    assert!(account.is_balanced());
}

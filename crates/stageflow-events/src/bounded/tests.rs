//! Bounded sinks, without an engine.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use stageflow_core::{DropReason, EventClass, EventKind, EventSink, Recorder};

use super::*;
use crate::{
    FanOut, sink_fn,
    support::{Door, block_on, ended, event, numbers, run, says, started},
};

const LONG: Duration = Duration::from_secs(20);

/// KEEP 18.12-255, 258: what finds no room is refused, counted and told, with the event and the reason.
#[test]
fn a_full_queue_says_so() {
    let (door, run, told) = (Door::default(), run(), Arc::new(Mutex::new(Vec::new())));
    let log = Arc::clone(&told);
    let sink =
        door.clone().bounded(8).on_drop(move |event, why| log.lock().unwrap().push((event.seq(), why)));
    let decision = |seq| says(&run, seq, "breaker.opened", "");
    assert_eq!(sink.emit(decision(1)), Verdict::Queued);
    door.wait_for_somebody();
    let verdicts: Vec<_> = (2..=10).map(|seq| sink.emit(decision(seq))).collect();
    assert_eq!(verdicts[7..], [Verdict::Queued, Verdict::Dropped(DropReason::Full)]);
    assert_eq!(*told.lock().unwrap(), [(10, DropReason::Full)]);
    let account = sink.account();
    assert!(account.is_balanced());
    assert_eq!((account.emitted, account.in_flight, account.dropped_full), (10, 9, 1));
    assert!((account.drop_rate() - 0.1).abs() < 1e-9);
    door.open();
    assert!(sink.shutdown_blocking(LONG).is_complete());
    assert_eq!(numbers(&door.seen()), (1..=9).map(Ok).chain([Err(1)]).collect::<Vec<_>>());
}

/// S-29, M2: what ends something survives a flood of progress behind a sink that does not move.
#[test]
fn ends_survive_a_flood_of_a_million() {
    let (door, run) = (Door::default(), run());
    let sink = door.clone().bounded(100);
    for batch in 0..1_000_u64 {
        let mut events = started(&run, (1..=1_000).map(|n| batch * 1_001 + n));
        events.push(event(&run, (batch + 1) * 1_001, EventKind::StageCompleted));
        sink.take_all(events);
    }
    assert!(sink.account().is_balanced());
    door.open();
    let receipt = sink.shutdown_blocking(LONG);
    assert!(receipt.is_complete(), "{receipt}");
    let seen = door.seen();
    let ends = seen.iter().filter(|event| event.kind().is_terminal()).count();
    assert_eq!(ends, 1_000);
    let missing: u64 = numbers(&seen).into_iter().filter_map(Result::err).sum();
    assert_eq!(missing, receipt.account.dropped());
    assert_eq!(receipt.account.dropped(), receipt.account.dropped_evicted);
    assert_eq!(receipt.account.emitted, 1_001_000);
    assert!(seen.is_sorted_by_key(Event::seq));
}

/// KEEP 18.12-259: a dead sink holds up a shutdown for its budget and no longer; what it leaves is counted.
#[test]
fn a_dead_sink_does_not_hold_up_a_shutdown() {
    let (door, run) = (Door::default(), run());
    let sink = door.clone().bounded(100);
    sink.take_all(started(&run, 1..=1));
    door.wait_for_somebody();
    sink.take_all(started(&run, 2..=50));
    let meter = sink.meter();
    let receipt = block_on(sink.shutdown(Duration::from_millis(20)));
    assert_eq!((receipt.stuck, receipt.abandoned), (1, 49));
    assert!(receipt.account.is_balanced() && !receipt.is_complete());
    assert_eq!(sink.emit(event(&run, 51, ended())), Verdict::Dropped(DropReason::Closed));
    assert!(meter.account().is_balanced());
    block_on(sink.flush());
    drop(sink);
    door.open();
    assert_eq!(meter.account().emitted, 51);
}

/// A sink that comes back after a shutdown that gave it up has delivered what it had.
#[test]
fn what_was_stuck_is_delivered_when_it_comes_back() {
    let (door, run) = (Door::default(), run());
    let sink = door.clone().bounded(100);
    sink.take_all(started(&run, 1..=3));
    door.wait_for_somebody();
    let stuck = sink.shutdown_blocking(Duration::ZERO).stuck;
    assert!((1..=3).contains(&stuck));
    door.open();
    while sink.account().in_flight > 0 {
        thread::yield_now();
    }
    let account = sink.account();
    assert_eq!((account.delivered, account.dropped_abandoned), (stuck, 3 - stuck));
}

/// KEEP 18.12-257: the thread survives what the sink panics on, and each such event is a drop with a gap.
#[test]
fn a_panic_is_a_drop_and_a_gap() {
    let recorder = Recorder::new();
    let (keep, run) = (recorder.clone(), run());
    let sink = sink_fn(move |event| {
        assert!(event.is_gap() || event.seq() != 3, "an unlucky number");
        keep.on_event(event);
    })
    .bounded(100);
    for seq in 1..=5 {
        sink.take_all(started(&run, [seq]));
        block_on(sink.flush());
    }
    assert_eq!(sink.account().dropped_panic, 1);
    assert_eq!(numbers(&recorder.events()), [Ok(1), Ok(2), Err(1), Ok(4), Ok(5)]);
}

/// A flush waits for what was emitted before it, not for what comes later, and flushes the sink.
#[test]
fn a_flush_reaches_the_sink() {
    let (door, run) = (Door::default(), run());
    let sink = Arc::new(door.clone().bounded(100));
    block_on(sink.flush());
    assert_eq!(door.flushed(), 0);
    door.open();
    sink.take_all(started(&run, 1..=10));
    block_on(sink.flush());
    assert_eq!((door.seen().len(), door.flushed()), (10, 1));
    block_on(sink.flush());
    assert_eq!(door.flushed(), 2);
    assert!(sink.shutdown_blocking(LONG).is_complete());
    assert_eq!((sink.account().delivered, door.flushed()), (10, 3));
}

/// Dropped without a shutdown, it delivers what it has.
#[test]
fn a_drop_loses_nothing() {
    let (recorder, run) = (Recorder::new(), run());
    let sink = recorder.clone().bounded(1_000);
    let meter = sink.meter();
    sink.take_all(started(&run, 1..=500));
    drop(sink);
    assert_eq!(recorder.len(), 500);
    assert_eq!((meter.account().delivered, meter.account().in_flight), (500, 0));
}

/// A dead sink holds up its drop for the time it lingers, and what is left stays counted.
#[test]
fn a_drop_does_not_wait_for_ever() {
    let (door, run) = (Door::default(), run());
    let sink = door.clone().bounded(1_000).linger(Duration::from_millis(5));
    let meter = sink.meter();
    sink.take_all(started(&run, 1..=10));
    drop(sink);
    assert_eq!((meter.account().in_flight, meter.account().emitted), (10, 10));
    door.open();
    while meter.account().in_flight > 0 {
        thread::yield_now();
    }
    assert_eq!(door.seen().len(), 10);
}

/// Whoever asks for it waits for room, as long as the policy says.
#[test]
fn emit_blocking_waits_for_room() {
    let (door, run) = (Door::default(), run());
    let sink = |time| door.clone().bounded(4).class(EventClass::Progress, Policy::wait(time).capacity(1));
    let short = sink(Duration::from_millis(5));
    let mut seqs = 1..;
    let mut next = || started(&run, seqs.next()).remove(0);
    assert_eq!(short.emit(next()), Verdict::Queued);
    door.wait_for_somebody();
    assert_eq!(short.emit(next()), Verdict::Queued);
    assert_eq!(short.emit_blocking(next()), Verdict::Dropped(DropReason::Expired));
    let long = Arc::new(sink(LONG));
    assert_eq!(long.emit(next()), Verdict::Queued);
    while long.pressure().queued > 0 {
        thread::yield_now();
    }
    assert_eq!(long.emit(next()), Verdict::Queued);
    assert_eq!(long.emit(next()), Verdict::Waiting);
    let (waiter, last) = (Arc::clone(&long), next());
    let waiter = thread::spawn(move || waiter.emit_blocking(last));
    door.open();
    assert!(waiter.join().unwrap().is_accepted());
    assert!(long.shutdown_blocking(LONG).is_complete());
    assert!(short.account().is_balanced() && long.account().dropped() == 0);
}

/// The table can be replaced, and a classifier that panics falls back on it.
#[test]
fn classes_can_be_chosen() {
    let (door, run) = (Door::default(), run());
    let sink = door.clone().bounded(1).class(EventClass::Debug, Policy::drop_newest().capacity(2)).classify(
        |event| {
            assert!(event.seq() != 4, "it cannot say");
            EventClass::Debug
        },
    );
    sink.take_all(started(&run, 1..=1));
    door.wait_for_somebody();
    sink.take_all(started(&run, 2..=5));
    // Two of debug, and the fourth is progress by the table.
    assert_eq!((sink.account().in_flight, sink.account().dropped_full), (4, 1));
    door.open();
}

/// A sink that is stuck does not keep the others of a fan-out from their events.
#[test]
fn a_fan_out_isolates() {
    let (door, run) = (Door::default(), run());
    let (inline, queued) = (Recorder::new(), Recorder::new());
    let keep = queued.clone();
    let sinks = FanOut::new()
        .to(door.clone())
        .to(sink_fn(|_| panic!("broken")))
        .to(inline.clone())
        .to(sink_fn(move |event| keep.on_event(event)));
    sinks.take_all(started(&run, 1..=10));
    assert_eq!(inline.len(), 10);
    while queued.len() < 10 || sinks.accounts()[1].in_flight > 0 {
        thread::yield_now();
    }
    let accounts = sinks.accounts();
    assert!(accounts.iter().all(SinkAccount::is_balanced));
    assert_eq!((accounts[0].in_flight, accounts[1].dropped_panic, accounts[2].delivered), (10, 10, 10));
    door.open();
    block_on(EventSink::flushing(&sinks).expect("it hands events on later"));
    assert_eq!(door.seen().len(), 10);
}

/// A filter hides events and no gaps.
#[test]
fn a_filter_hides_events_and_no_gaps() {
    let (run, recorder) = (run(), Recorder::new());
    let other = Recorder::new();
    let odd = recorder.clone().filter(|event| event.seq() % 2 == 1);
    odd.take_all(started(&run, 1..=6));
    odd.take_all(vec![Event::gap(Arc::clone(&run), 8, 0, stageflow_core::Losses::default())]);
    assert_eq!(numbers(&recorder.events()), [Ok(1), Ok(3), Ok(5), Err(0)]);
    let ends = other.clone().only([EventClass::Terminal]).only_tenant("acme");
    ends.take_all(vec![event(&run, 1, EventKind::StageStarted), event(&run, 2, ended())]);
    assert_eq!(numbers(&other.events()), [Ok(2)]);
    let nobody = other.clone().only_tenant("umbrella");
    nobody.take_all(vec![event(&run, 3, ended())]);
    assert_eq!(other.len(), 1);
}

/// A thread that has found nothing for a while sleeps, and the next event wakes it.
#[test]
fn an_event_wakes_the_thread() {
    let (send, receive) = std::sync::mpsc::channel();
    let (send, run) = (Mutex::new(send), run());
    let sink = sink_fn(move |event| send.lock().unwrap().send(event.seq()).unwrap()).bounded(100);
    for seq in 1..=3 {
        sink.take_all(started(&run, [seq]));
        assert_eq!(receive.recv_timeout(LONG), Ok(seq));
        while !sink.shared.sleeps() {
            thread::yield_now();
        }
    }
}

/// S-29: a flush reaches those that have a queue of their own behind this one.
#[test]
fn s_29_a_flush_reaches_the_queues_behind() {
    let (door, run) = (Door::default(), run());
    door.open();
    let sink = FanOut::new().to(door.clone()).bounded(100);
    sink.take_all(started(&run, 1..=3));
    block_on(sink.flush());
    assert_eq!((numbers(&door.seen()), door.flushed()), ((1..=3).map(Ok).collect(), 1));
    // A sink that is stuck behind two queues holds up a shutdown for its budget and no longer.
    let stuck = Door::default();
    let sink = FanOut::new().to(stuck.clone()).bounded(100).linger(Duration::ZERO);
    sink.take_all(started(&run, 1..=3));
    stuck.wait_for_somebody();
    let receipt = sink.shutdown_blocking(Duration::from_millis(50));
    assert_eq!((receipt.account.delivered, receipt.account.in_flight), (3, 0));
    stuck.open();
}

//! Sinks that spill, without an engine: what comes back, and what becomes of it when the disk fails.

mod faults;
mod law;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use stageflow_core::{DropReason, Event, EventClass, EventKind, EventSink, RunInfo};

use super::{super::*, Spilled};
use crate::{
    sink_fn,
    support::{Door, block_on, ended, event, numbers, run, started},
};

const LONG: Duration = Duration::from_secs(60);
const PROGRESS: EventClass = EventClass::Progress;

/// A directory that is gone at the end of the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("stageflow-test-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }

    /// The segments in it.
    fn segments(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for directory in fs::read_dir(&self.0).into_iter().flatten().flatten() {
            let files = fs::read_dir(directory.path()).into_iter().flatten().flatten();
            found.extend(files.map(|file| file.path()).filter(|path| path.extension().is_some()));
        }
        found
    }

    fn bytes(&self) -> u64 {
        self.segments().iter().filter_map(|path| path.metadata().ok()).map(|data| data.len()).sum()
    }

    /// A sink has a directory in it.
    fn is_locked(&self) -> bool {
        let entries = fs::read_dir(&self.0).into_iter().flatten().flatten();
        entries.map(|entry| entry.path().join("lock")).any(|lock| lock.exists())
    }

    /// Nothing of a sink is left.
    fn is_tidy(&self) -> bool {
        fs::read_dir(&self.0).is_ok_and(|entries| entries.flatten().all(|entry| entry.path().is_file()))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn until(mut is_so: impl FnMut() -> bool) {
    while !is_so() {
        thread::yield_now();
    }
}

fn spills<S: EventSink>(sink: S, directory: &Path) -> Bounded<S> {
    sink.bounded(100).class(PROGRESS, Policy::spill(directory).hand_over(1_000))
}

/// Emits as fast as the files take it, so that nothing is dropped at the door.
fn pour<S: EventSink>(sink: &Bounded<S>, events: Vec<Event>) {
    for event in events {
        while sink.pressure().queued > 900 {
            thread::yield_now();
        }
        assert!(sink.emit(event).is_accepted());
    }
}

/// Has the sink stand before the door with the first event, so that nothing is read before it is opened.
fn stop<S: EventSink>(sink: &Bounded<S>, run: &Arc<RunInfo>, door: &Door) {
    pour(sink, started(run, 1..=1));
    door.wait_for_somebody();
}

/// Waits until what can be written is.
fn settle<S: EventSink>(sink: &Bounded<S>) -> Spilled {
    until(|| sink.spilled(PROGRESS).bytes > 0 && sink.shared.disk_rests());
    sink.spilled(PROGRESS)
}

/// S-29: a million events flood a room of a thousand before a slow sink: none is lost, memory is bounded, the order is kept.
#[test]
fn s_29_a_million_events_wait_in_files() {
    let (scratch, run, door) = (Scratch::new("million"), run(), Door::default());
    let (gate, last) = (door.clone(), Arc::new(AtomicU64::new(0)));
    let seen = Arc::clone(&last);
    let slow = sink_fn(move |event| {
        if event.seq() == 1 {
            gate.on_event(event);
        }
        if event.seq() % 128 == 0 {
            thread::yield_now();
        }
        let before = seen.swap(event.seq(), Ordering::SeqCst);
        assert!(!event.is_gap() && event.seq() == before + 1, "{event} after {before}");
    });
    let sink = slow.bounded(1_000).class(PROGRESS, Policy::spill(&scratch.0).hand_over(4_000));
    for batch in 0..1_000 {
        until(|| sink.pressure().queued < 3_000);
        sink.take_all(started(&run, batch * 1_000 + 1..=(batch + 1) * 1_000));
        assert!(sink.account().is_balanced());
    }
    until(|| sink.pressure().queued < 1_000 + 256);
    let (pressure, spilled) = (sink.pressure(), sink.spilled(PROGRESS));
    assert!(pressure.highest <= 5_000, "{pressure:?}");
    assert!(spilled.events > 995_000 && spilled.bytes > 10_000_000, "{spilled:?}");
    assert_eq!(sink.account().spilled, spilled.events);
    door.open();
    let receipt = sink.shutdown_blocking(LONG);
    assert!(receipt.is_complete(), "{receipt}");
    assert_eq!((receipt.account.delivered, last.load(Ordering::SeqCst)), (1_000_000, 1_000_000));
    assert!(sink.pressure().highest <= 5_000 && scratch.is_tidy());
    assert_eq!((sink.spilled(PROGRESS).bytes, sink.spilled(PROGRESS).last_error), (0, None));
}

/// Nothing is written as long as there is room, and an event that has to wait says so.
#[test]
fn only_what_finds_no_room_is_written() {
    let (scratch, run, door) = (Scratch::new("room"), run(), Door::default());
    let sink = spills(door.clone(), &scratch.0);
    let verdicts: Vec<_> = started(&run, 1..=101).into_iter().map(|event| sink.emit(event)).collect();
    assert!(verdicts[..100].iter().all(|verdict| *verdict == Verdict::Queued));
    door.wait_for_somebody();
    pour(&sink, started(&run, 102..=300));
    assert_eq!(sink.emit(started(&run, [301]).remove(0)), Verdict::Spilling);
    assert_eq!(sink.spilled(PROGRESS), Spilled::default());
    pour(&sink, started(&run, 302..=1_000));
    assert!(settle(&sink).events > 300);
    door.open();
    assert!(sink.shutdown_blocking(LONG).is_complete());
    assert_eq!(numbers(&door.seen()), (1..=1_000).map(Ok).collect::<Vec<_>>());
}

/// A later event of another class does not overtake what is in files, and a flush waits for all of it.
#[test]
fn s_29_nothing_overtakes_what_is_in_files() {
    let (scratch, run, door) = (Scratch::new("order"), run(), Door::default());
    let other = crate::support::run();
    let sink = spills(door.clone(), &scratch.0);
    stop(&sink, &run, &door);
    pour(&sink, started(&run, 2..=3_000));
    let _ = sink.emit(event(&run, 3_001, ended()));
    pour(&sink, started(&other, 1..=2_000));
    let _ = sink.emit(event(&other, 2_001, ended()));
    assert!(settle(&sink).events > 4_000);
    door.open();
    assert!(!scratch.segments().is_empty());
    block_on(sink.flush());
    // What is read is deleted, not only at the end.
    assert!(scratch.segments().is_empty() && sink.spilled(PROGRESS).bytes == 0);
    let expected: Vec<_> = (1..=3_001).chain(1..=2_001).map(Ok).collect();
    assert_eq!(numbers(&door.seen()), expected);
    assert!(door.seen()[3_000..].iter().all(|event| event.seq() > 3_000 || event.run_id() == other.run_id()));
    drop(sink);
    assert!(scratch.is_tidy());
}

/// A dead sink: the shutdown drops what is in files as well, says so, and deletes them.
#[test]
fn a_shutdown_abandons_what_is_in_files() {
    let (scratch, run, door) = (Scratch::new("abandon"), run(), Door::default());
    let sink = spills(door.clone(), &scratch.0);
    stop(&sink, &run, &door);
    pour(&sink, started(&run, 2..=5_000));
    let spilled = settle(&sink).events;
    assert!(!scratch.segments().is_empty() && !scratch.is_tidy());
    let receipt = sink.shutdown_blocking(Duration::from_millis(5));
    assert_eq!(receipt.abandoned_in_files, spilled);
    assert_eq!(receipt.abandoned + receipt.stuck, 5_000);
    assert!(receipt.account.is_balanced() && receipt.account.spilled == 0);
    assert!(receipt.to_string().contains(&format!("{spilled} abandoned in files")));
    until(|| scratch.is_tidy());
    door.open();
    until(|| sink.account().in_flight == 0);
    assert_eq!(sink.account().delivered, receipt.stuck);
}

/// `max_bytes` is never exceeded; what it leaves no room for is dropped, and told before what comes behind.
#[test]
fn files_are_bounded() {
    let (scratch, run, door) = (Scratch::new("bytes"), run(), Door::default());
    let policy = Policy::spill(&scratch.0).hand_over(1_000).max_bytes(40_000);
    let sink = door.clone().bounded(100).class(PROGRESS, policy);
    for batch in 0..20 {
        pour(&sink, started(&run, batch * 500 + 1..=(batch + 1) * 500));
        assert!(scratch.bytes() <= 40_000);
    }
    until(|| sink.account().dropped_full > 5_000);
    let spilled = settle(&sink);
    assert!((20_000..=40_000).contains(&spilled.most_bytes), "{spilled:?}");
    door.open();
    let receipt = sink.shutdown_blocking(LONG);
    let seen = numbers(&door.seen());
    let told: u64 = seen.iter().filter_map(|seen| seen.err()).sum();
    assert_eq!((told, receipt.account.dropped()), (receipt.account.dropped_full, told));
    assert_eq!(receipt.account.delivered + told, 10_000);
    assert!(
        seen.iter().filter_map(|seen| seen.ok()).is_sorted() && sink.spilled(PROGRESS).last_error.is_none()
    );
}

/// A flood that is faster than the disk finds the hand-over full, and is counted.
#[test]
fn a_full_hand_over_drops_what_is_new() {
    let (scratch, run, door) = (Scratch::new("hand-over"), run(), Door::default());
    let sink = spills(door.clone(), &scratch.0);
    let (send, told) = std::sync::mpsc::channel();
    let send = Mutex::new(send);
    let sink = sink.on_drop(move |event, why| send.lock().unwrap().send((event.seq(), why)).unwrap());
    // All under one lock: the thread for files cannot come between.
    sink.take_all(started(&run, 1..=5_000));
    assert_eq!(sink.account().dropped_full, 3_900);
    assert_eq!(told.try_iter().next(), Some((1_101, DropReason::Full)));
    door.open();
    assert!(sink.shutdown_blocking(LONG).is_complete());
    assert_eq!(*numbers(&door.seen()).last().unwrap(), Err(3_900));
    assert_eq!(door.seen().len(), 1_101);
}

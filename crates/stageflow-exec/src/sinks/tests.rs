//! Accounts of queues and the order of delivery, on their own.

use std::{
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::SystemTime,
};

use stageflow_core::{
    ContextSnapshot, Delivery, Event, EventKind, EventSink, RunInfo, RunOutcome, SinkAccount,
    event::{EventRecord, NO_STAGE, StageNames},
};
use tokio::runtime::Handle;

use super::{Queue, RunEvents, SinkHandle};

struct Names;

impl StageNames for Names {
    fn stage_name(&self, _: u32) -> &str {
        "s"
    }
}

fn info() -> Arc<RunInfo> {
    Arc::new(RunInfo::new(
        Arc::new(ContextSnapshot::builder().build()),
        SystemTime::UNIX_EPOCH,
        Arc::new(Names),
    ))
}

fn event(info: &Arc<RunInfo>, seq: u64, kind: EventKind) -> Event {
    Event::new(Arc::clone(info), EventRecord { seq, nanos: 0, stage: 0, attempt: 1, kind })
}

fn started(info: &Arc<RunInfo>, numbers: std::ops::RangeInclusive<u64>) -> Vec<Event> {
    numbers.map(|seq| event(info, seq, EventKind::StageStarted)).collect()
}

fn ended() -> EventKind {
    EventKind::PipelineEnded { outcome: RunOutcome::Completed, failure: None, cancelled: None }
}

fn is_lawful(account: SinkAccount) -> bool {
    account.emitted == account.delivered + account.dropped() + account.in_flight
}

/// Reads what is there: the numbers, and for gaps how many are missing.
fn read(queue: &Queue) -> Vec<Result<u64, u64>> {
    let mut cx = Context::from_waker(Waker::noop());
    let mut seen = Vec::new();
    while let Poll::Ready(Some(event)) = queue.poll_next(&mut cx) {
        assert!(is_lawful(queue.account()));
        seen.push(match event.kind() {
            EventKind::Gap { dropped, .. } => Err(*dropped),
            _ => Ok(event.seq()),
        });
    }
    seen
}

/// S-29: the law holds after each step, and what is missing is announced before what comes after it.
#[test]
fn a_full_queue_drops_counts_and_announces() {
    let (queue, info) = (Queue::new(8), info());
    queue.push(started(&info, 1..=10));
    let account = queue.account();
    assert!(is_lawful(account));
    assert_eq!((account.emitted, account.in_flight, account.dropped_full), (10, 7, 3));
    queue.push(vec![event(&info, 11, EventKind::StageCompleted)]);
    assert_eq!(read(&queue), [Ok(1), Ok(2), Ok(3), Ok(4), Ok(5), Ok(6), Ok(7), Err(3), Ok(11)]);
    let account = queue.account();
    assert_eq!((account.delivered, account.dropped(), account.in_flight), (8, 3, 0));
}

/// What ends a stage has the last eighth for itself, and the end of the run is dropped last of all.
#[test]
fn ends_are_dropped_last() {
    let (queue, info) = (Queue::new(16), info());
    queue.push(started(&info, 1..=20));
    assert_eq!(queue.account().in_flight, 14);
    for seq in 21..=24 {
        queue.push(vec![event(&info, seq, EventKind::StageCompleted)]);
    }
    assert_eq!((queue.account().in_flight, queue.account().dropped_full), (16, 8));
    queue.push(vec![event(&info, 25, ended())]);
    let seen = read(&queue);
    assert_eq!(seen[14..], [Err(6), Ok(21), Ok(22), Err(2), Ok(25)]);
    assert!(is_lawful(queue.account()));
}

/// No capacity is one.
#[test]
fn a_queue_of_nothing_holds_one() {
    let (queue, info) = (Queue::new(0), info());
    queue.push(started(&info, 1..=2));
    assert_eq!(read(&queue), [Ok(1)]);
    queue.push(started(&info, 3..=3));
    assert_eq!(read(&queue), [Err(1), Ok(3)]);
}

/// Whoever waits is woken by the next event and by the end, each of them.
#[test]
fn every_reader_is_woken() {
    struct Flag(std::sync::atomic::AtomicBool);
    impl std::task::Wake for Flag {
        fn wake(self: Arc<Self>) {
            self.0.store(true, std::sync::atomic::Ordering::SeqCst);
        }
    }
    let (queue, info) = (Queue::new(8), info());
    for end in [false, true] {
        let flags = [false, false].map(|woken| Arc::new(Flag(woken.into())));
        for flag in &flags {
            let waker = Waker::from(Arc::clone(flag));
            assert!(queue.poll_next(&mut Context::from_waker(&waker)).is_pending());
        }
        if end {
            queue.close();
        } else {
            queue.push(started(&info, 1..=1));
        }
        assert!(flags.iter().all(|flag| flag.0.load(std::sync::atomic::Ordering::SeqCst)), "{end}");
        read(&queue);
    }
    assert!(matches!(queue.poll_next(&mut Context::from_waker(Waker::noop())), Poll::Ready(None)));
}

#[derive(Clone, Default)]
struct Numbers(Arc<Mutex<Vec<u64>>>);

impl EventSink for Numbers {
    fn on_event(&self, event: &Event) {
        assert_ne!(event.seq(), 13, "an unlucky number");
        self.0.lock().unwrap().push(event.seq());
    }

    fn delivery(&self) -> Delivery {
        Delivery::Inline
    }
}

fn to_sink(numbers: &Numbers) -> (RunEvents, Arc<SinkHandle>) {
    let sink = Arc::new(SinkHandle::new(numbers.clone()));
    (RunEvents::new(|| RunInfo::clone(&info()), [Arc::clone(&sink)], None, &Handle::current()).unwrap(), sink)
}

/// S-28: events that come out of order go out in order, once those before them are there.
#[tokio::test]
async fn events_go_out_in_the_order_of_their_numbers() {
    let (numbers, info) = (Numbers::default(), info());
    let (events, sink) = to_sink(&numbers);
    let mut made: Vec<_> = (0..6)
        .map(|_| events.record(0, 0, 1, EventKind::StageStarted).expect("it is not the end"))
        .map(|record| Event::new(Arc::clone(&info), record))
        .collect();
    let late = made.split_off(3);
    events.deliver(late);
    assert!(numbers.0.lock().unwrap().is_empty());
    let second = made.split_off(1);
    events.deliver(second);
    assert!(numbers.0.lock().unwrap().is_empty());
    events.deliver(made);
    assert_eq!(*numbers.0.lock().unwrap(), [1, 2, 3, 4, 5, 6]);
    assert_eq!(sink.account().delivered, 6);
}

/// After the last event nothing gets a number, and there is one last event.
#[tokio::test]
async fn nothing_comes_after_the_last_event() {
    let (numbers, info) = (Numbers::default(), info());
    let (events, _) = to_sink(&numbers);
    let first = events.record(0, NO_STAGE, 0, EventKind::PipelineStarted).expect("it is not the end");
    let last = events.last_record(0, NO_STAGE, ended()).expect("it is the first end");
    assert_eq!((first.seq, last.seq), (1, 2));
    assert!(events.record(0, 0, 1, EventKind::StageStarted).is_none());
    assert!(events.last_record(0, NO_STAGE, ended()).is_none());
    assert!(!events.is_settled());
    events.deliver([first, last].map(|record| Event::new(Arc::clone(&info), record)).into());
    assert!(events.is_settled());
    assert_eq!(*numbers.0.lock().unwrap(), [1, 2]);
}

/// S-9, S-29: a sink that panics is asked again; what it panicked on is counted.
#[tokio::test]
async fn a_panic_of_a_sink_is_a_drop_with_a_reason() {
    let (numbers, info) = (Numbers::default(), info());
    let sink = SinkHandle::new(numbers.clone());
    for seq in [12, 13, 14] {
        sink.deliver(vec![event(&info, seq, EventKind::StageStarted)], &Handle::current());
        assert!(is_lawful(sink.account()));
    }
    let account = sink.account();
    assert_eq!((account.delivered, account.dropped_panic, account.in_flight), (2, 1, 0));
    assert_eq!(*numbers.0.lock().unwrap(), [12, 14]);
}

/// S-29: a flush has those losses told that no event stands behind.
#[tokio::test]
async fn a_flush_tells_the_last_losses() {
    type Seen = Mutex<Vec<Result<u64, u64>>>;
    #[derive(Clone, Default)]
    struct Slow(Arc<(Seen, std::sync::atomic::AtomicBool)>);
    impl EventSink for Slow {
        fn on_event(&self, event: &Event) {
            while !self.0.1.load(std::sync::atomic::Ordering::SeqCst) {
                std::thread::yield_now();
            }
            self.0.0.lock().unwrap().push(match event.kind() {
                EventKind::Gap { dropped, .. } => Err(*dropped),
                _ => Ok(event.seq()),
            });
        }
        fn delivery(&self) -> Delivery {
            Delivery::Queued { capacity: 2 }
        }
    }
    let (slow, info) = (Slow::default(), info());
    let sink = SinkHandle::new(slow.clone());
    sink.deliver(started(&info, 1..=5), &Handle::current());
    slow.0.1.store(true, std::sync::atomic::Ordering::SeqCst);
    sink.flushed().await;
    assert_eq!(*slow.0.0.lock().unwrap(), [Ok(1), Ok(2), Err(3)]);
    assert!(is_lawful(sink.account()));
}

/// Behind a queue of the engine's.
struct Queued(Numbers);

impl EventSink for Queued {
    fn on_event(&self, event: &Event) {
        self.0.on_event(event);
    }
}

/// S-29: what a runtime that has ended was to deliver is delivered by a flush on another; it does not wait for ever.
#[test]
fn s_29_a_flush_drains_what_a_runtime_that_ended_has_left() {
    let (numbers, info) = (Numbers::default(), info());
    let sink = SinkHandle::new(Queued(numbers.clone()));
    let ended = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let handle = ended.handle().clone();
    drop(ended);
    sink.deliver(started(&info, 1..=3), &handle);
    assert_eq!(sink.account().in_flight, 3, "nobody has drained");
    let other = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let limit = std::time::Duration::from_secs(5);
    let flushed = other.block_on(async { tokio::time::timeout(limit, sink.flushed()).await });
    assert!(flushed.is_ok(), "{}", sink.account());
    assert_eq!(*numbers.0.lock().unwrap(), [1, 2, 3]);
    assert_eq!((sink.account().delivered, sink.account().in_flight), (3, 0));
}

/// What a run carries is the user's: it is dropped when no lock is held, may look at the sink, and may panic.
#[test]
fn what_a_run_carries_is_dropped_outside_of_the_lock() {
    struct Looks(Arc<SinkHandle>, std::sync::mpsc::Sender<SinkAccount>);
    impl Drop for Looks {
        fn drop(&mut self) {
            let _gone = self.1.send(self.0.account());
            panic!("when it was dropped");
        }
    }
    let sink = Arc::new(SinkHandle::new(Queued(Numbers::default())));
    let (told, seen) = std::sync::mpsc::channel();
    let snapshot = ContextSnapshot::builder().extension(Looks(Arc::clone(&sink), told)).build();
    let info = Arc::new(RunInfo::new(Arc::new(snapshot), SystemTime::UNIX_EPOCH, Arc::new(Names)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    sink.deliver(started(&info, 1..=2), runtime.handle());
    drop(info);
    let limit = std::time::Duration::from_secs(5);
    let seen = seen.recv_timeout(limit);
    let flushed = runtime.block_on(async { tokio::time::timeout(limit, sink.flushed()).await });
    runtime.shutdown_background();
    assert_eq!(seen.map(|account| account.emitted), Ok(2));
    assert!(flushed.is_ok(), "somebody drains still");
}

/// What a panic carries is the sink's as well, and may panic in its turn.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("when it was dropped");
    }
}

struct Bombs(Delivery);

impl EventSink for Bombs {
    fn on_event(&self, event: &Event) {
        if event.seq() == 2 {
            std::panic::panic_any(Bomb);
        }
    }

    fn delivery(&self) -> Delivery {
        self.0
    }
}

/// S-9, S-29: no worker feels it, and only the event is lost that the sink panicked on.
#[tokio::test]
async fn s_29_a_panic_that_panics_when_it_is_dropped_is_a_drop_as_well() {
    let info = info();
    for delivery in [Delivery::Inline, Delivery::Queued { capacity: 100 }] {
        let sink = SinkHandle::new(Bombs(delivery));
        sink.deliver(started(&info, 1..=3), &Handle::current());
        sink.flushed().await;
        let account = sink.account();
        assert_eq!((account.delivered, account.dropped_panic, account.in_flight), (2, 1, 0), "{delivery:?}");
    }
}

//! Disks that fail: what cannot be written or read is counted and told, and the rest is delivered.

use std::{collections::BTreeMap, error::Error, fmt, fs::File, io};

use stageflow_core::{ErrorClass, Failure, code, event::EventRecord, exit::FailSpec};

use super::{
    super::{Media, Spiller},
    *,
};

/// A disk in memory that fails when it is told to.
#[derive(Clone, Default)]
pub(super) struct Broken(Arc<Mutex<Inside>>);

#[derive(Default)]
struct Inside {
    segments: BTreeMap<u64, Vec<u8>>,
    pub(super) faults: Faults,
    failed: u64,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    pub(super) open: bool,
    /// Writes fail, with half of the bytes written; of so many one, and zero for none.
    pub(super) write: u64,
    pub(super) read: u64,
    count: u64,
}

impl Faults {
    pub(super) fn of(open: bool, write: u64, read: u64) -> Self {
        Self { open, write, read, count: 0 }
    }

    fn strikes(&mut self, every: u64) -> bool {
        self.count += 1;
        every > 0 && self.count.is_multiple_of(every)
    }
}

impl Broken {
    pub(super) fn set(&self, faults: Faults) {
        self.0.lock().unwrap().faults = faults;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.lock().unwrap().segments.is_empty()
    }

    pub(super) fn failed(&self) -> u64 {
        self.0.lock().unwrap().failed
    }

    pub(super) fn below<S: EventSink>(&self, sink: S, policy: Spill) -> Bounded<S> {
        let max_bytes = Policy::from(policy.clone()).files().map_or(0, |files| files.max_bytes);
        let sink = sink.bounded(100).class(PROGRESS, policy);
        sink.shared.set_spiller(PROGRESS, Some(Spiller::with(PROGRESS, Box::new(self.clone()), max_bytes)));
        sink
    }
}

impl Inside {
    fn fail(&mut self, fails: bool) -> io::Result<()> {
        self.failed += u64::from(fails);
        if fails { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl Media for Broken {
    fn open(&mut self) -> io::Result<u64> {
        let mut inside = self.0.lock().unwrap();
        let fails = inside.faults.open;
        inside.fail(fails).map(|()| 0)
    }

    fn write(&mut self, segment: u64, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut inside = self.0.lock().unwrap();
        let every = inside.faults.write;
        let fails = inside.faults.strikes(every);
        let file = inside.segments.entry(segment).or_default();
        assert_eq!(file.len() as u64, at);
        file.extend(&bytes[..if fails { bytes.len() / 2 } else { bytes.len() }]);
        inside.fail(fails)
    }

    fn read(&mut self, segment: u64, at: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut inside = self.0.lock().unwrap();
        let every = inside.faults.read;
        let fails = inside.faults.strikes(every);
        inside.fail(fails)?;
        let file = inside.segments.get(&segment).ok_or(io::ErrorKind::NotFound)?;
        let at = usize::try_from(at).unwrap();
        file.get(at..at + length).map(<[u8]>::to_vec).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn delete(&mut self, segment: u64) -> io::Result<()> {
        self.0.lock().unwrap().segments.remove(&segment);
        Ok(())
    }

    fn close(&mut self) {
        self.0.lock().unwrap().segments.clear();
    }
}

fn policy() -> Spill {
    Policy::spill("").hand_over(1_000)
}

/// Delivered events and losses that were told make up all numbers.
fn sum(seen: &[Event]) -> (u64, u64) {
    let seen = numbers(seen);
    let events = seen.iter().filter_map(|seen| seen.ok());
    assert!(events.clone().is_sorted());
    (events.count() as u64, seen.iter().filter_map(|seen| seen.err()).sum())
}

/// A full disk: events are dropped for a reason of its own, it is told once, and when there is space again it goes on.
#[test]
fn s_29_a_full_disk_is_counted_and_told_once() {
    let (disk, run, door) = (Broken::default(), run(), Door::default());
    let told = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&told);
    let sink = disk.below(door.clone(), policy());
    let sink = sink.on_spill_trouble(move |class, what| log.lock().unwrap().push((class, what.to_owned())));
    stop(&sink, &run, &door);
    pour(&sink, started(&run, 2..=2_000));
    settle(&sink);
    disk.set(Faults { write: 1, ..Faults::default() });
    pour(&sink, started(&run, 2_001..=6_000));
    until(|| sink.account().dropped_unwritten > 2_000);
    assert!(disk.failed() > 2);
    assert_eq!(told.lock().unwrap().len(), 1);
    disk.set(Faults::default());
    pour(&sink, started(&run, 6_001..=8_000));
    settle(&sink);
    disk.set(Faults { write: 1, ..Faults::default() });
    pour(&sink, started(&run, 8_001..=10_000));
    until(|| told.lock().unwrap().len() == 2);
    door.open();
    let receipt = sink.shutdown_blocking(LONG);
    assert!(receipt.is_complete() && receipt.account.is_balanced());
    assert_eq!(receipt.account.dropped(), receipt.account.dropped_unwritten);
    assert_eq!(sum(&door.seen()), (receipt.account.delivered, receipt.account.dropped_unwritten));
    assert_eq!(receipt.account.emitted, 10_000);
    assert!(sink.spilled(PROGRESS).last_error.unwrap().starts_with("a segment cannot be written"));
    assert_eq!(told.lock().unwrap()[0].0, PROGRESS);
}

/// While a disk is full, what is on it is read: that is no news of the trouble.
#[test]
fn a_full_disk_that_is_read_is_told_once() {
    let (disk, run) = (Broken::default(), run());
    let told = Arc::new(AtomicU64::new(0));
    let log = Arc::clone(&told);
    let sink = disk.below(sink_fn(|_| thread::yield_now()), policy());
    let sink = sink.on_spill_trouble(move |_, _| {
        log.fetch_add(1, Ordering::SeqCst);
    });
    sink.take_all(started(&run, 1..=1_000));
    until(|| sink.shared.disk_rests());
    disk.set(Faults { write: 1, ..Faults::default() });
    let mut next = 1_001;
    while disk.failed() < 20 {
        sink.take_all(started(&run, next..next + 1_000));
        next += 1_000;
    }
    assert!(sink.shutdown_blocking(LONG).is_complete());
    assert!(sink.account().dropped_unwritten > 0);
    assert_eq!(told.load(Ordering::SeqCst), 1);
}

/// A directory that cannot be used at first is tried again.
#[test]
fn a_directory_is_tried_again() {
    let (disk, run, door) = (Broken::default(), run(), Door::default());
    disk.set(Faults { open: true, ..Faults::default() });
    let sink = disk.below(door.clone(), policy());
    stop(&sink, &run, &door);
    pour(&sink, started(&run, 2..=1_000));
    until(|| sink.account().dropped_unwritten > 500);
    assert!(sink.spilled(PROGRESS).last_error.unwrap().starts_with("the directory cannot be used"));
    disk.set(Faults::default());
    pour(&sink, started(&run, 1_001..=2_000));
    assert!(settle(&sink).events > 0);
    door.open();
    let account = sink.shutdown_blocking(LONG).account;
    assert_eq!(sum(&door.seen()), (account.delivered, account.dropped_unwritten));
}

/// Where the directory should be is a file: the events are dropped, and nobody else feels it.
#[test]
fn a_directory_that_is_none() {
    let (scratch, run, door) = (Scratch::new("none"), run(), Door::default());
    fs::write(&scratch.0, "a file").unwrap();
    let sink = spills(door.clone(), &scratch.0);
    stop(&sink, &run, &door);
    pour(&sink, started(&run, 2..=2_000));
    until(|| sink.account().dropped_unwritten > 1_000);
    let _ = sink.emit(event(&run, 2_001, ended()));
    door.open();
    let account = sink.shutdown_blocking(LONG).account;
    assert_eq!(account.dropped(), account.dropped_unwritten);
    assert_eq!(sum(&door.seen()), (account.delivered, account.dropped()));
    assert_eq!(fs::read(&scratch.0).unwrap(), b"a file");
    fs::remove_file(&scratch.0).unwrap();
}

/// One changed byte loses the parcel it is in, and no other.
#[test]
fn s_29_a_damaged_segment_loses_what_is_damaged() {
    let (scratch, run, door) = (Scratch::new("damage"), run(), Door::default());
    let sink = spills(door.clone(), &scratch.0);
    stop(&sink, &run, &door);
    pour(&sink, started(&run, 2..=3_000));
    let spilled = settle(&sink).events;
    let segment = scratch.segments().remove(0);
    let mut bytes = fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&segment, bytes).unwrap();
    door.open();
    let receipt = sink.shutdown_blocking(LONG);
    let account = receipt.account;
    assert!(receipt.is_complete());
    assert!((1..=1_024).contains(&account.dropped_unread) && account.dropped_unread < spilled, "{account}");
    assert_eq!((account.dropped(), account.emitted), (account.dropped_unread, 3_000));
    assert_eq!(sum(&door.seen()), (account.delivered, account.dropped_unread));
    assert_eq!(sink.spilled(PROGRESS).last_error.as_deref(), Some("a segment is damaged"));
    let gap = door.seen().into_iter().find(Event::is_gap).unwrap();
    let EventKind::Gap { losses, .. } = gap.kind() else { panic!("{gap}") };
    assert_eq!(losses.for_reason(DropReason::Unread), account.dropped_unread);
    let (first, last) = losses.numbers().unwrap();
    assert_eq!(
        (last - first + 1, losses.of_class(PROGRESS)),
        (account.dropped_unread, account.dropped_unread)
    );
}

/// Files and directory are removed underneath: what was there is lost, what comes goes to new ones.
#[test]
fn what_is_removed_underneath_is_counted() {
    let (scratch, run, door) = (Scratch::new("removed"), run(), Door::default());
    let sink = spills(door.clone(), &scratch.0);
    stop(&sink, &run, &door);
    pour(&sink, started(&run, 2..=3_000));
    let spilled = settle(&sink).events;
    fs::remove_dir_all(&scratch.0).unwrap();
    door.open();
    block_on(sink.flush());
    let account = sink.account();
    assert_eq!((account.dropped_unread, account.dropped()), (spilled, spilled));
    assert_eq!(sum(&door.seen()), (account.delivered, account.dropped_unread));
    assert!(sink.shutdown_blocking(LONG).is_complete());
}

/// The first write after the directory is gone fails; the next makes another.
#[test]
fn a_directory_that_is_gone_is_made_again() {
    let (scratch, run, door) = (Scratch::new("again"), run(), Door::default());
    let sink = spills(door.clone(), &scratch.0);
    pour(&sink, started(&run, 1..=1));
    until(|| scratch.is_locked());
    fs::remove_dir_all(&scratch.0).unwrap();
    door.wait_for_somebody();
    pour(&sink, started(&run, 2..=3_000));
    assert!(settle(&sink).events > 0);
    assert!(sink.account().dropped_unwritten > 0);
    door.open();
    let account = sink.shutdown_blocking(LONG).account;
    assert_eq!(sum(&door.seen()), (account.delivered, account.dropped_unwritten));
}

/// What a dead process has left is deleted and reported; what is somebody's is left alone.
#[test]
fn left_overs_of_the_dead_are_deleted() {
    let (scratch, run, door) = (Scratch::new("left-overs"), run(), Door::default());
    let make = |name: &str, files: &[&str]| {
        let path = scratch.0.join(name);
        fs::create_dir_all(&path).unwrap();
        files.iter().for_each(|file| fs::write(path.join(file), "left").unwrap());
        path
    };
    let dead = make("stageflow-spill-1-0", &["lock", "0.seg", "1.seg"]);
    let unlocked = make("stageflow-spill-1-1", &["0.seg"]);
    let lives = make("stageflow-spill-1-2", &["lock", "0.seg"]);
    let lock = File::open(lives.join("lock")).unwrap();
    lock.lock().unwrap();
    let foreign = make("stageflow-spill-1-3", &["lock", "0.seg", "letter.txt"]);
    let other = make("photos", &["lock", "0.seg"]);
    let sink = spills(door.clone(), &scratch.0);
    pour(&sink, started(&run, 1..=1));
    until(|| sink.spilled(PROGRESS).swept > 0);
    assert_eq!(sink.spilled(PROGRESS).swept, 4);
    assert!(!dead.exists() && !unlocked.exists());
    assert!(lives.join("0.seg").exists() && other.join("0.seg").exists());
    assert!(foreign.join("letter.txt").exists() && !foreign.join("0.seg").exists());
    let second = spills(Door::default(), &scratch.0);
    pour(&second, started(&run, 1..=1));
    until(|| fs::read_dir(&scratch.0).unwrap().count() == 6);
    assert_eq!(second.spilled(PROGRESS).swept, 0);
    door.open();
    drop(sink);
    second.shutdown_blocking(Duration::ZERO);
    drop(lock);
}

/// The files are nobody else's business.
#[cfg(unix)]
#[test]
fn files_are_their_owners() {
    use std::os::unix::fs::MetadataExt;
    let (scratch, run, door) = (Scratch::new("modes"), run(), Door::default());
    let sink = spills(door.clone(), &scratch.0);
    stop(&sink, &run, &door);
    pour(&sink, started(&run, 2..=2_000));
    settle(&sink);
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    let segment = scratch.segments().remove(0);
    let own = segment.parent().unwrap();
    assert_eq!((mode(&segment), mode(&own.join("lock"))), (0o600, 0o600));
    assert_eq!((mode(own), mode(&scratch.0)), (0o700, 0o700));
    door.open();
}

#[derive(Debug)]
struct Mute;

impl fmt::Display for Mute {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("it cannot be said")
    }
}

impl Error for Mute {}

/// A thousand failures come back as they are; of further ones the text. One that cannot be said is lost alone.
#[test]
fn failures_come_back() {
    let (disk, run, door) = (Broken::default(), run(), Door::default());
    let sink = disk.below(door.clone(), policy()).classify(|_| PROGRESS);
    let failed = |seq: u64| {
        let error: Box<dyn Error + Send + Sync> =
            if seq == 2_990 { Box::new(Mute) } else { Box::new(io::Error::other(format!("no {seq}"))) };
        let (code, class) = (code::STAGE_FAILED, ErrorClass::Unclassified);
        let failure = Failure::new("fetch", 1, FailSpec::new(code, class, error));
        Event::new(
            Arc::clone(&run),
            EventRecord { seq, nanos: 0, stage: 0, attempt: 1, kind: EventKind::StageFailed(failure) },
        )
    };
    pour(&sink, (1..=3_400).map(failed).collect());
    until(|| sink.account().dropped_unwritten == 1);
    settle(&sink);
    door.open();
    assert!(sink.shutdown_blocking(LONG).is_complete());
    let typed = |event: &&Event| match event.kind() {
        EventKind::StageFailed(failure) => failure.cause().is::<io::Error>(),
        _ => false,
    };
    let seen = door.seen();
    assert!((1_024..2_000).contains(&seen.iter().filter(typed).count()));
    for event in seen.iter().filter(|event| !event.is_gap()) {
        let EventKind::StageFailed(failure) = event.kind() else { panic!("{event}") };
        assert_eq!(failure.message(), format!("no {}", event.seq()));
    }
    assert_eq!(sum(&seen), (3_399, 1));
}

/// What expires while the next event in order is still in a file is told like any other drop.
#[test]
fn what_expires_behind_a_file_is_told() {
    let (disk, run, door) = (Broken::default(), run(), Door::default());
    let told = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&told);
    let sink = disk
        .below(door.clone(), policy().capacity(1).hand_over(1))
        .class(EventClass::Decision, Policy::wait(Duration::ZERO).capacity(1))
        .on_drop(move |event, why| log.lock().unwrap().push((event.seq(), why)));
    for seq in 1..=4 {
        assert!(sink.emit(event(&run, seq, EventKind::StageStarted)).is_accepted());
        if seq == 1 {
            door.wait_for_somebody();
        }
        until(|| sink.shared.disk_rests());
    }
    assert!(sink.account().spilled > 0);
    // Nothing is read from here on, while the sink takes what is in memory before it.
    let inside = disk.0.lock().unwrap();
    door.open();
    until(|| sink.account().delivered >= 2 && sink.account().in_flight == sink.account().spilled);
    for seq in 5..=6 {
        let decided = Event::new(
            Arc::clone(&run),
            EventRecord {
                seq,
                nanos: 0,
                stage: 0,
                attempt: 1,
                kind: EventKind::Custom(Arc::new(stageflow_core::CustomEvent::new("retry.x", [("a", "b")]))),
            },
        );
        assert!(sink.emit(decided).is_accepted());
    }
    until(|| sink.account().dropped_expired == 1);
    drop(inside);
    assert!(sink.shutdown_blocking(LONG).is_complete());
    assert_eq!(*told.lock().unwrap(), [(6, DropReason::Expired)]);
}

//! Files: what is written, what is lost, what is read back.

use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
};

use stageflow_core::{ErrorClass, Failure, code, exit::FailSpec};

use super::*;
use crate::{
    SinkExt,
    support::{ended, event, run, says, started},
};

/// A folder that is gone with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("stageflow-json-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn file(&self) -> PathBuf {
        self.0.join("events.jsonl")
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(&self.0)
            .unwrap()
            .map(|one| one.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn numbers(path: impl AsRef<Path>) -> Vec<u64> {
    JsonLines::read(path).unwrap().map(|event| event.unwrap().seq).collect()
}

/// Whatever a text holds, an event is one line, and reads back as it was.
#[test]
fn hostile_text_stays_on_its_line() {
    let (folder, run) = (Folder::new(), run());
    let sink = JsonLines::create(folder.file()).unwrap();
    let hostile = ["\n{\"event\":\"forged\"}\n", "\r\n", "\u{2028}\u{0}\u{1b}[2J", "\"}\\", "🦀"];
    for (seq, text) in (1..).zip(hostile) {
        sink.on_event(&says(&run, seq, text, text));
    }
    assert_eq!(fs::read_to_string(folder.file()).unwrap().lines().count(), hostile.len());
    let read: Vec<_> = JsonLines::read(folder.file()).unwrap().collect::<Result<_, _>>().unwrap();
    let texts: Vec<_> = read.iter().map(|event| event.details["text"].as_str().unwrap().to_owned()).collect();
    assert_eq!(texts, hostile);
    assert_eq!(read.iter().map(|event| &*event.event).collect::<Vec<_>>(), hostile);
    assert!(read.iter().all(|event| event.run_id == run.run_id() && event.tenant.as_deref() == Some("acme")));
}

/// Files are put aside before they are too large, so many are kept, and no line is torn.
#[test]
fn files_are_put_aside() {
    let (folder, run) = (Folder::new(), run());
    let sink = JsonLines::create(folder.file()).unwrap().rotate(2_000, 2);
    for first in 0..10 {
        sink.take_all(started(&run, first * 10 + 1..=first * 10 + 10));
    }
    assert_eq!(sink.last_error(), None);
    assert_eq!(folder.names(), ["events.jsonl", "events.jsonl.1", "events.jsonl.2"]);
    let files = ["events.jsonl.2", "events.jsonl.1", "events.jsonl"].map(|name| folder.0.join(name));
    let read: Vec<_> = files.iter().flat_map(numbers).collect();
    assert!(read.len() > 10);
    assert_eq!(read, (101 - read.len() as u64..=100).collect::<Vec<_>>());
    assert!(files.iter().all(|file| fs::metadata(file).unwrap().len() <= 2_000));
}

/// A line that is larger than a file has one to itself; nothing is kept if nothing is to be.
#[test]
fn a_long_line_has_a_file_of_its_own() {
    let (folder, run) = (Folder::new(), run());
    let sink = JsonLines::create(folder.file()).unwrap().rotate(500, 0);
    sink.take_all(vec![
        says(&run, 1, "a", ""),
        says(&run, 2, "b", &"x".repeat(5_000)),
        says(&run, 3, "c", ""),
    ]);
    assert_eq!((numbers(folder.file()), folder.names().len()), (vec![3], 1));
}

/// Appending leaves what is there, and an unfinished line does not swallow the next event.
#[test]
fn appending_to_an_unfinished_line() {
    let (folder, run) = (Folder::new(), run());
    JsonLines::create(folder.file()).unwrap().take_all(started(&run, 1..=2));
    let whole = fs::read(folder.file()).unwrap();
    fs::write(folder.file(), &whole[..whole.len() - 10]).unwrap();
    let last = JsonLines::read(folder.file()).unwrap().last().unwrap().unwrap_err();
    assert!(last.is_unfinished && last.line == 2, "{last}");
    assert_eq!(last.offset + last.bytes, whole.len() as u64 - 10);
    JsonLines::append(folder.file()).unwrap().take_all(started(&run, 3..=4));
    let read: Vec<_> = JsonLines::read(folder.file())
        .unwrap()
        .map(|read| read.map(|event| event.seq).map_err(|damage| damage.is_unfinished))
        .collect();
    assert_eq!(read, [Ok(1), Err(false), Ok(3), Ok(4)]);
}

/// Damage in the middle does not end the reading, and its place is told.
#[test]
fn damage_is_passed_over() {
    let (folder, run) = (Folder::new(), run());
    JsonLines::create(folder.file()).unwrap().take_all(started(&run, 1..=1));
    let line = fs::read(folder.file()).unwrap();
    let mut bytes = line.clone();
    bytes.extend(b"\xff\xfe\n\nnull\n");
    bytes.extend(&line);
    fs::write(folder.file(), bytes).unwrap();
    let read: Vec<_> = JsonLines::read(folder.file()).unwrap().collect();
    let places: Vec<_> = read
        .iter()
        .filter_map(|read| read.as_ref().err())
        .map(|damage| (damage.line, damage.offset, damage.bytes))
        .collect();
    let length = line.len() as u64;
    assert_eq!(places, [(2, length, 3), (4, length + 4, 5)]);
    assert_eq!(read.iter().filter(|read| read.is_ok()).count(), 2);
}

/// A full disk is a drop with a reason, told once.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_a_drop_with_a_reason() {
    let run = run();
    let sink = JsonLines::append("/dev/full").unwrap().bounded(100);
    sink.take_all(started(&run, 1..=10));
    let receipt = sink.shutdown_blocking(Duration::from_secs(60));
    assert_eq!((receipt.account.dropped_failed, receipt.account.delivered), (10, 0));
    assert!(receipt.account.is_balanced());
    assert!(sink.sink().last_error().is_some());
}

/// When the disk has room again, a gap tells what is missing, once.
#[cfg(target_os = "linux")]
#[test]
fn what_a_full_disk_has_lost_is_told_once() {
    let (folder, run) = (Folder::new(), run());
    let sink = JsonLines::create(folder.file()).unwrap();
    let full = JsonLines::append("/dev/full").unwrap();
    let (sink, full) = (std::sync::Arc::new(sink), std::sync::Arc::new(full));
    let is_full = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    struct Disk(
        std::sync::Arc<JsonLines>,
        std::sync::Arc<JsonLines>,
        std::sync::Arc<std::sync::atomic::AtomicBool>,
    );
    impl EventSink for Disk {
        fn on_event(&self, _: &Event) {}
        fn take_all(&self, events: Vec<Event>) -> Taken {
            if self.2.load(Ordering::SeqCst) { self.1.take_all(events) } else { self.0.take_all(events) }
        }
    }
    let bounded = Disk(std::sync::Arc::clone(&sink), full, std::sync::Arc::clone(&is_full)).bounded(100);
    bounded.take_all(started(&run, 1..=10));
    while bounded.account().dropped_failed < 10 {
        std::thread::yield_now();
    }
    is_full.store(false, Ordering::SeqCst);
    bounded.take_all(started(&run, 11..=12));
    assert!(bounded.shutdown_blocking(Duration::from_secs(60)).is_complete());
    let read: Vec<_> = JsonLines::read(folder.file()).unwrap().map(Result::unwrap).collect();
    assert_eq!(
        read.iter().map(|event| &*event.event).collect::<Vec<_>>(),
        ["events.gap", "stage.started", "stage.started"]
    );
    assert_eq!(read[0].details["losses"]["by_reason"]["failed"], 10);
    assert_eq!(read[0].details["losses"]["last_seq"], 10);
}

/// Only the owner may read it.
#[cfg(unix)]
#[test]
fn a_file_is_its_owners() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let _sink = JsonLines::create(folder.file()).unwrap();
    assert_eq!(fs::metadata(folder.file()).unwrap().permissions().mode() & 0o777, 0o600);
}

/// Each policy of forcing leaves the events where they belong.
#[test]
fn forcing_onto_the_disk_changes_nothing_else() {
    let (folder, run) = (Folder::new(), run());
    for when in [Fsync::Events(2), Fsync::Every(Duration::ZERO), Fsync::RunEnds] {
        let sink = JsonLines::create(folder.file()).unwrap().fsync(when);
        sink.take_all(started(&run, 1..=3));
        sink.take_all(vec![event(&run, 4, ended())]);
        sink.on_flush();
        assert_eq!((numbers(folder.file()), sink.last_error()), (vec![1, 2, 3, 4], None));
    }
}

/// An error that cannot be said costs its own event, and none beside it.
#[test]
fn an_error_whose_text_panics_costs_one_line() {
    #[derive(Debug)]
    struct Mute;
    impl fmt::Display for Mute {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            panic!("it cannot be said")
        }
    }
    impl std::error::Error for Mute {}
    let (folder, run) = (Folder::new(), run());
    let sink = JsonLines::create(folder.file()).unwrap();
    let spec = FailSpec::new(code::STAGE_FAILED, ErrorClass::Unclassified, Box::new(Mute));
    let mut events = started(&run, 1..=3);
    events[1] = event(&run, 2, EventKind::StageFailed(Failure::new("fetch", 1, spec)));
    let taken = sink.take_all(events);
    assert_eq!(
        (taken.delivered, taken.losses.total(), taken.losses.for_reason(DropReason::Panic)),
        (2, 1, 1)
    );
    assert_eq!(numbers(folder.file()), [1, 3]);
}

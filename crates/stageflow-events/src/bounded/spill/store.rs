//! Events in segments: written and read in parcels, deleted when they are read.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
};

use stageflow_core::{
    DropReason,
    event::backlog::{Beside, Waiter},
};

use super::directory::Media;

/// How large a segment gets, and how many there are at least if `max_bytes` are taken.
const SEGMENT: u64 = 4 << 20;
const SEGMENTS: u64 = 4;
/// How many failures stay in memory as they are.
const FAILURES: usize = 1_024;

pub(super) struct Store {
    media: Box<dyn Media>,
    is_open: bool,
    max_bytes: u64,
    bytes: u64,
    segments: VecDeque<Segment>,
    next_segment: u64,
    parcels: BTreeMap<u64, Place>,
    failures: usize,
    /// Files of dead processes that were deleted.
    swept: u64,
}

struct Segment {
    id: u64,
    bytes: u64,
    /// Parcels in it that are not read.
    parcels: usize,
    /// Nothing is written to it any more.
    is_closed: bool,
}

struct Place {
    segment: u64,
    at: u64,
    length: usize,
    hash: u64,
    count: usize,
    beside: Beside,
}

/// What became of a parcel that was to be written.
#[derive(Default)]
pub(super) struct Written {
    pub(super) kept: Vec<Waiter>,
    pub(super) lost: Vec<(Waiter, DropReason)>,
    pub(super) error: Option<String>,
}

impl Store {
    pub(super) fn new(media: Box<dyn Media>, max_bytes: u64) -> Self {
        Self {
            media,
            is_open: false,
            max_bytes,
            bytes: 0,
            segments: VecDeque::new(),
            next_segment: 0,
            parcels: BTreeMap::new(),
            failures: 0,
            swept: 0,
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn swept(&self) -> u64 {
        self.swept
    }

    pub(super) fn open(&mut self) -> Result<(), String> {
        if !self.is_open {
            self.swept +=
                self.media.open().map_err(|error| format!("the directory cannot be used: {error}"))?;
            self.is_open = true;
        }
        Ok(())
    }

    pub(super) fn write(&mut self, id: u64, waiters: Vec<Waiter>) -> Written {
        let mut written = Written::default();
        if let Err(error) = self.open() {
            written.lost = waiters.into_iter().map(|waiter| (waiter, DropReason::Unwritten)).collect();
            written.error = Some(error);
            return written;
        }
        let room = usize::try_from(self.max_bytes.saturating_sub(self.bytes)).unwrap_or(usize::MAX);
        let (mut bytes, mut beside) = (Vec::new(), Beside::new(FAILURES.saturating_sub(self.failures)));
        let mut is_full = false;
        for waiter in waiters {
            let before = bytes.len();
            // The text of an error is the user's code.
            let encoded = catch_unwind(AssertUnwindSafe(|| waiter.encode(&mut beside, &mut bytes)));
            is_full |= bytes.len() > room;
            if encoded.is_ok() && !is_full {
                written.kept.push(waiter);
                continue;
            }
            bytes.truncate(before);
            if encoded.is_ok() {
                written.lost.push((waiter, DropReason::Full));
            } else {
                written.lost.push((waiter, DropReason::Unwritten));
                written.error = Some("the text of an error panicked".to_owned());
            }
        }
        if !written.kept.is_empty()
            && let Err(error) = self.put(id, &bytes, written.kept.len(), beside)
        {
            written.error = Some(format!("a segment cannot be written: {error}"));
            let kept = written.kept.drain(..).map(|waiter| (waiter, DropReason::Unwritten));
            written.lost.extend(kept);
        }
        written
    }

    fn put(&mut self, id: u64, bytes: &[u8], count: usize, beside: Beside) -> io::Result<()> {
        let most = SEGMENT.min(self.max_bytes / SEGMENTS);
        let full = |segment: &Segment| segment.is_closed || segment.bytes >= most;
        if self.segments.back().is_none_or(full) {
            self.end_segment();
            self.segments.push_back(Segment {
                id: self.next_segment,
                bytes: 0,
                parcels: 0,
                is_closed: false,
            });
            self.next_segment += 1;
        }
        let Some(segment) = self.segments.back_mut() else { return Err(io::ErrorKind::NotFound.into()) };
        let (at, length) = (segment.bytes, bytes.len());
        if let Err(error) = self.media.write(segment.id, at, bytes) {
            self.end_segment();
            if self.parcels.is_empty() {
                // It may be gone as a whole: the next one gets another.
                self.media.close();
                self.is_open = false;
                self.segments.clear();
                self.bytes = 0;
            }
            return Err(error);
        }
        segment.bytes += length as u64;
        segment.parcels += 1;
        self.bytes += length as u64;
        self.failures += beside.failures();
        self.parcels.insert(id, Place { segment: segment.id, at, length, hash: hash(bytes), count, beside });
        Ok(())
    }

    pub(super) fn read(&mut self, id: u64) -> Result<Vec<Waiter>, String> {
        let Some(place) = self.parcels.remove(&id) else { return Err("the parcel is unknown".to_owned()) };
        let Place { segment, at, length, hash: expected, count, beside } = place;
        self.failures -= beside.failures();
        let read = self.media.read(segment, at, length);
        let waiters = match read {
            Err(error) => Err(format!("a segment cannot be read: {error}")),
            Ok(bytes) if hash(&bytes) != expected => Err("a segment is damaged".to_owned()),
            Ok(bytes) => {
                let mut input = &bytes[..];
                let waiters = (0..count).map(|_| Waiter::decode(&mut input, &beside));
                let all: Option<Vec<_>> = waiters.collect();
                all.filter(|_| input.is_empty()).ok_or_else(|| "a segment is of another format".to_owned())
            }
        };
        let of = self.segments.iter_mut().find(|known| known.id == segment);
        of.into_iter().for_each(|segment| segment.parcels -= 1);
        self.end_segments(false);
        // The errors in it are the user's.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(beside)));
        waiters
    }

    /// Nothing is written to the last segment any more.
    fn end_segment(&mut self) {
        self.end_segments(true);
    }

    /// Deletes the segments of which everything is read.
    fn end_segments(&mut self, last_as_well: bool) {
        if let Some(last) = self.segments.back_mut() {
            last.is_closed |= last_as_well || last.parcels == 0;
        }
        let (media, bytes) = (&mut self.media, &mut self.bytes);
        self.segments.retain(|segment| {
            let is_done = segment.is_closed && segment.parcels == 0;
            // What cannot be deleted takes room still, and is tried again with the next.
            let is_gone = is_done && media.delete(segment.id).is_ok();
            *bytes -= if is_gone { segment.bytes } else { 0 };
            !is_gone
        });
    }

    pub(super) fn close(&mut self) {
        self.media.close();
        self.bytes = 0;
    }
}

/// FNV-1a of 64 bits: it sees each change of a single byte.
fn hash(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

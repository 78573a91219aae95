//! What the last calls were like: counted over a number of calls, or over a span of time.

/// The buckets of a window of time. The oldest leaves at once, so a window covers nine to ten tenths of its span.
pub(crate) const BUCKETS: usize = 10;

/// Calls that were counted, and how many of them failed or were slow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) calls: u32,
    pub(crate) failed: u32,
    pub(crate) slow: u32,
}

impl Tally {
    fn of(failed: bool, slow: bool) -> Self {
        Self { calls: 1, failed: failed.into(), slow: slow.into() }
    }

    fn of_successes(calls: u64) -> Self {
        Self { calls: u32::try_from(calls).unwrap_or(u32::MAX), failed: 0, slow: 0 }
    }

    fn add(&mut self, other: Self) {
        self.calls = self.calls.saturating_add(other.calls);
        self.failed = self.failed.saturating_add(other.failed);
        self.slow = self.slow.saturating_add(other.slow);
    }

    fn subtract(&mut self, other: Self) {
        self.calls = self.calls.saturating_sub(other.calls);
        self.failed = self.failed.saturating_sub(other.failed);
        self.slow = self.slow.saturating_sub(other.slow);
    }

    /// Whether `part` of the calls are at least the given share of them.
    pub(crate) fn reaches(self, part: u32, share: f64) -> bool {
        self.calls > 0 && f64::from(part) >= share * f64::from(self.calls)
    }
}

/// The last `size` calls.
#[derive(Debug)]
pub(crate) struct CountWindow {
    size: usize,
    /// Grows to `size` and is written round and round from then on.
    calls: Vec<(bool, bool)>,
    next: usize,
    tally: Tally,
}

impl CountWindow {
    pub(crate) fn new(size: u32) -> Self {
        Self { size: size as usize, calls: Vec::new(), next: 0, tally: Tally::default() }
    }

    pub(crate) fn add(&mut self, failed: bool, slow: bool) {
        self.tally.add(Tally::of(failed, slow));
        if self.calls.len() < self.size {
            self.calls.push((failed, slow));
            return;
        }
        if let Some(oldest) = self.calls.get_mut(self.next) {
            self.tally.subtract(Tally::of(oldest.0, oldest.1));
            *oldest = (failed, slow);
        }
        self.next = (self.next + 1) % self.size;
    }

    /// More than its size leave the same behind as so many.
    pub(crate) fn add_successes(&mut self, calls: u64) {
        (0..calls.min(self.size as u64)).for_each(|_| self.add(false, false));
    }

    pub(crate) fn tally(&self) -> Tally {
        self.tally
    }

    pub(crate) fn clear(&mut self) {
        *self = Self {
            size: self.size,
            calls: std::mem::take(&mut self.calls),
            next: 0,
            tally: Tally::default(),
        };
        self.calls.clear();
    }
}

/// The calls of the last span of time, in ten buckets.
#[derive(Debug)]
pub(crate) struct TimeWindow {
    /// How many nanoseconds a bucket covers.
    width: u64,
    buckets: [Tally; BUCKETS],
    /// The number of the newest bucket since the beginning of time, and when it ends.
    newest: u64,
    end: u64,
    /// Where the newest bucket stands.
    place: usize,
    tally: Tally,
}

impl TimeWindow {
    pub(crate) fn new(span: u64) -> Self {
        let width = span.div_ceil(BUCKETS as u64).max(1);
        let buckets = [Tally::default(); BUCKETS];
        Self { width, buckets, newest: 0, end: width, place: 0, tally: Tally::default() }
    }

    pub(crate) fn add(&mut self, now: u64, failed: bool, slow: bool) {
        self.move_to(now);
        let call = Tally::of(failed, slow);
        if let Some(newest) = self.buckets.get_mut(self.place) {
            newest.add(call);
        }
        self.tally.add(call);
    }

    /// Calls that have succeeded before the newest bucket ends.
    pub(crate) fn add_successes(&mut self, calls: u64) {
        let calls = Tally::of_successes(calls);
        if let Some(newest) = self.buckets.get_mut(self.place) {
            newest.add(calls);
        }
        self.tally.add(calls);
    }

    /// When the newest bucket ends: until then no call leaves the window.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// What lay in the window when it was last looked at.
    pub(crate) fn newest_tally(&self) -> Tally {
        self.tally
    }

    /// What lies in the window at `now`. A time before that of the newest call counts as that time.
    pub(crate) fn tally(&mut self, now: u64) -> Tally {
        self.move_to(now);
        self.tally
    }

    pub(crate) fn clear(&mut self) {
        self.buckets = [Tally::default(); BUCKETS];
        self.tally = Tally::default();
    }

    #[inline]
    fn move_to(&mut self, now: u64) {
        // Most calls follow the one before within the same bucket.
        if now >= self.end {
            self.move_on(now);
        }
    }

    #[cold]
    fn move_on(&mut self, now: u64) {
        let bucket = now / self.width;
        let passed = bucket.saturating_sub(self.newest);
        if passed >= BUCKETS as u64 {
            self.clear();
        } else {
            for number in self.newest..self.newest + passed {
                let emptied = std::mem::take(&mut self.buckets[place(number + 1)]);
                self.tally.subtract(emptied);
            }
        }
        self.newest = self.newest.max(bucket);
        self.place = place(self.newest);
        self.end = self.newest.saturating_add(1).saturating_mul(self.width);
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the remainder is below ten")]
fn place(number: u64) -> usize {
    (number % BUCKETS as u64) as usize
}

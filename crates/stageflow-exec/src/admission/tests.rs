//! The decisions of a monitor against a slow reference that keeps everything in lists.

use super::state::{Limits, Offer, ShedRule, State};

/// A generator of its own: SplitMix64.
struct Draw(u64);

impl Draw {
    fn below(&mut self, width: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        (z ^ (z >> 27)) % width
    }
}

/// The rules read aloud.
struct Reference {
    limits: Limits,
    active: usize,
    queue: Vec<u64>,
    latencies: Vec<u64>,
    was_high: bool,
}

impl Reference {
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    fn load(&self) -> f64 {
        (self.active + self.queue.len()) as f64 / self.limits.max_active as f64
    }

    fn look(&mut self) {
        if self.load() >= self.limits.high {
            self.was_high = true;
        }
        if self.load() <= self.limits.low {
            self.was_high = false;
        }
    }

    fn p95(&self) -> Option<u64> {
        let mut last: Vec<u64> = self.latencies.iter().rev().take(1_000).copied().collect();
        last.sort_unstable();
        (last.len() >= 20).then(|| last[last.len() - last.len() / 20 - 1])
    }

    fn is_slow(&self) -> bool {
        let Some(threshold) = self.limits.latency else { return false };
        self.load() > self.limits.low && self.p95().is_some_and(|p95| p95 > threshold)
    }

    fn offer(&mut self, number: u64, waits: bool) -> Result<Offer, ShedRule> {
        if self.limits.sheds && self.was_high {
            return Err(ShedRule::HighWatermark);
        }
        if self.limits.sheds && self.is_slow() {
            return Err(ShedRule::Latency);
        }
        if self.active < self.limits.max_active {
            self.active += 1;
            return Ok(Offer::Admitted);
        }
        if !waits {
            return Err(ShedRule::NoWait);
        }
        if self.queue.len() == self.limits.queue_limit {
            return Err(ShedRule::QueueFull);
        }
        self.queue.push(number);
        Ok(Offer::Queued { number, ahead: self.queue.len() - 1 })
    }
}

fn story(seed: u64) -> [u64; 5] {
    let mut draw = Draw(seed);
    let max_active = 1 + draw.below(8) as usize;
    let limits = Limits {
        max_active,
        queue_limit: draw.below(6) as usize,
        high: [0.5, 0.8, 1.0, 1.5][draw.below(4) as usize],
        low: [0.0, 0.2, 0.4][draw.below(3) as usize],
        latency: [None, Some(50)][draw.below(2) as usize],
        sheds: draw.below(2) == 0,
    };
    let mut state: State<u64> = State::new(limits.clone());
    let mut known =
        Reference { limits, active: 0, queue: Vec::new(), latencies: Vec::new(), was_high: false };
    let mut next = 0;
    for step in 0..1_000 {
        match draw.below(5) {
            0..2 => {
                let waits = draw.below(8) > 0;
                let decided = state.offer(waits.then_some(next));
                assert_eq!(decided, known.offer(next, waits), "seed {seed}, step {step}");
                next += u64::from(matches!(decided, Ok(Offer::Queued { .. })));
            }
            2..4 if known.active > 0 => {
                let latency = (draw.below(4) > 0).then(|| draw.below(60));
                let told = state.release(latency);
                known.latencies.extend(latency);
                let first = (!known.queue.is_empty()).then(|| known.queue.remove(0));
                known.active -= usize::from(first.is_none());
                assert_eq!(told, first, "seed {seed}, step {step}: the first who waits");
            }
            _ if !known.queue.is_empty() => {
                let at = draw.below(known.queue.len() as u64) as usize;
                let number = known.queue.remove(at);
                assert_eq!(state.ahead(number), at);
                let gone = if draw.below(2) == 0 { state.leave(number) } else { state.expire(number) };
                assert_eq!(gone, Some(number));
                assert_eq!((state.leave(number), state.expire(number)), (None, None), "once only");
            }
            _ => {}
        }
        known.look();
        assert_eq!(
            (state.active, state.queued()),
            (known.active, known.queue.len()),
            "seed {seed}, step {step}"
        );
        assert_eq!(state.is_overloaded(), known.was_high || known.is_slow(), "seed {seed}, step {step}");
        if known.limits.latency.is_some() {
            assert_eq!(state.p95(), known.p95(), "seed {seed}, step {step}");
        }
        let counts = state.counts;
        let told = counts.admitted + counts.shed.iter().sum::<u64>() + counts.cancelled;
        assert_eq!(counts.offered, told + state.queued() as u64, "seed {seed}, step {step}");
        assert!(counts.peak_active <= max_active);
    }
    state.counts.shed
}

#[test]
fn s_11_random_stories_are_decided_as_the_rules_say() {
    let mut seen = [0; 5];
    for seed in 0..48 {
        for (seen, shed) in seen.iter_mut().zip(story(seed)) {
            *seen += shed;
        }
    }
    assert!(seen.iter().all(|count| *count > 50), "each rule has struck: {seen:?}");
}

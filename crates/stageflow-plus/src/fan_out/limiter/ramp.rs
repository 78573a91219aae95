//! Ramp-up: few at first, and twice as many after as many have ended as there might be.

/// How many there may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ramp {
    now: usize,
    /// Since it was doubled.
    ended: usize,
}

impl Ramp {
    /// Begins with `from`, or with all.
    pub(crate) fn new(from: Option<usize>, limit: usize) -> Self {
        Self { now: from.map_or(usize::MAX, |from| from.clamp(1, limit.max(1))), ended: 0 }
    }

    pub(crate) fn allowed(&self, limit: usize) -> usize {
        self.now.min(limit)
    }

    /// One has ended.
    pub(crate) fn ended(&mut self, limit: usize) {
        if self.now >= limit {
            return;
        }
        self.ended += 1;
        if self.ended >= self.now {
            self.ended = 0;
            self.now = self.now.saturating_mul(2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Ramp;

    #[test]
    fn it_doubles_after_each_window_that_has_ended() {
        let mut ramp = Ramp::new(Some(2), 10);
        let mut seen = vec![ramp.allowed(10)];
        for _ in 0..14 {
            ramp.ended(10);
            seen.push(ramp.allowed(10));
        }
        assert_eq!(seen, [2, 2, 4, 4, 4, 4, 8, 8, 8, 8, 8, 8, 8, 8, 10]);
    }

    #[test]
    fn without_a_ramp_all_may_begin_at_once() {
        assert_eq!(Ramp::new(None, 10).allowed(10), 10);
        assert_eq!(Ramp::new(Some(50), 10).allowed(10), 10);
    }
}

//! The breaker of one key as a state machine: of the time, what happens, a random number and its state, and nothing else.

use std::{num::NonZeroU64, sync::Arc, time::Duration};

use stageflow_core::time::nanos;

use super::{
    outcome::{BreakerOutcome, BreakerReason, BreakerTotals, Forced},
    rules::Rules,
    window::{CountWindow, Tally, TimeWindow},
};

/// One key's state. Times are nanoseconds of one clock; a time before an earlier one is taken as no time having passed.
#[derive(Debug)]
pub(crate) struct Machine {
    rules: Arc<Rules>,
    mode: Mode,
    /// Goes up with every change of the mode. What was admitted under another one changes nothing any more.
    generation: NonZeroU64,
    time_window: Option<TimeWindow>,
    count_window: Option<CountWindow>,
    failures_in_a_row: u32,
    /// How often it was tripped without having been well for a while in between.
    trips: u32,
    /// How long the last trip has kept it open.
    open_span: u64,
    closed_at: u64,
    next_probe: NonZeroU64,
    totals: BreakerTotals,
}

/// What it does with calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Closed,
    Open { until: u64 },
    HalfOpen(HalfOpen),
    Forced(Forced),
}

/// What is known of the probes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct HalfOpen {
    /// The number of each probe that is under way, and when its lease ends.
    leases: Vec<(NonZeroU64, u64)>,
    succeeded: u32,
    slow: u32,
}

/// What an admitted call gives back with its outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    generation: NonZeroU64,
    probe: Option<NonZeroU64>,
    admitted_at: u64,
}

impl Ticket {
    /// That of a call which a closed breaker admits.
    pub(crate) fn closed(generation: NonZeroU64, now: u64) -> Self {
        Self { generation, probe: None, admitted_at: now }
    }

    pub(crate) fn is_of(&self, generation: u64) -> bool {
        self.generation.get() == generation
    }

    pub(crate) fn took(&self, now: u64) -> u64 {
        now.saturating_sub(self.admitted_at)
    }

    pub(crate) fn is_probe(&self) -> bool {
        self.probe.is_some()
    }

    /// The call begins only now.
    pub(crate) fn begin(&mut self, now: u64) {
        self.admitted_at = self.admitted_at.max(now);
    }
}

/// A call was not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// When to ask again; `None` if no time will help.
    pub(crate) until: Option<u64>,
    /// Whether asking before that may help.
    pub(crate) may_end_early: bool,
}

/// The mode has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) to: To,
    pub(crate) reason: BreakerReason,
}

/// What it has changed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum To {
    Closed,
    Open { until: u64 },
    HalfOpen,
    Forced(Forced),
}

impl Rules {
    /// Which share of these calls is too large, if one is.
    fn broken_by(&self, tally: Tally) -> Option<BreakerReason> {
        if self.failure_rate.is_some_and(|rate| tally.reaches(tally.failed, rate)) {
            return Some(BreakerReason::FailureRate);
        }
        let slow = self.slow.is_some_and(|rule| tally.reaches(tally.slow, rule.rate));
        slow.then_some(BreakerReason::SlowCalls)
    }
}

impl Machine {
    pub(crate) fn new(rules: Arc<Rules>, forced: Option<Forced>) -> Self {
        Self {
            mode: forced.map_or(Mode::Closed, Mode::Forced),
            generation: NonZeroU64::MIN,
            time_window: rules.time_window.map(TimeWindow::new),
            count_window: rules.count_window.map(CountWindow::new),
            failures_in_a_row: 0,
            trips: 0,
            open_span: 0,
            closed_at: 0,
            next_probe: NonZeroU64::MIN,
            totals: BreakerTotals::default(),
            rules,
        }
    }

    pub(crate) fn mode(&self) -> &Mode {
        &self.mode
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation.get()
    }

    pub(crate) fn totals(&self) -> BreakerTotals {
        self.totals
    }

    /// What lies in the windows: the shorter memory of the two where there are both.
    pub(crate) fn tally(&mut self, now: u64) -> Tally {
        let time = self.time_window.as_mut().map(|window| window.tally(now));
        let count = self.count_window.as_ref().map(CountWindow::tally);
        time.into_iter().chain(count).min_by_key(|tally| tally.calls).unwrap_or_default()
    }

    /// Somebody wants to call. An open breaker whose time is over becomes half-open by it.
    ///
    /// Half-open, it admits as many probes as have to succeed. One whose lease is over makes room for another.
    pub(crate) fn admit(&mut self, now: u64, lease: Duration) -> (Result<Ticket, Refusal>, Option<Change>) {
        let change = match self.mode {
            Mode::Open { until } if now >= until => {
                Some(self.enter(Mode::HalfOpen(HalfOpen::default()), BreakerReason::TimeOver))
            }
            _ => None,
        };
        let wanted = self.rules.probes as usize;
        let admitted = match &mut self.mode {
            Mode::Closed | Mode::Forced(Forced::Closed | Forced::Disabled) => Ok(None),
            Mode::Open { until } => Err(Refusal { until: Some(*until), may_end_early: false }),
            Mode::Forced(Forced::Open) => Err(Refusal { until: None, may_end_early: true }),
            Mode::HalfOpen(half) => {
                half.leases.retain(|(_, end)| *end > now);
                if half.leases.len() + (half.succeeded as usize) < wanted {
                    let probe = self.next_probe;
                    self.next_probe = probe.saturating_add(1);
                    half.leases.push((probe, now.saturating_add(nanos(lease).max(1))));
                    Ok(Some(probe))
                } else {
                    let lapse = half.leases.iter().map(|(_, end)| *end).min().unwrap_or(u64::MAX);
                    let until = lapse.min(now.saturating_add(self.rules.open_for));
                    Err(Refusal { until: Some(until), may_end_early: true })
                }
            }
        };
        self.totals.admitted += u64::from(admitted.is_ok());
        let generation = self.generation;
        (admitted.map(|probe| Ticket { generation, probe, admitted_at: now }), change)
    }

    /// Its generation, if it is closed: then it admits all, and asking changes nothing.
    pub(crate) fn closed_as(&self) -> Option<u64> {
        (self.mode == Mode::Closed).then_some(self.generation.get())
    }

    /// From when on a call is slow.
    pub(crate) fn slow_from(&self) -> u64 {
        self.rules.slow.map_or(u64::MAX, |rule| rule.threshold)
    }

    /// The time before which successes that are not slow do nothing but count: it is closed, and they can make no share of failed
    /// or slow calls one that opens it. They could where there was none to judge by, or one that has grown as others have left.
    pub(crate) fn only_counts_until(&self) -> Option<u64> {
        let rules = &self.rules;
        let stays = |tally: Tally| {
            (tally.failed | tally.slow) == 0
                || (tally.calls >= rules.min_calls && rules.broken_by(tally).is_none())
        };
        let time = self.time_window.as_ref();
        let only_counts = self.mode == Mode::Closed
            && time.is_none_or(|window| stays(window.newest_tally()))
            && self.count_window.as_ref().is_none_or(|window| stays(window.tally()));
        only_counts.then(|| time.map_or(u64::MAX, TimeWindow::end))
    }

    /// So many calls have succeeded, one after the other, before the time up to which successes only count.
    pub(crate) fn add_successes(&mut self, calls: u64) {
        if calls == 0 {
            return;
        }
        self.totals.succeeded += calls;
        self.failures_in_a_row = 0;
        if let Some(window) = &mut self.time_window {
            window.add_successes(calls);
        }
        if let Some(window) = &mut self.count_window {
            window.add_successes(calls);
        }
    }

    /// A call that was not admitted is not made, and does not wait until it is.
    pub(crate) fn reject(&mut self) {
        self.totals.rejected += 1;
    }

    /// An admitted call has ended. The random number is used if that opens the breaker.
    pub(crate) fn record(
        &mut self,
        now: u64,
        ticket: Ticket,
        outcome: BreakerOutcome,
        random: u64,
    ) -> Option<Change> {
        let (failed, hint) = match outcome {
            BreakerOutcome::Success => (false, None),
            BreakerOutcome::Failure { retry_after } => (true, retry_after.filter(|after| !after.is_zero())),
            BreakerOutcome::Neutral => {
                self.forget(ticket);
                return None;
            }
        };
        let took = ticket.took(now);
        let slow = self.rules.slow.is_some_and(|rule| took >= rule.threshold);
        self.totals.succeeded += u64::from(!failed);
        self.totals.failed += u64::from(failed);
        self.totals.slow += u64::from(slow);
        if ticket.generation != self.generation {
            self.totals.late += 1;
            return None;
        }
        let hint =
            hint.filter(|_| self.rules.follows_hints).map(|after| nanos(after).min(self.rules.max_open));
        match &mut self.mode {
            Mode::Closed => {
                self.count(now, failed, slow);
                let reason = self.verdict(now).or_else(|| hint.map(|_| BreakerReason::Hint))?;
                Some(self.open(now, reason, hint, random))
            }
            Mode::Forced(Forced::Disabled) => {
                self.count(now, failed, slow);
                None
            }
            Mode::HalfOpen(half) => {
                half.leases.retain(|(probe, _)| Some(*probe) != ticket.probe);
                if failed {
                    return Some(self.open(now, BreakerReason::ProbeFailed, hint, random));
                }
                half.succeeded += 1;
                half.slow += u32::from(slow);
                if half.succeeded < self.rules.probes {
                    return None;
                }
                let probes = Tally { calls: half.succeeded, failed: 0, slow: half.slow };
                if self.rules.slow.is_some_and(|rule| probes.reaches(probes.slow, rule.rate)) {
                    return Some(self.open(now, BreakerReason::SlowCalls, None, random));
                }
                self.closed_at = now;
                Some(self.enter(Mode::Closed, BreakerReason::ProbesSucceeded))
            }
            Mode::Open { .. } | Mode::Forced(Forced::Open | Forced::Closed) => None,
        }
    }

    /// A call has ended without saying anything about the dependency. A probe gives its slot back; says whether it did.
    pub(crate) fn forget(&mut self, ticket: Ticket) -> bool {
        self.totals.neutral += 1;
        match &mut self.mode {
            Mode::HalfOpen(half) if ticket.generation == self.generation => {
                let before = half.leases.len();
                half.leases.retain(|(probe, _)| Some(*probe) != ticket.probe);
                half.leases.len() < before
            }
            _ => false,
        }
    }

    /// Somebody decides in its place, or no longer does: then it is closed, and knows nothing of before.
    pub(crate) fn force(&mut self, now: u64, forced: Option<Forced>) -> Option<Change> {
        match (forced, &self.mode) {
            (Some(forced), Mode::Forced(already)) if forced == *already => None,
            (Some(forced), _) => Some(self.enter(Mode::Forced(forced), BreakerReason::Forced)),
            (None, Mode::Forced(_)) => {
                (self.trips, self.open_span, self.closed_at) = (0, 0, now);
                Some(self.enter(Mode::Closed, BreakerReason::Released))
            }
            (None, _) => None,
        }
    }

    fn count(&mut self, now: u64, failed: bool, slow: bool) {
        self.failures_in_a_row = if failed { self.failures_in_a_row.saturating_add(1) } else { 0 };
        if let Some(window) = &mut self.time_window {
            window.add(now, failed, slow);
        }
        if let Some(window) = &mut self.count_window {
            window.add(failed, slow);
        }
    }

    /// Which rule says that it has to open, if one does.
    fn verdict(&mut self, now: u64) -> Option<BreakerReason> {
        if self.rules.consecutive.is_some_and(|most| self.failures_in_a_row >= most) {
            return Some(BreakerReason::Consecutive);
        }
        let time = self.time_window.as_mut().map(|window| window.tally(now));
        let count = self.count_window.as_ref().map(CountWindow::tally);
        let rules = &self.rules;
        // Shares are above zero: where nothing has failed and nothing was slow, none is reached.
        let to_judge = |tally: &Tally| tally.calls >= rules.min_calls && (tally.failed | tally.slow) != 0;
        let judged = time.into_iter().chain(count).filter(to_judge);
        let mut judged = judged.filter_map(|tally| rules.broken_by(tally));
        judged.next()
    }

    /// Opens it for a time that doubles while it does not stay closed for longer than it was open. A hint can only make it
    /// longer; a hint alone says nothing about how ill the dependency is, and lets nothing grow.
    fn open(&mut self, now: u64, reason: BreakerReason, hint: Option<u64>, random: u64) -> Change {
        let mut span = hint.unwrap_or(0);
        if reason != BreakerReason::Hint {
            let relapsed = self.mode != Mode::Closed || now.saturating_sub(self.closed_at) < self.open_span;
            self.trips = if relapsed { self.trips.saturating_add(1) } else { 1 };
            self.open_span = self.rules.open_span(self.trips, random);
            span = span.max(self.open_span);
        }
        self.enter(Mode::Open { until: now.saturating_add(span) }, reason)
    }

    fn enter(&mut self, mode: Mode, reason: BreakerReason) -> Change {
        let to = match &mode {
            Mode::Closed => To::Closed,
            Mode::Open { until } => To::Open { until: *until },
            Mode::HalfOpen(_) => To::HalfOpen,
            Mode::Forced(forced) => To::Forced(*forced),
        };
        self.totals.opened += u64::from(matches!(mode, Mode::Open { .. }));
        self.generation = self.generation.saturating_add(1);
        self.mode = mode;
        self.failures_in_a_row = 0;
        if let Some(window) = &mut self.time_window {
            window.clear();
        }
        if let Some(window) = &mut self.count_window {
            window.clear();
        }
        Change { to, reason }
    }
}

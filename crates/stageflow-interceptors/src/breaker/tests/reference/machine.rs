//! The reference: it remembers all calls and derives everything from them. Times are milliseconds since it was built.
//!
//! Nothing here is shared with the breaker but the names of what an operator says and of the reasons.

use super::{BreakerReason, Forced, Reasons};

/// What the builder was told. There is always a rule, and a window.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) failure_share: Option<f64>,
    pub(super) slow: Option<(u64, f64)>,
    pub(super) in_a_row: Option<u32>,
    pub(super) last_calls: Option<u32>,
    /// A multiple of ten.
    pub(super) last_time: Option<u64>,
    pub(super) least: u32,
    pub(super) hints: bool,
    pub(super) open: u64,
    pub(super) longest: u64,
    pub(super) probes: u32,
    pub(super) lease: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Closed,
    Open { until: u64 },
    HalfOpen,
    Told(Forced),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Answered,
    Failed,
    FailedFor(u64),
    SaidNothing,
    Dropped,
}

/// Calls are named by how many were admitted before.
#[derive(Clone, Debug)]
pub(super) enum Transition {
    Pass(u64),
    Ask,
    End(usize, End),
    Force(Option<Forced>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Admitted {
        probe: bool,
    },
    /// Not before so many milliseconds.
    Refused(Option<u128>),
}

#[derive(Clone, Debug)]
pub(super) struct Call {
    at: u64,
    /// How many times the phase had changed.
    period: u32,
    probe: bool,
    /// When it said something about the dependency, and what: whether it failed, and whether it was slow.
    said: Option<(u64, bool, bool)>,
    pub(super) over: bool,
    /// In which order they ended.
    order: usize,
}

#[derive(Clone, Debug)]
pub(super) struct Reference {
    pub(super) settings: Settings,
    pub(super) now: u64,
    pub(super) phase: Phase,
    period: u32,
    pub(super) calls: Vec<Call>,
    /// How long it was open the last time that it was ill, how often in a row, and since when it is closed.
    ill: (u64, u32, u64),
    pub(super) refused: u64,
    pub(super) late: u64,
    pub(super) opened: u64,
    /// To the last transition.
    pub(super) answer: Option<Answer>,
    pub(super) reasons: Reasons,
    happened: Vec<&'static str>,
}

impl Reference {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            now: 0,
            phase: Phase::Closed,
            period: 0,
            calls: Vec::new(),
            ill: (0, 0, 0),
            refused: 0,
            late: 0,
            opened: 0,
            answer: None,
            reasons: Vec::new(),
            happened: Vec::new(),
        }
    }

    pub(super) fn happened(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.happened.iter().copied()
    }

    fn become_(&mut self, phase: Phase) {
        self.phase = phase;
        self.period += 1;
    }

    /// The calls of this period that have said something, in the order of their ends.
    fn judged(&self) -> Vec<&Call> {
        let mut judged: Vec<_> =
            self.calls.iter().filter(|call| call.period == self.period && call.said.is_some()).collect();
        judged.sort_by_key(|call| call.order);
        judged
    }

    pub(super) fn step(&mut self, transition: &Transition) {
        (self.answer, self.reasons, self.happened) = (None, Vec::new(), Vec::new());
        match transition {
            Transition::Pass(time) => self.now += time,
            Transition::Ask => self.ask(),
            Transition::End(call, end) => self.end(*call, *end),
            Transition::Force(forced) => self.force(*forced),
        }
    }

    fn ask(&mut self) {
        if matches!(self.phase, Phase::Open { until } if until <= self.now) {
            self.become_(Phase::HalfOpen);
            self.happened.push("half-open");
        }
        let of_now = |call: &&Call| call.period == self.period && !call.over;
        let held: Vec<_> =
            self.calls.iter().filter(of_now).map(|call| call.at + self.settings.lease).collect();
        let under_way = held.iter().filter(|end| **end > self.now).count();
        if self.phase == Phase::HalfOpen && under_way < held.len() {
            self.happened.push("a probe hangs beyond its lease");
        }
        let answer = match self.phase {
            Phase::Closed | Phase::Told(Forced::Closed | Forced::Disabled) => {
                Answer::Admitted { probe: false }
            }
            Phase::Told(Forced::Open) => Answer::Refused(None),
            Phase::Open { until } => Answer::Refused(Some(u128::from(until - self.now))),
            Phase::HalfOpen if under_way + self.judged().len() < self.settings.probes as usize => {
                Answer::Admitted { probe: true }
            }
            Phase::HalfOpen => {
                self.happened.push("refused half-open");
                let free = held.into_iter().filter(|end| *end > self.now).map(|end| end - self.now).min();
                Answer::Refused(Some(u128::from(free.unwrap_or(u64::MAX).min(self.settings.open))))
            }
        };
        match answer {
            Answer::Admitted { probe } => self.calls.push(Call {
                at: self.now,
                period: self.period,
                probe,
                said: None,
                over: false,
                order: 0,
            }),
            Answer::Refused(_) => self.refused += 1,
        }
        self.answer = Some(answer);
    }

    fn end(&mut self, index: usize, end: End) {
        let order = self.calls.iter().map(|call| call.order).max().unwrap_or(0) + 1;
        let (now, slow_from) = (self.now, self.settings.slow.map_or(u64::MAX, |slow| slow.0));
        let period = self.period;
        let call = &mut self.calls[index];
        (call.over, call.order) = (true, order);
        let is_of_now = call.period == period;
        let (failed, hint) = match end {
            End::Answered => (false, 0),
            End::Failed => (true, 0),
            End::FailedFor(time) => (true, time),
            End::SaidNothing | End::Dropped => {
                if call.probe && is_of_now {
                    self.happened.push("a probe was dropped");
                }
                return;
            }
        };
        if !is_of_now {
            self.late += 1;
            self.happened.push("a late result");
            if !failed && matches!(self.phase, Phase::Open { .. }) {
                self.happened.push("a late success while open");
            }
            return;
        }
        if call.probe && now >= call.at + self.settings.lease {
            self.happened.push("a hung probe counts");
        }
        call.said = Some((now, failed, now - call.at >= slow_from));
        let hint = if self.settings.hints { hint.min(self.settings.longest) } else { 0 };
        match self.phase {
            Phase::Closed => {
                let ill = self.why_ill();
                if !ill.is_empty() {
                    self.open(hint, true);
                    self.reasons = ill;
                } else if hint > 0 {
                    self.happened.push("opened by a hint");
                    self.open(hint, false);
                    self.reasons = vec![BreakerReason::Hint];
                }
            }
            Phase::HalfOpen if failed => {
                self.happened.push("opened again by a probe");
                self.open(hint, true);
                self.reasons = vec![BreakerReason::ProbeFailed];
            }
            Phase::HalfOpen => {
                let probes = self.judged();
                if probes.len() < self.settings.probes as usize {
                    return;
                }
                if self.is_slow(&probes) {
                    self.open(0, true);
                    self.reasons = vec![BreakerReason::SlowCalls];
                } else {
                    self.become_(Phase::Closed);
                    self.ill.2 = now;
                    self.reasons = vec![BreakerReason::ProbesSucceeded];
                    self.happened.push("closed again");
                }
            }
            Phase::Open { .. } | Phase::Told(_) => {}
        }
    }

    fn is_slow(&self, calls: &[&Call]) -> bool {
        let slow = calls.iter().filter(|call| call.said.is_some_and(|said| said.2)).count();
        self.settings.slow.is_some_and(|(_, share)| slow as f64 / calls.len() as f64 >= share)
    }

    /// All rules that say that it has to open.
    fn why_ill(&mut self) -> Reasons {
        let judged = self.judged();
        let mut reasons = Vec::new();
        let row = judged.iter().rev().take_while(|call| call.said.is_some_and(|said| said.1)).count();
        if self.settings.in_a_row.is_some_and(|most| row >= most as usize) {
            reasons.push(BreakerReason::Consecutive);
        }
        let last = self
            .settings
            .last_calls
            .map(|size| judged.iter().rev().take(size as usize).copied().collect::<Vec<_>>());
        // Tenths of the span that begin at its multiples: the present one, and the nine before it.
        let recent = self.settings.last_time.map(|span| {
            let tenth = |at: u64| at / (span / 10);
            let is_recent =
                |call: &&&Call| call.said.is_some_and(|said| tenth(said.0) + 9 >= tenth(self.now));
            judged.iter().filter(is_recent).copied().collect::<Vec<_>>()
        });
        let mut slow = false;
        for window in [last, recent].into_iter().flatten() {
            if window.len() < self.settings.least as usize {
                continue;
            }
            let failed = window.iter().filter(|call| call.said.is_some_and(|said| said.1)).count() as f64;
            if self.settings.failure_share.is_some_and(|share| failed / window.len() as f64 >= share) {
                reasons.push(BreakerReason::FailureRate);
            }
            slow |= self.is_slow(&window);
        }
        if slow {
            reasons.push(BreakerReason::SlowCalls);
            self.happened.push("opened by slow calls");
        }
        reasons
    }

    /// Each time it opens while half-open, or before it was closed for as long as it was open, it stays open twice as long; a hint
    /// can make that longer, and counts for nothing otherwise.
    fn open(&mut self, hint: u64, is_ill: bool) {
        let mut time = hint;
        if is_ill {
            let (was, times, since) = self.ill;
            let again = self.phase == Phase::HalfOpen || self.now < since + was;
            let times = if again { times + 1 } else { 1 };
            let own = (1..times).fold(self.settings.open, |time, _| (time * 2).min(self.settings.longest));
            if times > 1 {
                self.happened.push("opened for longer");
            }
            self.ill = (own, times, since);
            time = time.max(own);
        }
        self.opened += 1;
        self.happened.push("opened");
        self.become_(Phase::Open { until: self.now + time });
    }

    fn force(&mut self, forced: Option<Forced>) {
        match forced {
            Some(forced) if self.phase != Phase::Told(forced) => {
                self.become_(Phase::Told(forced));
                self.happened.push("told");
            }
            None if matches!(self.phase, Phase::Told(_)) => {
                self.become_(Phase::Closed);
                self.ill = (0, 0, self.now);
                self.happened.push("released");
            }
            _ => {}
        }
    }
}

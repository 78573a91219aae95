//! The state machine against a model that keeps everything and computes each answer anew.

use super::super::{
    BreakerOutcome, Forced,
    gate::Gate,
    rules::{Rules, SlowRule},
    state::{Machine, Mode, Ticket},
};
use proptest::prelude::*;
use std::{sync::Arc, time::Duration};

#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Admit { lease: u64 },
    End { which: prop::sample::Index, outcome: BreakerOutcome },
    Force(Option<Forced>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    Open(u64),
    HalfOpen,
    Forced(Forced),
}

/// A call under way.
struct Call {
    generation: u64,
    at: u64,
    lease_end: u64,
    ticket: Ticket,
}

/// What the breaker should be, from what has happened.
struct Model {
    rules: Rules,
    now: u64,
    state: State,
    generation: u64,
    under_way: Vec<Call>,
    /// All calls that counted since the state has changed.
    counted: Vec<(u64, bool, bool)>,
    trips: u32,
    span: u64,
    closed_at: u64,
}

impl Model {
    fn enter(&mut self, state: State) {
        self.state = state;
        self.generation += 1;
        self.counted.clear();
    }

    fn admits(&mut self) -> bool {
        if matches!(self.state, State::Open(until) if until <= self.now) {
            self.enter(State::HalfOpen);
        }
        match self.state {
            State::Closed | State::Forced(Forced::Closed | Forced::Disabled) => true,
            State::Open(_) | State::Forced(Forced::Open) => false,
            State::HalfOpen => {
                let holds = |call: &&Call| call.generation == self.generation && call.lease_end > self.now;
                self.under_way.iter().filter(holds).count() + self.counted.len() < self.rules.probes as usize
            }
        }
    }

    fn is_too_bad(&self) -> bool {
        let bad = |calls: Vec<&(u64, bool, bool)>| {
            let share = |which: fn(&(u64, bool, bool)) -> bool| {
                calls.iter().filter(|call| which(call)).count() as f64 / calls.len() as f64
            };
            calls.len() >= self.rules.min_calls as usize
                && (self.rules.failure_rate.is_some_and(|rate| share(|call| call.1) >= rate)
                    || self.rules.slow.is_some_and(|rule| share(|call| call.2) >= rule.rate))
        };
        let in_a_row = self.counted.iter().rev().take_while(|call| call.1).count();
        let last = |size: u32| self.counted.iter().rev().take(size as usize).collect();
        let recent = |span: u64| {
            let width = span / 10;
            self.counted.iter().filter(|call| call.0 / width + 10 > self.now / width).collect()
        };
        self.rules.consecutive.is_some_and(|most| in_a_row >= most as usize)
            || self.rules.count_window.is_some_and(|size| bad(last(size)))
            || self.rules.time_window.is_some_and(|span| bad(recent(span)))
    }

    fn open(&mut self, hint: u64, is_bad: bool) {
        let mut span = hint;
        if is_bad {
            let relapsed = self.state != State::Closed || self.now - self.closed_at < self.span;
            self.trips = if relapsed { self.trips + 1 } else { 1 };
            self.span = (self.rules.open_for << (self.trips - 1).min(20)).min(self.rules.max_open);
            span = span.max(self.span);
        }
        self.enter(State::Open(self.now + span));
    }

    fn end(&mut self, call: &Call, outcome: BreakerOutcome) {
        let (failed, hint) = match outcome {
            BreakerOutcome::Neutral => return,
            BreakerOutcome::Success => (false, 0),
            BreakerOutcome::Failure { retry_after } => {
                (true, retry_after.map_or(0, |after| after.as_nanos() as u64))
            }
        };
        if call.generation != self.generation {
            return;
        }
        let hint = hint.min(self.rules.max_open);
        let slow = self.rules.slow.is_some_and(|rule| self.now - call.at >= rule.threshold);
        self.counted.push((self.now, failed, slow));
        match self.state {
            State::Closed if self.is_too_bad() || hint > 0 => self.open(hint, self.is_too_bad()),
            State::HalfOpen if failed => self.open(hint, true),
            State::HalfOpen if self.counted.len() == self.rules.probes as usize => {
                let slow = self.counted.iter().filter(|call| call.2).count() as f64;
                if self.rules.slow.is_some_and(|rule| slow / self.counted.len() as f64 >= rule.rate) {
                    self.open(0, true);
                } else {
                    self.closed_at = self.now;
                    self.enter(State::Closed);
                }
            }
            _ => {}
        }
    }

    fn force(&mut self, forced: Option<Forced>) {
        match (forced, self.state) {
            (Some(forced), State::Forced(already)) if forced == already => {}
            (Some(forced), _) => self.enter(State::Forced(forced)),
            (None, State::Forced(_)) => {
                (self.trips, self.span, self.closed_at) = (0, 0, self.now);
                self.enter(State::Closed);
            }
            (None, _) => {}
        }
    }
}

fn rules() -> impl Strategy<Value = Rules> {
    let share = || prop_oneof![Just(0.25), Just(0.5), Just(1.0)];
    (
        prop::option::of(share()),
        prop::option::of(share()),
        prop::option::of(1_u32..4),
        prop::option::of(Just(100_u64)),
        prop::option::of(1_u32..8),
        1_u32..5,
        1_u32..4,
    )
        .prop_map(|(failure_rate, slow, consecutive, time_window, count_window, min_calls, probes)| {
            Rules {
                failure_rate,
                slow: slow.map(|rate| SlowRule { threshold: 20, rate }),
                consecutive,
                follows_hints: true,
                time_window,
                count_window,
                min_calls,
                open_for: 50,
                max_open: 300,
                jitter: 0.0,
                probes,
            }
        })
}

fn step() -> impl Strategy<Value = Step> {
    let outcome = prop_oneof![
        4 => Just(BreakerOutcome::Success),
        4 => Just(BreakerOutcome::Failure { retry_after: None }),
        1 => (1_u64..500).prop_map(|after| BreakerOutcome::Failure { retry_after: Some(Duration::from_nanos(after)) }),
        2 => Just(BreakerOutcome::Neutral),
    ];
    let forced = prop_oneof![Just(Forced::Open), Just(Forced::Closed), Just(Forced::Disabled)];
    prop_oneof![
        6 => (0_u64..60).prop_map(Step::Pass),
        12 => (1_u64..100).prop_map(|lease| Step::Admit { lease }),
        12 => (any::<prop::sample::Index>(), outcome).prop_map(|(which, outcome)| Step::End { which, outcome }),
        1 => prop::option::of(forced).prop_map(Step::Force),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn the_machine_is_what_the_model_says(rules in rules(), steps in prop::collection::vec(step(), 1..120)) {
        let mut machine = Machine::new(Arc::new(rules.clone()), None);
        let mut model = Model {
            rules, now: 0, state: State::Closed, generation: 1, under_way: Vec::new(), counted: Vec::new(),
            trips: 0, span: 0, closed_at: 0,
        };
        for step in steps {
            match step {
                Step::Pass(time) => model.now += time,
                Step::Admit { lease } => {
                    let (admitted, _) = machine.admit(model.now, Duration::from_nanos(lease));
                    prop_assert_eq!(admitted.is_ok(), model.admits());
                    if let Ok(ticket) = admitted {
                        prop_assert_eq!(ticket.is_probe(), model.state == State::HalfOpen);
                        let (generation, at) = (model.generation, model.now);
                        model.under_way.push(Call { generation, at, lease_end: at + lease, ticket });
                    } else if let Err(refusal) = admitted {
                        prop_assert!(refusal.until.is_none_or(|until| until > model.now), "asking at once helps nobody");
                    }
                }
                Step::End { which, outcome } => if !model.under_way.is_empty() {
                    let call = model.under_way.swap_remove(which.index(model.under_way.len()));
                    machine.record(model.now, call.ticket, outcome, 0);
                    model.end(&call, outcome);
                },
                Step::Force(forced) => {
                    machine.force(model.now, forced);
                    model.force(forced);
                }
            }
            let state = match machine.mode() {
                Mode::Closed => State::Closed,
                Mode::Open { until } => State::Open(*until),
                Mode::HalfOpen(_) => State::HalfOpen,
                Mode::Forced(forced) => State::Forced(*forced),
            };
            prop_assert_eq!((state, machine.generation()), (model.state, model.generation));
            let totals = machine.totals();
            let settled = totals.succeeded + totals.failed + totals.neutral;
            prop_assert_eq!(totals.admitted, settled + model.under_way.len() as u64);
        }
    }

    #[test]
    fn past_its_lock_a_machine_decides_as_without(rules in rules(), steps in prop::collection::vec(step(), 1..120)) {
        let rules = Arc::new(rules);
        let mut alone = Machine::new(Arc::clone(&rules), None);
        let gate = Gate::new(Machine::new(rules, None));
        let (mut now, mut under_way) = (0, Vec::new());
        for step in steps {
            match step {
                Step::Pass(time) => now += time,
                Step::Admit { lease } => {
                    let lease = Duration::from_nanos(lease);
                    let past = gate.admit_closed(now);
                    let (admitted, change) = past.map_or_else(|| gate.lock().admit(now, lease), |ticket| (Ok(ticket), None));
                    prop_assert_eq!((admitted, change), alone.admit(now, lease));
                    under_way.extend(admitted);
                }
                Step::End { which, outcome } => if !under_way.is_empty() {
                    let ticket = under_way.swap_remove(which.index(under_way.len()));
                    let counted = outcome == BreakerOutcome::Success && gate.count_success(ticket, now);
                    let change = if counted { None } else { gate.lock().record(now, ticket, outcome, 0) };
                    prop_assert_eq!(change, alone.record(now, ticket, outcome, 0));
                },
                Step::Force(forced) => prop_assert_eq!(gate.lock().force(now, forced), alone.force(now, forced)),
            }
        }
        let mut locked = gate.lock();
        prop_assert_eq!(locked.totals(), alone.totals());
        prop_assert_eq!((locked.mode(), locked.generation()), (alone.mode(), alone.generation()));
        prop_assert_eq!(locked.tally(now), alone.tally(now));
    }
}

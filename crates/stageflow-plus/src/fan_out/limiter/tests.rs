//! Limiters: the rules of the queue, for every order of events.

use std::{collections::HashMap, sync::Arc};

use proptest::prelude::*;

use super::state::{Ask, Counts, Fate, Held, Limits, Offer, Overflow, QueueOrder, State};

fn limits(limit: usize) -> Limits {
    Limits {
        limit,
        key_limit: None,
        max_queue: usize::MAX,
        overflow: Overflow::Wait,
        order: QueueOrder::Fifo,
        ramp_from: None,
    }
}

fn ask(weight: usize) -> Ask {
    Ask { weight, ..Ask::default() }
}

fn keyed(weight: usize, keys: &[&str]) -> Ask {
    Ask { weight, keys: keys.iter().map(|key| Arc::from(*key)).collect(), ..Ask::default() }
}

/// A state with those who were offered to it.
struct Bench {
    state: State<()>,
    told: Vec<()>,
    asks: HashMap<u64, Ask>,
    held: Vec<(usize, Ask)>,
}

impl Bench {
    fn new(limits: Limits) -> Self {
        Self { state: State::new(limits), told: Vec::new(), asks: HashMap::new(), held: Vec::new() }
    }

    fn offer(&mut self, ask: &Ask) -> Offer {
        let offer = self.state.offer(ask, Some(()), &mut self.told);
        match offer {
            Offer::Granted(weight) => self.held.push((weight, ask.clone())),
            Offer::Queued(number) => drop(self.asks.insert(number, ask.clone())),
            _ => {}
        }
        offer
    }

    fn number(&mut self, ask: &Ask) -> u64 {
        match self.offer(ask) {
            Offer::Queued(number) => number,
            other => panic!("{other:?}"),
        }
    }

    /// Who was let in or dropped since the last look, in any order.
    fn settle(&mut self) -> Vec<(u64, Fate)> {
        let mut numbers: Vec<_> = self.asks.keys().copied().collect();
        numbers.sort_unstable();
        let mut settled = Vec::new();
        for number in numbers {
            if let Ok(fate) = self.state.look(number) {
                let ask = self.asks.remove(&number).expect("it is known");
                if let Fate::Granted(weight) = fate {
                    self.held.push((weight, ask));
                }
                settled.push((number, fate));
            }
        }
        settled
    }

    fn release(&mut self, at: usize) -> Vec<(u64, Fate)> {
        let (weight, ask) = self.held.remove(at);
        let held = Held { weight, asked: ask.weight, keys: ask.keys };
        self.state.release(&held, &mut self.told);
        self.settle()
    }

    fn leave(&mut self, number: u64) -> Vec<(u64, Fate)> {
        let ask = self.asks.remove(&number).expect("it waits");
        self.state.leave(number, &ask, &mut self.told);
        self.settle()
    }

    /// In which order all who wait are let in, one at a time.
    fn order(&mut self) -> Vec<u64> {
        let mut order = Vec::new();
        while !self.held.is_empty() {
            order.extend(self.release(0).into_iter().map(|(number, _)| number));
        }
        order
    }
}

#[test]
fn who_goes_next_is_said_by_the_order() {
    let asks = || {
        (0..5_i32).map(|n| Ask {
            priority: [0, 5, 0, 5, 9][n as usize],
            due: [Some(3), None, Some(1), Some(2), None][n as usize],
            ..ask(1)
        })
    };
    for (order, expected) in [
        (QueueOrder::Fifo, [0, 1, 2, 3, 4]),
        (QueueOrder::Lifo, [4, 3, 2, 1, 0]),
        (QueueOrder::Priority, [4, 1, 3, 0, 2]),
        (QueueOrder::EarliestDeadline, [2, 3, 0, 1, 4]),
    ] {
        let mut bench = Bench::new(Limits { order, ..limits(1) });
        bench.offer(&ask(1));
        asks().for_each(|ask| _ = bench.number(&ask));
        assert_eq!(bench.order(), expected, "{order:?}");
    }
}

#[test]
fn who_comes_again_is_first_of_its_rank() {
    for (order, expected) in [
        (QueueOrder::Fifo, [2, 3, 0, 1]),
        (QueueOrder::Lifo, [2, 3, 1, 0]),
        (QueueOrder::Priority, [3, 1, 2, 0]),
    ] {
        let mut bench = Bench::new(Limits { order, ..limits(1) });
        bench.offer(&ask(1));
        for (priority, again) in [(0, false), (1, false), (0, true), (1, true)] {
            bench.number(&Ask { priority, again, ..ask(1) });
        }
        assert_eq!(bench.order(), expected, "{order:?}");
    }
}

#[test]
fn the_heavy_are_not_passed_by_the_light() {
    let mut bench = Bench::new(limits(4));
    bench.offer(&ask(3));
    let heavy = bench.number(&ask(3));
    let light = bench.number(&ask(1));
    assert_eq!(bench.release(0), [(heavy, Fate::Granted(3)), (light, Fate::Granted(1))]);
}

#[test]
fn who_asks_for_more_than_there_is_takes_all() {
    let mut bench = Bench::new(limits(4));
    assert_eq!(bench.offer(&ask(9)), Offer::Granted(4));
    let other = bench.number(&ask(1));
    assert_eq!(bench.release(0), [(other, Fate::Granted(1))]);
}

#[test]
fn who_waits_for_a_key_is_passed_by_those_of_other_keys() {
    let mut bench = Bench::new(Limits { key_limit: Some(1), ..limits(2) });
    bench.offer(&keyed(1, &["a"]));
    let kept = bench.number(&keyed(1, &["a"]));
    assert_eq!(bench.offer(&keyed(1, &["b"])), Offer::Granted(1));
    let last = bench.number(&keyed(1, &["a"]));
    assert_eq!(bench.release(0), [(kept, Fate::Granted(1))]);
    assert_eq!(bench.release(0), []);
    assert_eq!(bench.release(0), [(last, Fate::Granted(1))]);
    bench.release(0);
    assert_eq!(bench.state.keys(), 0, "keys that nobody uses are forgotten");
}

#[test]
fn nobody_holds_one_key_and_waits_for_another() {
    let mut bench = Bench::new(Limits { key_limit: Some(1), ..limits(9) });
    bench.offer(&keyed(1, &["a"]));
    let both = bench.number(&keyed(1, &["a", "b"]));
    assert_eq!(bench.offer(&keyed(1, &["b"])), Offer::Granted(1), "b is free as long as a is not");
    assert_eq!(bench.release(0), []);
    assert_eq!(bench.release(0), [(both, Fate::Granted(1))]);
}

/// One who has got through one key and waits for the next keeps nobody at the first.
#[test]
fn who_waits_at_a_second_key_keeps_nobody_at_the_first() {
    let mut bench = Bench::new(Limits { key_limit: Some(1), ..limits(9) });
    bench.offer(&keyed(1, &["a"]));
    bench.offer(&keyed(1, &["b"]));
    let both = bench.number(&keyed(1, &["a", "b"]));
    let first = bench.number(&keyed(1, &["a"]));
    assert_eq!(bench.release(0), [(first, Fate::Granted(1))], "a is free, and b is not");
    assert_eq!(bench.release(0), []);
    assert_eq!(bench.release(0), [(both, Fate::Granted(1))]);
}

/// One who leaves the queue lets those go whom they kept.
#[test]
fn the_heavy_who_leaves_lets_the_light_go() {
    let mut bench = Bench::new(Limits { key_limit: Some(3), ..limits(9) });
    bench.offer(&keyed(2, &["a"]));
    let heavy = bench.number(&keyed(2, &["a"]));
    let light = bench.number(&keyed(1, &["a"]));
    assert_eq!(bench.leave(heavy), [(light, Fate::Granted(1))]);
}

#[test]
fn a_full_queue_does_what_it_was_told() {
    let full = |overflow, max_queue| {
        let mut bench = Bench::new(Limits { overflow, max_queue, ..limits(1) });
        bench.offer(&ask(1));
        (0..max_queue).for_each(|_| _ = bench.number(&ask(1)));
        bench
    };
    assert_eq!(full(Overflow::Reject, 2).offer(&ask(1)), Offer::Refused);
    assert_eq!(full(Overflow::DropNewest, 2).offer(&ask(1)), Offer::Dropped);
    assert_eq!(full(Overflow::DropOldest, 0).offer(&ask(1)), Offer::Dropped);
    assert_eq!(full(Overflow::CallerRuns, 2).offer(&ask(1)), Offer::CallerRuns);
    assert_eq!(full(Overflow::Wait, 2).offer(&ask(1)), Offer::Queued(2));
    let mut oldest = full(Overflow::DropOldest, 2);
    assert_eq!(oldest.offer(&ask(1)), Offer::Queued(2));
    assert_eq!(oldest.settle(), [(0, Fate::Dropped)]);
    assert_eq!(oldest.order(), [1, 2]);
}

#[test]
fn another_limit_lets_more_in_or_waits_for_fewer() {
    let mut bench = Bench::new(limits(1));
    bench.offer(&ask(1));
    (0..4).for_each(|_| _ = bench.number(&ask(1)));
    bench.state.set_limit(3, &mut bench.told);
    assert_eq!(bench.settle().len(), 2);
    bench.state.set_limit(1, &mut bench.told);
    assert_eq!((bench.release(0).len(), bench.release(0).len()), (0, 0));
    assert_eq!(bench.release(0).len(), 1);
    bench.state.set_limit(0, &mut bench.told);
    assert_eq!(bench.release(0).len(), 0, "a limit of 0 is a pause");
    bench.state.set_limit(1, &mut bench.told);
    assert_eq!(bench.settle().len(), 1);
}

#[test]
fn a_ramp_begins_small_and_doubles() {
    let mut bench = Bench::new(Limits { ramp_from: Some(2), ..limits(100) });
    let first = (0..100).filter(|_| bench.offer(&ask(1)) == Offer::Granted(1)).count();
    assert_eq!(first, 2);
    let mut seen = Vec::new();
    for _ in 0..14 {
        bench.release(0);
        seen.push(bench.held.len());
    }
    assert_eq!(seen, [2, 4, 4, 4, 4, 8, 8, 8, 8, 8, 8, 8, 8, 16]);
}

#[derive(Clone, Debug)]
enum Step {
    Offer(Ask),
    Release(prop::sample::Index),
    Leave(prop::sample::Index),
    Limit(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let keys = prop::sample::subsequence(vec!["a", "b", "c"], 0..=3);
    let ask = (1..4_usize, keys, -2..3_i32, prop::option::of(0..5_u64), prop::bool::weighted(0.1)).prop_map(
        |(weight, keys, priority, due, again)| Ask { priority, due, again, ..keyed(weight, &keys) },
    );
    let step = prop_oneof![
        6 => ask.prop_map(Step::Offer),
        4 => any::<prop::sample::Index>().prop_map(Step::Release),
        2 => any::<prop::sample::Index>().prop_map(Step::Leave),
        1 => (0..6_usize).prop_map(Step::Limit),
    ];
    prop::collection::vec(step, 0..120)
}

fn orders() -> impl Strategy<Value = QueueOrder> {
    use QueueOrder::{EarliestDeadline, Fifo, Lifo, Priority};
    prop::sample::select(vec![Fifo, Lifo, Priority, EarliestDeadline])
}

fn overflows() -> impl Strategy<Value = Overflow> {
    use Overflow::{CallerRuns, DropNewest, DropOldest, Reject, Wait};
    prop::sample::select(vec![Wait, Reject, DropOldest, DropNewest, CallerRuns])
}

/// What must hold after every step.
fn check(bench: &Bench, before: usize) -> Result<(), TestCaseError> {
    let state = &bench.state;
    let Counts { offered, granted, refused, dropped, left, .. } = state.counts;
    prop_assert_eq!(offered, granted + refused + dropped + left + state.queued() as u64);
    prop_assert_eq!(state.in_use, bench.held.iter().map(|(weight, _)| weight).sum::<usize>());
    prop_assert_eq!(state.holders, bench.held.len());
    prop_assert_eq!(state.queued(), bench.asks.len(), "nobody is forgotten");
    prop_assert!(state.in_use <= state.allowed().max(before), "more than the limit came in");
    let mut used: HashMap<&str, usize> = HashMap::new();
    if let Some(limit) = state.limits.key_limit {
        for (_, ask) in &bench.held {
            ask.keys.iter().for_each(|key| *used.entry(key).or_default() += ask.weight.min(limit));
        }
        prop_assert!(used.values().all(|used| *used <= limit));
    }
    // Nobody waits who could go, unless somebody waits who could have come before them: of the same key, or for the same room.
    let fits = |ask: &Ask| {
        let allowed = state.allowed();
        allowed > 0
            && state.in_use + ask.weight.min(allowed) <= allowed
            && state.limits.key_limit.is_none_or(|limit| {
                ask.keys.iter().all(|key| used.get(&**key).unwrap_or(&0) + ask.weight.min(limit) <= limit)
            })
    };
    let is_alone = |ask: &Ask| {
        bench.asks.values().filter(|other| other.keys.iter().any(|key| ask.keys.contains(key))).count() <= 1
            && bench.asks.values().all(|other| other.weight <= ask.weight)
    };
    prop_assert!(!bench.asks.values().any(|ask| fits(ask) && is_alone(ask)), "somebody is forgotten");
    let light = bench.asks.values().all(|ask| ask.weight == 1);
    prop_assert!(!light || !bench.asks.values().any(|ask| fits(ask) && state.limits.key_limit.is_none()));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn nothing_is_lost_and_no_limit_exceeded(
        steps in steps(),
        (limit, key_limit, max_queue) in (1..6_usize, prop::option::of(1..4_usize), 0..8_usize),
        (order, overflow) in (orders(), overflows()),
    ) {
        let limits = Limits { limit, key_limit, max_queue, overflow, order, ramp_from: None };
        let mut bench = Bench::new(limits);
        let mut most = limit;
        for step in steps {
            let before = bench.state.in_use;
            match step {
                Step::Offer(ask) => _ = bench.offer(&ask),
                Step::Release(at) if !bench.held.is_empty() => drop(bench.release(at.index(bench.held.len()))),
                Step::Leave(at) if !bench.asks.is_empty() => {
                    let mut waiting: Vec<_> = bench.asks.keys().copied().collect();
                    waiting.sort_unstable();
                    bench.leave(waiting[at.index(waiting.len())]);
                }
                Step::Limit(limit) => {
                    bench.state.set_limit(limit, &mut bench.told);
                    most = most.max(limit);
                }
                Step::Release(_) | Step::Leave(_) => {}
            }
            bench.settle();
            check(&bench, before)?;
            prop_assert!(bench.state.in_use <= most);
            prop_assert!(overflow == Overflow::Wait || bench.state.queued() <= max_queue);
        }
        bench.state.set_limit(9, &mut bench.told);
        bench.settle();
        bench.order();
        prop_assert_eq!((bench.state.in_use, bench.state.queued(), bench.state.keys()), (0, 0, 0));
    }

    #[test]
    fn first_come_first_served_whoever_leaves(
        leaves in prop::collection::vec(any::<bool>(), 1..60),
        limit in 1..5_usize,
    ) {
        let mut bench = Bench::new(limits(limit));
        (0..limit).for_each(|_| _ = bench.offer(&ask(1)));
        let numbers: Vec<_> = leaves.iter().map(|_| bench.number(&ask(1))).collect();
        let mut left: Vec<_> = numbers.iter().zip(&leaves).filter(|(_, leaves)| **leaves).collect();
        left.reverse();
        left.into_iter().for_each(|(number, _)| drop(bench.leave(*number)));
        let stay: Vec<_> = numbers.iter().zip(&leaves).filter(|(_, leaves)| !**leaves).map(|(n, _)| *n).collect();
        prop_assert_eq!(bench.order(), stay);
    }
}

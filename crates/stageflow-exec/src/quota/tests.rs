//! The books under random comings and goings, the permits of stages, and who is forgotten.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use proptest::prelude::*;
use stageflow_core::{Clock, DurationExt, Quota, QuotaKind, TenantId, TenantQuotas};

use super::{
    ledger::{Ledger, NEVER, Offer, Taken, Turn},
    pool::StagePool,
    tenant::{Entered, RunPermit},
    tenants::Tenants,
};

#[derive(Clone, Copy, Debug)]
enum Step {
    Come,
    Look,
    Leave(usize),
    Expire(usize),
    End { which: usize, began: bool },
    Spend { which: usize, cost: u64 },
    Pass(u64),
    Change(Quota),
}

fn any_quota() -> impl Strategy<Value = Quota> {
    let of = |it: std::ops::Range<u64>| prop::option::of(it);
    (of(0..4), of(0..4), of(1..4), of(0..30), any::<bool>()).prop_map(|(runs, rate, burst, cost, waits)| {
        let mut quota =
            runs.map_or(Quota::new(), |runs| Quota::concurrent_runs(u32::try_from(runs).unwrap()));
        quota = rate.map_or(quota, |rate| quota.runs_per(rate, Duration::from_nanos(10)));
        quota = burst.map_or(quota, |burst| quota.burst(burst));
        quota = cost.map_or(quota, |cost| quota.cost_per(cost, Duration::from_nanos(25)));
        if waits { quota.wait_up_to(Duration::from_nanos(20)).max_waiting(3) } else { quota }
    })
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Come),
        3 => Just(Step::Look),
        1 => any::<usize>().prop_map(Step::Leave),
        1 => any::<usize>().prop_map(Step::Expire),
        3 => any::<(usize, bool)>().prop_map(|(which, began)| Step::End { which, began }),
        1 => (any::<usize>(), 0..20u64).prop_map(|(which, cost)| Step::Spend { which, cost }),
        3 => (0..12u64).prop_map(Step::Pass),
        1 => any_quota().prop_map(Step::Change),
    ]
}

/// What a tenant's runs do, told again in the plainest way, beside the books.
#[derive(Default)]
struct Story {
    ledger: Ledger<()>,
    now: u64,
    version: u64,
    inside: Vec<Taken>,
    queue: VecDeque<u64>,
}

impl Default for Ledger<()> {
    fn default() -> Self {
        Self::new()
    }
}

impl Story {
    fn entered(&mut self, taken: Taken) {
        self.inside.push(taken);
        let limit = self.ledger.quota().concurrent_runs_limit().unwrap_or(u32::MAX);
        assert!(self.inside.len() <= limit as usize, "one more than {limit}");
    }

    fn go(&mut self, step: Step) {
        let now = self.now;
        match step {
            Step::Come => match self.ledger.offer(now, ()) {
                Offer::In(taken) => {
                    assert!(self.queue.is_empty(), "nobody passes those who wait");
                    self.entered(taken);
                }
                Offer::Wait { number, ahead, short } => {
                    assert_eq!(ahead, self.queue.len());
                    let (most, places) = self.ledger.quota().waiting().expect("it may wait");
                    assert!(
                        ahead < places as usize
                            && short.wait.is_none_or(|it| u128::from(it) <= most.as_nanos())
                    );
                    self.queue.push_back(number);
                }
                Offer::Refused(short) => {
                    if short.wait.is_some_and(|wait| wait > 0 && wait != NEVER) {
                        assert!(self.ledger.short(now).is_some(), "{short:?}");
                    }
                }
            },
            Step::Look => {
                for number in self.queue.iter().skip(1) {
                    assert!(
                        matches!(self.ledger.turn(*number, now), Turn::Wait(None)),
                        "only the first goes"
                    );
                }
                if let Some(first) = self.queue.front()
                    && let Turn::In(taken) = self.ledger.turn(*first, now)
                {
                    self.queue.pop_front();
                    self.entered(taken);
                }
            }
            Step::Leave(which) if !self.queue.is_empty() => {
                let number = self.queue.remove(which % self.queue.len()).expect("it is there");
                assert!(self.ledger.leave(number).is_some() && self.ledger.leave(number).is_none());
            }
            Step::Expire(which) if !self.queue.is_empty() => {
                let number = self.queue.remove(which % self.queue.len()).expect("it is there");
                assert!(self.ledger.expire(number, now).1.is_some());
            }
            Step::End { which, began } if !self.inside.is_empty() => {
                let taken = self.inside.swap_remove(which % self.inside.len());
                self.ledger.release(taken.receipt.filter(|_| !began), now);
            }
            Step::Spend { which, cost } if !self.inside.is_empty() => {
                if let Some(account) = &self.inside[which % self.inside.len()].account
                    && account.reserve(cost).is_ok()
                {
                    account.settle(cost, cost);
                }
            }
            Step::Pass(nanos) => self.now += nanos,
            Step::Change(quota) => {
                self.version += 1;
                self.ledger.update(self.version, quota, now);
                assert!(
                    !self.ledger.update(self.version - 1, Quota::new(), now),
                    "what is older comes too late"
                );
            }
            Step::Leave(_) | Step::Expire(_) | Step::End { .. } | Step::Spend { .. } => {}
        }
        self.check();
    }

    fn check(&self) {
        let counts = self.ledger.counts;
        assert_eq!(
            (self.ledger.active() as usize, self.ledger.waiting()),
            (self.inside.len(), self.queue.len())
        );
        let refused: u64 = counts.refused.iter().sum();
        assert_eq!(counts.offered, counts.admitted + refused + counts.left + self.queue.len() as u64);
        if let (Some((limit, _)), Some((account, _))) =
            (self.ledger.quota().cost_limit(), self.ledger.window(self.now))
        {
            assert_eq!(account.limit(), limit);
        }
    }
}

proptest! {
    /// Whatever happens in whatever order, no more are in than may be, nobody passes another, and nothing is lost.
    #[test]
    fn the_books_balance(quota in any_quota(), steps in prop::collection::vec(any_step(), 0..120)) {
        let mut story = Story::default();
        story.go(Step::Change(quota));
        steps.into_iter().for_each(|step| story.go(step));
        while !story.inside.is_empty() {
            story.go(Step::End { which: 0, began: true });
        }
        while !story.queue.is_empty() {
            story.go(Step::Leave(0));
        }
        story.go(Step::Pass(1_000));
        prop_assert!(story.ledger.is_idle(story.now), "all is given back");
    }

    /// However runs come, within no period and a burst begin more than that; those that never began do not count.
    #[test]
    fn no_time_has_more_runs_than_its_rate(
        (limit, burst) in (1..4u64, 1..4u64),
        gaps in prop::collection::vec((0..8u64, any::<bool>()), 1..60),
    ) {
        let mut story = Story::default();
        story.go(Step::Change(Quota::new().runs_per(limit, Duration::from_nanos(10)).burst(burst)));
        let mut began = Vec::new();
        for (gap, begins) in gaps {
            story.go(Step::Pass(gap));
            let before = story.inside.len();
            story.go(Step::Come);
            if story.inside.len() > before {
                story.go(Step::End { which: before, began: begins });
                began.extend(begins.then_some(story.now));
            }
        }
        for (n, from) in began.iter().enumerate() {
            for (m, to) in began.iter().enumerate().skip(n) {
                let most = burst + (to - from) * limit / 10;
                prop_assert!((m - n + 1) as u64 <= most, "{} runs from {from} to {to}", m - n + 1);
            }
        }
    }

    /// The size of a pool changes while permits are out: whoever is given one finds no more out than the limit of that moment.
    #[test]
    fn a_pool_has_the_size_that_was_said_last(steps in prop::collection::vec((0..4u8, 0..6u32), 0..80)) {
        let pool = Arc::new(StagePool::new());
        let (mut out, mut limit) = (Vec::new(), u32::MAX);
        for (what, number) in steps {
            match what {
                0 => {
                    limit = if number == 5 { u32::MAX } else { number + 1 };
                    pool.resize(Some(limit).filter(|limit| *limit != u32::MAX));
                }
                1 | 2 => match pool.try_acquire() {
                    Some(permit) => {
                        out.push(permit);
                        prop_assert!(out.len() <= limit as usize);
                    }
                    None => prop_assert!(out.len() >= limit as usize),
                },
                _ if !out.is_empty() => drop(out.swap_remove(number as usize % out.len())),
                _ => {}
            }
            prop_assert_eq!(pool.in_flight() as usize, out.len());
        }
    }
}

/// A clock that is set.
#[derive(Default)]
struct Set(AtomicU64);

impl Clock for Set {
    fn monotonic_nanos(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

fn tenants(quotas: impl Into<TenantQuotas>) -> (Arc<Tenants>, Arc<Set>, TenantQuotas) {
    let (clock, quotas) = (Arc::new(Set::default()), quotas.into());
    (Tenants::new(quotas.clone(), Arc::<Set>::clone(&clock)), clock, quotas)
}

fn enter(tenants: &Tenants, id: &str) -> Option<RunPermit> {
    match tenants.tenant(Some(&TenantId::from(id))).expect("no panic").offer() {
        Ok(Entered::Permit(permit)) => Some(permit),
        Ok(Entered::Place(_)) | Err(_) => None,
    }
}

#[test]
fn of_100_000_tenants_those_are_known_that_have_something() {
    let (tenants, clock, _) = tenants(Quota::concurrent_runs(1).runs_per(1, 1.secs()).cost_per(5, 1.mins()));
    let busy = enter(&tenants, "busy").expect("it is let in");
    for n in 0..100_000u64 {
        // A thousand tenants come in the time in which a rate comes back.
        clock.0.store(n * 1_000_000, Ordering::SeqCst);
        let mut permit = enter(&tenants, &format!("tenant-{n}")).expect("it is let in");
        permit.begin();
        drop(permit);
        assert!(n % 1_000 != 0 || tenants.usages().len() <= 2_100, "{}", tenants.usages().len());
    }
    let known = tenants.usages();
    assert!(known.len() <= 2_100, "{} are known", known.len());
    assert!(
        known.iter().any(|it| it.tenant.as_ref().is_some_and(|it| it.as_str() == "busy") && it.runs == 1)
    );
    assert!(enter(&tenants, "busy").is_none(), "its run was not forgotten");
    drop(busy);
}

#[test]
fn who_has_used_something_up_is_not_forgotten_for_it() {
    let (tenants, clock, _) = tenants(Quota::new().runs_per(1, 1.secs()));
    enter(&tenants, "a").expect("it is let in").begin();
    (0..1_000).for_each(|n| drop(enter(&tenants, &format!("other-{n}"))));
    assert!(enter(&tenants, "a").is_none(), "its rate is used up");
    clock.0.store(1_000_000_000, Ordering::SeqCst);
    assert!(enter(&tenants, "a").is_some());
}

#[test]
fn a_refusal_names_the_quota_and_when_to_come_again() {
    let (tenants, clock, quotas) = tenants(Quota::new().runs_per(2, 1.secs()));
    let refused = |id: &str| {
        let id = TenantId::from(id);
        match tenants.tenant(Some(&id)).expect("no panic").offer() {
            Err(exceeded) => exceeded,
            Ok(_) => panic!("it is let in"),
        }
    };
    for _ in 0..2 {
        enter(&tenants, "a").expect("it is let in").begin();
    }
    clock.0.store(100_000_000, Ordering::SeqCst);
    let exceeded = refused("a");
    assert_eq!((exceeded.quota, exceeded.limit), (QuotaKind::RunRate, 2));
    assert_eq!(exceeded.retry_after, Some(400.millis()));
    assert_eq!(exceeded.to_string(), "tenant `a`: 2 of 2 runs for the time; come again in 400ms");
    quotas.set("a", Quota::concurrent_runs(0));
    let exceeded = refused("a");
    assert_eq!((exceeded.quota, exceeded.retry_after), (QuotaKind::ConcurrentRuns, None));
    quotas.set("a", Quota::new().runs_per(0, 1.secs()));
    assert_eq!(refused("a").retry_after, None, "it never helps");
}

#[test]
fn another_rate_takes_over_what_was_used_of_the_one_before() {
    let (tenants, _clock, quotas) = tenants(Quota::new().runs_per(4, 1.secs()));
    let begin = || enter(&tenants, "a").map(|mut permit| permit.begin()).is_some();
    assert!(begin() && begin() && begin());
    quotas.set_default(Quota::new().runs_per(5, 60.secs()));
    assert_eq!([begin(), begin(), begin()], [true, true, false], "three of five are used");
}

#[test]
fn a_function_that_panics_lets_nobody_in() {
    let (tenants, ..) = tenants(TenantQuotas::new(Quota::new()).look_up(|_| panic!("no table")));
    let error = tenants.tenant(Some(&TenantId::from("a"))).map(drop).expect_err("it panicked");
    assert_eq!(error.code(), stageflow_core::code::PANIC);
}

/// While runs come and go on several threads and the quota changes all the time, nobody sees more than the highest limit in, and in
/// the end nothing is left.
#[test]
fn changes_race_with_runs() {
    let (tenants, _clock, quotas) = tenants(Quota::concurrent_runs(3));
    let inside = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5_000 {
                    let Some(permit) = enter(&tenants, "a") else { continue };
                    assert!(inside.fetch_add(1, Ordering::SeqCst) < 5, "the highest limit is 5");
                    inside.fetch_sub(1, Ordering::SeqCst);
                    drop(permit);
                }
            });
        }
        scope.spawn(|| (0..2_000).for_each(|n| quotas.set("a", Quota::concurrent_runs(n % 6))));
    });
    quotas.set("a", Quota::concurrent_runs(1));
    let one = enter(&tenants, "a").expect("all were given back");
    assert!(enter(&tenants, "a").is_none());
    drop(one);
    let usage = tenants.usage(Some(&TenantId::from("a")));
    assert_eq!((usage.runs, usage.offered), (0, usage.admitted + usage.refused_in_all()));
}

//! One tenant floods, and the others stay what they are alone: with quotas, and not without (the control).

use std::time::Duration;

use stageflow::{Quota, RunReport, TenantQuotas, code, prelude::*, testing::Sim};

use super::super::kit::{naps, solo};

/// How many stages the machine does at a time, and how long one takes.
const PLACES: u32 = 32;
const WORK: Duration = Duration::from_millis(10);
/// The load of each of nine others: 100 runs, one every 40 ms. It uses less than a tenth of the machine.
const OTHERS: [&str; 9] = ["b", "c", "d", "e", "f", "g", "h", "i", "j"];
const RUNS: u64 = 100;
const EVERY: Duration = Duration::from_millis(40);
/// What `a` sends at once, and a smaller flood where the way of the runs is the same.
const FLOOD: usize = 10_000;
const LESS: usize = 2_000;

/// How it went for those who did not flood.
#[derive(Debug)]
struct Seen {
    /// The longest and the sum of the times of their runs.
    longest: Duration,
    all: Duration,
    /// From the first run to the end of the last.
    took: Duration,
    completed: u64,
    /// Of those of `a`.
    of_flood: usize,
    refused: usize,
}

async fn neighbours(sim: &Sim, quotas: Option<TenantQuotas>, flood_of: usize) -> Seen {
    sim.furnish(move |engine| {
        let engine = engine.max_in_flight(PLACES);
        match quotas {
            Some(quotas) => engine.tenant_quota(quotas),
            None => engine,
        }
    });
    let work = solo(naps(WORK, 1));
    let started = tokio::time::Instant::now();
    let flood: Vec<_> = (0..flood_of).map(|_| sim.run(&work, ()).tenant("a").start()).collect();
    let mut runs = Vec::new();
    for _ in 0..RUNS {
        runs.extend(OTHERS.map(|tenant| sim.run(&work, ()).tenant(tenant).start()));
        // sleeps: on paused time
        tokio::time::sleep(EVERY).await;
    }
    let mut times: Vec<Duration> = Vec::new();
    for run in runs {
        times.extend(run.await.ok().map(|done| RunReport::duration(&done.report())));
    }
    let took = started.elapsed();
    let (mut of_flood, mut refused) = (0, 0);
    for run in flood {
        match run.await {
            Ok(_) => of_flood += 1,
            Err(error) => refused += usize::from(error.code() == code::QUOTA_EXCEEDED),
        }
    }
    Seen {
        longest: times.iter().max().copied().unwrap_or_default(),
        all: times.iter().sum(),
        took,
        completed: times.len() as u64,
        of_flood,
        refused,
    }
}

/// The bound: no run takes more than twice, and all together a quarter more than alone, and none is missing.
fn unharmed(alone: &Seen, beside: &Seen) -> Result<(), String> {
    let held = beside.longest <= 2 * alone.longest
        && beside.all <= alone.all * 5 / 4
        && beside.took <= alone.took * 11 / 10
        && beside.completed == RUNS * OTHERS.len() as u64;
    if held { Ok(()) } else { Err(format!("alone {alone:?}, beside it {beside:?}")) }
}

fn seen(quotas: Option<Quota>, flood_of: usize) -> Seen {
    let seen = std::rc::Rc::new(std::cell::RefCell::new(None));
    let kept = std::rc::Rc::clone(&seen);
    Sim::seeds(0..1).run(move |sim| {
        let kept = std::rc::Rc::clone(&kept);
        async move {
            let of = neighbours(&sim, quotas.map(TenantQuotas::from), flood_of).await;
            *kept.borrow_mut() = Some(of);
        }
    });
    seen.take().expect("it has run")
}

#[test]
fn a_tenant_that_floods_harms_no_other() {
    let alone = seen(None, 0);
    assert_eq!(alone.longest, WORK, "they are far from what the machine can do");
    for (quota, flood_of) in [
        (Quota::concurrent_runs(20), FLOOD),
        (Quota::concurrent_runs(20).wait_up_to(2.secs()).max_waiting(500), LESS),
        (Quota::new().stages_in_flight(20), LESS),
        (Quota::new().runs_per(1_000, 1.secs()).burst(20), LESS),
    ] {
        let beside = seen(Some(quota), flood_of);
        unharmed(&alone, &beside).unwrap_or_else(|harm| panic!("{quota}: {harm}"));
        assert_eq!(beside.of_flood + beside.refused, flood_of, "{quota}: each is let in or refused");
    }
}

/// The control: without a quota the flood is in the way of all, so that the check above can fail.
#[test]
fn without_a_quota_the_flood_harms_the_others() {
    let (alone, beside) = (seen(None, 0), seen(None, FLOOD));
    assert_eq!(beside.of_flood, FLOOD);
    unharmed(&alone, &beside).unwrap_err();
    assert!(beside.longest > 100 * alone.longest, "{beside:?}");
}

//! Tenants within a class.

use proptest::prelude::*;
use stageflow_core::{Priority, TenantId};

use super::super::tenants::{Item, Tenants};
use crate::router::PriorityQueue;

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Over any interval in which both wait, in units of cost.
    #[test]
    fn two_tenants_are_served_the_same_but_for_one_job_of_each(
        costs in (1_u64..1_000, 1_u64..1_000),
        spread in 1_u64..50
    ) {
        let tenants: [TenantId; 2] = ["a".into(), "b".into()];
        let mut queue = PriorityQueue::new();
        let cost = |at: usize, number: u64| {
            let most = if at == 0 { costs.0 } else { costs.1 };
            (number * 7 % spread).min(most - 1) + 1
        };
        for number in 0..400 {
            for (at, tenant) in tenants.iter().enumerate() {
                let cost = cost(at, number);
                queue.push(0, Priority::Normal, Some(tenant), cost, (at, cost));
            }
        }
        // From each moment on, the difference of what they got: its spread over time is the worst over all intervals.
        let (mut ahead, mut least, mut most, mut left) = (0_i128, 0_i128, 0_i128, [400; 2]);
        while let Some(next) = queue.pop(0) {
            let (at, cost) = next.job;
            ahead += if at == 0 { i128::from(cost) } else { -i128::from(cost) };
            (least, most) = (least.min(ahead), most.max(ahead));
            left[at] -= 1;
            if left.contains(&0) {
                break;
            }
        }
        let bound = i128::from(costs.0.min(spread) + costs.1.min(spread));
        prop_assert!(most - least <= bound, "{} apart, {bound} is the bound", most - least);
    }
}

#[test]
fn a_thousand_small_jobs_wait_for_no_flood_of_large_ones() {
    let (heavy, light): (TenantId, TenantId) = ("heavy".into(), "light".into());
    let mut queue = PriorityQueue::new();
    for _ in 0..1_000 {
        queue.push(0, Priority::Normal, Some(&heavy), 1_000, "heavy");
    }
    for _ in 0..1_000 {
        queue.push(0, Priority::Normal, Some(&light), 1, "light");
    }
    let first: Vec<_> = (0..1_003).filter_map(|_| queue.pop(0)).map(|next| next.job).collect();
    assert_eq!(first.iter().filter(|job| **job == "light").count(), 1_000);
}

#[test]
fn who_comes_back_after_a_long_time_gets_no_burst() {
    let (busy, idle): (TenantId, TenantId) = ("busy".into(), "idle".into());
    let mut queue = PriorityQueue::new();
    queue.push(0, Priority::Normal, Some(&idle), 1, "idle");
    for _ in 0..2_000 {
        queue.push(0, Priority::Normal, Some(&busy), 1, "busy");
    }
    (0..1_000).for_each(|_| assert!(queue.pop(0).is_some()));
    for _ in 0..500 {
        queue.push(0, Priority::Normal, Some(&idle), 1, "idle");
    }
    let mut ahead = 0_i32;
    for _ in 0..400 {
        ahead += if queue.pop(0).expect("enough wait").job == "idle" { 1 } else { -1 };
        assert!(ahead.abs() <= 2, "{ahead}");
    }
}

#[test]
fn a_flood_of_tenants_leaves_nothing_behind() {
    let mut tenants = Tenants::new();
    let mut id = 0;
    for round in 0..3 {
        for tenant in 0..20_000 {
            let key = Some(format!("{round}-{tenant}").into());
            tenants.push(id, key, Item { job: (), cost: 10, arrived: 0 });
            id += 1;
        }
        while tenants.len() > 1 {
            assert!(tenants.pop().is_some());
        }
        assert!(tenants.known() <= 10_001, "{} are known", tenants.known());
    }
    assert!(tenants.pop().is_some());
    assert_eq!(tenants.known(), 0);
}

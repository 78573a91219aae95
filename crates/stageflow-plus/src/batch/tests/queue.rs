//! The queues against a list: nobody is lost, doubled or mixed, and tenants take turns.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::queue::{FlushedBy, Key, Queues, RefusedBy, Rules};

fn rules() -> Rules {
    Rules { max_size: 3, max_weight: None, max_wait: 10, max_queue: 100, tenant_queue: 50, max_in_flight: 1 }
}

fn key(tenant: u64) -> Key {
    Some(tenant.to_string().as_str().into())
}

#[derive(Clone, Debug)]
enum Step {
    Offer { tenant: u64, weight: u64, patience: u64 },
    Leave(usize),
    Pass(u64),
    Release,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_u64..3, 1_u64..9, 0_u64..20)
            .prop_map(|(tenant, weight, patience)| Step::Offer { tenant, weight, patience }),
        1 => any::<usize>().prop_map(Step::Leave),
        2 => (1_u64..8).prop_map(Step::Pass),
        2 => Just(Step::Release),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_item_goes_once_with_its_own_tenant(
        steps in prop::collection::vec(step(), 1..120),
        max_size in 1_usize..5,
        max_weight in prop::option::of(1_u64..20),
        max_queue in 1_usize..12,
        tenant_queue in 1_usize..12,
        max_in_flight in 1_usize..3,
    ) {
        let rules = Rules { max_size, max_weight, max_wait: 10, max_queue, tenant_queue, max_in_flight };
        let mut queues = Queues::new(rules);
        // By ticket: tenant, weight, when it came, when it is due.
        let mut waiting: BTreeMap<u64, (u64, u64, u64, u64)> = BTreeMap::new();
        let (mut now, mut flying) = (0_u64, 0_usize);
        for step in steps {
            match step {
                Step::Offer { tenant, weight, patience } => {
                    let of_tenant = waiting.values().filter(|one| one.0 == tenant).count();
                    match queues.offer(&key(tenant), tenant, weight, now, patience) {
                        Ok(ticket) => {
                            prop_assert!(waiting.len() < max_queue && of_tenant < tenant_queue);
                            let due = now + patience.min(10);
                            prop_assert!(waiting.insert(ticket, (tenant, weight, now, due)).is_none());
                        }
                        Err((by, _)) => prop_assert_eq!(by, if waiting.len() >= max_queue {
                            RefusedBy::QueueFull
                        } else {
                            prop_assert!(of_tenant >= tenant_queue);
                            RefusedBy::TenantQueueFull
                        }),
                    }
                }
                Step::Leave(which) => {
                    let who = waiting.keys().nth(which % waiting.len().max(1)).copied();
                    if let Some(ticket) = who {
                        let (tenant, ..) = waiting.remove(&ticket).expect("it waits");
                        prop_assert_eq!(queues.leave(&key(tenant), ticket), Some(tenant));
                        prop_assert_eq!(queues.leave(&key(tenant), ticket), None);
                    }
                }
                Step::Pass(time) => now += time,
                Step::Release => if flying > 0 {
                    flying -= 1;
                    queues.release();
                },
            }
            while let Some(formed) = queues.next(now) {
                flying += 1;
                prop_assert!(flying <= max_in_flight && !formed.entries.is_empty());
                let mut weight = 0;
                for entry in &formed.entries {
                    let known = waiting.remove(&entry.ticket);
                    prop_assert_eq!(known.map(|known| (key(known.0), known.1)), Some((formed.key.clone(), entry.weight)));
                    prop_assert_eq!(key(entry.item), formed.key.clone());
                    weight += entry.weight;
                }
                prop_assert_eq!(weight, formed.weight);
                prop_assert!(max_weight.is_none_or(|most| weight <= most || formed.entries.len() == 1));
                prop_assert!(formed.entries.len() <= max_size);
                // What else waits of this tenant would not have fitted.
                let next = waiting.values().find(|one| key(one.0) == formed.key);
                let is_whole = next.is_none_or(|next| {
                    formed.entries.len() == max_size || max_weight.is_some_and(|most| weight + next.1 > most)
                });
                prop_assert!(is_whole);
                prop_assert!(formed.entries.is_sorted_by_key(|entry| entry.ticket));
                match formed.by {
                    FlushedBy::Full => prop_assert_eq!(formed.entries.len(), max_size),
                    FlushedBy::Time => prop_assert!(formed.entries.iter().any(|entry| now >= entry.at + 10)),
                    FlushedBy::Deadline => prop_assert!(formed.entries.iter().all(|entry| now < entry.at + 10)),
                    FlushedBy::Weight => prop_assert!(max_weight.is_some()),
                    FlushedBy::Closed => prop_assert!(false, "nobody has closed it"),
                }
            }
            // With room, nobody waits who is due, and nobody who could fill a batch.
            if flying < max_in_flight {
                for tenant in 0..3 {
                    let mine: Vec<_> = waiting.values().filter(|one| one.0 == tenant).collect();
                    prop_assert!(mine.len() < max_size);
                    prop_assert!(mine.iter().all(|one| now < one.3));
                }
            }
            prop_assert_eq!(queues.queued(), waiting.len());
            prop_assert_eq!(queues.in_flight(), flying);
        }
    }
}

#[test]
fn tenants_take_turns_whoever_has_more() {
    let mut queues = Queues::new(rules());
    for _ in 0..9 {
        queues.offer(&key(0), (), 1, 0, 0).expect("room");
    }
    for tenant in 1..3 {
        queues.offer(&key(tenant), (), 1, 0, 0).expect("room");
    }
    let mut order = Vec::new();
    while let Some(formed) = queues.next(0) {
        order.push((formed.key, formed.entries.len()));
        queues.release();
    }
    assert_eq!(order, [(key(0), 3), (key(1), 1), (key(2), 1), (key(0), 3), (key(0), 3)]);
    assert_eq!(queues.tenants(), 0);
}

#[test]
fn one_tenant_cannot_fill_the_queue_of_all() {
    let mut queues = Queues::new(Rules { max_queue: 4, tenant_queue: 2, max_size: 10, ..rules() });
    let mut offer = |tenant| queues.offer(&key(tenant), (), 1, 0, 10).map_err(|(by, ())| by);
    assert!(offer(0).is_ok() && offer(0).is_ok());
    assert_eq!(offer(0), Err(RefusedBy::TenantQueueFull));
    assert!(offer(1).is_ok() && offer(2).is_ok());
    assert_eq!(offer(3), Err(RefusedBy::QueueFull));
}

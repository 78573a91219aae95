//! The law of the account, with everything drawn: rooms, files, faults, sinks, and the time of the shutdown.

use std::sync::atomic::AtomicBool;

use proptest::prelude::*;
use stageflow_core::SinkAccount;

use super::{
    faults::{Broken, Faults},
    *,
};

#[derive(Clone, Copy, Debug)]
enum Kind {
    Fine,
    Slow,
    Panics,
    Dead,
}

fn faults() -> impl Strategy<Value = Faults> {
    let every = prop_oneof![3 => Just(0), 1 => Just(1), 2 => 2..5_u64];
    (prop::bool::weighted(0.1), every.clone(), every)
        .prop_map(|(open, write, read)| Faults::of(open, write, read))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// S-29: `emitted = delivered + dropped + in flight` whenever somebody looks; each run keeps its order; what is delivered
    /// and what gaps tell make up everything.
    #[test]
    fn s_29_the_law_holds_with_files(
        kind in prop_oneof![2 => Just(Kind::Fine), 2 => Just(Kind::Slow), 1 => Just(Kind::Panics), 1 => Just(Kind::Dead)],
        (capacity, hand_over, max_bytes) in (1..200_usize, 1..600_usize, prop_oneof![Just(10_000_u64), Just(1 << 30)]),
        faults in prop::collection::vec(faults(), 6),
        bursts in prop::collection::vec((0..3_usize, 1..600_u64, any::<bool>()), 1..6),
        stop_after in 0..8_usize,
    ) {
        let (disk, door, over) = (Broken::default(), Door::default(), Arc::new(AtomicBool::new(false)));
        let seen = Arc::new(Mutex::new(Vec::<Event>::new()));
        let (keep, gate) = (Arc::clone(&seen), door.clone());
        let sink = sink_fn(move |event| {
            match kind {
                Kind::Fine => {}
                Kind::Slow => (0..u64::from(event.seq().is_multiple_of(16))).for_each(|_| thread::yield_now()),
                Kind::Panics => assert!(event.seq() % 7 != 3, "an unlucky number"),
                Kind::Dead => gate.on_event(event),
            }
            keep.lock().expect("no push panics").push(event.clone());
        });
        let policy = Policy::spill("").capacity(capacity).hand_over(hand_over).max_bytes(max_bytes);
        let sink = Arc::new(disk.below(sink, policy).linger(Duration::ZERO));
        let watch = {
            let (sink, over) = (Arc::clone(&sink), Arc::clone(&over));
            thread::spawn(move || {
                let mut last = SinkAccount::default();
                while !over.load(Ordering::SeqCst) {
                    let now = sink.account();
                    assert!(now.is_balanced() && now.spilled <= now.in_flight, "{now}");
                    assert!(now.delivered >= last.delivered && now.dropped() >= last.dropped());
                    last = now;
                    thread::yield_now();
                }
            })
        };
        let runs = [run(), run(), run()];
        let (mut next, mut emitted) = ([0_u64; 3], 0);
        for (n, (of, count, ends)) in bursts.iter().enumerate() {
            disk.set(faults[n]);
            if n == stop_after {
                sink.shutdown_blocking(Duration::from_millis(2));
            }
            let mut events = started(&runs[*of], next[*of] + 1..=next[*of] + count);
            next[*of] += count + u64::from(*ends);
            // An end of another class, behind what spills.
            events.extend(ends.then(|| event(&runs[*of], next[*of], EventKind::StageCompleted)));
            emitted += events.len() as u64;
            sink.take_all(events);
            (0..50).for_each(|_| thread::yield_now());
        }
        if let Kind::Dead = kind {
            let receipt = sink.shutdown_blocking(Duration::from_millis(2));
            prop_assert!(receipt.account.is_balanced());
            prop_assert_eq!((receipt.account.in_flight, receipt.account.spilled), (receipt.stuck, 0));
            door.open();
        }
        sink.shutdown_blocking(LONG);
        until(|| sink.account().in_flight == 0);
        over.store(true, Ordering::SeqCst);
        watch.join().expect("the law held");
        let (account, seen) = (sink.account(), seen.lock().unwrap());
        prop_assert_eq!(account.emitted, emitted);
        let events = seen.iter().filter(|event| !event.is_gap());
        prop_assert_eq!(events.clone().count() as u64, account.delivered);
        for run in &runs {
            let of_run = events.clone().filter(|event| event.run_id() == run.run_id());
            prop_assert!(of_run.map(Event::seq).is_sorted_by(|a, b| a < b));
        }
        if stop_after >= bursts.len() && !matches!(kind, Kind::Dead | Kind::Panics) {
            let told = seen.iter().map(|event| match event.kind() {
                EventKind::Gap { losses, .. } => losses.total() + losses.elsewhere(),
                _ => 0,
            });
            prop_assert_eq!(told.sum::<u64>(), account.dropped());
        }
        until(|| disk.is_empty());
    }
}

//! Bounded sinks, channels and files behind running pipelines: no run feels them, and their accounts are right (S-29).

use std::{
    collections::BTreeMap,
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use proptest::prelude::*;
use stageflow::{
    DropReason, Event, EventClass, EventKind, EventSink, Recorder, RunId, RunOutcome, SinkAccount,
    events::{Bounded, FanOut, Fsync, JsonLines, Policy, SinkExt, channel, sink_fn},
    prelude::*,
};

use super::kit::{Switch, pipeline, solo, sum};

const LONG: Duration = Duration::from_secs(60);

/// A stage that emits `count` events of its own by the name of `name`.
fn emits(name: &'static str, count: u32) -> impl Stage<Input = (), Output = u32> {
    stage_fn(move |ctx: StageContext, (): ()| async move {
        for n in 0..count {
            ctx.emit(name, [("n", n)]);
        }
        Ok(1_u32)
    })
}

/// A sink that stands still until the switch is opened.
fn stands(switch: &Switch) -> impl EventSink + use<> {
    let switch = switch.clone();
    sink_fn(move |_| switch.spin())
}

fn is_end(event: &Event) -> bool {
    event.kind().is_terminal()
}

/// What each run has been told: the events and the losses that were announced.
fn sums(events: &[Event]) -> BTreeMap<RunId, (u64, u64)> {
    let mut sums = BTreeMap::<_, (u64, u64)>::new();
    for event in events {
        let sum = sums.entry(event.run_id()).or_default();
        match event.kind() {
            EventKind::Gap { dropped, .. } => sum.1 += dropped,
            _ => sum.0 += 1,
        }
    }
    sums
}

/// S-29, KEEP 18.12-255, 263: dead, slow and broken sinks beside a good one; no run and no other sink feels them.
#[tokio::test]
async fn s_29_no_sink_feels_another() {
    let (switch, good) = (Switch::default(), Recorder::new());
    let dead = Arc::new(stands(&switch).bounded(16).linger(Duration::ZERO));
    let broken = sink_fn(|_| panic!("broken")).bounded(1_000);
    let engine = Engine::builder().sink(Arc::clone(&dead)).sink(broken).sink(good.clone().bounded(1_000));
    let engine = engine.build().unwrap();
    for _ in 0..3 {
        let done = engine.run(&solo(emits("n", 100)), ()).await.unwrap();
        assert_eq!(done.outcome(), RunOutcome::Completed);
    }
    while engine.sink_accounts()[1].in_flight + engine.sink_accounts()[2].in_flight > 0 {
        tokio::task::yield_now().await;
    }
    let [stuck, panics, fine] = engine.sink_accounts()[..] else { panic!("three sinks") };
    assert!([stuck, panics, fine].iter().all(SinkAccount::is_balanced));
    assert_eq!((stuck.emitted, stuck.delivered), (312, 0));
    assert_eq!((panics.dropped_panic, fine.delivered, good.len()), (312, 312, 312));
    let receipt = dead.shutdown(Duration::from_millis(5)).await;
    assert_eq!(receipt.abandoned + receipt.stuck + stuck.dropped(), 312);
    switch.open();
}

/// A dead sink holds up the shutdown of an engine for its budget and no longer.
#[tokio::test]
async fn a_dead_sink_does_not_hold_up_the_shutdown_of_an_engine() {
    let switch = Switch::default();
    let engine = Engine::builder().sink(stands(&switch).bounded(100).linger(Duration::ZERO)).build().unwrap();
    engine.run(&solo(emits("n", 10)), ()).await.unwrap();
    engine.shutdown(Duration::from_millis(20)).await;
    let [account] = engine.sink_accounts()[..] else { panic!("one sink") };
    assert_eq!((account.in_flight, account.emitted), (14, 14));
    switch.open();
}

/// Seed 002: a thousand events in a second into a queue of 100 whose reader is slower; the rate of drops that is measured
/// is the one in the account.
#[tokio::test(start_paused = true)]
async fn s_29_the_measured_drop_rate_is_the_one_of_the_account() {
    let (seen, told) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (events, gaps, switch) = (Arc::clone(&seen), Arc::clone(&told), Switch::default());
    let gate = switch.clone();
    let slow = sink_fn(move |event| {
        gate.spin();
        match event.kind() {
            EventKind::Gap { dropped, .. } => gaps.fetch_add(*dropped, Ordering::SeqCst),
            _ => events.fetch_add(1, Ordering::SeqCst),
        };
    });
    let sink = Arc::new(slow.bounded(100));
    let engine = Engine::builder().sink(Arc::clone(&sink)).build().unwrap();
    let says = stage_fn(|ctx: StageContext, (): ()| async move {
        for n in 0..1_000 {
            ctx.emit("n", [("n", n)]);
            // sleeps: on paused time
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(1_u32)
    });
    engine.run(&solo(says), ()).await.unwrap();
    switch.open();
    let account = sink.shutdown(LONG).await.account;
    assert!(account.dropped() > 500, "the fault did not fire: {account}");
    assert_eq!((account.emitted, account.delivered), (1_004, seen.load(Ordering::SeqCst)));
    assert_eq!((account.dropped(), account.in_flight), (told.load(Ordering::SeqCst), 0));
    assert_eq!(account.dropped(), account.dropped_by(DropReason::Evicted));
}

/// S-28, S-29: gaps are per run. Whatever is dropped, the events of a run and the losses told in it make up its numbers.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn s_29_events_and_gaps_of_each_run_make_up_its_numbers() {
    let (switch, recorder) = (Switch::default(), Recorder::new());
    let (gate, keep) = (switch.clone(), recorder.clone());
    let slow = sink_fn(move |event| {
        gate.spin();
        keep.on_event(event);
    });
    let engine = Engine::builder().sink(slow.bounded(64)).build().unwrap();
    let wide = pipeline(|p| {
        let all = p.parallel("s", 0..20, |_| emits("n", 20)).inputs(());
        p.stage("sum", sum()).inputs(all)
    });
    let runs: Vec<_> = (0..5).map(|_| engine.start(&wide, ())).collect();
    for run in runs {
        run.await.unwrap();
    }
    switch.open();
    engine.flush().await;
    let events = recorder.events();
    assert!(events.iter().any(Event::is_gap), "the fault did not fire");
    let sums = sums(&events);
    assert_eq!(sums.len(), 5);
    assert!(sums.values().all(|(seen, missing)| seen + missing == 2 + 2 * 21 + 400), "{sums:?}");
    // No end is missing: 21 stages and the run.
    assert_eq!(events.iter().filter(|event| is_end(event)).count(), 5 * 22);
    for run in sums.keys() {
        let of_run = events.iter().filter(|event| event.run_id() == *run && !event.is_gap());
        assert!(of_run.map(Event::seq).is_sorted());
    }
}

/// The engine's own queue keeps gaps per run as well.
#[tokio::test]
async fn s_29_the_queue_of_an_engine_tells_gaps_per_run() {
    let (switch, recorder) = (Switch::default(), Recorder::new());
    let (gate, keep) = (switch.clone(), recorder.clone());
    let slow = sink_fn(move |event| {
        gate.spin();
        keep.on_event(event);
    });
    struct Queued<S>(S);
    impl<S: EventSink> EventSink for Queued<S> {
        fn on_event(&self, event: &Event) {
            self.0.on_event(event);
        }
        fn delivery(&self) -> stageflow::Delivery {
            stageflow::Delivery::Queued { capacity: 64 }
        }
    }
    let engine = Engine::builder().sink(Queued(slow)).build().unwrap();
    // Two runs take turns, so that the losses of one stand between the events of the other.
    let turns = solo(stage_fn(|ctx: StageContext, (): ()| async move {
        for n in 0..100 {
            ctx.emit("n", [("n", n)]);
            tokio::task::yield_now().await;
        }
        Ok(1_u32)
    }));
    let (a, b) = tokio::join!(engine.start(&turns, ()), engine.start(&turns, ()));
    assert!(a.is_ok() && b.is_ok());
    switch.open();
    engine.flush().await;
    let sums = sums(&recorder.events());
    assert_eq!(sums.len(), 2);
    assert!(sums.values().all(|(seen, missing)| seen + missing == 104), "{sums:?}");
}

/// What is left over for a class does not come out of the room of another.
#[tokio::test]
async fn classes_have_rooms_of_their_own() {
    let switch = Switch::default();
    let sink = stands(&switch)
        .bounded(10)
        .class(EventClass::Debug, Policy::sample(5).capacity(10))
        .class(EventClass::Decision, Policy::drop_newest().capacity(20));
    let sink = Arc::new(sink.linger(Duration::ZERO));
    let engine = Engine::builder().sink(Arc::clone(&sink)).build().unwrap();
    for name in ["debug.line", "route.decided", "token"] {
        engine.run(&solo(emits(name, 200)), ()).await.unwrap();
    }
    let account = sink.account();
    assert!(
        account.dropped_sampled > 0 && account.dropped_full > 0 && account.dropped_evicted > 0,
        "{account}"
    );
    assert!(account.is_balanced());
    switch.open();
    let receipt = sink.shutdown(LONG).await;
    assert!(receipt.is_complete());
}

/// A channel shows all runs while they go on; the stream ends with the engine.
#[tokio::test]
async fn a_channel_shows_all_runs() {
    let (sink, mut events) = channel(1_000);
    let engine = Engine::builder().sink(sink).build().unwrap();
    let shown = tokio::spawn(async move {
        let mut seen = Vec::new();
        while let Some(event) = events.next().await {
            seen.push(event);
        }
        seen
    });
    let pipeline = solo(emits("n", 3));
    let (a, b) = tokio::join!(engine.run(&pipeline, ()), engine.run(&pipeline, ()));
    a.unwrap();
    b.unwrap();
    drop(engine);
    let sums = sums(&shown.await.unwrap());
    assert_eq!(sums.values().collect::<Vec<_>>(), [&(7, 0), &(7, 0)]);
}

/// A file holds every event of every run, in order, and reads back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_holds_every_event() {
    let path = std::env::temp_dir().join(format!("stageflow-it-{}.jsonl", std::process::id()));
    let file = JsonLines::create(&path).unwrap().fsync(Fsync::RunEnds).bounded(100_000);
    let recorder = Recorder::new();
    let engine = Engine::builder().sink(FanOut::new().to(file).to(recorder.clone())).build().unwrap();
    for n in 0..5 {
        engine.run(&solo(emits("n", n * 100)), ()).tenant("acme").await.unwrap();
    }
    engine.flush().await;
    let read: Vec<_> = JsonLines::read(&path).unwrap().collect::<Result<_, _>>().unwrap();
    let _ = fs::remove_file(&path);
    let written = recorder.events();
    assert_eq!(read.len(), written.len());
    for (read, written) in read.iter().zip(&written) {
        assert_eq!(serde_json::to_value(read).unwrap(), serde_json::to_value(written).unwrap());
    }
}

/// A sink needs no runtime: what an engine leaves behind is delivered after the runtime is gone.
#[test]
fn a_sink_survives_the_runtime() {
    let (switch, recorder) = (Switch::default(), Recorder::new());
    let (gate, keep) = (switch.clone(), recorder.clone());
    let sink = Arc::new(
        sink_fn(move |event| {
            gate.spin();
            keep.on_event(event);
        })
        .bounded(1_000),
    );
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let engine = Engine::builder().sink(Arc::clone(&sink)).build().unwrap();
    runtime.block_on(async { engine.run(&solo(emits("n", 100)), ()).await.unwrap() });
    drop((engine, runtime));
    assert_eq!(recorder.len(), 0);
    switch.open();
    assert!(sink.shutdown_blocking(LONG).is_complete());
    assert_eq!(recorder.len(), 104);
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Fine,
    Slow,
    Panics,
    Dead,
}

fn policy() -> impl Strategy<Value = Policy> {
    let rule = prop_oneof![
        Just(Policy::drop_newest()),
        Just(Policy::drop_oldest()),
        (1..20_u32).prop_map(Policy::sample),
        (0..3_u64).prop_map(|ms| Policy::wait(Duration::from_millis(ms))),
    ];
    (rule, 1..100_usize).prop_map(|(policy, capacity)| policy.capacity(capacity))
}

fn sink_of(
    kind: Kind,
    switch: &Switch,
    seen: &Arc<Mutex<Vec<Event>>>,
    policies: &[Policy],
) -> Bounded<impl EventSink> {
    let (switch, seen) = (switch.clone(), Arc::clone(seen));
    let sink = sink_fn(move |event| {
        match kind {
            Kind::Fine => {}
            Kind::Slow => (0..200).for_each(|_| std::thread::yield_now()),
            Kind::Panics => assert!(event.seq() % 7 != 3, "an unlucky number"),
            Kind::Dead => switch.spin(),
        }
        seen.lock().expect("no push panics").push(event.clone());
    });
    let classes = EventClass::ALL.iter().zip(policies);
    classes.fold(sink.bounded(50).linger(Duration::ZERO), |sink, (class, policy)| {
        sink.class(*class, policy.clone())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// S-29: `emitted = delivered + dropped + in flight` whenever somebody looks, with sinks of every kind, rooms and policies
    /// of every kind, and a shutdown in the middle. In the end the sink has what the account says, and the gaps tell the rest.
    #[test]
    fn s_29_the_law_holds_at_every_instant(
        kind in prop_oneof![Just(Kind::Fine), Just(Kind::Slow), Just(Kind::Panics), Just(Kind::Dead)],
        policies in prop::collection::vec(policy(), 4),
        bursts in prop::collection::vec((prop::sample::select(vec!["n", "debug.n", "route.n", "audit.n"]), 0..150_u32), 1..6),
        stop_after in 0..8_usize,
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
        let (switch, seen, over) = (Switch::default(), Arc::default(), Arc::new(AtomicBool::new(false)));
        let sink = Arc::new(sink_of(kind, &switch, &seen, &policies));
        let engine = Engine::builder().sink(Arc::clone(&sink)).build().unwrap();
        let watch = {
            let (engine, over) = (engine.clone(), Arc::clone(&over));
            std::thread::spawn(move || {
                let mut last = SinkAccount::default();
                while !over.load(Ordering::SeqCst) {
                    let now = engine.sink_accounts()[0];
                    assert!(now.is_balanced(), "{now}");
                    assert!(now.emitted >= last.emitted && now.delivered >= last.delivered && now.dropped() >= last.dropped());
                    last = now;
                }
            })
        };
        let mut emitted = 0;
        for (n, (name, count)) in bursts.iter().enumerate() {
            if n == stop_after {
                sink.shutdown_blocking(Duration::from_millis(2));
            }
            runtime.block_on(async { engine.run(&solo(emits(name, *count)), ()).await.unwrap() });
            emitted += u64::from(*count) + 4;
        }
        if let Kind::Dead = kind {
            let receipt = sink.shutdown_blocking(Duration::from_millis(2));
            prop_assert!(receipt.account.is_balanced());
            prop_assert_eq!(receipt.account.in_flight, receipt.stuck);
            switch.open();
        }
        sink.shutdown_blocking(LONG);
        while sink.account().in_flight > 0 {
            std::thread::yield_now();
        }
        over.store(true, Ordering::SeqCst);
        watch.join().expect("the law held");
        let account = sink.account();
        prop_assert_eq!(account.emitted, emitted);
        let seen = seen.lock().unwrap();
        prop_assert_eq!(seen.iter().filter(|event| !event.is_gap()).count() as u64, account.delivered);
        if stop_after >= bursts.len() && !matches!(kind, Kind::Dead | Kind::Panics) {
            let told = seen.iter().map(|event| match event.kind() {
                EventKind::Gap { losses, .. } => losses.total() + losses.elsewhere(),
                _ => 0,
            });
            prop_assert_eq!(told.sum::<u64>(), account.dropped());
        }
    }
}

/// What wraps a sink keeps the rules of sinks.
#[tokio::test(start_paused = true)]
async fn what_wraps_a_sink_keeps_the_contract() {
    use stageflow::testing::contract;
    contract::sink(Recorder::new().bounded(1_000)).await.unwrap();
    contract::sink(FanOut::new().to(Recorder::new()).to(sink_fn(|_| {}))).await.unwrap();
    contract::sink(channel(100).0).await.unwrap();
    let path = std::env::temp_dir().join(format!("stageflow-contract-{}.jsonl", std::process::id()));
    let kept = |file: &JsonLines| {
        JsonLines::read(file.path())
            .unwrap()
            .map(|event| event.map(|event| (event.run_id, event.seq)).unwrap())
            .collect()
    };
    let checked = contract::sink_that_keeps(JsonLines::create(&path).unwrap(), kept).await;
    let _ = fs::remove_file(&path);
    checked.unwrap();
}

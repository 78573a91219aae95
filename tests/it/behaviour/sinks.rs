//! Sinks that are slow, stuck or panic: they change no run, and their accounts are right at every instant (rule S-29).

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use stageflow::{Delivery, Event, EventKind, EventSink, Recorder, RunOutcome, SinkAccount, prelude::*};

use super::kit::{Switch, error_of, exits, gives, pipeline, solo, sum};

/// Keeps the names of what it is given. Before the first event it waits for the switch, where it has one.
#[derive(Clone)]
struct Keeps {
    seen: Arc<Mutex<Vec<Event>>>,
    switch: Option<Switch>,
    delivery: Delivery,
}

impl Keeps {
    fn new(delivery: Delivery, switch: Option<&Switch>) -> Self {
        Self { seen: Arc::default(), switch: switch.cloned(), delivery }
    }

    fn seen(&self) -> Vec<Event> {
        self.seen.lock().expect("it does not panic").clone()
    }
}

impl EventSink for Keeps {
    fn on_event(&self, event: &Event) {
        if let Some(switch) = &self.switch {
            switch.spin();
        }
        self.seen.lock().expect("it does not panic").push(event.clone());
    }

    fn delivery(&self) -> Delivery {
        self.delivery
    }
}

const fn queue(capacity: usize) -> Delivery {
    Delivery::Queued { capacity }
}

fn is_lawful(account: SinkAccount) -> bool {
    account.emitted == account.delivered + account.dropped() + account.in_flight
}

/// A stage that emits `count` events.
fn emits(count: u32) -> impl Stage<Input = (), Output = u32> {
    stage_fn(move |ctx: StageContext, (): ()| async move {
        for n in 0..count {
            ctx.emit("n", [("n", n)]);
        }
        Ok(1_u32)
    })
}

/// KEEP 18.12-255, 258, S-29: a stuck sink delays nothing; what does not fit is counted and announced.
#[tokio::test]
async fn a_stuck_sink_delays_no_run_and_its_losses_are_announced() {
    let switch = Switch::default();
    let sink = Keeps::new(queue(16), Some(&switch));
    let engine = Engine::builder().sink(sink.clone()).build().unwrap();
    let done = engine.run(&solo(emits(50)), ()).await.unwrap();
    assert_eq!(done.outcome(), RunOutcome::Completed);
    let [stuck] = engine.sink_accounts()[..] else { panic!("one sink") };
    assert!(is_lawful(stuck), "{stuck:?}");
    assert_eq!((stuck.emitted, stuck.delivered, stuck.in_flight), (54, 0, 16));
    switch.open();
    engine.flush().await;
    let [account] = engine.sink_accounts()[..] else { panic!("one sink") };
    assert_eq!((account.delivered, account.dropped_full, account.in_flight), (16, 38, 0));
    let seen = sink.seen();
    let numbers: Vec<_> = seen.iter().map(|event| (event.name().into_owned(), event.seq())).collect();
    // The ends of the stage and of the run found room, and before them stands what is missing.
    assert_eq!(
        numbers[14..],
        [("events.gap", 52), ("stage.completed", 53), ("pipeline.completed", 54)]
            .map(|(name, n)| (name.to_owned(), n))
    );
    let EventKind::Gap { dropped, .. } = seen[14].kind() else { panic!("{seen:?}") };
    assert_eq!(*dropped, account.dropped_full);
    assert_eq!(serde_json::to_value(&seen[14]).unwrap()["details"]["dropped"], 38);
}

struct Panics(Delivery);

impl EventSink for Panics {
    fn on_event(&self, _: &Event) {
        panic!("the sink is broken");
    }

    fn delivery(&self) -> Delivery {
        self.0
    }
}

/// KEEP 18.12-257, 263, S-9, S-29, W27: a sink that panics changes no run and no other sink, and is asked again.
#[tokio::test]
async fn a_sink_that_panics_changes_no_run() {
    let recorder = Recorder::new();
    let engine =
        Engine::builder().sink(Panics(Delivery::Inline)).sink(Panics(queue(100))).sink(recorder.clone());
    let engine = engine.build().unwrap();
    for _ in 0..3 {
        assert_eq!(*engine.run(&solo(gives(1_u32)), ()).await.unwrap().output(), 1);
        let error = error_of(engine.run(&solo(exits(|| StageExit::skip("x"))), ())).await;
        assert_eq!(error.outcome(), Some(RunOutcome::Completed));
    }
    engine.flush().await;
    let [inline, queued, fine] = engine.sink_accounts()[..] else { panic!("three sinks") };
    for broken in [inline, queued] {
        assert_eq!(
            (broken.emitted, broken.dropped_panic, broken.delivered, broken.in_flight),
            (24, 24, 0, 0)
        );
    }
    assert_eq!((fine.delivered, recorder.len()), (24, 24));
}

/// S-29: `emitted = delivered + dropped + in flight`, looked at again and again while several threads emit.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_accounts_are_right_at_every_instant() {
    let over = Arc::new(AtomicBool::new(false));
    let engine = Engine::builder()
        .sink(Keeps::new(queue(64), None))
        .sink(Keeps::new(queue(1), None))
        .sink(Keeps::new(Delivery::Inline, None))
        .sink(Panics(queue(64)))
        .build()
        .unwrap();
    let watch = {
        let (engine, over) = (engine.clone(), Arc::clone(&over));
        tokio::task::spawn_blocking(move || {
            let mut looks = 0_u64;
            while !over.load(Ordering::SeqCst) {
                let accounts = engine.sink_accounts();
                assert!(accounts.iter().copied().all(is_lawful), "{accounts:?}");
                looks += 1;
            }
            looks
        })
    };
    let wide = pipeline(|p| {
        let all = p.parallel("s", 0..200, |_| emits(20)).inputs(());
        p.stage("sum", sum()).inputs(all)
    });
    for _ in 0..5 {
        engine.run(&wide, ()).await.unwrap();
    }
    engine.flush().await;
    over.store(true, Ordering::SeqCst);
    assert!(watch.await.unwrap() > 0);
    for account in engine.sink_accounts() {
        assert_eq!((account.emitted, account.in_flight), (5 * (2 + 2 * 201 + 200 * 20), 0));
        assert!(is_lawful(account));
    }
    assert_eq!(engine.sink_accounts()[2].dropped(), 0);
}

/// S-28: each sink is given the events of a run in the order of their numbers.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_sink_is_given_the_events_in_order() {
    let sinks = [Keeps::new(queue(100_000), None), Keeps::new(Delivery::Inline, None)];
    let engine = Engine::builder().sink(sinks[0].clone()).sink(sinks[1].clone()).build().unwrap();
    let wide = pipeline(|p| {
        let all = p.parallel("s", 0..100, |_| emits(5)).inputs(());
        p.stage("sum", sum()).inputs(all)
    });
    engine.run(&wide, ()).await.unwrap();
    engine.flush().await;
    for sink in sinks {
        let numbers: Vec<_> = sink.seen().iter().map(Event::seq).collect();
        assert_eq!(numbers, (1..=2 + 202 + 500).collect::<Vec<_>>());
    }
}

/// KEEP 18.12-256, 259: `flush` waits for what is on its way, `shutdown` as well.
#[tokio::test]
async fn flush_and_shutdown_wait_for_the_sinks() {
    for shut_down in [false, true] {
        let sink = Keeps::new(queue(1_000), None);
        let engine = Engine::builder().sink(sink.clone()).build().unwrap();
        engine.run(&solo(emits(100)), ()).await.unwrap();
        if shut_down {
            engine.shutdown(1.secs()).await;
        } else {
            engine.flush().await;
        }
        assert_eq!(sink.seen().len(), 104);
    }
    Engine::builder().build().unwrap().flush().await;
}

/// A sink may emit by itself, through a context that it was given.
#[tokio::test(start_paused = true)]
async fn a_sink_may_emit() {
    struct Echo(Arc<Mutex<Option<StageContext>>>);
    impl EventSink for Echo {
        fn on_event(&self, event: &Event) {
            let ctx = self.0.lock().expect("it does not panic").clone();
            if let (Some(ctx), "n") = (ctx, &*event.name()) {
                ctx.emit("echo", [("of", event.seq())]);
            }
        }
        fn delivery(&self) -> Delivery {
            Delivery::Inline
        }
    }
    let (slot, recorder) = (Arc::new(Mutex::new(None)), Recorder::new());
    let engine = Engine::builder().sink(Echo(Arc::clone(&slot))).sink(recorder.clone()).build().unwrap();
    let says = stage_fn(move |ctx: StageContext, (): ()| {
        *slot.lock().expect("it does not panic") = Some(ctx.clone());
        ctx.emit("n", [("n", 1)]);
        slot.lock().expect("it does not panic").take();
        std::future::ready(Ok(1_u32))
    });
    engine.run(&solo(says), ()).await.unwrap();
    let expected = [
        "pipeline.started",
        "stage.started only",
        "n only",
        "echo only",
        "stage.completed only",
        "pipeline.completed",
    ];
    assert_eq!(recorder.lines(), expected);
}

/// S-17, S-29: what an observer does at the very end of a run is neither lost nor told after the end.
#[tokio::test(start_paused = true)]
async fn the_very_end_of_a_run_has_no_hole() {
    #[derive(Default)]
    struct AtEnd {
        ctx: Mutex<Option<StageContext>>,
        cleaned: AtomicBool,
    }
    struct Watcher(Arc<AtEnd>);
    impl EventSink for Watcher {
        fn on_event(&self, event: &Event) {
            if let EventKind::PipelineEnded { .. } = event.kind()
                && let Some(ctx) = self.0.ctx.lock().expect("it does not panic").take()
            {
                ctx.emit("late", [("n", 1)]);
                let me = Arc::clone(&self.0);
                ctx.on_cleanup(async move { me.cleaned.store(true, Ordering::SeqCst) });
            }
        }
        fn delivery(&self) -> Delivery {
            Delivery::Inline
        }
    }
    let (at_end, recorder) = (Arc::new(AtEnd::default()), Recorder::new());
    let engine = Engine::builder().sink(Watcher(Arc::clone(&at_end))).sink(recorder.clone()).build().unwrap();
    let keeps = Arc::clone(&at_end);
    let keep = stage_fn(move |ctx: StageContext, (): ()| {
        *keeps.ctx.lock().expect("it does not panic") = Some(ctx);
        std::future::ready(Ok(1_u32))
    });
    engine.run(&solo(keep), ()).await.unwrap();
    super::kit::idle().await;
    assert!(at_end.cleaned.load(Ordering::SeqCst));
    assert_eq!(recorder.lines().last().unwrap(), "pipeline.completed");
}

/// S-30: a sink that declines a run is told nothing of it, and its account does not know it; the others are.
#[tokio::test(start_paused = true)]
async fn s_30_a_sink_may_decline_a_run() {
    struct Deaf(Recorder, Arc<AtomicBool>);
    impl EventSink for Deaf {
        fn on_event(&self, event: &Event) {
            self.0.on_event(event);
        }
        fn listens(&self) -> bool {
            assert!(!self.1.load(Ordering::SeqCst), "one that panics listens");
            false
        }
    }
    let (deaf, told, panics) = (Recorder::new(), Recorder::new(), Arc::new(AtomicBool::new(false)));
    let sink = || Deaf(deaf.clone(), Arc::clone(&panics));
    let alone = Engine::builder().sink(sink()).build().expect("an engine");
    let beside = Engine::builder().sink(sink()).sink(told.clone()).build().expect("an engine");
    for engine in [&alone, &beside] {
        engine.run(&solo(gives(1_u32)), ()).await.expect("it completes");
        engine.flush().await;
        assert_eq!(engine.sink_accounts()[0], SinkAccount::default());
    }
    assert_eq!((deaf.len(), told.len()), (0, 4));
    let run = alone.start(&solo(gives(1_u32)), ());
    let mut events = run.events();
    run.await.expect("it completes");
    assert!(events.next().await.is_some(), "the stream of a run listens");
    panics.store(true, Ordering::SeqCst);
    alone.run(&solo(gives(1_u32)), ()).await.expect("it completes");
    alone.flush().await;
    assert_eq!(deaf.len(), 4);
}

/// Writes what it has when another has written.
struct WritesAfter {
    written: Arc<AtomicBool>,
    after: Option<Arc<AtomicBool>>,
}

impl EventSink for WritesAfter {
    fn on_event(&self, _: &Event) {}

    fn on_flush(&self) {
        let is_written = |other: &Arc<AtomicBool>| other.load(Ordering::SeqCst);
        let may_write = (0..1_000_000).any(|_| {
            std::thread::yield_now();
            self.after.as_ref().is_none_or(is_written)
        });
        self.written.store(may_write, Ordering::SeqCst);
    }
}

/// S-29: a sink that takes long to write keeps no other from writing.
#[tokio::test]
async fn s_29_sinks_are_flushed_at_a_time() {
    let (first, second) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let engine = Engine::builder()
        .sink(WritesAfter { written: Arc::clone(&first), after: Some(Arc::clone(&second)) })
        .sink(WritesAfter { written: Arc::clone(&second), after: None })
        .build()
        .expect("an engine");
    engine.run(&solo(gives(1_u32)), ()).await.expect("it completes");
    engine.flush().await;
    assert!(first.load(Ordering::SeqCst) && second.load(Ordering::SeqCst));
}

//! Sinks that spill to files behind running pipelines: nothing is lost, no run feels them, and their accounts are right (S-29).

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use stageflow::{
    Event, EventClass, EventSink, RunId, RunOutcome,
    events::{Policy, SinkExt, sink_fn},
    prelude::*,
};

use super::kit::{Switch, solo};

const LONG: Duration = Duration::from_secs(60);

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("stageflow-it-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }

    fn is_tidy(&self) -> bool {
        fs::read_dir(&self.0).is_ok_and(|entries| entries.flatten().all(|entry| entry.path().is_file()))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
        let _ = fs::remove_file(&self.0);
    }
}

/// A stage that emits so many events, and lets others run in between.
fn talks(count: u32) -> impl Stage<Input = (), Output = u32> {
    stage_fn(move |ctx: StageContext, (): ()| async move {
        for n in 0..count {
            ctx.emit("token", [("n", n)]);
            if n % 100 == 0 {
                tokio::task::yield_now().await;
            }
        }
        Ok(1_u32)
    })
}

/// Keeps what it is given, behind a switch.
fn keeps(switch: &Switch) -> (impl EventSink + use<>, Arc<Mutex<Vec<Event>>>) {
    let (switch, seen) = (switch.clone(), Arc::<Mutex<Vec<Event>>>::default());
    let keep = Arc::clone(&seen);
    let sink = sink_fn(move |event| {
        switch.spin();
        keep.lock().expect("no push panics").push(event.clone());
    });
    (sink, seen)
}

/// S-29: runs end while their sink stands still; afterwards it is told of every event of every run, in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s_29_what_spills_is_told_later_and_in_order() {
    let (scratch, switch) = (Scratch::new("spill"), Switch::default());
    let (sink, seen) = keeps(&switch);
    let policy = Policy::spill(&scratch.0).capacity(200).hand_over(100_000);
    let sink = Arc::new(sink.bounded(1_000).class(EventClass::Progress, policy));
    let engine = Engine::builder().sink(Arc::clone(&sink)).build().unwrap();
    let pipeline = solo(talks(5_000));
    for _ in 0..4 {
        let (a, b) = tokio::join!(engine.run(&pipeline, ()), engine.run(&pipeline, ()));
        assert_eq!(
            (a.unwrap().outcome(), b.unwrap().outcome()),
            (RunOutcome::Completed, RunOutcome::Completed)
        );
    }
    while sink.pressure().queued > 1_000 {
        tokio::task::yield_now().await;
    }
    let [account] = engine.sink_accounts()[..] else { panic!("one sink") };
    assert!(account.is_balanced() && account.spilled > 35_000, "{account}");
    assert_eq!((account.in_flight, account.dropped()), (8 * 5_004, 0));
    switch.open();
    engine.flush().await;
    let mut runs = BTreeMap::<RunId, Vec<u64>>::new();
    for event in seen.lock().unwrap().iter() {
        runs.entry(event.run_id()).or_default().push(event.seq());
    }
    assert_eq!(runs.len(), 8);
    assert!(runs.values().all(|numbers| numbers.iter().copied().eq(1..=5_004)));
    let receipt = sink.shutdown(LONG).await;
    assert!(receipt.is_complete() && receipt.account.delivered == 8 * 5_004);
    assert!(scratch.is_tidy());
}

/// S-29: where the files cannot be, runs complete all the same, and gaps tell what is missing of them.
#[tokio::test]
async fn s_29_no_run_feels_files_that_fail() {
    let (scratch, switch) = (Scratch::new("spill-fails"), Switch::default());
    fs::write(&scratch.0, "no directory").unwrap();
    let (sink, seen) = keeps(&switch);
    let policy = Policy::spill(&scratch.0).capacity(100).hand_over(2_000);
    let sink = Arc::new(sink.bounded(1_000).class(EventClass::Progress, policy));
    let engine = Engine::builder().sink(Arc::clone(&sink)).build().unwrap();
    let done = engine.run(&solo(talks(1_500)), ()).await.unwrap();
    assert_eq!(done.outcome(), RunOutcome::Completed);
    while sink.account().dropped_unwritten < 1_000 {
        tokio::task::yield_now().await;
    }
    switch.open();
    engine.flush().await;
    let account = sink.account();
    assert_eq!(account.dropped(), account.dropped_unwritten);
    let seen = seen.lock().unwrap();
    let told = seen.iter().map(|event| match event.kind() {
        stageflow::EventKind::Gap { dropped, .. } => *dropped,
        _ => 0,
    });
    assert_eq!(told.sum::<u64>(), account.dropped());
    assert_eq!(seen.last().unwrap().name(), "pipeline.completed");
}

/// A shutdown of the sink in the middle says what it leaves in files, and deletes them.
#[tokio::test]
async fn a_shutdown_says_what_it_leaves_in_files() {
    let (scratch, switch) = (Scratch::new("spill-shutdown"), Switch::default());
    let (sink, seen) = keeps(&switch);
    let policy = Policy::spill(&scratch.0).capacity(100).hand_over(10_000);
    let sink = Arc::new(sink.bounded(1_000).class(EventClass::Progress, policy));
    let engine = Engine::builder().sink(Arc::clone(&sink)).build().unwrap();
    engine.run(&solo(talks(5_000)), ()).await.unwrap();
    while sink.account().spilled < 4_500 {
        tokio::task::yield_now().await;
    }
    let receipt = sink.shutdown(Duration::from_millis(5)).await;
    assert!(receipt.abandoned_in_files >= 4_500 && receipt.account.is_balanced());
    assert_eq!(receipt.abandoned + receipt.stuck, 5_004);
    while !scratch.is_tidy() {
        tokio::task::yield_now().await;
    }
    switch.open();
    while sink.account().in_flight > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(seen.lock().unwrap().iter().filter(|event| !event.is_gap()).count() as u64, receipt.stuck);
}

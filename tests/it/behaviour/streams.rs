//! The events of one run as a stream: `RunHandle::events` (rules S-28, S-29).

use stageflow::{Event, EventKind, EventStream, prelude::*};

use super::kit::{Switch, error_of, gives, idle, naps, never, solo, within};

async fn names(mut stream: EventStream) -> Vec<String> {
    let mut names = Vec::new();
    while let Some(event) = within(stream.next()).await {
        names.push(event.name().into_owned());
    }
    names
}

const LIFE: [&str; 4] = ["pipeline.started", "stage.started", "stage.completed", "pipeline.completed"];

/// From the first event on, also when it is asked for late or read after the end.
#[tokio::test(start_paused = true)]
async fn a_stream_begins_with_the_first_event() {
    let run = solo(naps(10.millis(), 1)).start(());
    let early = run.events();
    run.await.unwrap();
    assert_eq!(names(early).await, LIFE);

    let run = solo(naps(10.millis(), 1)).start(());
    tokio::time::sleep(5.millis()).await;
    let late = run.events();
    run.await.unwrap();
    assert_eq!(names(late).await, LIFE);
}

/// S-29: a reader that is slow holds up nobody.
#[tokio::test(start_paused = true)]
async fn a_slow_reader_holds_up_nobody() {
    let run = solo(naps(10.millis(), 1)).start(());
    let mut stream = run.events();
    let reader = tokio::spawn(async move {
        let mut seen = 0;
        while stream.next().await.is_some() {
            tokio::time::sleep(1.secs()).await;
            seen += 1;
        }
        (seen, stream.account())
    });
    assert_eq!(run.await.unwrap().report().duration(), 10.millis());
    let (seen, account) = reader.await.unwrap();
    assert_eq!((seen, account.emitted, account.delivered, account.in_flight), (4, 4, 4, 0));
}

/// What does not fit is dropped, counted and announced.
#[tokio::test(start_paused = true)]
async fn a_stream_that_overflows_announces_the_gap() {
    let many = solo(stage_fn(|ctx: StageContext, (): ()| async move {
        (0..100_000_u32).for_each(|n| ctx.emit("n", [("n", n)]));
        Ok(1_u32)
    }));
    let run = many.start(());
    let mut stream = run.events();
    run.await.unwrap();
    let (mut read, mut missing, mut last) = (0_u64, 0_u64, None::<Event>);
    while let Some(event) = stream.next().await {
        match event.kind() {
            EventKind::Gap { dropped, .. } => missing += dropped,
            _ => read += 1,
        }
        last = Some(event);
    }
    let account = stream.account();
    assert_eq!((read + missing, account.emitted), (100_004, 100_004));
    assert_eq!((missing, read), (account.dropped_full, account.delivered));
    assert!(missing > 0);
    assert_eq!(last.unwrap().name(), "pipeline.completed");
}

/// Dropping the future of `next` loses no event.
#[tokio::test(start_paused = true)]
async fn giving_up_on_next_loses_nothing() {
    let run = solo(naps(100.millis(), 1)).start(());
    let mut stream = run.events();
    let mut names = Vec::new();
    loop {
        match tokio::time::timeout(7.millis(), stream.next()).await {
            Ok(Some(event)) => names.push(event.name().into_owned()),
            Ok(None) => break,
            Err(_) => {}
        }
    }
    assert_eq!(names, LIFE);
    run.await.unwrap();
}

/// All streams of a handle share the events; each of them sees the end.
#[tokio::test(start_paused = true)]
async fn streams_share_the_events_and_all_of_them_end() {
    let run = solo(naps(10.millis(), 1)).start(());
    let readers = [(); 4].map(|()| tokio::spawn(names(run.events())));
    idle().await;
    run.await.unwrap();
    let mut all = Vec::new();
    for reader in readers {
        all.extend(within(reader).await.unwrap());
    }
    all.sort();
    let mut expected = LIFE.map(str::to_owned).to_vec();
    expected.sort();
    assert_eq!(all, expected);
}

/// The stream ends with the run, however that ends; that of a run which was not let in is empty.
#[tokio::test(start_paused = true)]
async fn a_stream_ends_with_its_run() {
    let run = solo(never()).start(());
    let stream = run.events();
    idle().await;
    drop(run);
    assert_eq!(
        names(stream).await,
        ["pipeline.started", "stage.started", "stage.cancelled", "pipeline.cancelled"]
    );

    let engine = Engine::builder().build().unwrap();
    engine.shutdown(1.secs()).await;
    let refused = engine.start(&solo(gives(1_u32)), ());
    let stream = refused.events();
    assert_eq!(names(stream).await, Vec::<String>::new());
    error_of(refused).await;
}

/// S-29: what a stage emits is there at once, also if the stage does not yield.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_a_stage_that_does_not_yield_are_delivered() {
    let switch = Switch::default();
    let spins = switch.clone();
    let busy = solo(stage_fn(move |ctx: StageContext, (): ()| {
        ctx.emit("tick", [("n", 1)]);
        spins.spin();
        std::future::ready(Ok(1_u32))
    }));
    let run = busy.start(());
    let mut stream = run.events();
    // sleeps: only if the event does not come
    let seen = tokio::time::timeout(5.secs(), async {
        while let Some(event) = stream.next().await {
            if event.name() == "tick" {
                return;
            }
        }
    });
    let seen = seen.await;
    switch.open();
    run.await.unwrap();
    assert!(seen.is_ok(), "the event was held back");
}

//! Windows in pipelines: over lists, over streams as they come, and a map over them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::Poll,
};

use stageflow::{
    plus::{
        batch::{ClosedBy, LastWindow, Window, Windows, WindowsExt},
        fan_out::{Items, MapExt},
    },
    prelude::*,
};

use crate::behaviour::kit::within;

fn sums() -> impl Stage<Input = Owned<Window<u64>>, Output = (Vec<u64>, ClosedBy)> {
    stage_fn(|_, Owned(window): Owned<Window<u64>>| {
        let by = window.closed_by();
        std::future::ready(Ok((window.into_items(), by)))
    })
}

#[tokio::test(start_paused = true)]
async fn a_map_over_windows_of_a_list() {
    for (last, expected) in [(LastWindow::Keep, 4), (LastWindow::Drop, 3)] {
        let windows = Windows::builder().size(4).overlap(1).last(last).build().expect("windows");
        let mut p = Pipeline::builder("windows");
        let numbers = p.input();
        let cut = p.windows("cut", windows).over(numbers);
        let sums = p.map("sum", sums()).over(cut);
        let pipeline = p.build(sums).expect("it builds");
        let run = within(pipeline.run((0..12).collect::<Vec<u64>>())).await.expect("windows");
        let all = [vec![0, 1, 2, 3], vec![3, 4, 5, 6], vec![6, 7, 8, 9], vec![9, 10, 11]];
        let items: Vec<_> = run.output().iter().map(|(items, _)| items.clone()).collect();
        assert_eq!(items, all[..expected]);
    }
}

/// A window of a stream ends with its time, though nothing comes.
#[tokio::test(start_paused = true)]
async fn a_stream_is_cut_by_time() {
    let windows = Windows::builder().size(3).every(10.millis()).build().expect("windows");
    let mut p = Pipeline::builder("windows");
    let numbers = p.input();
    let cut = p.windows("cut", windows).over(numbers);
    let sums = p.map("sum", sums()).over(cut);
    let pipeline = p.build(sums).expect("it builds");
    // At 0, 4, 8 | 12, 16 and then nothing until 40.
    let (mut next, mut timer) = (0, None);
    let items = Items::poll_fn(move |cx| {
        let until = timer.get_or_insert_with(|| {
            let after = if next == 0 {
                0
            } else if next == 5 {
                24
            } else {
                4
            };
            Box::pin(tokio::time::sleep((after as u64).millis()))
        });
        std::task::ready!(Future::poll(until.as_mut(), cx));
        timer = None;
        next += 1;
        Poll::Ready((next <= 6).then_some(next - 1))
    });
    let run = within(pipeline.run(items)).await.expect("windows");
    let (size, time, end) = (ClosedBy::Size, ClosedBy::Time, ClosedBy::End);
    assert_eq!(*run.output(), [(vec![0, 1, 2], size), (vec![3, 4], time), (vec![5], end)]);
}

/// Of a stream no more is read than the windows need that the map has room for.
#[tokio::test(start_paused = true)]
async fn a_stream_is_read_as_it_is_needed() {
    let (read, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (reads, does, looks) = (Arc::clone(&read), Arc::clone(&done), Arc::clone(&read));
    let windows = Windows::builder().size(10).build().expect("windows");
    let mut p = Pipeline::builder("windows");
    let numbers = p.input();
    let cut = p.windows("cut", windows).over(numbers);
    let stage = stage_fn(move |_, window: Arc<Window<u64>>| {
        let (done, read) = (Arc::clone(&does), Arc::clone(&looks));
        async move {
            // sleeps: on paused time
            tokio::time::sleep(1.millis()).await;
            let ahead = read.load(Ordering::SeqCst) - done.fetch_add(10, Ordering::SeqCst);
            assert!(ahead <= 30, "{ahead} are read ahead");
            Ok(window.len())
        }
    });
    let lengths = p.map("length", stage).max_in_flight(2).over(cut);
    let pipeline = p.build(lengths).expect("it builds");
    let items = Items::new((0..10_000_u64).inspect(move |_| {
        reads.fetch_add(1, Ordering::SeqCst);
    }));
    let run = within(pipeline.run(items)).await.expect("windows");
    assert_eq!((run.output().len(), read.load(Ordering::SeqCst)), (1_000, 10_000));
}

//! Handing one event over, without a run: our bounded sink beside tokio's bounded channel.

use std::{future::IntoFuture as _, hint::black_box};

use anyhow::{Context, Result, ensure};
use stageflow::{
    Engine, Event, Recorder,
    events::{Bounded, SinkExt, sink_fn},
};
use stageflow_benches::{graph::Shape, ours, stopwatch::Stopwatch, work::Noop};
use tokio::{
    runtime::Runtime,
    sync::mpsc::{self, Receiver, Sender},
};

/// So many events are a batch.
const BATCH: usize = 1_000;

/// Who takes events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Nobody reads meanwhile: the cheapest that a channel can be.
    TrySend,
    /// With its thread at work, which delivers to a sink that does nothing.
    Bounded,
}

impl Way {
    pub(crate) const ALL: &[Self] = &[Self::TrySend, Self::Bounded];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::TrySend => "try_send of tokio's bounded channel",
            Self::Bounded => "emit of a bounded sink",
        }
    }
}

/// What is measured, made once.
pub(crate) struct Emitting {
    events: Vec<Event>,
    channel: (Sender<Event>, Receiver<Event>),
    sink: Bounded<stageflow::events::FnSink<fn(&Event)>>,
}

impl Emitting {
    /// Has a run make the events.
    pub(crate) fn prepare(runtime: &Runtime) -> Result<Self> {
        let recorder = Recorder::new();
        let engine = Engine::builder().sink(recorder.clone()).build()?;
        let stages = u32::try_from(BATCH)?;
        let pipeline = ours::units(&Shape::Chain(stages).graph(), &Noop);
        runtime.block_on(engine.run(&pipeline, ()).into_future()).context("the run completes")?;
        let mut events = recorder.events();
        ensure!(events.len() > BATCH, "a run of {BATCH} stages has more events than that");
        events.truncate(BATCH);
        let ignore: fn(&Event) = |_| {};
        Ok(Self { events, channel: mpsc::channel(BATCH), sink: sink_fn(ignore).bounded(BATCH) })
    }

    /// Nanoseconds per event of one batch. What it hands over is taken away again outside of that.
    pub(crate) fn batch(&mut self, runtime: &Runtime, way: Way) -> Result<f64> {
        let events = self.events.clone();
        let (sender, receiver) = &mut self.channel;
        let watch = Stopwatch::start();
        match way {
            Way::TrySend => events.into_iter().for_each(|event| {
                black_box(sender.try_send(event)).expect("the channel has room");
            }),
            Way::Bounded => events.into_iter().for_each(|event| {
                ensure_accepted(self.sink.emit(event).is_accepted());
            }),
        }
        let took = watch.elapsed();
        while receiver.try_recv().is_ok() {}
        runtime.block_on(self.sink.flush());
        #[expect(clippy::cast_precision_loss, reason = "a batch is small")]
        Ok(took.as_secs_f64() * 1e9 / BATCH as f64)
    }

    /// Whether the sink has dropped something, so that it was cheaper than it should be.
    pub(crate) fn check(&self) -> Result<()> {
        let account = self.sink.account();
        ensure!(account.dropped() == 0, "the bounded sink has dropped events: {account:?}");
        Ok(())
    }
}

fn ensure_accepted(accepted: bool) {
    assert!(black_box(accepted), "the sink has room");
}

//! The rows: what is attached to an engine.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use futures_util::future::BoxFuture;
use stageflow::{
    Delivery, Engine, EngineBuilder, Event, EventSink, Recorder,
    events::{AttemptSpans, Bounded, JsonLines, LogEvents, Metrics, SinkExt, WideEvents, otel::Otel},
};

use crate::collector;

/// Room for all events of a run, so that none is dropped.
const ROOM: usize = 65_536;
/// How long what is on its way may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What listens to the runs of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Row {
    Bare,
    /// A sink that does nothing, told by the worker: what it costs that there are events.
    Inline,
    Recorder,
    /// A sink that does nothing, behind the queue that an engine has for each sink.
    Queued,
    /// A sink that does nothing, behind a bounded queue with classes.
    Bounded,
    JsonLines,
    Metrics,
    Wide,
    /// The bridge to `tracing`, where nobody collects.
    Unheard,
    Otel,
}

impl Row {
    pub(crate) const ALL: &[Self] = &[
        Self::Bare,
        Self::Inline,
        Self::Recorder,
        Self::Queued,
        Self::Bounded,
        Self::JsonLines,
        Self::Metrics,
        Self::Wide,
        Self::Unheard,
        Self::Otel,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Inline => "a sink that does nothing, inline",
            Self::Recorder => "recorder",
            Self::Queued => "a sink that does nothing, queued",
            Self::Bounded => "a sink that does nothing, bounded",
            Self::JsonLines => "JSON lines, bounded",
            Self::Metrics => "metrics, bounded",
            Self::Wide => "wide events as JSON lines, bounded",
            Self::Unheard => "tracing without subscriber",
            Self::Otel => "OpenTelemetry",
        }
    }

    /// Whether somebody is told of events.
    pub(crate) fn is_heard(self) -> bool {
        self != Self::Unheard
    }

    /// An engine with the row attached.
    pub(crate) fn attach(self) -> Result<Attached> {
        let engine = Engine::builder();
        match self {
            Self::Bare => Attached::plain(engine),
            Self::Inline => Attached::plain(engine.sink(Nothing(Delivery::Inline))),
            Self::Queued => Attached::plain(engine.sink(Nothing(Delivery::default()))),
            Self::Recorder => {
                let recorder = Recorder::new();
                let mut attached = Attached::plain(engine.sink(recorder.clone()))?;
                attached.after = Box::new(move || {
                    recorder.clear();
                    Box::pin(async { Ok(()) })
                });
                Ok(attached)
            }
            Self::Bounded => bounded(engine, Nothing(Delivery::Inline).bounded(ROOM)),
            Self::Metrics => bounded(engine, Metrics::new().bounded(ROOM)),
            Self::JsonLines => {
                let file = Scratch::new("events");
                let lines = file.lines()?.bounded(ROOM);
                Ok(bounded(engine, lines)?.with_lines(file, |_, events| events))
            }
            Self::Wide => {
                let file = Scratch::new("wide");
                let writer = std::fs::File::create(&file.0)?;
                let lines = WideEvents::json_lines(std::io::BufWriter::new(writer)).bounded(ROOM);
                Ok(bounded(engine, lines)?.with_lines(file, |stages, _| stages + 1))
            }
            Self::Unheard => Attached::plain(engine.sink(LogEvents::new()).interceptor(AttemptSpans::new())),
            Self::Otel => otel(engine),
        }
    }
}

type Check = Box<dyn Fn(u64, u64) -> Result<()> + Send + Sync>;
/// What is done after a run, before the next.
type After = Box<dyn Fn() -> BoxFuture<'static, Result<()>> + Send + Sync>;

/// An engine, and what listens to it.
pub(crate) struct Attached {
    pub(crate) engine: Engine,
    after: After,
    /// Whether what came of one run of so many stages and events is there.
    pub(crate) check: Check,
}

impl Attached {
    fn plain(engine: EngineBuilder) -> Result<Self> {
        let engine = engine.build().context("the engine is sound")?;
        Ok(Self { engine, after: Box::new(|| Box::pin(async { Ok(()) })), check: Box::new(|_, _| Ok(())) })
    }

    fn with_lines(mut self, file: Scratch, expected: fn(u64, u64) -> u64) -> Self {
        self.check = Box::new(move |stages, events| {
            let (lines, expected) = (file.count()?, expected(stages, events));
            ensure!(lines == expected, "{lines} lines, and not {expected}");
            Ok(())
        });
        self
    }

    /// Waits until nothing of the last run is on its way any more.
    ///
    /// # Errors
    ///
    /// Something was lost, so that the run was cheaper than it should be.
    pub(crate) async fn settle(&self) -> Result<()> {
        self.engine.flush().await;
        for account in self.engine.sink_accounts() {
            ensure!(account.dropped() == 0, "events were dropped: {account:?}");
        }
        (self.after)().await
    }
}

fn bounded<S: EventSink>(engine: EngineBuilder, sink: Bounded<S>) -> Result<Attached> {
    Attached::plain(engine.sink(sink))
}

fn otel(engine: EngineBuilder) -> Result<Attached> {
    let address = collector::start()?;
    let otel = Otel::builder().http(format!("http://{address}")).queue(ROOM).build()?;
    let mut attached = Attached::plain(engine.sink(otel.clone()))?;
    let exporter = otel.clone();
    attached.check = Box::new(move |stages, _| {
        let exported = exporter.spans().exported;
        ensure!(exported == stages + 1, "{exported} spans, and not one for each stage and one for the run");
        Ok(())
    });
    attached.after = Box::new(move || {
        let otel = otel.clone();
        Box::pin(async move {
            let receipt = otel.flush(PATIENCE).await;
            ensure!(receipt.is_complete(), "spans were lost: {receipt}");
            Ok(())
        })
    });
    Ok(attached)
}

/// A sink that does nothing.
struct Nothing(Delivery);

impl EventSink for Nothing {
    fn on_event(&self, _: &Event) {}

    fn delivery(&self) -> Delivery {
        self.0
    }
}

/// A file that goes away with the row.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("stageflow-bench-{}-{name}.jsonl", std::process::id())))
    }

    fn lines(&self) -> Result<JsonLines> {
        let lines = JsonLines::create(&self.0);
        let lines = lines.with_context(|| format!("{} can be written", self.0.display()))?;
        Ok(lines.rotate(64 << 20, 1))
    }

    fn count(&self) -> Result<u64> {
        Ok(std::fs::read_to_string(&self.0)?.lines().count() as u64)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        for file in [self.0.clone(), self.0.with_extension("jsonl.1")] {
            drop(std::fs::remove_file(file));
        }
    }
}

//! OpenTelemetry: spans and metrics of events, by OTLP to a collector.
//!
//! [`Otel`] is an [`EventSink`]. What it exports is made of events, on the thread that delivers them, with the events' own times: a
//! stage pays for the event and for nothing else. What cannot be exported is counted in accounts that add up, told once by a hook,
//! and a metric itself.
//!
//! | is | parent |
//! |---|---|
//! | a run | the caller's span, by its `traceparent`; the attempt that is a child run; or none |
//! | a stage | its run |
//! | an attempt, where there were several | its stage |
//! | a span or a request of yours within a stage | the attempt, by [`context`] or [`StageContext::traceparent`](stageflow_core::StageContext::traceparent) |
//!
//! A stage that never started is an event of its run's span. Payloads, metadata and user ids are never exported, messages of errors
//! only [on demand](OtelBuilder::with_messages). The names are in [`conventions`], the metrics in [`METRICS`](crate::METRICS).

mod account;
mod builder;
mod clock;
pub mod conventions;
mod env;
mod error;
mod export;
mod metrics;
mod provider;
mod sampler;
mod spans;

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError, mpsc},
    time::Duration,
};

use stageflow_core::{ContextSnapshot, Event, EventSink, SinkAccount};

pub use self::{
    account::{ExportAccount, ExportReceipt, Loss, LossReason, Signal},
    builder::OtelBuilder,
    env::{Compression, Protocol},
    error::OtelError,
    provider::context,
    sampler::Sampler,
};
use self::{
    export::{Exporter, Item, Shared},
    spans::{Assembler, SpanLimits},
};
use crate::MetricsSnapshot;

/// Exports spans and metrics of events to a collector. Clones are the same exporter.
///
/// Give one clone to the engine and keep one, to [`shutdown`](Self::shutdown) it before the process ends. It needs no runtime of the
/// application: it works on one that is current-thread, on paused time and after the runtime has ended. It sets nothing
/// global, unless [asked to](Self::install_global).
///
/// # Guarantees
///
/// - The [accounts](ExportAccount) add up at every instant, and the receipt of a flush or a shutdown tells what was lost.
/// - A request that got no answer in time is sent again within the budget of the retries, so a collector that was slow may have a
///   span twice; by trace id and span id it can tell.
///
/// ```no_run
/// use std::time::Duration;
/// use stageflow_events::otel::Otel;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let otel = Otel::builder().service("tickets").from_env().build()?;
/// // let engine = Engine::builder().sink(otel.clone()).build()?; … engine.flush().await;
/// let receipt = otel.shutdown(Duration::from_secs(5)).await;
/// assert!(receipt.is_complete(), "{receipt}");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Otel(Arc<Inner>);

struct Inner {
    /// None where everything is off.
    exporter: Option<Exporter>,
    assembler: Mutex<Assembler>,
    sampler: Sampler,
    /// Whether spans are exported.
    records: bool,
    budgets: Budgets,
    warnings: Vec<String>,
}

/// How long what blocks may block.
#[derive(Clone, Copy, Debug)]
struct Budgets {
    flush: Duration,
    drop: Duration,
}

impl Otel {
    /// An exporter to be furnished.
    pub fn builder() -> OtelBuilder {
        OtelBuilder::new()
    }

    fn new(
        exporter: Option<Exporter>,
        limits: SpanLimits,
        sampler: Sampler,
        records: bool,
        budgets: Budgets,
        warnings: Vec<String>,
    ) -> Self {
        let assembler = Mutex::new(Assembler::new(limits));
        Self(Arc::new(Inner { exporter, assembler, sampler, records, budgets, warnings }))
    }

    fn shared(&self) -> Option<&Arc<Shared>> {
        self.0.exporter.as_ref().map(|exporter| &exporter.shared)
    }

    fn sampler(&self) -> Sampler {
        self.0.sampler
    }

    /// Whether nothing is exported, as `OTEL_SDK_DISABLED` or both exporters being `none` have it.
    pub fn is_disabled(&self) -> bool {
        self.0.exporter.is_none()
    }

    /// What the settings say that could not be followed, or is likely not meant so, such as a token that goes to another machine
    /// without TLS.
    pub fn warnings(&self) -> &[String] {
        &self.0.warnings
    }

    /// What became of the spans so far.
    pub fn spans(&self) -> ExportAccount {
        self.receipt().spans
    }

    /// What became of the data points so far.
    pub fn metrics(&self) -> ExportAccount {
        self.receipt().metrics
    }

    /// What went wrong last, if anything.
    pub fn last_error(&self) -> Option<String> {
        self.receipt().last_error
    }

    /// The metrics that it exports, as they are now, as [`Metrics::read`](crate::Metrics::read) has them: for Prometheus, or a page of
    /// your own, without a second sink. Empty where metrics are not exported.
    pub fn read_metrics(&self) -> MetricsSnapshot {
        let metrics = self.shared().filter(|shared| shared.plan.metrics.is_some());
        metrics.map_or_else(MetricsSnapshot::empty, |shared| shared.read())
    }

    /// Takes over the account of a sink, under a name of yours, to be exported with the metrics: call it from time to time, for each
    /// sink that is to be shown.
    pub fn set_sink(&self, name: &str, account: &SinkAccount) {
        if let Some(shared) = self.shared() {
            shared.metrics.set_sink(name, account);
        }
    }

    fn receipt(&self) -> ExportReceipt {
        self.shared().map_or_else(
            || ExportReceipt {
                spans: ExportAccount::default(),
                metrics: ExportAccount::default(),
                took: Duration::ZERO,
                last_error: None,
            },
            |shared| shared.receipt(),
        )
    }

    /// The receipt of the last flush or shutdown, such as that of [`Engine::flush`] or `Engine::shutdown`; `None` before the first.
    ///
    /// [`Engine::flush`]: https://docs.rs/stageflow/latest/stageflow/struct.Engine.html#method.flush
    pub fn last_receipt(&self) -> Option<ExportReceipt> {
        self.shared().and_then(|shared| shared.last_receipt())
    }

    /// Has everything exported that the engine has delivered so far, metrics included, or as much as can be within `budget`.
    /// [`Engine::flush`] does the same, for events that are still on their way here as well, within
    /// [`flush_budget`](OtelBuilder::flush_budget).
    ///
    /// [`Engine::flush`]: https://docs.rs/stageflow/latest/stageflow/struct.Engine.html#method.flush
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops the waiting; the flush goes on.
    pub async fn flush(&self, budget: Duration) -> ExportReceipt {
        self.finish(budget, false).await
    }

    /// Like [`flush`](Self::flush), and then ends: what could not be exported within `budget`, and what comes later, is counted as
    /// lost. Runs whose end has not come are exported as far as they are known, and say so. A second call gives the receipt again.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops the waiting; the shutdown goes on.
    pub async fn shutdown(&self, budget: Duration) -> ExportReceipt {
        self.finish(budget, true).await
    }

    /// Like [`shutdown`](Self::shutdown), and blocks the thread meanwhile: for the end of `main`. No runtime has to go on for it,
    /// unless the collector lives on this one.
    pub fn shutdown_blocking(&self, budget: Duration) -> ExportReceipt {
        self.0.finish(budget, true).unwrap_or_else(|| self.receipt())
    }

    async fn finish(&self, budget: Duration, end: bool) -> ExportReceipt {
        let Some(exporter) = &self.0.exporter else { return self.receipt() };
        if end {
            self.0.close_runs(exporter);
        }
        let (told, receipt) = tokio::sync::oneshot::channel();
        let (answered, answer) = mpsc::channel::<()>();
        let told = Arc::new(Mutex::new(Some(told)));
        let late = Arc::clone(&told);
        exporter.order(budget, end, move |receipt| {
            drop(answered);
            if let Some(told) = told.lock().unwrap_or_else(PoisonError::into_inner).take() {
                drop(told.send(receipt));
            }
        });
        // There may be no runtime that keeps time, and the thread of the exporter may be in a hook that does not return.
        let watch = move || {
            if let Err(mpsc::RecvTimeoutError::Timeout) = answer.recv_timeout(budget.saturating_add(GRACE)) {
                drop(late.lock().unwrap_or_else(PoisonError::into_inner).take());
            }
        };
        let _without_it = std::thread::Builder::new().name("stageflow-flush".to_owned()).spawn(watch);
        receipt.await.unwrap_or_else(|_| self.receipt())
    }
}

/// What an answer may come late.
const GRACE: Duration = Duration::from_millis(500);

impl Inner {
    /// The spans of runs whose end has not come, as far as they are known: nobody would ever tell of them otherwise.
    fn close_runs(&self, exporter: &Exporter) {
        let mut open = Vec::new();
        self.assembler.lock().unwrap_or_else(PoisonError::into_inner).close(&mut open);
        if !open.is_empty() {
            exporter.shared.push(open.into_iter().map(Item::Own));
        }
    }

    /// Blocks the thread.
    fn finish(&self, budget: Duration, end: bool) -> Option<ExportReceipt> {
        let exporter = self.exporter.as_ref()?;
        if end {
            self.close_runs(exporter);
        }
        let (told, receipt) = mpsc::channel();
        exporter.order(budget, end, move |receipt| drop(told.send(receipt)));
        // Somewhat longer than it takes to answer in time: a hook that does not return must not keep this thread as well.
        receipt.recv_timeout(budget.saturating_add(GRACE)).ok()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.exporter.as_ref().is_some_and(|exporter| !exporter.shared.has_ended()) {
            let _told_by_the_hook = self.finish(self.budgets.drop, true);
        }
    }
}

impl EventSink for Otel {
    fn on_event(&self, event: &Event) {
        let Some(shared) = self.shared() else { return };
        let sampled = self.0.records && self.0.sampler.samples(event.run().snapshot());
        if shared.plan.metrics.is_some() {
            shared.metrics.lock().take_of(event, sampled || !self.0.records);
        }
        if sampled {
            let mut ended = Vec::new();
            self.0.assembler.lock().unwrap_or_else(PoisonError::into_inner).take(event, &mut ended);
            if !ended.is_empty() {
                shared.push(ended.into_iter().map(Item::Own));
            }
        }
    }

    /// Has everything exported, within [`flush_budget`](OtelBuilder::flush_budget); [`last_receipt`](Self::last_receipt) says what came of it.
    fn on_flush(&self) {
        if !self.0.budgets.flush.is_zero() {
            let _kept = self.0.finish(self.0.budgets.flush, false);
        }
    }

    fn samples(&self, run: &ContextSnapshot) -> Option<bool> {
        (self.0.records && self.0.exporter.is_some()).then(|| self.0.sampler.samples(run))
    }
}

impl fmt::Debug for Otel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Otel").field("receipt", &self.receipt()).finish_non_exhaustive()
    }
}

//! From spans and metrics to the collector: on a thread with a small runtime of its own, so that no runtime of the application
//! has to help, whatever its kind.

mod lane;
mod report;
#[cfg(test)]
mod tests;
mod transport;
mod worker;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use opentelemetry_proto::tonic::{common::v1::InstrumentationScope, resource::v1::Resource, trace::v1::Span};
use opentelemetry_sdk::trace::SpanData;
use tokio::sync::mpsc;

pub(crate) use self::{
    lane::Lane,
    report::{Hook, Reporter},
};
use super::{
    account::{ExportReceipt, Loss, LossReason, Signal},
    clock,
    env::Target,
    error::OtelError,
    metrics::otlp,
};
use crate::metrics::{Metrics, MetricsSnapshot, table::Metric};

/// A span on its way.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all are of the large kind")]
pub(crate) enum Item {
    /// Made of events.
    Own(Span),
    /// The application's own.
    Users(Box<SpanData>),
}

/// What the exporter goes by.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) traces: Option<Target>,
    pub(crate) metrics: Option<Target>,
    pub(crate) batch: usize,
    pub(crate) delay: Duration,
    pub(crate) interval: Duration,
    /// How long one request is tried again.
    pub(crate) retry_for: Duration,
    pub(crate) resource: Resource,
    pub(crate) scope: InstrumentationScope,
}

/// What the thread and those who feed it share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) plan: Plan,
    pub(crate) spans: Lane<Item>,
    /// Only the account is used: there is one request at a time.
    pub(crate) points: Lane<()>,
    /// Counts what is exported as metrics.
    pub(crate) metrics: Metrics,
    /// Since when it is added up.
    since: u64,
    pub(crate) reporter: Mutex<Reporter>,
    last_error: Mutex<Option<String>>,
    /// Of the last flush or shutdown.
    last_receipt: Mutex<Option<ExportReceipt>>,
    ended: AtomicBool,
}

/// What the thread is asked for.
pub(crate) struct Command {
    pub(crate) until: Instant,
    pub(crate) end: bool,
    pub(crate) reply: Box<dyn FnOnce(ExportReceipt) + Send>,
}

/// The thread.
#[derive(Debug)]
pub(crate) struct Exporter {
    pub(crate) shared: Arc<Shared>,
    commands: mpsc::UnboundedSender<Command>,
}

impl Shared {
    pub(crate) fn new(plan: Plan, queue: usize, metrics: Metrics, hook: Hook) -> Self {
        Self {
            spans: Lane::new(queue),
            points: Lane::new(usize::MAX),
            metrics,
            since: clock::unix_nanos(),
            reporter: Mutex::new(Reporter::new(hook)),
            last_error: Mutex::default(),
            last_receipt: Mutex::default(),
            ended: AtomicBool::new(false),
            plan,
        }
    }

    pub(crate) fn receipt(&self) -> ExportReceipt {
        ExportReceipt {
            spans: self.spans.account(),
            metrics: self.points.account(),
            took: Duration::ZERO,
            last_error: self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// Queues spans. What comes after the end is lost, and told.
    pub(crate) fn push(&self, items: impl IntoIterator<Item = Item>) {
        let late = self.spans.push(items, self.plan.batch);
        if late > 0 {
            self.tell(Loss {
                signal: Signal::Traces,
                reason: LossReason::Shutdown,
                count: late,
                detail: "they ended after the exporter".to_owned(),
            });
        }
    }

    fn tell(&self, loss: Loss) {
        let told = self.reporter.lock().unwrap_or_else(PoisonError::into_inner).note(loss);
        report::tell(told);
    }

    fn note_error(&self, text: String) {
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
    }

    fn note_receipt(&self, receipt: &ExportReceipt) {
        *self.last_receipt.lock().unwrap_or_else(PoisonError::into_inner) = Some(receipt.clone());
    }

    pub(crate) fn last_receipt(&self) -> Option<ExportReceipt> {
        self.last_receipt.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    /// All metrics as of now, with the accounts of the exporter.
    pub(crate) fn read(&self) -> MetricsSnapshot {
        let mut meter = self.metrics.lock();
        let accounts = [(Signal::Traces, self.spans.account()), (Signal::Metrics, self.points.account())];
        for (signal, account) in accounts {
            for (result, count) in account.results() {
                meter.set(Metric::ExportItems, &[signal.as_str(), result], count);
            }
            meter.set(Metric::ExportQueued, &[signal.as_str()], account.in_flight);
        }
        meter.registry.snapshot()
    }

    /// The same as they are sent, and the number of data points.
    pub(crate) fn collect(&self) -> (Vec<opentelemetry_proto::tonic::metrics::v1::Metric>, u64) {
        otlp(&self.read(), self.since)
    }
}

impl Exporter {
    /// Starts the thread.
    pub(crate) fn start(shared: Shared) -> Result<Self, OtelError> {
        let shared = Arc::new(shared);
        let (commands, orders) = mpsc::unbounded_channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| OtelError::thread(&error))?;
        let worker = {
            let _inside = runtime.enter();
            worker::Worker::new(Arc::clone(&shared))?
        };
        let run = move || runtime.block_on(worker.run(orders));
        let thread = std::thread::Builder::new().name("stageflow-otel".to_owned()).spawn(run);
        thread.map_err(|error| OtelError::thread(&error))?;
        Ok(Self { shared, commands })
    }

    /// Has everything exported, or as much as can be in this time, and maybe ends. Calls `reply` on the thread, and at once where
    /// that has ended.
    pub(crate) fn order(
        &self,
        budget: Duration,
        end: bool,
        reply: impl FnOnce(ExportReceipt) + Send + 'static,
    ) {
        let until = clock::now() + budget.min(LONGEST);
        if let Err(mpsc::error::SendError(command)) =
            self.commands.send(Command { until, end, reply: Box::new(reply) })
        {
            (command.reply)(self.shared.receipt());
        }
    }
}

/// A year: what is longer is for ever.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3_600);

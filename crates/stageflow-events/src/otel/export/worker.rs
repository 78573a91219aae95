//! The thread of an exporter: batches of spans, metrics at intervals, attempts and their back-off, flush and end.

use std::{
    future::{Future as _, poll_fn},
    pin::pin,
    sync::{Arc, PoisonError, atomic::Ordering},
    task::Poll,
    time::{Duration, Instant},
};

use opentelemetry_proto::{
    tonic::{
        collector::{metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest},
        metrics::v1::{ResourceMetrics, ScopeMetrics},
        trace::v1::{ResourceSpans, ScopeSpans},
    },
    transform::{
        common::tonic::ResourceAttributesWithSchema, trace::tonic::group_spans_by_resource_and_scope,
    },
};
use stageflow_core::{Backoff, Randomness as _, time::ThreadRandom};
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::timeout,
};

use super::{
    Command, Item, LONGEST, Lane, Shared,
    lane::Batch,
    report::tell,
    transport::{Fault, Request, Taken, Transport},
};
use crate::otel::{
    account::{ExportReceipt, Loss, LossReason, Signal},
    clock,
    error::OtelError,
};

/// So many requests with spans are under way at a time: a collector that takes its time holds up fewer.
const CONCURRENT: usize = 4;

pub(crate) struct Worker {
    shared: Arc<Shared>,
    traces: Option<Transport>,
    metrics: Option<Transport>,
}

impl Worker {
    /// To be called on the runtime that will run it.
    pub(super) fn new(shared: Arc<Shared>) -> Result<Self, OtelError> {
        let traces = shared.plan.traces.as_ref().map(Transport::new).transpose()?;
        let metrics = shared.plan.metrics.as_ref().map(Transport::new).transpose()?;
        Ok(Self { shared, traces, metrics })
    }

    /// Works until it is told to end, or everybody who could tell it so is gone.
    pub(super) async fn run(self, mut orders: mpsc::UnboundedReceiver<Command>) {
        let Self { shared, traces, metrics } = self;
        let mut work = JoinSet::new();
        if let Some(transport) = traces {
            work.spawn(send_spans(Arc::clone(&shared), transport));
        }
        let metrics = metrics.map(Arc::new);
        if let Some(transport) = &metrics {
            work.spawn(send_metrics(Arc::clone(&shared), Arc::clone(transport)));
        }
        let mut waiting = Vec::new();
        while let Some(command) = orders.recv().await {
            waiting.push(Waiting::new(command, &shared));
            while !waiting.is_empty() {
                if attend(&shared, metrics.as_ref(), &mut orders, &mut waiting).await {
                    shared.ended.store(true, Ordering::SeqCst);
                    work.abort_all();
                    shared.write_off();
                    return waiting.into_iter().for_each(|one| one.answer(&shared));
                }
            }
        }
    }
}

/// Somebody who waits for an answer.
struct Waiting {
    command: Command,
    began: Instant,
}

impl Waiting {
    fn new(command: Command, shared: &Shared) -> Self {
        if command.end {
            shared.spans.close();
        }
        Self { command, began: clock::now() }
    }

    fn answer(self, shared: &Shared) {
        let receipt = ExportReceipt { took: self.began.elapsed(), ..shared.receipt() };
        shared.note_receipt(&receipt);
        (self.command.reply)(receipt);
    }
}

/// Has everything exported for those who wait, and answers each when that is done or its time is up; who comes meanwhile waits for
/// the next round, but not longer than it wants. True where somebody who is to be answered wants the end: that is for the caller.
async fn attend(
    shared: &Arc<Shared>,
    metrics: Option<&Arc<Transport>>,
    orders: &mut mpsc::UnboundedReceiver<Command>,
    waiting: &mut Vec<Waiting>,
) -> bool {
    enum Step {
        Done,
        Asked(Option<Command>),
    }
    let mut first = waiting.len();
    let mut all = pin!(flush(shared, metrics));
    let mut is_over = false;
    while first > 0 {
        let until = waiting.iter().map(|one| one.command.until).min().unwrap_or_else(clock::now);
        let step = poll_fn(|cx| match all.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Step::Done),
            Poll::Pending => orders.poll_recv(cx).map(Step::Asked),
        });
        let step = timeout(until.saturating_duration_since(clock::now()), step).await;
        let ready: Vec<usize> = match step {
            Ok(Step::Asked(Some(command))) => {
                waiting.push(Waiting::new(command, shared));
                continue;
            }
            Ok(Step::Done) => (0..first).collect(),
            // Nobody can ask any more.
            Ok(Step::Asked(None)) => (0..waiting.len()).collect(),
            Err(_late) => {
                (0..waiting.len()).filter(|at| waiting[*at].command.until <= clock::now()).collect()
            }
        };
        is_over = ready.iter().any(|at| waiting[*at].command.end);
        if is_over {
            break;
        }
        for at in ready.into_iter().rev() {
            first -= usize::from(at < first);
            waiting.remove(at).answer(shared);
        }
    }
    shared.spans.hurry(false);
    shared.points.hurry(false);
    is_over
}

/// Has everything exported that was offered before, spans first, as the metrics count them.
async fn flush(shared: &Arc<Shared>, metrics: Option<&Arc<Transport>>) {
    shared.spans.hurry(true);
    shared.spans.settled().await;
    if let Some(transport) = metrics {
        shared.points.hurry(true);
        shared.points.settled().await;
        // On a task of its own: it goes on, and is counted, when the time is up.
        let _panicked = tokio::spawn(collect_and_send(Arc::clone(shared), Arc::clone(transport))).await;
    }
}

async fn send_spans(shared: Arc<Shared>, transport: Transport) {
    let places = Arc::new(Semaphore::new(CONCURRENT));
    let mut told_full = 0;
    let mut sending = JoinSet::new();
    loop {
        let full = shared.spans.account().dropped_full;
        if full > told_full {
            shared.tell(Loss {
                signal: Signal::Traces,
                reason: LossReason::QueueFull,
                count: full - told_full,
                detail: "more spans than the queue holds: a larger one, or a sampler, helps".to_owned(),
            });
            told_full = full;
        }
        while sending.try_join_next().is_some() {}
        let (batch, items) = match shared.spans.take(shared.plan.batch, shared.plan.delay) {
            Ok(taken) => taken,
            Err(wait) => {
                let changed = shared.spans.more.notified();
                match wait {
                    Some(wait) => drop(timeout(wait, changed).await),
                    None => changed.await,
                }
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let (shared, transport) = (Arc::clone(&shared), transport.clone());
        sending.spawn(async move {
            let request = Request::Traces(of_spans(&shared, items));
            shared.deliver((Signal::Traces, &shared.spans), &transport, request, batch).await;
            drop(place);
        });
    }
}

async fn send_metrics(shared: Arc<Shared>, transport: Arc<Transport>) {
    loop {
        // sleeps: metrics go out at intervals
        tokio::time::sleep(shared.plan.interval).await;
        collect_and_send(Arc::clone(&shared), Arc::clone(&transport)).await;
    }
}

async fn collect_and_send(shared: Arc<Shared>, transport: Arc<Transport>) {
    let (metrics, points) = shared.collect();
    if points == 0 {
        return;
    }
    let Some(batch) = shared.points.offer(points) else { return };
    let request = Request::Metrics(ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(shared.plan.resource.clone()),
            scope_metrics: vec![ScopeMetrics {
                scope: Some(shared.plan.scope.clone()),
                metrics,
                ..ScopeMetrics::default()
            }],
            ..ResourceMetrics::default()
        }],
    });
    shared.deliver((Signal::Metrics, &shared.points), &transport, request, batch).await;
}

fn of_spans(shared: &Shared, items: Vec<Item>) -> ExportTraceServiceRequest {
    let (mut own, mut users) = (Vec::with_capacity(items.len()), Vec::new());
    for item in items {
        match item {
            Item::Own(span) => own.push(span),
            Item::Users(span) => users.push(*span),
        }
    }
    let mut resource_spans = Vec::new();
    if !own.is_empty() {
        let scope =
            ScopeSpans { scope: Some(shared.plan.scope.clone()), spans: own, ..ScopeSpans::default() };
        resource_spans.push(ResourceSpans {
            resource: Some(shared.plan.resource.clone()),
            scope_spans: vec![scope],
            ..ResourceSpans::default()
        });
    }
    if !users.is_empty() {
        let mut grouped = group_spans_by_resource_and_scope(users, &ResourceAttributesWithSchema::default());
        grouped.iter_mut().for_each(|group| group.resource = Some(shared.plan.resource.clone()));
        resource_spans.extend(grouped);
    }
    ExportTraceServiceRequest { resource_spans }
}

impl Shared {
    /// Sends a request until it has arrived, is refused for good, or the budget for further attempts is used up.
    async fn deliver<T>(
        &self,
        lane: (Signal, &Lane<T>),
        transport: &Transport,
        request: Request,
        batch: Batch,
    ) {
        let (signal, lane) = lane;
        let target = match signal {
            Signal::Traces => &self.plan.traces,
            Signal::Metrics => &self.plan.metrics,
        };
        let limit = target.as_ref().map_or(Duration::from_secs(10), |target| target.timeout);
        // A collector may repeat what it was sent.
        let shown = |said: String| target.iter().fold(said, |said, target| target.without_secrets(said));
        let backoff = Backoff::exponential(Duration::from_millis(250)).cap(Duration::from_secs(5));
        let (began, mut delay, mut retry) = (clock::now(), backoff.base(), 0);
        loop {
            let sent = timeout(limit, transport.send(request.clone())).await;
            let late = |_| Err(Fault::lost(format!("no answer within {limit:?}")));
            let fault = match sent.unwrap_or_else(late) {
                Ok(Taken { rejected, message }) => {
                    let rejected = rejected.min(batch.count);
                    lane.arrived(batch, rejected);
                    if rejected > 0 {
                        let message = shown(message);
                        self.note_error(message.clone());
                        self.lost(signal, rejected, LossReason::Rejected, message);
                    }
                    return;
                }
                Err(fault) => fault,
            };
            let text = shown(fault.text);
            self.note_error(text.clone());
            delay = backoff.delay(retry, delay, ThreadRandom.next_u64()).max(fault.after.unwrap_or_default());
            retry += 1;
            let reason = if fault.tls {
                LossReason::Tls
            } else if !fault.retry {
                LossReason::Refused
            } else if began.elapsed().saturating_add(delay) > self.plan.retry_for {
                LossReason::Unreachable
            } else {
                self.back_off(lane, delay, fault.after.is_some()).await;
                continue;
            };
            lane.lost(batch, reason);
            return self.lost(signal, batch.count, reason, text);
        }
    }

    /// Waits before another attempt; less long when everything is to be exported now, unless the collector has asked for it.
    async fn back_off<T>(&self, lane: &Lane<T>, delay: Duration, asked: bool) {
        let until = clock::now() + delay.min(LONGEST);
        let first = !lane.is_urgent();
        loop {
            let changed = lane.changed.notified();
            let left = until.saturating_duration_since(clock::now());
            if left.is_zero() || (first && !asked && lane.is_urgent()) {
                return;
            }
            drop(timeout(left, changed).await);
        }
    }

    /// Counts what is still on its way as lost, and tells of all losses that were not told yet.
    fn write_off(&self) {
        let left = [(Signal::Traces, self.spans.write_off()), (Signal::Metrics, self.points.write_off())];
        for (signal, count) in left.into_iter().filter(|(_, count)| *count > 0) {
            self.lost(signal, count, LossReason::Shutdown, String::new());
        }
        let rest = self.reporter.lock().unwrap_or_else(PoisonError::into_inner).rest();
        tell(rest);
    }

    fn lost(&self, signal: Signal, count: u64, reason: LossReason, detail: String) {
        self.tell(Loss { signal, reason, count, detail });
    }
}

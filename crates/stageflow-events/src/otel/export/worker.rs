//! The thread of an exporter: batches of spans, metrics at intervals, attempts and their back-off, flush and end.

use std::{
    sync::{Arc, PoisonError, atomic::Ordering},
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
    Command, Item, Lane, Shared,
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
        while let Some(Command { until, end, reply }) = orders.recv().await {
            let began = clock::now();
            if end {
                shared.spans.close();
            }
            flush(&shared, metrics.as_ref(), until).await;
            if end {
                shared.ended.store(true, Ordering::SeqCst);
                work.abort_all();
                let left = [
                    (Signal::Traces, shared.spans.write_off()),
                    (Signal::Metrics, shared.points.write_off()),
                ];
                for (signal, count) in left.into_iter().filter(|(_, count)| *count > 0) {
                    shared.lost(signal, count, LossReason::Shutdown, String::new());
                }
                let rest = shared.reporter.lock().unwrap_or_else(PoisonError::into_inner).rest();
                tell(rest);
            }
            reply(ExportReceipt { took: began.elapsed(), ..shared.receipt() });
            if end {
                return;
            }
        }
    }
}

/// Has everything exported that was offered before, spans first, as the metrics count them.
async fn flush(shared: &Arc<Shared>, metrics: Option<&Arc<Transport>>, until: Instant) {
    let all = async {
        shared.spans.hurry(true);
        shared.spans.emptied().await;
        if let Some(transport) = metrics {
            shared.points.hurry(true);
            shared.points.emptied().await;
            // On a task of its own: it goes on, and is counted, when the time is up.
            let _panicked = tokio::spawn(collect_and_send(Arc::clone(shared), Arc::clone(transport))).await;
        }
    };
    let _late = timeout(until.saturating_duration_since(clock::now()), all).await;
    shared.spans.hurry(false);
    shared.points.hurry(false);
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
        let batch = match shared.spans.take(shared.plan.batch, shared.plan.delay) {
            Ok(batch) => batch,
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
            let count = batch.len() as u64;
            let request = Request::Traces(of_spans(&shared, batch));
            shared.deliver((Signal::Traces, &shared.spans), &transport, request, count).await;
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
    if points == 0 || !shared.points.offer(points) {
        return;
    }
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
    shared.deliver((Signal::Metrics, &shared.points), &transport, request, points).await;
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
        count: u64,
    ) {
        let (signal, lane) = lane;
        let target = match signal {
            Signal::Traces => &self.plan.traces,
            Signal::Metrics => &self.plan.metrics,
        };
        let limit = target.as_ref().map_or(Duration::from_secs(10), |target| target.timeout);
        let backoff = Backoff::exponential(Duration::from_millis(250)).cap(Duration::from_secs(5));
        let (began, mut delay, mut retry) = (clock::now(), backoff.base(), 0);
        loop {
            let sent = timeout(limit, transport.send(request.clone())).await;
            let late = |_| Err(Fault::lost(format!("no answer within {limit:?}")));
            let fault = match sent.unwrap_or_else(late) {
                Ok(Taken { rejected, message }) => {
                    let rejected = rejected.min(count);
                    lane.arrived(count, rejected);
                    if rejected > 0 {
                        self.note_error(message.clone());
                        self.lost(signal, rejected, LossReason::Rejected, message);
                    }
                    return;
                }
                Err(fault) => fault,
            };
            self.note_error(fault.text.clone());
            delay = backoff.delay(retry, delay, ThreadRandom.next_u64()).max(fault.after.unwrap_or_default());
            retry += 1;
            let reason = if fault.tls {
                LossReason::Tls
            } else if !fault.retry {
                LossReason::Refused
            } else if began.elapsed() + delay > self.plan.retry_for {
                LossReason::Unreachable
            } else {
                self.back_off(lane, delay, fault.after.is_some()).await;
                continue;
            };
            lane.lost(count, reason);
            return self.lost(signal, count, reason, fault.text);
        }
    }

    /// Waits before another attempt; less long when everything is to be exported now, unless the collector has asked for it.
    async fn back_off<T>(&self, lane: &Lane<T>, delay: Duration, asked: bool) {
        let until = clock::now() + delay;
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

    fn lost(&self, signal: Signal, count: u64, reason: LossReason, detail: String) {
        self.tell(Loss { signal, reason, count, detail });
    }
}

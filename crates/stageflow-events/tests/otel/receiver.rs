//! A collector in the test, made of the official generated server, that can be slow, refuse, reject and be gone.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::{
    collector::{
        metrics::v1::{
            ExportMetricsServiceRequest, ExportMetricsServiceResponse,
            metrics_service_server::{MetricsService, MetricsServiceServer},
        },
        trace::v1::{
            ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
            trace_service_server::{TraceService, TraceServiceServer},
        },
    },
    metrics::v1::Metric,
    trace::v1::Span,
};
use tokio::net::TcpListener;
use tonic::{Code, Request, Response, Status, codegen::Service as _};

/// How it answers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Manner {
    pub(crate) delay: Duration,
    /// Refuse so many requests first.
    pub(crate) refuse: Option<(u64, Code)>,
    /// Reject so many spans of each request.
    pub(crate) reject: i64,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Receiver {
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    manner: Mutex<Manner>,
    asked: AtomicU64,
    traces: Mutex<Vec<ExportTraceServiceRequest>>,
    headers: Mutex<Vec<Option<String>>>,
    metrics: Mutex<Vec<ExportMetricsServiceRequest>>,
}

impl Receiver {
    /// Starts on a port of its own, on this runtime.
    pub(crate) async fn start(manner: Manner) -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (Self::serve(listener, manner), format!("http://{address}"))
    }

    /// Starts at an address that was free a moment ago.
    pub(crate) async fn start_at(address: SocketAddr) -> Self {
        Self::serve(TcpListener::bind(address).await.unwrap(), Manner::default())
    }

    /// On a thread of its own, for tests whose runtime does something else.
    pub(crate) fn start_elsewhere(manner: Manner) -> (Self, String) {
        let (told, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                told.send(Self::start(manner).await).unwrap();
                std::future::pending::<()>().await;
            });
        });
        receiver.recv().unwrap()
    }

    fn serve(listener: TcpListener, manner: Manner) -> Self {
        let receiver = Self::default();
        *receiver.state.manner.lock().unwrap() = manner;
        tokio::spawn(accept(listener, receiver.clone()));
        receiver
    }

    pub(crate) fn spans(&self) -> Vec<Span> {
        let requests = self.state.traces.lock().unwrap();
        let scopes =
            requests.iter().flat_map(|request| &request.resource_spans).flat_map(|one| &one.scope_spans);
        scopes.flat_map(|scope| scope.spans.clone()).collect()
    }

    /// Requests with spans that it has taken.
    pub(crate) fn requests(&self) -> Vec<ExportTraceServiceRequest> {
        self.state.traces.lock().unwrap().clone()
    }

    /// The header `authorization` of each request.
    pub(crate) fn tokens(&self) -> Vec<Option<String>> {
        self.state.headers.lock().unwrap().clone()
    }

    /// All metrics of the last request with some.
    pub(crate) fn metrics(&self) -> Vec<Metric> {
        let requests = self.state.metrics.lock().unwrap();
        let last = requests.last().into_iter().flat_map(|request| &request.resource_metrics);
        last.flat_map(|one| &one.scope_metrics).flat_map(|scope| scope.metrics.clone()).collect()
    }

    /// How often it was asked, whatever it answered.
    pub(crate) fn asked(&self) -> u64 {
        self.state.asked.load(Ordering::SeqCst)
    }

    /// What came by HTTP.
    #[cfg(all(feature = "otlp-gzip", feature = "otlp-tls"))]
    pub(crate) fn take(&self, traces: ExportTraceServiceRequest) {
        self.state.asked.fetch_add(1, Ordering::SeqCst);
        self.state.traces.lock().unwrap().push(traces);
    }

    /// One request by gRPC. Compression is understood where it is compiled in.
    pub(crate) async fn route(
        self,
        request: hyper::Request<tonic::body::Body>,
    ) -> Result<hyper::Response<tonic::body::Body>, std::convert::Infallible> {
        if request.uri().path().contains("TraceService") {
            let traces = TraceServiceServer::new(self).max_decoding_message_size(64 << 20);
            #[cfg(feature = "otlp-gzip")]
            let traces = traces.accept_compressed(tonic::codec::CompressionEncoding::Gzip);
            let mut traces = traces;
            traces.call(request).await
        } else {
            MetricsServiceServer::new(self).call(request).await
        }
    }

    async fn answer(&self) -> Result<Manner, Status> {
        let manner = self.state.manner.lock().unwrap().clone();
        let number = self.state.asked.fetch_add(1, Ordering::SeqCst);
        // sleeps: a collector that takes its time
        tokio::time::sleep(manner.delay).await;
        match manner.refuse {
            Some((count, code)) if number < count => Err(Status::new(code, "not now")),
            _ => Ok(manner),
        }
    }
}

/// A router of two services, in place of tonic's, which would bring a licence of its own.
async fn accept(listener: TcpListener, receiver: Receiver) {
    while let Ok((stream, _)) = listener.accept().await {
        let receiver = receiver.clone();
        let route = service_fn(move |request: hyper::Request<Incoming>| {
            receiver.clone().route(request.map(tonic::body::Body::new))
        });
        let server = http2::Builder::new(TokioExecutor::new());
        tokio::spawn(server.serve_connection(TokioIo::new(stream), route));
    }
}

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let token = request.metadata().get("authorization").map(|value| value.to_str().unwrap().to_owned());
        self.state.headers.lock().unwrap().push(token);
        let manner = self.answer().await?;
        self.state.traces.lock().unwrap().push(request.into_inner());
        let partial = (manner.reject > 0).then(|| ExportTracePartialSuccess {
            rejected_spans: manner.reject,
            error_message: "too old".to_owned(),
        });
        Ok(Response::new(ExportTraceServiceResponse { partial_success: partial }))
    }
}

#[tonic::async_trait]
impl MetricsService for Receiver {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.answer().await?;
        self.state.metrics.lock().unwrap().push(request.into_inner());
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

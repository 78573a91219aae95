//! One request to the collector and what its answer means, by the OTLP specification.

#[cfg(feature = "otlp-grpc")]
mod grpc;
#[cfg(feature = "otlp-http")]
mod http;
#[cfg(all(feature = "otlp-tls", any(feature = "otlp-grpc", feature = "otlp-http")))]
mod tls;

use std::time::Duration;

use opentelemetry_proto::tonic::collector::{
    metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest,
};

use crate::otel::{
    env::{Protocol, Target},
    error::OtelError,
};

/// What is sent.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    Traces(ExportTraceServiceRequest),
    Metrics(ExportMetricsServiceRequest),
}

/// The collector has taken a request, though maybe not all of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) rejected: u64,
    pub(crate) message: String,
}

/// It has not.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Whether another attempt may help.
    pub(crate) retry: bool,
    /// Whether it was TLS, for good.
    pub(crate) tls: bool,
    /// When it asked to be tried again at the earliest.
    pub(crate) after: Option<Duration>,
    pub(crate) text: String,
}

impl Fault {
    /// Nothing is known of what became of the request.
    pub(crate) fn lost(text: String) -> Self {
        Self { retry: true, tls: false, after: None, text }
    }
}

/// A way to a collector. Clones share its connection.
#[derive(Clone, Debug)]
pub(crate) enum Transport {
    #[cfg(feature = "otlp-grpc")]
    Grpc(grpc::Grpc),
    #[cfg(feature = "otlp-http")]
    Http(http::Http),
}

impl Transport {
    /// Nothing is connected before the first request. To be called on the runtime that sends.
    pub(crate) fn new(target: &Target) -> Result<Self, OtelError> {
        match target.protocol {
            #[cfg(feature = "otlp-grpc")]
            Protocol::Grpc => grpc::Grpc::new(target).map(Self::Grpc),
            #[cfg(feature = "otlp-http")]
            Protocol::Http => http::Http::new(target).map(Self::Http),
            #[cfg(not(all(feature = "otlp-grpc", feature = "otlp-http")))]
            other => Err(OtelError::no_feature(other)),
        }
    }

    pub(crate) async fn send(&self, request: Request) -> Result<Taken, Fault> {
        match self {
            #[cfg(feature = "otlp-grpc")]
            Self::Grpc(grpc) => grpc.send(request).await,
            #[cfg(feature = "otlp-http")]
            Self::Http(http) => http.send(request).await,
        }
    }
}

/// What a partial success says.
fn taken(partial: Option<(i64, String)>) -> Taken {
    let (rejected, message) = partial.unwrap_or_default();
    Taken { rejected: u64::try_from(rejected).unwrap_or(0), message }
}

/// An error and what it came of.
#[cfg(any(feature = "otlp-grpc", feature = "otlp-http"))]
fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

//! OTLP over gRPC.

use std::{error::Error as _, time::Duration};

use opentelemetry_proto::tonic::collector::{
    metrics::v1::metrics_service_client::MetricsServiceClient,
    trace::v1::trace_service_client::TraceServiceClient,
};
use tonic::{
    Code, Status,
    metadata::{MetadataKey, MetadataMap, MetadataValue},
    transport::{Channel, Endpoint},
};

use super::{Fault, Request, Taken, taken, with_causes};
use crate::otel::{env::Target, error::OtelError};

#[derive(Clone, Debug)]
pub(crate) struct Grpc {
    channel: Channel,
    headers: MetadataMap,
    #[cfg(feature = "otlp-gzip")]
    gzip: bool,
    #[cfg(feature = "otlp-tls")]
    tls: Option<super::tls::Connector>,
}

impl Grpc {
    pub(super) fn new(target: &Target) -> Result<Self, OtelError> {
        let endpoint = endpoint(target).ok_or_else(|| OtelError::endpoint(&target.url))?;
        let mut headers = MetadataMap::new();
        for (name, value) in &target.headers {
            let bad = || OtelError::header(name);
            let key = MetadataKey::from_bytes(name.to_ascii_lowercase().as_bytes()).map_err(|_| bad())?;
            let value: MetadataValue<_> = value.parse().map_err(|_| bad())?;
            headers.insert(key, value);
        }
        let endpoint = endpoint.connect_timeout(target.timeout);
        #[cfg(feature = "otlp-tls")]
        let tls = super::tls::Connector::new(target, b"h2")?;
        #[cfg(feature = "otlp-tls")]
        let channel = match &tls {
            Some(tls) => endpoint.connect_with_connector_lazy(tls.clone()),
            None => endpoint.connect_lazy(),
        };
        #[cfg(not(feature = "otlp-tls"))]
        let channel = endpoint.connect_lazy();
        Ok(Self {
            channel,
            headers,
            #[cfg(feature = "otlp-gzip")]
            gzip: target.compression == crate::otel::Compression::Gzip,
            #[cfg(feature = "otlp-tls")]
            tls,
        })
    }

    pub(super) async fn send(&self, request: Request) -> Result<Taken, Fault> {
        let sent = self.export(request).await;
        #[cfg(feature = "otlp-tls")]
        let sent = match &self.tls {
            Some(tls) => sent.map_err(|fault| tls.explain(fault)),
            None => sent,
        };
        sent
    }

    async fn export(&self, request: Request) -> Result<Taken, Fault> {
        let partial = match request {
            Request::Traces(traces) => {
                let mut client = TraceServiceClient::new(self.channel.clone());
                #[cfg(feature = "otlp-gzip")]
                if self.gzip {
                    client = client.send_compressed(tonic::codec::CompressionEncoding::Gzip);
                }
                let answer = client.export(self.with_headers(traces)).await.map_err(fault)?.into_inner();
                answer.partial_success.map(|partial| (partial.rejected_spans, partial.error_message))
            }
            Request::Metrics(metrics) => {
                let mut client = MetricsServiceClient::new(self.channel.clone());
                #[cfg(feature = "otlp-gzip")]
                if self.gzip {
                    client = client.send_compressed(tonic::codec::CompressionEncoding::Gzip);
                }
                let answer = client.export(self.with_headers(metrics)).await.map_err(fault)?.into_inner();
                answer.partial_success.map(|partial| (partial.rejected_data_points, partial.error_message))
            }
        };
        Ok(taken(partial))
    }

    fn with_headers<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        *request.metadata_mut() = self.headers.clone();
        request
    }
}

/// What is connected to. Where there is TLS it is ours, so the channel has to take the connection for a plain one, and requests name
/// the scheme: tonic refuses to connect to an address with TLS if anybody has turned on its own TLS and it was not set up.
fn endpoint(target: &Target) -> Option<Endpoint> {
    let Some(rest) = target.url.strip_prefix("https://") else {
        return Endpoint::from_shared(target.url.clone()).ok();
    };
    let endpoint = Endpoint::from_shared(format!("http://{rest}")).ok()?;
    Some(endpoint.origin(target.url.parse().ok()?))
}

/// Which answers are to be tried again is in the specification of OTLP. `RESOURCE_EXHAUSTED` is, where the server says when; it
/// says so in the details, and where it says nothing the answer is final.
#[expect(clippy::needless_pass_by_value, reason = "what an error is mapped by takes it")]
fn fault(status: Status) -> Fault {
    let after = retry_delay(status.details());
    let retry = match status.code() {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => true,
        Code::ResourceExhausted => after.is_some(),
        // Said here, of a connection that was cut or not made in time, and not by the collector.
        Code::Unknown => status.source().is_some(),
        _ => false,
    };
    let mut text = format!("{:?}", status.code());
    if !status.message().is_empty() {
        text = format!("{text}: {}", status.message());
    }
    let causes = status.source().map(|cause| format!(": {}", with_causes(cause)));
    Fault { retry, tls: false, after, text: text + &causes.unwrap_or_default() }
}

/// The delay of a `google.rpc.RetryInfo` in the details of a `google.rpc.Status`.
fn retry_delay(details: &[u8]) -> Option<Duration> {
    use prost::Message as _;
    let status = RpcStatus::decode(details).ok()?;
    let any = status.details.iter().find(|any| any.type_url.ends_with("google.rpc.RetryInfo"))?;
    let delay = RetryInfo::decode(&*any.value).ok()?.retry_delay.unwrap_or_default();
    let nanos = u32::try_from(delay.nanos).unwrap_or(0).min(999_999_999);
    Some(Duration::new(u64::try_from(delay.seconds).unwrap_or(0), nanos))
}

#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(message, repeated, tag = "3")]
    details: Vec<RpcAny>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RpcAny {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<RpcDuration>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct RpcDuration {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    #[test]
    fn an_exhausted_resource_is_tried_again_only_where_the_server_says_when() {
        let info = RetryInfo { retry_delay: Some(RpcDuration { seconds: 2, nanos: 500_000_000 }) };
        let any = RpcAny {
            type_url: "type.googleapis.com/google.rpc.RetryInfo".into(),
            value: info.encode_to_vec(),
        };
        let details = RpcStatus { details: vec![any] }.encode_to_vec();
        let told = fault(Status::with_details(Code::ResourceExhausted, "slow down", details.into()));
        assert_eq!((told.retry, told.after), (true, Some(Duration::from_millis(2_500))));
        let silent = fault(Status::new(Code::ResourceExhausted, "no"));
        assert_eq!((silent.retry, silent.after, &*silent.text), (false, None, "ResourceExhausted: no"));
        for code in
            [Code::InvalidArgument, Code::Unauthenticated, Code::PermissionDenied, Code::Unimplemented]
        {
            assert!(!fault(Status::new(code, "")).retry, "{code:?}");
        }
        for code in [Code::Unavailable, Code::DeadlineExceeded, Code::Aborted, Code::DataLoss] {
            assert!(fault(Status::new(code, "")).retry, "{code:?}");
        }
    }

    #[test]
    fn what_is_unknown_is_tried_again_where_no_collector_said_so() {
        assert!(!fault(Status::unknown("a panic")).retry);
        let cut = fault(Status::from_error(Box::new(std::fmt::Error)));
        assert!(cut.retry && cut.text.starts_with("Unknown: "), "{cut:?}");
    }
}

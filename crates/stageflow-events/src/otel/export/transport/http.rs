//! OTLP over HTTP, with messages in protobuf.

use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Method, StatusCode, Uri,
    body::Bytes,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER},
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use opentelemetry_proto::tonic::collector::{
    metrics::v1::ExportMetricsServiceResponse, trace::v1::ExportTraceServiceResponse,
};
use prost::Message as _;

use super::{Fault, Request, Taken, taken};
use crate::otel::{env::Target, error::OtelError};

#[derive(Clone, Debug)]
pub(crate) struct Http {
    client: Client<HttpConnector, Full<Bytes>>,
    uri: Uri,
    headers: HeaderMap,
}

const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");
/// No answer is longer.
const ANSWER_MAX: usize = 1 << 20;

impl Http {
    pub(super) fn new(target: &Target) -> Result<Self, OtelError> {
        let uri: Uri = target.url.parse().map_err(|_| OtelError::endpoint(&target.url))?;
        let mut headers = HeaderMap::new();
        for (name, value) in &target.headers {
            let bad = || OtelError::header(name);
            let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?;
            headers.insert(key, HeaderValue::from_str(value).map_err(|_| bad())?);
        }
        headers.insert(CONTENT_TYPE, PROTOBUF);
        Ok(Self { client: Client::builder(TokioExecutor::new()).build_http(), uri, headers })
    }

    pub(super) async fn send(&self, request: Request) -> Result<Taken, Fault> {
        let is_traces = matches!(request, Request::Traces(_));
        let body = match request {
            Request::Traces(traces) => traces.encode_to_vec(),
            Request::Metrics(metrics) => metrics.encode_to_vec(),
        };
        let mut sent = hyper::Request::new(Full::new(Bytes::from(body)));
        *sent.method_mut() = Method::POST;
        *sent.uri_mut() = self.uri.clone();
        *sent.headers_mut() = self.headers.clone();
        let lost = |text: String| Fault { retry: true, after: None, text };
        let answer = self.client.request(sent).await.map_err(|error| lost(with_causes(&error)))?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, ANSWER_MAX).collect().await.map(http_body_util::Collected::to_bytes);
        if !head.status.is_success() {
            return Err(fault(head.status, &head.headers));
        }
        let body = body.map_err(|error| lost(error.to_string()))?;
        // A success that nobody can read is a success.
        let partial = if is_traces {
            let answer = ExportTraceServiceResponse::decode(body).unwrap_or_default();
            answer.partial_success.map(|partial| (partial.rejected_spans, partial.error_message))
        } else {
            let answer = ExportMetricsServiceResponse::decode(body).unwrap_or_default();
            answer.partial_success.map(|partial| (partial.rejected_data_points, partial.error_message))
        };
        Ok(taken(partial))
    }
}

/// Which answers are to be tried again is in the specification of OTLP.
fn fault(status: StatusCode, headers: &HeaderMap) -> Fault {
    let retry = matches!(status.as_u16(), 429 | 502 | 503 | 504);
    let after = headers.get(RETRY_AFTER).and_then(|after| after.to_str().ok()?.trim().parse().ok());
    Fault { retry, after: after.map(Duration::from_secs), text: format!("HTTP {status}") }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

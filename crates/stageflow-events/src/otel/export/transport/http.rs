//! OTLP over HTTP, with messages in protobuf.

use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Method, Response, StatusCode, Uri,
    body::{Bytes, Incoming},
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

use super::{Fault, Request, Taken, taken, with_causes};
use crate::otel::{env::Target, error::OtelError};

#[derive(Clone, Debug)]
pub(crate) struct Http {
    client: Way,
    uri: Uri,
    headers: HeaderMap,
    #[cfg(feature = "otlp-gzip")]
    gzip: bool,
}

#[derive(Clone, Debug)]
enum Way {
    Plain(Client<HttpConnector, Full<Bytes>>),
    #[cfg(feature = "otlp-tls")]
    Tls(Client<super::tls::Connector, Full<Bytes>>, super::tls::Connector),
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
        #[cfg(feature = "otlp-gzip")]
        let gzip = target.compression == crate::otel::Compression::Gzip;
        #[cfg(feature = "otlp-gzip")]
        if gzip {
            headers.insert(hyper::header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        Ok(Self {
            client: Way::new(target)?,
            uri,
            headers,
            #[cfg(feature = "otlp-gzip")]
            gzip,
        })
    }

    pub(super) async fn send(&self, request: Request) -> Result<Taken, Fault> {
        let is_traces = matches!(request, Request::Traces(_));
        let body = match request {
            Request::Traces(traces) => traces.encode_to_vec(),
            Request::Metrics(metrics) => metrics.encode_to_vec(),
        };
        #[cfg(feature = "otlp-gzip")]
        let body = if self.gzip { squeeze(&body)? } else { body };
        let mut sent = hyper::Request::new(Full::new(Bytes::from(body)));
        *sent.method_mut() = Method::POST;
        *sent.uri_mut() = self.uri.clone();
        *sent.headers_mut() = self.headers.clone();
        let answer = self.client.request(sent).await?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, ANSWER_MAX).collect().await.map(http_body_util::Collected::to_bytes);
        if !head.status.is_success() {
            return Err(fault(head.status, &head.headers));
        }
        let body = body.map_err(|error| Fault::lost(error.to_string()))?;
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

impl Way {
    fn new(target: &Target) -> Result<Self, OtelError> {
        let builder = Client::builder(TokioExecutor::new());
        #[cfg(feature = "otlp-tls")]
        if let Some(tls) = super::tls::Connector::new(target, b"http/1.1")? {
            return Ok(Self::Tls(builder.build(tls.clone()), tls));
        }
        #[cfg(not(feature = "otlp-tls"))]
        debug_assert!(!target.is_secure(), "refused before");
        Ok(Self::Plain(builder.build_http()))
    }

    async fn request(&self, request: hyper::Request<Full<Bytes>>) -> Result<Response<Incoming>, Fault> {
        let lost = |error| Fault::lost(with_causes(&error));
        match self {
            Self::Plain(client) => client.request(request).await.map_err(lost),
            #[cfg(feature = "otlp-tls")]
            Self::Tls(client, tls) => client.request(request).await.map_err(|error| tls.explain(lost(error))),
        }
    }
}

#[cfg(feature = "otlp-gzip")]
fn squeeze(body: &[u8]) -> Result<Vec<u8>, Fault> {
    use std::io::Write as _;
    let mut to = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    let done = to.write_all(body).and_then(|()| to.finish());
    done.map_err(|error| Fault::lost(format!("gzip: {error}")))
}

/// Which answers are to be tried again is in the specification of OTLP.
fn fault(status: StatusCode, headers: &HeaderMap) -> Fault {
    let retry = matches!(status.as_u16(), 429 | 502 | 503 | 504);
    let after = headers.get(RETRY_AFTER).and_then(|after| after.to_str().ok()?.trim().parse().ok());
    Fault { retry, tls: false, after: after.map(Duration::from_secs), text: format!("HTTP {status}") }
}

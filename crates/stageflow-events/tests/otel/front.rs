//! What stands before a collector in the test: TLS, HTTP, compression, and what was really sent.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use stageflow_events::otel::{Otel, OtelBuilder, Protocol};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;
use tonic::body::Body;

use crate::{
    certificates::{Authority, Manner},
    receiver::Receiver,
};

pub(crate) const BOTH: [Protocol; 2] = [Protocol::Grpc, Protocol::Http];

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    /// The scheme as far as the request names one.
    pub(crate) scheme: Option<String>,
    pub(crate) encoding: Option<String>,
    pub(crate) body: Bytes,
}

#[derive(Clone, Debug)]
pub(crate) struct Front {
    pub(crate) receiver: Receiver,
    protocol: Protocol,
    port: u16,
    sent: Arc<Mutex<Vec<Sent>>>,
}

impl Front {
    pub(crate) async fn plain(protocol: Protocol) -> Self {
        Self::start(protocol, None).await
    }

    pub(crate) async fn tls(protocol: Protocol, authority: &Authority, manner: Manner) -> Self {
        let alpn: &[u8] = if protocol == Protocol::Grpc { b"h2" } else { b"http/1.1" };
        Self::start(protocol, Some(TlsAcceptor::from(authority.server(manner, alpn)))).await
    }

    async fn start(protocol: Protocol, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let front = Self { receiver: Receiver::default(), protocol, port, sent: Arc::default() };
        let accepting = front.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (front, tls) = (accepting.clone(), tls.clone());
                tokio::spawn(async move {
                    let Some(tls) = tls else { return front.serve(stream).await };
                    match tls.accept(stream).into_fallible().await {
                        Ok(stream) => front.serve(stream).await,
                        // Read to its end: a socket that is closed before may take along what was written to it.
                        Err((_, mut stream)) => drop(stream.read_to_end(&mut Vec::new()).await),
                    }
                });
            }
        });
        front
    }

    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let (protocol, stream) = (self.protocol, TokioIo::new(stream));
        let route = service_fn(move |request| self.clone().route(request));
        let _gone = match protocol {
            Protocol::Grpc => http2::Builder::new(TokioExecutor::new()).serve_connection(stream, route).await,
            _ => http1::Builder::new().serve_connection(stream, route).await,
        };
    }

    async fn route(self, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let name = if self.protocol == Protocol::Grpc { "grpc-encoding" } else { "content-encoding" };
        let encoding = head.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        let scheme = head.uri.scheme_str().map(str::to_owned);
        self.sent.lock().unwrap().push(Sent { scheme, encoding: encoding.clone(), body: body.clone() });
        if self.protocol == Protocol::Grpc {
            return self.receiver.route(Request::from_parts(head, Body::new(Full::new(body)))).await;
        }
        let body = if encoding.is_some() { unzipped(&body) } else { body };
        self.receiver.take(ExportTraceServiceRequest::decode(body).unwrap());
        Ok(Response::new(Body::empty()))
    }

    pub(crate) fn sent(&self) -> Vec<Sent> {
        self.sent.lock().unwrap().clone()
    }

    /// Its address with TLS.
    pub(crate) fn https(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    /// An exporter to this address of it.
    pub(crate) fn otel(&self, address: String) -> OtelBuilder {
        let otel = Otel::builder().without_metrics().service("tests");
        if self.protocol == Protocol::Grpc { otel.grpc(address) } else { otel.http(address) }
    }

    pub(crate) fn http(&self) -> String {
        format!("http://localhost:{}", self.port)
    }
}

pub(crate) fn unzipped(body: &[u8]) -> Bytes {
    use std::io::Read as _;
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(body).read_to_end(&mut plain).unwrap();
    plain.into()
}

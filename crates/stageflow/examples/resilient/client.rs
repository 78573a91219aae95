//! The stages that call the service, and what its answers mean for them.

use std::{net::SocketAddr, sync::Arc};

use http_body_util::{BodyExt as _, Empty};
use hyper::{Method, Request, body::Bytes};
use hyper_util::{
    client::legacy::{Client as Http, connect::HttpConnector},
    rt::TokioExecutor,
};
use stageflow::{
    StageInput,
    interceptors::{ErrorClassifier, Refused},
    prelude::*,
};

/// A client of the service; clones share its connections.
#[derive(Clone)]
pub(crate) struct Client {
    http: Http<HttpConnector, Empty<Bytes>>,
    address: SocketAddr,
    errors: Arc<ErrorClassifier>,
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        let http = Http::builder(TokioExecutor::new()).build_http();
        Self { http, address, errors: Arc::default() }
    }

    /// A stage that asks for something.
    pub(crate) fn get(&self, path: &'static str) -> impl Stage<Input = Arc<u32>, Output = String> + use<> {
        self.call(Method::GET, path)
    }

    /// A stage that has something done, with what was found out before.
    pub(crate) fn post(
        &self,
        path: &'static str,
    ) -> impl Stage<Input = (Arc<String>, Arc<String>), Output = String> + use<> {
        self.call(Method::POST, path)
    }

    fn call<I: StageInput>(
        &self,
        method: Method,
        path: &'static str,
    ) -> impl Stage<Input = I, Output = String> + use<I> {
        let client = self.clone();
        stage_fn(move |_ctx: StageContext, _: I| {
            let (client, method) = (client.clone(), method.clone());
            async move { client.send(method, path).await }
        })
    }

    /// One request. A lost connection is transient; what any other answer means says its status.
    async fn send(&self, method: Method, path: &str) -> StageResult<String> {
        let uri = format!("http://{}{path}", self.address);
        let request = Request::builder().method(method).uri(uri).body(Empty::new()).permanent()?;
        let response = self.http.request(request).await.transient()?;
        let (head, body) = response.into_parts();
        let text = String::from_utf8_lossy(&body.collect().await.transient()?.to_bytes()).into_owned();
        if head.status.is_success() {
            return Ok(text);
        }
        let wait = head.headers.get("retry-after").and_then(|wait| wait.to_str().ok());
        let refused = Refused {
            status: Some(head.status.as_u16()),
            message: &text,
            retry_after: wait,
            ..Refused::default()
        };
        Err(self.errors.exit(&refused))
    }
}

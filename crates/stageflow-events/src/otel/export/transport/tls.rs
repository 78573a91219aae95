//! TLS to a collector: what is trusted, who we are, and connections. By rustls with the provider *ring*, which is handed over and
//! not installed for the process.

mod stream;
mod trouble;

use std::{
    io,
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use hyper::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem, pem::PemObject as _},
    },
};
use tower_service::Service;

use self::{stream::Stream, trouble::Troubles};
use super::Fault;
use crate::otel::{
    env::{Target, TlsFiles},
    error::OtelError,
};

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// Connects to one collector by TLS, whatever address it is asked for.
#[derive(Clone)]
pub(super) struct Connector(Arc<Inner>);

struct Inner {
    tcp: HttpConnector,
    tls: TlsConnector,
    uri: Uri,
    name: ServerName<'static>,
    troubles: Troubles,
}

impl Connector {
    /// For an address with TLS; with the protocol that is spoken inside, by its name in ALPN.
    pub(super) fn new(target: &Target, inside: &[u8]) -> Result<Option<Self>, OtelError> {
        if !target.is_secure() {
            return Ok(None);
        }
        let bad = || OtelError::endpoint(&target.url);
        let uri: Uri = target.url.parse().map_err(|_| bad())?;
        let host = uri.host().ok_or_else(bad)?;
        let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(name).map_err(|_| bad())?;
        // Without what else may stand in an address, such as a password.
        let troubles = Troubles::new(format!("{host}:{}", uri.port_u16().unwrap_or(443)));
        let mut config = config(&target.files)?;
        config.alpn_protocols = vec![inside.to_vec()];
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let tls = TlsConnector::from(Arc::new(config));
        Ok(Some(Self(Arc::new(Inner { tcp, tls, uri, name, troubles }))))
    }

    /// What is to be said of a request that failed, if TLS was the cause.
    pub(super) fn explain(&self, fault: Fault) -> Fault {
        self.0.troubles.explain(fault)
    }
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = Failed;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, Failed>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _always_the_same: Uri) -> Self::Future {
        let this = Arc::clone(&self.0);
        Box::pin(async move {
            let Inner { tcp, tls, uri, name, troubles } = &*this;
            let mut tcp = tcp.clone();
            std::future::poll_fn(|cx| tcp.poll_ready(cx)).await?;
            let tcp = tcp.call(uri.clone()).await.inspect_err(|_| troubles.none())?.into_inner();
            let tls = tls.connect(name.clone(), tcp).await.inspect_err(|error| troubles.note(error))?;
            Ok(Stream::new(tls, troubles.clone()))
        })
    }
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector").field("uri", &self.0.uri).finish_non_exhaustive()
    }
}

fn config(files: &TlsFiles) -> Result<ClientConfig, OtelError> {
    let roots = files.roots.as_deref().map_or_else(of_system, of_file)?;
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| OtelError::no_roots(&format!(" ({error})")))?;
    let config = config.with_root_certificates(roots);
    let (Some(certificate), Some(key)) = (&files.certificate, &files.key) else {
        return Ok(config.with_no_client_auth());
    };
    let chain = certificates(certificate, "the client certificate")?;
    let what = "the key of the client certificate";
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| unread(key, what, &error))?;
    config.with_client_auth_cert(chain, secret).map_err(|error| {
        let problem = format!("does not go with the certificate in {certificate:?}: {error}");
        OtelError::file(key, what, &problem)
    })
}

/// What a file says is trusted, and nothing else.
fn of_file(path: &Path) -> Result<RootCertStore, OtelError> {
    const WHAT: &str = "the certificates to trust";
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path, WHAT)? {
        roots
            .add(certificate)
            .map_err(|error| OtelError::file(path, WHAT, &format!("has one that cannot be used: {error}")))?;
    }
    Ok(roots)
}

fn of_system() -> Result<RootCertStore, OtelError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Systems have some that nobody can read.
    let (usable, _) = roots.add_parsable_certificates(found.certs);
    if usable == 0 {
        let problems: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
        let shown = if problems.is_empty() { String::new() } else { format!(" ({})", problems.join("; ")) };
        return Err(OtelError::no_roots(&shown));
    }
    Ok(roots)
}

fn certificates(path: &Path, what: &str) -> Result<Vec<CertificateDer<'static>>, OtelError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = read.map_err(|error| unread(path, what, &error))?;
    if found.is_empty() { Err(unread(path, what, &pem::Error::NoItemsFound)) } else { Ok(found) }
}

fn unread(path: &Path, what: &str, error: &pem::Error) -> OtelError {
    let problem = match error {
        pem::Error::Io(error) if error.kind() == io::ErrorKind::NotFound => {
            "does not exist: check the path, which is taken from the working directory of the process".to_owned()
        }
        pem::Error::Io(error) => format!("cannot be read: {error}"),
        pem::Error::NoItemsFound => {
            "has none in PEM, which begins with \"-----BEGIN\" and is not encrypted: convert it with `openssl`".to_owned()
        }
        other => format!("is not PEM as it should be: {other}"),
    };
    OtelError::file(path, what, &problem)
}

//! Certificates for tests: an authority that signs whatever it is asked for, in files that are written anew.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use tokio_rustls::rustls::{
    RootCertStore, ServerConfig, SupportedProtocolVersion,
    crypto::{CryptoProvider, ring},
    pki_types::PrivateKeyDer,
    server::WebPkiClientVerifier,
    version::{TLS12, TLS13},
};

pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: rcgen::Certificate,
    /// Its certificate.
    pub(crate) file: PathBuf,
}

/// What a certificate says of its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Time {
    Valid,
    Expired,
    NotYet,
}

/// How a server is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    pub(crate) name: &'static str,
    pub(crate) time: Time,
    /// Whether it wants to know who we are.
    pub(crate) asks: bool,
    pub(crate) old: bool,
}

impl Default for Manner {
    fn default() -> Self {
        Self { name: "localhost", time: Time::Valid, asks: false, old: false }
    }
}

impl Authority {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        Self::called(&format!("authority {}", NUMBER.fetch_add(1, Ordering::SeqCst)))
    }

    pub(crate) fn called(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let file = written("ca", &certificate.pem());
        Self { issuer: Issuer::new(params, key), certificate, file }
    }

    fn sign(&self, name: &str, time: Time) -> (rcgen::Certificate, KeyPair) {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        let (from, to) = match time {
            Time::Valid => (2020, 4000),
            Time::Expired => (2020, 2021),
            Time::NotYet => (3999, 4000),
        };
        (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(to, 1, 1));
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// A certificate for a client, and its key.
    pub(crate) fn client(&self) -> (PathBuf, PathBuf) {
        let (certificate, key) = self.sign("client", Time::Valid);
        (written("client", &certificate.pem()), written("key", &key.serialize_pem()))
    }

    /// A server with a certificate, that trusts this authority if it asks who somebody is.
    pub(crate) fn server(&self, manner: Manner, alpn: &[u8]) -> Arc<ServerConfig> {
        let (certificate, key) = self.sign(manner.name, manner.time);
        let versions: &[&SupportedProtocolVersion] = if manner.old { &[&TLS12] } else { &[&TLS13] };
        let config =
            ServerConfig::builder_with_provider(provider()).with_protocol_versions(versions).unwrap();
        let config = if manner.asks {
            let mut roots = RootCertStore::empty();
            roots.add(self.certificate.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
            config.with_client_cert_verifier(verifier.build().unwrap())
        } else {
            config.with_no_client_auth()
        };
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let mut config = config.with_single_cert(vec![certificate.der().clone()], key).unwrap();
        config.alpn_protocols = vec![alpn.to_vec()];
        Arc::new(config)
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// A file of its own with this text.
pub(crate) fn written(name: &str, text: &str) -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::SeqCst);
    let name = format!("{name}-{}-{number}.pem", std::process::id());
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, text).unwrap();
    path
}

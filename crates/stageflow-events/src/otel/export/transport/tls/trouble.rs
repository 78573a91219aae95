//! What TLS has complained of, whether another attempt may help, and what would.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use tokio_rustls::rustls::{AlertDescription as Alert, CertificateError, Error, InvalidMessage};

use super::Fault;

/// What went wrong with the last connection to a collector, if it was TLS.
#[derive(Clone)]
pub(super) struct Troubles {
    authority: Arc<str>,
    last: Arc<Mutex<Option<Trouble>>>,
}

#[derive(Clone)]
struct Trouble {
    text: String,
    is_final: bool,
}

impl Troubles {
    pub(super) fn new(authority: String) -> Self {
        Self { authority: authority.into(), last: Arc::default() }
    }

    pub(super) fn note(&self, error: &io::Error) {
        let found = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()).map(|error| {
            let (is_final, hint) = judge(error);
            let hint = hint.map(|hint| format!(": {hint}")).unwrap_or_default();
            Trouble { text: format!("TLS with {}: {error}{hint}", self.authority), is_final }
        });
        self.set(found);
    }

    pub(super) fn none(&self) {
        self.set(None);
    }

    pub(super) fn explain(&self, fault: Fault) -> Fault {
        match self.last.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            Some(Trouble { text, is_final }) => {
                Fault { retry: !is_final, tls: is_final, after: fault.after, text }
            }
            None => fault,
        }
    }

    fn set(&self, trouble: Option<Trouble>) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }
}

/// Whether it will be the same next time, and what may help.
fn judge(error: &Error) -> (bool, Option<&'static str>) {
    const ROOTS: &str =
        "to trust who has signed it, name a file with OTEL_EXPORTER_OTLP_CERTIFICATE or `certificate(…)`";
    const CLIENT: &str = "what we show to the collector is set by OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and …_CLIENT_KEY, or `client_certificate(…)`";
    const NO_TLS: &str = "maybe it does not speak TLS there, and the address should begin with http://";
    match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            (true, Some(ROOTS))
        }
        Error::InvalidCertificate(_) | Error::NoCertificatesPresented | Error::PeerIncompatible(_) => {
            (true, None)
        }
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => (true, Some(NO_TLS)),
        Error::AlertReceived(alert) => match alert {
            Alert::AccessDenied
            | Alert::BadCertificate
            | Alert::CertificateExpired
            | Alert::CertificateRequired
            | Alert::CertificateRevoked
            | Alert::CertificateUnknown
            | Alert::DecryptError
            | Alert::HandshakeFailure
            | Alert::UnknownCA
            | Alert::UnsupportedCertificate => (true, Some(CLIENT)),
            Alert::InsufficientSecurity
            | Alert::NoApplicationProtocol
            | Alert::ProtocolVersion
            | Alert::UnrecognisedName => (true, None),
            _ => (false, None),
        },
        _ => (false, None),
    }
}

//! Why there is no exporter.

use super::env::Protocol;

/// The settings of an exporter are not right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtelError {
    what: String,
}

impl OtelError {
    pub(crate) fn endpoint(url: &str) -> Self {
        Self {
            what: format!(
                "{:?} is no address of a collector: write one such as \"http://localhost:4317\"",
                shown(url)
            ),
        }
    }

    pub(crate) fn tls(url: &str) -> Self {
        Self {
            what: format!(
                "{:?} asks for TLS, which needs the feature `otlp-tls`: turn it on, or write \"http://\" for a collector without TLS",
                shown(url)
            ),
        }
    }

    pub(crate) fn half_a_client() -> Self {
        Self {
            what: "a client certificate and its key go together: set both OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and OTEL_EXPORTER_OTLP_CLIENT_KEY, or neither".to_owned(),
        }
    }

    /// `what` the file is to hold, and the `problem` with it.
    #[cfg(all(feature = "otlp-tls", any(feature = "otlp-grpc", feature = "otlp-http")))]
    pub(crate) fn file(path: &std::path::Path, what: &str, problem: &str) -> Self {
        Self { what: format!("the file {path:?}, which is to hold {what}, {problem}") }
    }

    #[cfg(all(feature = "otlp-tls", any(feature = "otlp-grpc", feature = "otlp-http")))]
    pub(crate) fn no_roots(problems: &str) -> Self {
        Self {
            what: format!(
                "this system has no certificates to trust{problems}: install them, or name a file with OTEL_EXPORTER_OTLP_CERTIFICATE or `certificate(…)`"
            ),
        }
    }

    pub(crate) fn gzip() -> Self {
        Self { what: "compression by gzip needs the feature `otlp-gzip`".to_owned() }
    }

    pub(crate) fn compression(variable: &str, value: &str) -> Self {
        Self { what: format!("{variable} is {value:?}: use \"gzip\" or \"none\"") }
    }

    /// The name only, as far as it can be one: values of headers are secrets, and so is what was not set apart from a name.
    pub(crate) fn header(name: &str) -> Self {
        let is_of_name = |letter: char| letter.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(letter);
        let name = name.split(|letter| !is_of_name(letter)).next().unwrap_or_default();
        Self { what: format!("the header {name:?} has a name or a value that no header can have") }
    }

    pub(crate) fn protocol(variable: &str, value: &str) -> Self {
        Self { what: format!("{variable} is {value:?}: use \"grpc\" or \"http/protobuf\"") }
    }

    #[cfg_attr(
        all(feature = "otlp-grpc", feature = "otlp-http"),
        expect(dead_code, reason = "both are there")
    )]
    pub(crate) fn no_feature(protocol: Protocol) -> Self {
        let feature = match protocol {
            Protocol::Grpc => "otlp-grpc",
            Protocol::Http => "otlp-http",
        };
        Self { what: format!("the collector is to be reached in a way that needs the feature `{feature}`") }
    }

    pub(crate) fn thread(error: &std::io::Error) -> Self {
        Self { what: format!("the thread of the exporter could not be started: {error}") }
    }
}

/// An address up to its host and port, without a name and a password before them: the rest may be a secret.
fn shown(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let host = host.split(['/', '?', '#']).next().unwrap_or_default();
    let is_scheme = !scheme.is_empty() && scheme.bytes().all(|letter| letter.is_ascii_alphanumeric());
    if is_scheme { format!("{scheme}://{host}") } else { host.to_owned() }
}

impl std::fmt::Display for OtelError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for OtelError {}

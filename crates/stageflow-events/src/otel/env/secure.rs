//! What is said about TLS and compression on the way to the collector, and what of it is not safe.

use std::path::PathBuf;

use super::{Target, Wish};
use crate::otel::error::OtelError;

/// How what is sent is made smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compression {
    /// Not at all.
    None,
    /// By gzip, which needs the feature `otlp-gzip`.
    Gzip,
}

impl Compression {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "none" => Some(Self::None),
            "gzip" => Some(Self::Gzip),
            _ => None,
        }
    }
}

/// Files of TLS, as far as they were said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    /// What is trusted in place of the system's roots.
    pub(crate) roots: Option<PathBuf>,
    pub(crate) certificate: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
}

impl TlsFiles {
    pub(super) fn or(&self, other: &Self) -> Self {
        Self {
            roots: self.roots.clone().or_else(|| other.roots.clone()),
            certificate: self.certificate.clone().or_else(|| other.certificate.clone()),
            key: self.key.clone().or_else(|| other.key.clone()),
        }
    }
}

impl Wish {
    /// The part of the variables that is about TLS and compression.
    pub(super) fn read_secure(
        &mut self,
        name: &dyn Fn(&str) -> String,
        get: &dyn Fn(&str) -> Option<String>,
        warnings: &mut Vec<String>,
    ) -> Result<(), OtelError> {
        let said = |what: &str| get(&name(what));
        for (what, file) in [
            ("CERTIFICATE", &mut self.files.roots),
            ("CLIENT_CERTIFICATE", &mut self.files.certificate),
            ("CLIENT_KEY", &mut self.files.key),
        ] {
            *file = said(what).map(PathBuf::from).or(file.take());
        }
        if let Some(text) = said("COMPRESSION") {
            let known = Compression::parse(&text);
            self.compression =
                Some(known.ok_or_else(|| OtelError::compression(&name("COMPRESSION"), &text))?);
        }
        if let Some(text) = said("INSECURE") {
            let is_true = text.eq_ignore_ascii_case("true");
            if !is_true && !text.eq_ignore_ascii_case("false") {
                warnings.push(format!(
                    "{} is {text:?}, which is neither true nor false: taken for false",
                    name("INSECURE")
                ));
            }
            self.insecure = Some(is_true);
        }
        Ok(())
    }
}

impl Target {
    pub(crate) fn is_secure(&self) -> bool {
        self.url.starts_with("https://")
    }

    /// What was said of a request, without the credentials in its headers.
    pub(crate) fn without_secrets(&self, said: String) -> String {
        let secrets = self.headers.iter().filter(|(name, value)| is_secret(name, value));
        // As a whole, and without the scheme before it. What is shorter is no secret, and may be part of any word.
        let parts =
            secrets.flat_map(|(_, value)| [value.as_str(), value.rsplit(' ').next().unwrap_or_default()]);
        parts.filter(|part| part.len() >= 6).fold(said, |said, part| said.replace(part, "…"))
    }

    /// What of the settings cannot be had, with or without the features.
    pub(super) fn check(&self, has_tls: bool, has_gzip: bool) -> Result<(), OtelError> {
        if self.is_secure() && !has_tls {
            return Err(OtelError::tls(&self.url));
        }
        if self.is_secure() && self.files.certificate.is_some() != self.files.key.is_some() {
            return Err(OtelError::half_a_client());
        }
        if self.compression == Compression::Gzip && !has_gzip {
            return Err(OtelError::gzip());
        }
        Ok(())
    }

    /// What is likely not meant so.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.is_secure() {
            return warnings;
        }
        if self.files != TlsFiles::default() {
            warnings.push(format!(
                "certificates are set, but {:?} is an address without TLS: they are not used",
                plain(&self.url)
            ));
        }
        let secret = self.headers.iter().find(|(name, value)| is_secret(name, value));
        if let Some((name, _)) = secret.filter(|_| !is_local(&self.url)) {
            warnings.push(format!(
                "the header {name:?} goes to {:?} without TLS: whoever is on the way can read it",
                plain(&self.url)
            ));
        }
        warnings
    }
}

/// Whether a header is one that credentials are sent in.
fn is_secret(name: &str, value: &str) -> bool {
    const NAMES: [&str; 8] = ["auth", "cookie", "credential", "key", "password", "secret", "team", "token"];
    let name = name.to_ascii_lowercase();
    let scheme = value.split(' ').next().unwrap_or_default();
    NAMES.iter().any(|known| name.contains(known))
        || ["basic", "bearer"].iter().any(|known| scheme.eq_ignore_ascii_case(known))
}

/// Host and port of an address: the rest may be a secret.
fn plain(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

/// Whether an address is one of this machine.
fn is_local(url: &str) -> bool {
    let host = plain(url);
    let host = match host.strip_prefix('[') {
        Some(six) => six.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    let address = host.parse::<std::net::IpAddr>();
    address.map_or(name == "localhost" || name.ends_with(".localhost"), |address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_this_machine_are_told_from_others() {
        for url in [
            "http://localhost:4318",
            "http://LOCALHOST.",
            "http://a.localhost/x",
            "http://127.9.9.9:1",
            "http://[::1]:4317/v1",
        ] {
            assert!(is_local(url), "{url}");
        }
        for url in [
            "http://localhost.example:4318",
            "http://collector",
            "http://10.0.0.1",
            "http://[::2]:1",
            "http://localhost@evil.example/",
            "http://notlocalhost",
            "http://x/localhost",
        ] {
            assert!(!is_local(url), "{url}");
        }
        assert_eq!(plain("http://user:secret@host:1/path?key=secret"), "host:1");
    }

    #[test]
    fn credentials_are_known_by_name_or_scheme() {
        for (name, value) in [
            ("Authorization", "x"),
            ("api-key", "x"),
            ("x-honeycomb-team", "x"),
            ("X-Sf-Token", "x"),
            ("x-whatever", "Bearer x"),
        ] {
            assert!(is_secret(name, value), "{name}");
        }
        for (name, value) in [("x-scope-orgid", "acme"), ("x-env", "bearer-of-news")] {
            assert!(!is_secret(name, value), "{name}");
        }
    }

    #[test]
    fn credentials_that_a_collector_repeats_are_not_told() {
        let headers = [("authorization", "Bearer hunter2"), ("x-scope-orgid", "4"), ("api-key", "swordfish")];
        let target = Target {
            protocol: crate::otel::Protocol::Grpc,
            url: "http://c".to_owned(),
            headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            timeout: std::time::Duration::ZERO,
            compression: Compression::None,
            files: TlsFiles::default(),
        };
        for (said, told) in [
            ("HTTP 404: no token \"Bearer hunter2\"", "HTTP 404: no token \"…\""),
            ("hunter2 and swordfish are unknown", "… and … are unknown"),
            ("bearer of news", "bearer of news"),
        ] {
            assert_eq!(target.without_secrets(said.to_owned()), told);
        }
    }
}

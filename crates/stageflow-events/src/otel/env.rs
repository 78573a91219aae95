//! Settings, and how the variables `OTEL_*` set them.

use std::time::Duration;

mod secure;

pub use self::secure::Compression;
pub(crate) use self::secure::TlsFiles;
use super::{error::OtelError, sampler::Sampler};

/// How the collector is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Protocol {
    /// OTLP over gRPC.
    Grpc,
    /// OTLP over HTTP, with messages in protobuf.
    Http,
}

/// Where one signal goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) protocol: Protocol,
    pub(crate) url: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) timeout: Duration,
    pub(crate) compression: Compression,
    pub(crate) files: TlsFiles,
}

/// Where one signal goes, as far as it was said.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wish {
    pub(crate) off: bool,
    pub(crate) protocol: Option<Protocol>,
    /// To be used as it is.
    pub(crate) url: Option<String>,
    pub(crate) headers: Option<Vec<(String, String)>>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) compression: Option<Compression>,
    /// Whether an address of gRPC without a scheme is one without TLS.
    pub(crate) insecure: Option<bool>,
    pub(crate) files: TlsFiles,
}

/// All settings.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) disabled: bool,
    /// For both signals, where a signal's own wish says nothing.
    pub(crate) both: Wish,
    pub(crate) traces: Wish,
    pub(crate) metrics: Wish,
    pub(crate) service: Option<String>,
    pub(crate) resource: Vec<(String, String)>,
    pub(crate) sampler: Sampler,
    pub(crate) queue: usize,
    pub(crate) batch: usize,
    pub(crate) delay: Duration,
    pub(crate) interval: Duration,
    pub(crate) span_events: usize,
    pub(crate) text: usize,
    /// What the variables said that could not be followed.
    pub(crate) warnings: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            disabled: false,
            both: Wish::default(),
            traces: Wish::default(),
            metrics: Wish::default(),
            service: None,
            resource: Vec::new(),
            sampler: Sampler::default(),
            queue: 65_536,
            batch: 512,
            delay: Duration::from_secs(1),
            interval: Duration::from_secs(60),
            span_events: 128,
            text: 4_096,
            warnings: Vec::new(),
        }
    }
}

/// A reader of variables: `None` for one that is not set.
pub(crate) type Vars<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Settings {
    /// Takes over what the variables say. What cannot be followed is a warning, as the specification has it, but for what would
    /// send nothing anywhere, or otherwise than the collector wants it: an unknown protocol, an unknown compression.
    pub(crate) fn read(&mut self, vars: Vars<'_>) -> Result<(), OtelError> {
        let get =
            |name: &str| vars(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let mut warnings = Vec::new();
        self.disabled |= get("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        self.both.read("", &get, &mut warnings)?;
        self.traces.read("TRACES_", &get, &mut warnings)?;
        self.metrics.read("METRICS_", &get, &mut warnings)?;
        for (name, wish) in
            [("OTEL_TRACES_EXPORTER", &mut self.traces), ("OTEL_METRICS_EXPORTER", &mut self.metrics)]
        {
            match get(name).as_deref() {
                None | Some("otlp") => {}
                Some("none") => wish.off = true,
                Some(other) => warnings.push(format!("{name} is {other:?}: exported by OTLP")),
            }
        }
        if let Some(text) = get("OTEL_RESOURCE_ATTRIBUTES") {
            self.resource.extend(pairs("OTEL_RESOURCE_ATTRIBUTES", &text, &mut warnings));
        }
        self.service = get("OTEL_SERVICE_NAME").or(self.service.take());
        if let Some(name) = get("OTEL_TRACES_SAMPLER") {
            let arg = get("OTEL_TRACES_SAMPLER_ARG");
            let share =
                arg.as_deref().map(|arg| arg.parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share)));
            if share == Some(None) && name.ends_with("ratio") {
                warnings.push("OTEL_TRACES_SAMPLER_ARG is no number from 0 to 1: taken for 1".to_owned());
            }
            match Sampler::parse(&name, share.flatten()) {
                Some(sampler) => self.sampler = sampler,
                None => warnings.push(format!("OTEL_TRACES_SAMPLER is {name:?}, which is not known")),
            }
        }
        let mut number = |name: &str, at_least: u64| {
            let text = get(name)?;
            let number = text.parse::<u64>().ok().filter(|number| *number >= at_least);
            if number.is_none() {
                warnings.push(format!("{name} is {text:?}, which is no such number"));
            }
            number
        };
        let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        self.queue = number("OTEL_BSP_MAX_QUEUE_SIZE", 1).map_or(self.queue, size);
        self.batch = number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 1).map_or(self.batch, size);
        self.delay = number("OTEL_BSP_SCHEDULE_DELAY", 0).map_or(self.delay, Duration::from_millis);
        self.interval = number("OTEL_METRIC_EXPORT_INTERVAL", 1).map_or(self.interval, Duration::from_millis);
        self.text = number("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", 0).map_or(self.text, size);
        self.text = number("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", 0).map_or(self.text, size);
        self.span_events = number("OTEL_SPAN_EVENT_COUNT_LIMIT", 0).map_or(self.span_events, size);
        if get("OTEL_BSP_EXPORT_TIMEOUT").is_some() {
            warnings.push("OTEL_BSP_EXPORT_TIMEOUT is not followed".to_owned());
        }
        self.warnings.extend(warnings);
        Ok(())
    }

    /// Where traces go; `None` for nowhere.
    pub(crate) fn traces(&self) -> Result<Option<Target>, OtelError> {
        self.target(&self.traces, "/v1/traces")
    }

    /// Where metrics go; `None` for nowhere.
    pub(crate) fn metrics(&self) -> Result<Option<Target>, OtelError> {
        self.target(&self.metrics, "/v1/metrics")
    }

    fn target(&self, own: &Wish, path: &str) -> Result<Option<Target>, OtelError> {
        if self.disabled || own.off {
            return Ok(None);
        }
        let protocol = own.protocol.or(self.both.protocol).unwrap_or_else(default_protocol);
        let base = match protocol {
            Protocol::Grpc => "http://localhost:4317",
            Protocol::Http => "http://localhost:4318",
        };
        let url = match (&own.url, protocol) {
            (Some(url), _) => url.clone(),
            (None, Protocol::Grpc) => self.both.url.clone().unwrap_or_else(|| base.to_owned()),
            (None, Protocol::Http) => {
                format!("{}{path}", self.both.url.as_deref().unwrap_or(base).trim_end_matches('/'))
            }
        };
        // In gRPC an address may go without, and is then one with TLS, as the specification has it.
        let is_insecure = own.insecure.or(self.both.insecure).unwrap_or(false);
        let url = match is_insecure {
            _ if url.contains("://") || protocol == Protocol::Http => url,
            true => format!("http://{url}"),
            false => format!("https://{url}"),
        };
        let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        if rest.is_none_or(str::is_empty) {
            return Err(OtelError::endpoint(&url));
        }
        let headers = own.headers.clone().or_else(|| self.both.headers.clone()).unwrap_or_default();
        let timeout = own.timeout.or(self.both.timeout).unwrap_or(Duration::from_secs(10));
        let compression = own.compression.or(self.both.compression).unwrap_or(Compression::None);
        let files = own.files.or(&self.both.files);
        let target = Target { protocol, url, headers, timeout, compression, files };
        target.check(cfg!(feature = "otlp-tls"), cfg!(feature = "otlp-gzip"))?;
        Ok(Some(target))
    }
}

/// HTTP, as the specification has it, where it is compiled in.
fn default_protocol() -> Protocol {
    if cfg!(feature = "otlp-http") { Protocol::Http } else { Protocol::Grpc }
}

impl Wish {
    fn read(
        &mut self,
        signal: &str,
        get: &dyn Fn(&str) -> Option<String>,
        warnings: &mut Vec<String>,
    ) -> Result<(), OtelError> {
        let name = |what: &str| format!("OTEL_EXPORTER_OTLP_{signal}{what}");
        if let Some(text) = get(&name("PROTOCOL")) {
            self.protocol = Some(match &*text {
                "grpc" => Protocol::Grpc,
                "http/protobuf" => Protocol::Http,
                _ => return Err(OtelError::protocol(&name("PROTOCOL"), &text)),
            });
        }
        self.url = get(&name("ENDPOINT")).or(self.url.take());
        if let Some(text) = get(&name("HEADERS")) {
            self.headers = Some(pairs(&name("HEADERS"), &text, warnings));
        }
        if let Some(text) = get(&name("TIMEOUT")) {
            // In no time at all nothing would ever arrive.
            match text.parse().ok().filter(|millis| *millis > 0) {
                Some(millis) => self.timeout = Some(Duration::from_millis(millis)),
                None => warnings.push(format!("{} is {text:?}, which is no such number", name("TIMEOUT"))),
            }
        }
        self.read_secure(&name, get, warnings)
    }
}

/// `key=value,key=value`, with values percent-encoded. A warning does not quote the text: it may be a secret.
fn pairs(name: &str, text: &str, warnings: &mut Vec<String>) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let pair = part.split_once('=').map(|(key, value)| (key.trim(), decode(value.trim())));
        match pair {
            Some((key, Some(value))) if !key.is_empty() => found.push((key.to_owned(), value)),
            _ => warnings.push(format!("{name} has an entry that is not `key=value`, which is left out")),
        }
    }
    found
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let encoded = (*first == b'%').then(|| after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok()));
        match encoded {
            None => {
                bytes.push(*first);
                rest = after;
            }
            Some(hex) => {
                let hex = hex.filter(|hex| hex.bytes().all(|digit| digit.is_ascii_hexdigit()));
                bytes.push(u8::from_str_radix(hex?, 16).ok()?);
                rest = &after[2..];
            }
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests;

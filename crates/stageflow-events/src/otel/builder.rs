//! [`OtelBuilder`]: from settings and variables to an exporter.

use std::{path::PathBuf, sync::Arc, time::Duration};

use opentelemetry_proto::tonic::{common::v1::InstrumentationScope, resource::v1::Resource};

use super::{
    Budgets, Otel,
    account::Loss,
    conventions as names,
    env::{Compression, Protocol, Settings, Target},
    error::OtelError,
    export::{Exporter, Hook, Plan, Shared},
    sampler::Sampler,
    spans::{SpanLimits, text},
};
use crate::Metrics;

/// Builds an [`Otel`]. Of what is said twice the later counts, variables included.
///
/// | setting | default |
/// |---|---|
/// | collector | OTLP over HTTP to `http://localhost:4318`; without the feature `otlp-http`, over gRPC to `http://localhost:4317` |
/// | timeout of a request | 10 s |
/// | compression | none |
/// | trusted with TLS | the certificates of the system |
/// | sampler | as the caller does, and all that begins here |
/// | queue | 65 536 spans |
/// | batch | 512 spans, or what there is after 1 s |
/// | retries | for 60 s, from 0.25 s apart to 5 s, with jitter |
/// | metrics | every 60 s, at most 2 000 series a metric and 100 tenants |
/// | wait of a flush of the engine | 5 s |
/// | wait of the last drop | 1 s |
#[must_use = "a builder does nothing until `build`"]
pub struct OtelBuilder {
    settings: Settings,
    retry_for: Duration,
    metrics: Metrics,
    messages: bool,
    budgets: Budgets,
    hook: Hook,
    failed: Option<OtelError>,
}

impl OtelBuilder {
    pub(super) fn new() -> Self {
        Self {
            settings: Settings::default(),
            retry_for: Duration::from_secs(60),
            metrics: Metrics::new(),
            messages: false,
            budgets: Budgets { flush: Duration::from_secs(5), drop: Duration::from_secs(1) },
            hook: Arc::new(say),
            failed: None,
        }
    }

    /// Takes over the variables `OTEL_*` of the process.
    pub fn from_env(self) -> Self {
        // One that is no text is nonsense, and not as if it were not set.
        self.from_vars(|name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()))
    }

    /// Takes over the variables `OTEL_*` that `vars` knows.
    pub fn from_vars(mut self, vars: impl Fn(&str) -> Option<String>) -> Self {
        if let Err(error) = self.settings.read(&vars) {
            self.failed.get_or_insert(error);
        }
        self
    }

    /// Sends everything over gRPC to this address, such as `http://localhost:4317`. One without `http://` is one with TLS, unless
    /// `OTEL_EXPORTER_OTLP_INSECURE` is `true`.
    pub fn grpc(self, endpoint: impl Into<String>) -> Self {
        self.collector(Protocol::Grpc, endpoint.into())
    }

    /// Sends everything over HTTP to this address, such as `http://localhost:4318`, with `/v1/traces` and `/v1/metrics` behind it.
    pub fn http(self, endpoint: impl Into<String>) -> Self {
        self.collector(Protocol::Http, endpoint.into())
    }

    fn collector(mut self, protocol: Protocol, url: String) -> Self {
        self.settings.both.protocol = Some(protocol);
        self.settings.both.url = Some(url);
        for wish in [&mut self.settings.traces, &mut self.settings.metrics] {
            (wish.protocol, wish.url) = (None, None);
        }
        self
    }

    /// Adds a header to every request, such as a token.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let header = (name.into(), value.into());
        for wish in [&mut self.settings.traces, &mut self.settings.metrics] {
            wish.headers.iter_mut().for_each(|headers| headers.push(header.clone()));
        }
        self.settings.both.headers.get_or_insert_default().push(header);
        self
    }

    /// How what is sent is made smaller.
    pub fn compression(mut self, compression: Compression) -> Self {
        self.settings.both.compression = Some(compression);
        (self.settings.traces.compression, self.settings.metrics.compression) = (None, None);
        self
    }

    /// Trusts the certificates in this file, in PEM, instead of those of the system. It is read once, by [`build`](Self::build), and
    /// only where an address begins with `https://`.
    ///
    /// ```
    /// # #[cfg(all(feature = "otlp-http", feature = "otlp-tls"))] {
    /// use stageflow_events::otel::Otel;
    ///
    /// let otel = Otel::builder().http("https://otlp.example").certificate("/nowhere/ca.pem");
    /// let error = otel.build().expect_err("the file is not there").to_string();
    /// assert!(error.contains("\"/nowhere/ca.pem\"") && error.contains("does not exist"));
    /// # }
    /// ```
    pub fn certificate(mut self, roots: impl Into<PathBuf>) -> Self {
        self.settings.both.files.roots = Some(roots.into());
        (self.settings.traces.files.roots, self.settings.metrics.files.roots) = (None, None);
        self
    }

    /// Shows this certificate to a collector that asks for one, and proves it by its key: two files in PEM, of which the first
    /// begins with the certificate itself and may go on with those between it and a root, and the second has no password. They
    /// are read like that of [`certificate`](Self::certificate).
    pub fn client_certificate(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        for wish in [&mut self.settings.traces, &mut self.settings.metrics] {
            (wish.files.certificate, wish.files.key) = (None, None);
        }
        let files = &mut self.settings.both.files;
        (files.certificate, files.key) = (Some(certificate.into()), Some(key.into()));
        self
    }

    /// How long one request may take.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.settings.both.timeout = Some(timeout);
        (self.settings.traces.timeout, self.settings.metrics.timeout) = (None, None);
        self
    }

    /// The name of the service that all this comes from.
    pub fn service(mut self, name: impl Into<String>) -> Self {
        self.settings.service = Some(name.into());
        self
    }

    /// Adds an attribute of the service, such as `deployment.environment.name`.
    pub fn resource(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.resource.push((key.into(), value.into()));
        self
    }

    /// Which traces are recorded.
    pub fn sampler(mut self, sampler: Sampler) -> Self {
        self.settings.sampler = sampler;
        self
    }

    /// How many spans may be on their way; further ones are dropped and counted.
    pub fn queue(mut self, spans: usize) -> Self {
        self.settings.queue = spans;
        self
    }

    /// How many spans go in a request, and how long at most one waits for others.
    pub fn batch(mut self, spans: usize, delay: Duration) -> Self {
        (self.settings.batch, self.settings.delay) = (spans.max(1), delay);
        self
    }

    /// How long a request is tried again before it is given up.
    pub fn retry_for(mut self, budget: Duration) -> Self {
        self.retry_for = budget;
        self
    }

    /// How often metrics go out.
    pub fn metrics_every(mut self, interval: Duration) -> Self {
        self.settings.interval = interval.max(Duration::from_millis(1));
        self
    }

    /// How many series a metric may have. Further ones become one with the attribute `otel.metric.overflow`.
    pub fn series(mut self, limit: usize) -> Self {
        self.metrics = self.metrics.max_series(limit);
        self
    }

    /// How many tenants metrics tell apart. Further ones are `_other`.
    pub fn tenants(mut self, limit: usize) -> Self {
        self.metrics = self.metrics.max_tenants(limit);
        self
    }

    /// Exports no spans.
    pub fn without_traces(mut self) -> Self {
        self.settings.traces.off = true;
        self
    }

    /// Exports no metrics.
    pub fn without_metrics(mut self) -> Self {
        self.settings.metrics.off = true;
        self
    }

    /// Exports what errors say in words as well. They often quote what a user has sent, so without this only their codes are.
    pub fn with_messages(mut self) -> Self {
        self.messages = true;
        self
    }

    /// Calls `hook` for losses instead of writing a line to the standard error stream: at once, and for the same reason at most once
    /// a minute, with the sum. It is called on the thread of the exporter and holds that up while it runs.
    pub fn on_loss(mut self, hook: impl Fn(&Loss) + Send + Sync + 'static) -> Self {
        self.hook = Arc::new(hook);
        self
    }

    /// How long `Engine::flush` and `Engine::shutdown` wait at most for the collector to have everything. Zero: they do not wait, and
    /// nothing leaves earlier for them.
    pub fn flush_budget(mut self, budget: Duration) -> Self {
        self.budgets.flush = budget;
        self
    }

    /// How long the drop of the last clone blocks to have everything exported, where nobody has called
    /// [`shutdown`](Otel::shutdown) before.
    pub fn drop_budget(mut self, budget: Duration) -> Self {
        self.budgets.drop = budget;
        self
    }

    /// Starts the exporter: a thread of its own, which connects when there is something to send.
    ///
    /// # Errors
    ///
    /// An address, a protocol, a compression or a header that is none; one whose feature is off, such as an address with TLS without
    /// `otlp-tls`; a file of TLS that cannot be read or does not hold what it should.
    pub fn build(self) -> Result<Otel, OtelError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let mut settings = self.settings;
        let (traces, metrics) = (settings.traces()?, settings.metrics()?);
        for warning in traces.iter().chain(&metrics).flat_map(Target::warnings) {
            if !settings.warnings.contains(&warning) {
                settings.warnings.push(warning);
            }
        }
        let spans = SpanLimits { events: settings.span_events, text: settings.text, messages: self.messages };
        let records = traces.is_some();
        let is_off = traces.is_none() && metrics.is_none();
        let plan = Plan {
            resource: resource(settings.service, settings.resource),
            scope: InstrumentationScope {
                name: names::SCOPE.to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                ..InstrumentationScope::default()
            },
            traces,
            metrics,
            batch: settings.batch,
            delay: settings.delay,
            interval: settings.interval,
            retry_for: self.retry_for,
        };
        let shared = Shared::new(plan, settings.queue, self.metrics, self.hook);
        let exporter = if is_off { None } else { Some(Exporter::start(shared)?) };
        Ok(Otel::new(exporter, spans, settings.sampler, records, self.budgets, settings.warnings))
    }
}

impl std::fmt::Debug for OtelBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // No settings: headers are secrets.
        f.debug_struct("OtelBuilder").finish_non_exhaustive()
    }
}

fn resource(service: Option<String>, given: Vec<(String, String)>) -> Resource {
    let service = service.or_else(|| {
        let named = given.iter().rev().find(|(key, _)| key == names::SERVICE_NAME);
        named.map(|(_, value)| value.clone())
    });
    let fixed = [
        (names::SERVICE_NAME, service.unwrap_or_else(|| "unknown_service".to_owned())),
        ("telemetry.sdk.language", "rust".to_owned()),
        ("telemetry.sdk.name", names::SCOPE.to_owned()),
        ("telemetry.sdk.version", env!("CARGO_PKG_VERSION").to_owned()),
    ];
    let mut attributes: Vec<_> = fixed.into_iter().map(|(key, value)| text(key, value)).collect();
    for (key, value) in given {
        match attributes.iter_mut().find(|known| known.key == key) {
            Some(_) if key == names::SERVICE_NAME => {}
            Some(known) => *known = text(&key, value),
            None => attributes.push(text(&key, value)),
        }
    }
    Resource { attributes, ..Resource::default() }
}

#[expect(clippy::print_stderr, reason = "a loss must not be silent; who wants it elsewhere sets a hook")]
fn say(loss: &Loss) {
    eprintln!("{loss}");
}

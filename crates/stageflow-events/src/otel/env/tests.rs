//! The table of the variables: what each sets, and what becomes of nonsense.

use super::*;

fn read(pairs: &[(&str, &str)]) -> Settings {
    let mut settings = Settings::default();
    let vars =
        |name: &str| pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    settings.read(&vars).expect("nothing here is an error");
    settings
}

fn traces(pairs: &[(&str, &str)]) -> Target {
    read(pairs).traces().expect("an address").expect("not off")
}

fn metrics(pairs: &[(&str, &str)]) -> Target {
    read(pairs).metrics().expect("an address").expect("not off")
}

#[test]
fn endpoints_are_as_the_specification_has_them() {
    const GRPC: (&str, &str) = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    const HTTP: (&str, &str) = ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf");
    for (said, to_traces, to_metrics) in [
        (&[HTTP][..], "http://localhost:4318/v1/traces", "http://localhost:4318/v1/metrics"),
        (&[GRPC], "http://localhost:4317", "http://localhost:4317"),
        (
            &[HTTP, ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:1/base/")],
            "http://c:1/base/v1/traces",
            "http://c:1/base/v1/metrics",
        ),
        (
            &[GRPC, ("OTEL_EXPORTER_OTLP_ENDPOINT", "c:1"), ("OTEL_EXPORTER_OTLP_INSECURE", "True")],
            "http://c:1",
            "http://c:1",
        ),
        (
            // A signal's own is used as it is.
            &[HTTP, ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://t:2/x")],
            "http://t:2/x",
            "http://localhost:4318/v1/metrics",
        ),
        (
            // An empty variable is one that is not set.
            &[HTTP, ("OTEL_EXPORTER_OTLP_ENDPOINT", "")],
            "http://localhost:4318/v1/traces",
            "http://localhost:4318/v1/metrics",
        ),
    ] {
        assert_eq!((&*traces(said).url, &*metrics(said).url), (to_traces, to_metrics), "{said:?}");
    }
    let mixed = [GRPC, ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/protobuf")];
    assert_eq!((traces(&mixed).protocol, metrics(&mixed).protocol), (Protocol::Grpc, Protocol::Http));
}

#[test]
fn headers_and_timeouts_of_a_signal_go_first() {
    let said = [
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=1, b = x%3D%2C ,"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "c=3"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
        ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "100"),
    ];
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    assert_eq!(traces(&said).headers, [pair("c", "3")]);
    assert_eq!(metrics(&said).headers, [pair("a", "1"), pair("b", "x=,")]);
    assert_eq!((traces(&said).timeout.as_millis(), metrics(&said).timeout.as_millis()), (2_500, 100));
    assert_eq!(traces(&[]).timeout.as_secs(), 10);
}

#[test]
fn numbers_and_samplers_are_read() {
    let said = read(&[
        ("OTEL_BSP_MAX_QUEUE_SIZE", "99"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "7"),
        ("OTEL_BSP_SCHEDULE_DELAY", "250"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "1000"),
        ("OTEL_SPAN_EVENT_COUNT_LIMIT", "3"),
        ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "10"),
        ("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "12"),
        ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
        ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
    ]);
    assert_eq!((said.queue, said.batch, said.span_events, said.text), (99, 7, 3, 12));
    assert_eq!((said.delay.as_millis(), said.interval.as_millis()), (250, 1_000));
    assert_eq!((said.sampler, said.warnings.len()), (Sampler::ParentOrRatio(0.25), 0));
    for (name, sampler) in [
        ("always_on", Sampler::AlwaysOn),
        ("always_off", Sampler::AlwaysOff),
        ("traceidratio", Sampler::Ratio(1.0)),
        ("parentbased_always_on", Sampler::ParentOrOn),
        ("parentbased_always_off", Sampler::ParentOrOff),
    ] {
        assert_eq!(read(&[("OTEL_TRACES_SAMPLER", name)]).sampler, sampler, "{name}");
    }
}

#[test]
fn exporters_can_be_off() {
    assert_eq!(read(&[("OTEL_TRACES_EXPORTER", "none")]).traces(), Ok(None));
    assert!(read(&[("OTEL_TRACES_EXPORTER", "none")]).metrics().is_ok_and(|to| to.is_some()));
    for disabled in ["true", "TRUE"] {
        assert_eq!(read(&[("OTEL_SDK_DISABLED", disabled)]).metrics(), Ok(None));
    }
    // Anything but `true` is false.
    assert!(read(&[("OTEL_SDK_DISABLED", "1")]).metrics().is_ok_and(|to| to.is_some()));
}

/// The specification wants such values ignored with a warning.
#[test]
fn nonsense_is_a_warning_and_the_default() {
    let default = Settings::default();
    for (name, value) in [
        ("OTEL_BSP_MAX_QUEUE_SIZE", "-1"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "many"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "0"),
        ("OTEL_TRACES_SAMPLER", "sometimes"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "0"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "no-equals-sign"),
        ("OTEL_RESOURCE_ATTRIBUTES", "a=%zz"),
        ("OTEL_RESOURCE_ATTRIBUTES", "a=%e"),
        ("OTEL_RESOURCE_ATTRIBUTES", "a=%+1"),
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_BSP_EXPORT_TIMEOUT", "30000"),
        ("OTEL_EXPORTER_OTLP_INSECURE", "yes"),
    ] {
        let said = read(&[(name, value)]);
        assert_eq!(said.warnings.len(), 1, "{name}={value}");
        assert!(said.warnings[0].contains(name), "{}", said.warnings[0]);
        assert_eq!((said.queue, said.batch, said.interval), (default.queue, default.batch, default.interval));
        assert_eq!((said.sampler, said.resource.len()), (default.sampler, 0), "{name}={value}");
        assert_eq!(traces(&[(name, value)]).timeout.as_secs(), 10, "{name}={value}");
    }
    let said = read(&[("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "7")]);
    assert_eq!((said.sampler, said.warnings.len()), (Sampler::Ratio(1.0), 1));
}

fn secure(pairs: &[(&str, &str)]) -> (Target, Target) {
    let settings = read(pairs);
    let target = |own: &Wish| Target {
        protocol: Protocol::Grpc,
        url: "https://c".to_owned(),
        headers: Vec::new(),
        timeout: Duration::ZERO,
        compression: own.compression.or(settings.both.compression).unwrap_or(Compression::None),
        files: own.files.or(&settings.both.files),
    };
    (target(&settings.traces), target(&settings.metrics))
}

#[test]
fn files_and_compression_of_a_signal_go_first() {
    let (traces, metrics) = secure(&[
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "ca"),
        ("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "traces-ca"),
        ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "me"),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "key"),
        ("OTEL_EXPORTER_OTLP_METRICS_CLIENT_CERTIFICATE", "metrics-me"),
        ("OTEL_EXPORTER_OTLP_METRICS_CLIENT_KEY", "metrics-key"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", "none"),
    ]);
    let files = |roots: &str, certificate: &str, key: &str| TlsFiles {
        roots: Some(roots.into()),
        certificate: Some(certificate.into()),
        key: Some(key.into()),
    };
    assert_eq!((traces.compression, metrics.compression), (Compression::Gzip, Compression::None));
    assert_eq!(traces.files, files("traces-ca", "me", "key"));
    assert_eq!(metrics.files, files("ca", "metrics-me", "metrics-key"));
}

/// By the specification an address without a scheme is one with TLS; and what no feature is there for is said, not left out.
#[test]
fn what_needs_a_feature_names_it() {
    let grpc = [("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"), ("OTEL_EXPORTER_OTLP_ENDPOINT", "c:1")];
    match read(&grpc).traces() {
        Ok(target) => assert_eq!(target.map(|target| target.url).as_deref(), Some("https://c:1")),
        Err(error) => assert!(!cfg!(feature = "otlp-tls") && error.to_string().contains("\"https://c:1\"")),
    }
    let (mut target, _) = secure(&[("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")]);
    let told = |target: &Target, tls, gzip| target.check(tls, gzip).map_err(|error| error.to_string());
    assert!(told(&target, false, true).is_err_and(|error| error.contains("`otlp-tls`")));
    assert!(told(&target, true, false).is_err_and(|error| error.contains("`otlp-gzip`")));
    assert_eq!(told(&target, true, true), Ok(()));
    target.files.key = Some("key".into());
    assert!(told(&target, true, true).is_err_and(|error| error.contains("go together")));
    (target.url, target.compression) = ("http://c".to_owned(), Compression::None);
    assert_eq!(told(&target, false, false), Ok(()));
}

/// Neither a password in an address nor a token that was put where no name of a header ends is quoted.
#[test]
fn errors_quote_no_credentials() {
    for url in ["ftp://me:hunter2@c:1/x?key=hunter2", "me:hunter2@c:1", "https://me:hunter2@c:1/hunter2"] {
        for error in [OtelError::endpoint(url), OtelError::tls(url)] {
            let told = error.to_string();
            assert!(told.contains("c:1") && !told.contains("hunter2"), "{told}");
        }
    }
    let target = traces(&[("OTEL_EXPORTER_OTLP_HEADERS", "Authorization: Basic hunter2==")]);
    let told = OtelError::header(&target.headers[0].0).to_string();
    assert!(told.contains("Authorization") && !told.contains("hunter2"), "{told}");
}

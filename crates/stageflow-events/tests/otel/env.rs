//! The variables `OTEL_*`, seen from the outside: what arrives where.

use std::collections::HashMap;

use stageflow_events::otel::Otel;

use crate::{
    kit::{SECONDS_5, engine, wide},
    receiver::{Manner, Receiver},
    tree::get,
};

fn vars<'a>(pairs: impl IntoIterator<Item = (&'a str, String)>) -> impl Fn(&str) -> Option<String> {
    let all: HashMap<_, _> = pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    move |name| all.get(name).cloned()
}

#[tokio::test]
async fn the_variables_say_where_to_and_who() {
    let (receiver, endpoint) = Receiver::start(Manner::default()).await;
    let said = vars([
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc".to_owned()),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20abc".to_owned()),
        ("OTEL_METRICS_EXPORTER", "none".to_owned()),
        ("OTEL_SERVICE_NAME", "tickets".to_owned()),
        ("OTEL_RESOURCE_ATTRIBUTES", "service.name=other,deployment.environment.name=t%C3%A9st".to_owned()),
    ]);
    let otel = Otel::builder().from_vars(said).build().unwrap();
    let engine = engine(&otel);
    engine.run(&wide(2), ()).await.unwrap();
    engine.flush().await;
    assert!(otel.shutdown(SECONDS_5).await.is_complete());
    assert_eq!(receiver.tokens(), [Some("Bearer abc".to_owned())]);
    let requests = receiver.requests();
    let resource = requests[0].resource_spans[0].resource.as_ref().unwrap();
    assert_eq!(get(&resource.attributes, "service.name").as_deref(), Some("tickets"));
    assert_eq!(get(&resource.attributes, "deployment.environment.name").as_deref(), Some("tést"));
    assert!(otel.warnings().is_empty() && receiver.metrics().is_empty());
}

#[tokio::test]
async fn a_disabled_exporter_asks_nobody() {
    let (receiver, endpoint) = Receiver::start(Manner::default()).await;
    let said = vars([
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc".to_owned()),
        ("OTEL_SDK_DISABLED", "TRUE".to_owned()),
    ]);
    let otel = Otel::builder().from_vars(said).build().unwrap();
    assert!(otel.is_disabled());
    let engine = engine(&otel);
    engine.run(&wide(2), ()).await.unwrap();
    engine.flush().await;
    assert!(otel.shutdown(SECONDS_5).await.is_complete());
    assert_eq!(receiver.asked(), 0);
}

#[test]
fn what_would_send_nothing_anywhere_is_an_error() {
    for (name, value, error) in [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", "OTEL_EXPORTER_OTLP_PROTOCOL is \"http/json\": use"),
        (
            "OTEL_EXPORTER_OTLP_COMPRESSION",
            "zstd",
            "OTEL_EXPORTER_OTLP_COMPRESSION is \"zstd\": use \"gzip\"",
        ),
        (
            "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION",
            "Gzip",
            "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION is \"Gzip\"",
        ),
        #[cfg(not(feature = "otlp-tls"))]
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector:4318", "needs the feature `otlp-tls`"),
        #[cfg(not(feature = "otlp-gzip"))]
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip", "needs the feature `otlp-gzip`"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector", "is no address of a collector"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a b=secret", "the header \"a\" has a name or a value"),
    ] {
        let told =
            Otel::builder().from_vars(vars([(name, value.to_owned())])).build().unwrap_err().to_string();
        assert!(told.contains(error) && !told.contains("secret"), "{told}");
    }
}

#[test]
fn a_token_that_leaves_the_machine_without_tls_is_a_warning() {
    let warnings = |endpoint: &str| {
        let builder = Otel::builder().http(endpoint).header("authorization", "Bearer secret");
        builder.build().unwrap().warnings().to_vec()
    };
    let told = warnings("http://collector.example:4318");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("\"authorization\"") && told[0].contains("collector.example"), "{told:?}");
    assert!(!told[0].contains("secret"), "{told:?}");
    assert_eq!(warnings("http://localhost:4318"), [""; 0]);
    let said = vars([("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere.pem".to_owned())]);
    let told = Otel::builder().without_metrics().from_vars(said).build().unwrap();
    assert!(told.warnings()[0].contains("certificates are set, but \"localhost:4318"), "{told:?}");
}

/// It is not passed over as if it were not set: what is trusted would be something else.
#[cfg(unix)]
#[test]
fn a_variable_that_is_no_text_is_an_error() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _, process::Command};

    const CHILD: &str = "STAGEFLOW_TEST_NO_TEXT";
    if std::env::var_os(CHILD).is_some() {
        let error = Otel::builder().from_env().build().unwrap_err().to_string();
        return assert!(error.contains("OTEL_EXPORTER_OTLP_PROTOCOL is \"grpc"), "{error}");
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "env::a_variable_that_is_no_text_is_an_error"]).env(CHILD, "1");
    child.env("OTEL_EXPORTER_OTLP_PROTOCOL", OsStr::from_bytes(b"grpc\xff"));
    let output = child.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

//! TLS: what is trusted is sent to, everything else is counted, said, and no trouble for a run.

use std::{path::Path, time::Duration};

use stageflow_core::DurationExt as _;
use stageflow_events::otel::{ExportReceipt, LossReason, Otel, OtelBuilder, Protocol};
use tokio::net::TcpListener;
use tokio_rustls::rustls::crypto::CryptoProvider;

use crate::{
    certificates::{Authority, Manner, Time, written},
    front::{BOTH, Front},
    kit::{SECONDS_5, export_wide, watched},
};

async fn exported(builder: OtelBuilder) -> ExportReceipt {
    let otel = builder.on_loss(|_| {}).build().unwrap();
    export_wide(&otel, 8).await;
    otel.shutdown(SECONDS_5).await
}

/// All is lost to TLS, soon and without another attempt, and said once with these words.
async fn refused(builder: OtelBuilder, front: &Front, words: &[&str]) {
    let (otel, losses) = watched(builder.batch(5, Duration::ZERO));
    export_wide(&otel, 8).await;
    let receipt = otel.shutdown(SECONDS_5).await;
    assert_eq!(
        (receipt.spans.dropped_tls, receipt.spans.lost(), receipt.spans.in_flight),
        (10, 10, 0),
        "{receipt}"
    );
    assert!(receipt.took < 4.secs(), "{receipt:?}");
    assert_eq!(front.receiver.asked(), 0);
    let losses = losses.lock().unwrap();
    // At once, and what came later as a sum at the end.
    assert!(losses.len() <= 2, "{losses:?}");
    assert_eq!(losses.iter().map(|loss| loss.count).sum::<u64>(), 10);
    for word in words {
        let told = losses[0].to_string();
        assert!(losses[0].reason == LossReason::Tls && told.contains(word), "{word}: {told}");
        assert!(receipt.last_error.as_ref().is_some_and(|error| error.contains(word)), "{receipt}");
    }
}

#[tokio::test]
async fn spans_arrive_over_tls_by_both_protocols_and_versions() {
    let authority = Authority::new();
    for (protocol, old) in BOTH.into_iter().flat_map(|protocol| [(protocol, false), (protocol, true)]) {
        let front = Front::tls(protocol, &authority, Manner { old, ..Manner::default() }).await;
        let otel = front.otel(front.https()).certificate(&authority.file).batch(3, Duration::ZERO);
        let receipt = exported(otel).await;
        assert!(receipt.is_complete(), "{protocol:?}, {old}: {receipt}");
        assert_eq!((receipt.spans.exported, front.receiver.spans().len()), (10, 10));
        let scheme = (protocol == Protocol::Grpc).then_some("https");
        assert!(front.sent().len() >= 4 && front.sent().iter().all(|sent| sent.scheme.as_deref() == scheme));
    }
    assert!(CryptoProvider::get_default().is_none(), "nothing was installed for the process");
}

#[tokio::test]
async fn a_certificate_for_an_address_is_one_for_that_address() {
    let authority = Authority::new();
    let front =
        Front::tls(Protocol::Http, &authority, Manner { name: "127.0.0.1", ..Manner::default() }).await;
    let address = front.https().replace("localhost", "127.0.0.1");
    assert!(exported(front.otel(address).certificate(&authority.file)).await.is_complete());
}

#[tokio::test]
async fn a_collector_that_nobody_trusts_gets_nothing() {
    let authority = Authority::called("one");
    for (other, word) in [("two", "UnknownIssuer"), ("one", "BadSignature")] {
        let other = Authority::called(other);
        for protocol in BOTH {
            let front = Front::tls(protocol, &authority, Manner::default()).await;
            let otel = front.otel(front.https()).certificate(&other.file);
            refused(otel, &front, &[word, "OTEL_EXPORTER_OTLP_CERTIFICATE", "localhost:"]).await;
        }
    }
}

#[tokio::test]
async fn a_collector_of_another_name_or_another_time_gets_nothing() {
    let authority = Authority::new();
    for (manner, word) in [
        (Manner { name: "elsewhere.example", ..Manner::default() }, "not valid for name"),
        (Manner { time: Time::Expired, ..Manner::default() }, "expired"),
        (Manner { time: Time::NotYet, ..Manner::default() }, "not valid yet"),
    ] {
        for protocol in BOTH {
            let front = Front::tls(protocol, &authority, manner).await;
            refused(front.otel(front.https()).certificate(&authority.file), &front, &[word]).await;
        }
    }
}

#[tokio::test]
async fn a_collector_that_asks_who_we_are_is_told_or_says_no() {
    let (authority, others) =
        (Authority::called("one"), [Authority::called("one"), Authority::called("two")]);
    for (protocol, old) in BOTH.into_iter().flat_map(|protocol| [(protocol, false), (protocol, true)]) {
        let front = Front::tls(protocol, &authority, Manner { asks: true, old, ..Manner::default() }).await;
        let otel = || front.otel(front.https()).certificate(&authority.file);
        let word = "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE";
        refused(otel(), &front, &["received fatal alert", word]).await;
        for other in &others {
            let (certificate, key) = other.client();
            refused(otel().client_certificate(certificate, key), &front, &[word]).await;
        }
        let (certificate, key) = authority.client();
        let receipt = exported(otel().client_certificate(certificate, key)).await;
        assert!(receipt.is_complete(), "{protocol:?}: {receipt}");
        assert_eq!(front.receiver.spans().len(), 10);
    }
}

#[tokio::test]
async fn the_variables_say_what_is_trusted_and_who_we_are() {
    let (authority, other) = (Authority::new(), Authority::new());
    let front = Front::tls(Protocol::Grpc, &authority, Manner { asks: true, ..Manner::default() }).await;
    let (certificate, key) = authority.client();
    let address = front.https().replace("https://", "");
    let text = |path: &Path| Some(path.to_str().unwrap().to_owned());
    let said = |name: &str| match name {
        "OTEL_EXPORTER_OTLP_PROTOCOL" => Some("grpc".to_owned()),
        // Without a scheme it is one with TLS.
        "OTEL_EXPORTER_OTLP_ENDPOINT" => Some(address.clone()),
        "OTEL_EXPORTER_OTLP_CERTIFICATE" => text(&other.file),
        "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE" => text(&authority.file),
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE" => text(&certificate),
        "OTEL_EXPORTER_OTLP_CLIENT_KEY" => text(&key),
        _ => None,
    };
    let receipt = exported(Otel::builder().without_metrics().from_vars(said)).await;
    assert!(receipt.is_complete(), "{receipt}");
    assert_eq!(front.receiver.spans().len(), 10);
}

/// In a process of its own, because it is a variable of the process that says what the system trusts.
#[tokio::test]
async fn without_a_file_what_the_system_trusts_is_trusted() {
    const ADDRESS: &str = "STAGEFLOW_TEST_ADDRESS";
    if let Ok(address) = std::env::var(ADDRESS) {
        let receipt = exported(Otel::builder().http(address).without_metrics()).await;
        return assert!(receipt.is_complete(), "{receipt}");
    }
    let authority = Authority::new();
    let front = Front::tls(Protocol::Http, &authority, Manner::default()).await;
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "tls::without_a_file_what_the_system_trusts_is_trusted"]);
    child.env(ADDRESS, front.https()).env("SSL_CERT_FILE", &authority.file).env_remove("SSL_CERT_DIR");
    let done = tokio::task::spawn_blocking(move || child.output().unwrap()).await.unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
    assert_eq!(front.receiver.spans().len(), 10);
}

#[tokio::test]
async fn a_collector_without_tls_where_there_should_be_some_gets_nothing() {
    let authority = Authority::new();
    let front = Front::plain(Protocol::Http).await;
    let otel = front.otel(front.https()).certificate(&authority.file);
    refused(otel, &front, &["maybe it does not speak TLS there"]).await;
}

/// A handshake that never ends is a request without an answer.
#[tokio::test]
async fn a_collector_that_says_nothing_holds_up_nothing() {
    let authority = Authority::new();
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("https://{}", mute.local_addr().unwrap());
    for otel in [Otel::builder().grpc(&address), Otel::builder().http(&address)] {
        let otel = otel.without_metrics().certificate(&authority.file).batch(512, Duration::ZERO);
        let receipt = exported(otel.timeout(100.millis()).retry_for(300.millis())).await;
        assert_eq!((receipt.spans.dropped_unreachable, receipt.spans.lost()), (10, 10), "{receipt}");
        assert!(receipt.took < 4.secs(), "{receipt:?}");
    }
}

#[test]
fn files_that_are_not_right_are_an_error_with_their_path() {
    let authority = Authority::new();
    let (certificate, key) = authority.client();
    let (_, other_key) = authority.client();
    let nowhere = Path::new("/nowhere/ca.pem");
    let (empty, nonsense) = (written("empty", ""), written("nonsense", "-----BEGIN CERTIFICATE-----\n!\n"));
    let wrong = written("wrong", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let otel = || Otel::builder().grpc("https://localhost:1").certificate(&authority.file);
    let roots = |path: &Path| otel().certificate(path);
    for (builder, path, words) in [
        (roots(nowhere), nowhere, "does not exist: check the path"),
        (
            roots(Path::new(env!("CARGO_TARGET_TMPDIR"))),
            Path::new(env!("CARGO_TARGET_TMPDIR")),
            "cannot be read",
        ),
        (roots(&empty), &*empty, "has none in PEM"),
        (roots(&key), &*key, "has none in PEM"),
        (roots(&nonsense), &*nonsense, "is not PEM as it should be"),
        (roots(&wrong), &*wrong, "has one that cannot be used"),
        (otel().client_certificate(nowhere, &key), nowhere, "the client certificate, does not exist"),
        (
            otel().client_certificate(&certificate, &certificate),
            &*certificate,
            "the key of the client certificate, has none",
        ),
        (
            otel().client_certificate(&certificate, &other_key),
            &*other_key,
            "does not go with the certificate in",
        ),
    ] {
        let told = builder.build().unwrap_err().to_string();
        assert!(told.contains(&format!("{path:?}")) && told.contains(words), "{words}: {told}");
    }
}

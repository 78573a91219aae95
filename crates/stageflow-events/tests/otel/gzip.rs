//! Compression: what is sent is gzip, says so, and is the same spans.

use stageflow_events::otel::{Compression, Protocol};

use crate::{
    front::{BOTH, Front, unzipped},
    kit::{SECONDS_5, export_wide, watched},
};

async fn exported(protocol: Protocol, compression: Compression) -> Front {
    let front = Front::plain(protocol).await;
    let (otel, _) = watched(front.otel(front.http()).compression(compression));
    export_wide(&otel, 48).await;
    let receipt = otel.shutdown(SECONDS_5).await;
    assert!(receipt.is_complete(), "{receipt}");
    front
}

#[tokio::test]
async fn what_is_sent_compressed_is_gzip_and_the_same_spans() {
    for protocol in BOTH {
        let plain = exported(protocol, Compression::None).await;
        let small = exported(protocol, Compression::Gzip).await;
        let names = |front: &Front| {
            let mut names: Vec<_> = front.receiver.spans().into_iter().map(|span| span.name).collect();
            names.sort();
            names
        };
        assert_eq!((names(&small).len(), names(&small)), (50, names(&plain)), "{protocol:?}");
        let (before, after) = (&plain.sent()[0], &small.sent()[0]);
        assert_eq!(
            (before.encoding.as_deref(), after.encoding.as_deref()),
            (None, Some("gzip")),
            "{protocol:?}"
        );
        // A message of gRPC begins with a flag for compression and its length.
        let zipped = if protocol == Protocol::Grpc { &after.body[5..] } else { &after.body[..] };
        assert!(protocol != Protocol::Grpc || (before.body[0], after.body[0]) == (0, 1));
        assert_eq!(zipped[..2], [0x1f, 0x8b], "{protocol:?}: the magic number of gzip");
        assert!(after.body.len() * 2 < before.body.len(), "{} of {}", after.body.len(), before.body.len());
        assert!(unzipped(zipped).len() > zipped.len());
    }
}

#[tokio::test]
async fn the_variable_turns_compression_on_and_that_of_the_signal_off() {
    for (own, expected) in [(None, Some("gzip")), (Some("none"), None)] {
        let front = Front::plain(Protocol::Http).await;
        let said = |name: &str| match name {
            "OTEL_EXPORTER_OTLP_COMPRESSION" => Some("gzip".to_owned()),
            "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION" => own.map(str::to_owned),
            _ => None,
        };
        let (otel, _) = watched(front.otel(front.http()).from_vars(said));
        assert!(otel.warnings().is_empty());
        export_wide(&otel, 2).await;
        assert!(otel.shutdown(SECONDS_5).await.is_complete());
        assert_eq!(front.sent()[0].encoding.as_deref(), expected);
    }
}

//! Codecs, entries and sensitive values, outside of a run.

use serde::{Deserialize, Serialize};

use super::*;
use crate::{ContextSnapshot, Extensions, RunId, Sensitive, Value};

#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Profile {
    name: String,
    plan: String,
}

fn second() -> Codec<Profile> {
    Codec::json().version(2).upcast(1, |mut old| {
        old["plan"] = "free".into();
        Ok(old)
    })
}

#[test]
fn an_older_version_is_read_through_its_upcasters() {
    let third = second().version(3).upcast(2, |mut old| {
        old["name"] = old["name"].as_str().unwrap_or_default().to_uppercase().into();
        Ok(old)
    });
    let read = third.decode(&Encoded::new(1, br#"{"name":"ada"}"#.to_vec())).expect("it has both upcasters");
    assert_eq!(read, Profile { name: "ADA".into(), plan: "free".into() });
}

#[test]
fn a_version_without_its_upcaster_is_refused_with_both_versions() {
    let codec = second().version(4);
    let error = codec.decode(&Encoded::new(1, br#"{"name":"ada"}"#.to_vec())).expect_err("2 to 3 is missing");
    assert_eq!(
        error.to_string(),
        "a `Profile` was written in version 1, and this code reads version 4, with no upcaster for each version between"
    );
}

#[test]
fn a_newer_version_is_refused() {
    let error = second().decode(&Encoded::new(3, b"{}".to_vec())).expect_err("it is newer");
    assert_eq!(error.to_string(), "a `Profile` was written in version 3, and this code reads version 2");
}

#[test]
fn what_does_not_go_through_says_so_without_the_value() {
    let codec = AnyCodec::new(Codec::<Profile>::json());
    let error = codec.encode(&Value::new(7_u32)).expect_err("it is no profile");
    assert_eq!(error.to_string(), "a `Profile` cannot be written: it is of another type");
    assert_eq!(format!("{:?}", Encoded::new(1, b"secret".to_vec())), "Encoded(version 1, 6 bytes)");
}

#[test]
fn sensitive_parts_are_in_the_journal_and_nowhere_else() {
    #[derive(Serialize, Deserialize)]
    struct Card {
        number: Sensitive<String>,
    }
    let card = Card { number: "4111".to_owned().into() };
    let codec = Codec::<Card>::json();
    let encoded = codec.encode(&card).expect("it is written");
    assert_eq!(codec.decode(&encoded).expect("it is read").number.expose(), "4111");
    assert_eq!(serde_json::to_string(&card).expect("it is JSON"), r#"{"number":"[redacted]"}"#);
    assert_eq!(format!("{} {:?}", card.number, card.number), "[redacted] [redacted]");
}

#[test]
fn a_panic_while_encoding_exposes_nothing_afterwards() {
    struct Panics;
    impl Serialize for Panics {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            panic!("on purpose")
        }
    }
    impl<'de> Deserialize<'de> for Panics {
        fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
            Ok(Self)
        }
    }
    let encoding = std::panic::catch_unwind(|| Codec::<Panics>::json().encode(&Panics).is_ok());
    assert!(encoding.is_err());
    let after = serde_json::to_string(&Sensitive::new(1)).expect("it is JSON");
    assert_eq!(after, r#""[redacted]""#);
}

#[test]
fn entries_go_through_json() {
    let failure = JournaledFailure {
        stage: "charge".into(),
        code: "MY_CODE".into(),
        class: crate::ErrorClass::Permanent,
        message: "no".into(),
        attempts: 2,
    };
    assert_eq!(failure.known_code(), crate::code::STAGE_FAILED);
    let kinds = [
        EntryKind::AttemptStarted { stage: "charge".into(), attempt: 2 },
        EntryKind::AttemptEnded {
            stage: "charge".into(),
            attempt: 1,
            end: AttemptEnd::Failed {
                failure: failure.clone(),
                after: Some(std::time::Duration::from_secs(1)),
            },
        },
        EntryKind::AttemptEnded { stage: "charge".into(), attempt: 2, end: AttemptEnd::Gave },
        EntryKind::Decided {
            stage: "pick".into(),
            attempt: 1,
            name: "route.decided".into(),
            fields: vec![("route".into(), "fast".into()), ("of".into(), 2.into())],
        },
        EntryKind::StageEnded {
            stage: "charge".into(),
            attempts: 2,
            took: std::time::Duration::from_millis(7),
            end: StageEnd::Skipped(crate::SkipCause::Own { reason: "nothing to do".into() }),
            wiring: 7,
        },
        EntryKind::Spent { retries: 1, cost: 9 },
        EntryKind::Resumed,
        EntryKind::RunEnded { outcome: crate::RunOutcome::Failed, failure: Some(failure) },
    ];
    for kind in kinds {
        let json = serde_json::to_value(&kind).expect("it is JSON");
        assert_eq!(json["entry"], kind.name());
        assert_eq!(serde_json::from_value::<EntryKind>(json).expect("it is an entry"), kind);
    }
}

fn header(tenant: &str, snapshot: ContextSnapshot) -> RunHeader {
    let key = RunKey::new(tenant, snapshot.identity().run_id());
    RunHeader { key, snapshot, input: None, started: std::time::UNIX_EPOCH, seed: 0, branch_of: None }
}

/// T09, N4: whoever edits the tenant in the stored JSON is found out.
#[test]
fn a_header_whose_snapshot_is_of_another_tenant_or_run_is_refused() {
    let snapshot = ContextSnapshot::builder().tenant("acme").build();
    assert!(header("acme", snapshot.clone()).check().is_ok());
    let written = serde_json::to_value(&snapshot).unwrap();
    for (key, edited) in
        [("tenant", "globex".into()), ("tenant", serde_json::Value::Null), ("tenant", "ACME".into())]
    {
        let mut json = written.clone();
        json["identity"][key] = edited;
        let error = header("acme", serde_json::from_value(json).unwrap()).check().expect_err("it was edited");
        assert_eq!(error.kind(), JournalErrorKind::Corrupt);
        assert!(error.to_string().ends_with("of tenant `acme` is that of another tenant"), "{error}");
        assert!(
            !format!("{error:?} {}", error.help()).contains("globex"),
            "whose it says it is, is not told"
        );
    }
    let mut other = header("acme", snapshot);
    other.key = RunKey::new("acme", RunId::new());
    assert!(other.check().expect_err("another run").to_string().ends_with("that of another run"));
}

#[test]
fn sensitive_metadata_and_extensions_come_back_from_a_journal_with_their_mark() {
    #[derive(Serialize, Deserialize, Debug, PartialEq)]
    struct Card {
        holder: String,
        number: Sensitive<String>,
    }
    let mut extensions = Extensions::default();
    let card = || Card { holder: "Ada".into(), number: Sensitive::new("4111".into()) };
    extensions.insert_named("card", card()).unwrap();
    extensions.insert_named("plain", 7_u32).unwrap();
    assert!(extensions.insert_named("$shown", 7_u8).is_err(), "the name is taken");
    let snapshot = ContextSnapshot::builder()
        .metadata("token", "hunter2")
        .sensitive_metadata("token", "hunter2")
        .metadata("plan", "free")
        .extensions(extensions)
        .build();
    let silent = |snapshot: &ContextSnapshot| {
        let told =
            format!("{} {snapshot:?} {:?}", serde_json::to_string(snapshot).unwrap(), snapshot.to_builder());
        assert!(!told.contains("hunter2") && !told.contains("4111"), "{told}");
        assert!(told.contains("Ada") && told.contains("[redacted]") && told.contains("free"), "{told}");
    };
    silent(&snapshot);

    let codec = Codec::<ContextSnapshot>::json();
    let back = codec.decode(&codec.encode(&snapshot).unwrap()).unwrap();
    assert_eq!(back.sensitive_metadata("token").map(|token| token.expose().clone()), Some("hunter2".into()));
    assert_eq!((back.metadata("token"), back.metadata("plan")), (None, Some(&"free".into())));
    assert_eq!(back.extensions().restore::<Card>("card").unwrap(), Some(card()));
    assert_eq!(back.extensions().names().collect::<Vec<_>>(), ["card", "plain"]);
    silent(&back);
    assert_eq!(codec.encode(&back).unwrap(), codec.encode(&snapshot).unwrap(), "and from the next journal");

    let plain = back.to_builder().metadata("token", 1).build();
    assert_eq!((plain.metadata("token"), plain.sensitive_metadata("token")), (Some(&1.into()), None));
}

//! The snapshot: copies, serialisation, named extensions.

use serde::{Deserialize, Serialize};

use crate::{ContextSnapshot, DurationExt, Extensions, Priority, RunId};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Locale {
    language: String,
    rtl: bool,
}

fn german() -> Locale {
    Locale { language: "de".into(), rtl: false }
}

/// KEEP 18.10-232: what has a name is written and read back typed; what has none stays in memory.
#[test]
fn named_extensions_survive_serialisation() {
    let mut extensions = Extensions::default();
    extensions.insert_named("locale", german()).unwrap();
    extensions.insert(7_u32);
    let snapshot = ContextSnapshot::builder().extensions(extensions).build();
    assert_eq!((snapshot.extension::<Locale>(), snapshot.extension::<u32>()), (Some(&german()), Some(&7)));
    let json = serde_json::to_value(&snapshot).unwrap();
    assert_eq!(json["extensions"], serde_json::json!({ "locale": { "language": "de", "rtl": false } }));
    let back: ContextSnapshot = serde_json::from_value(json).unwrap();
    assert_eq!(back.extensions().names().collect::<Vec<_>>(), ["locale"]);
    assert_eq!(back.extensions().restore::<Locale>("locale").unwrap(), Some(german()));
    assert_eq!(back.extensions().restore::<Locale>("other").unwrap(), None);
    assert!(back.extensions().restore::<u32>("locale").is_err(), "another type");
    assert_eq!((back.extension::<Locale>(), back.extension::<u32>()), (None, None));
}

#[test]
fn an_extension_that_cannot_be_written_is_refused() {
    let mut extensions = Extensions::default();
    let odd: std::collections::BTreeMap<Vec<u8>, u8> = [(vec![1], 2)].into();
    assert!(extensions.insert_named("odd", odd).is_err());
    assert_eq!(extensions.names().count(), 0);
}

/// KEEP 18.10-231.
#[test]
fn a_snapshot_is_the_same_after_a_round_trip() {
    let id = RunId::new();
    let full = ContextSnapshot::builder()
        .run(id)
        .tenant("t")
        .user("u")
        .session("s")
        .request("r")
        .interaction("i")
        .correlation("c")
        .pipeline("p")
        .execution_mode("m")
        .priority(Priority::Background)
        .deadline(3.secs())
        .metadata("k", serde_json::json!([1, {"a": null}]))
        .build();
    let json = serde_json::to_string(&full).unwrap();
    let back: ContextSnapshot = serde_json::from_str(&json).unwrap();
    assert_eq!((back.identity(), back.identity().run_id()), (full.identity(), id));
    assert_eq!(serde_json::to_string(&back).unwrap(), json);
    assert!(json.starts_with("{\"schema\":1,"), "{json}");
}

#[test]
fn a_form_of_another_version_is_not_read() {
    let mut json = serde_json::to_value(ContextSnapshot::builder().build()).unwrap();
    json["schema"] = 2.into();
    let error = serde_json::from_value::<ContextSnapshot>(json).unwrap_err();
    assert!(error.to_string().starts_with("a snapshot in form 2, and this version"), "{error}");
}

#[test]
fn what_replaces_a_named_value_replaces_what_is_serialised() {
    let mut extensions = Extensions::default();
    extensions.insert_named("first", 1_u32).unwrap();
    extensions.insert_named("second", 2_u32).unwrap();
    assert_eq!(extensions.names().collect::<Vec<_>>(), ["second"]);
    extensions.insert(3_u32);
    assert_eq!((extensions.get(), extensions.names().count()), (Some(&3_u32), 0));
}

#[test]
fn what_is_missing_in_the_json_is_said() {
    let json = serde_json::to_value(ContextSnapshot::builder().build()).unwrap();
    for key in ["identity", "pipeline", "priority"] {
        let mut broken = json.clone();
        broken.as_object_mut().unwrap().remove(key);
        let error = serde_json::from_value::<ContextSnapshot>(broken).unwrap_err();
        assert!(error.to_string().contains(key), "{error}");
    }
    let mut lean = json;
    lean.as_object_mut().unwrap().retain(|key, _| !["metadata", "extensions"].contains(&key.as_str()));
    assert!(serde_json::from_value::<ContextSnapshot>(lean).is_ok());
}

/// KEEP 18.10-223, 234: a copy shares nothing that could change the original.
#[test]
fn a_changed_copy_leaves_the_original_alone() {
    let original = ContextSnapshot::builder().tenant("t").metadata("k", 1).extension(german()).build();
    let copy = original.to_builder().tenant("other").metadata("k", 2).extension(7_u8).build();
    assert_eq!(original.identity().tenant_id().unwrap().as_str(), "t");
    assert_eq!((original.metadata("k"), original.extension::<u8>()), (Some(&1.into()), None));
    assert_eq!((copy.metadata("k"), copy.extension::<Locale>()), (Some(&2.into()), Some(&german())));
    assert_ne!(copy.identity().run_id(), original.identity().run_id());
}

#[test]
fn the_last_setting_counts() {
    let snapshot = ContextSnapshot::builder().tenant("a").tenant("b").extension(1_u8).extension(2_u8).build();
    assert_eq!(snapshot.identity().tenant_id().unwrap().as_str(), "b");
    assert_eq!(snapshot.extension::<u8>(), Some(&2));
    assert!(Priority::Critical > Priority::High && Priority::default() == Priority::Normal);
}

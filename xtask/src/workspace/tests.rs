//! What is read out of `cargo metadata`.

use super::{Library, libraries, libraries_in};
use serde_json::json;

#[test]
fn only_libraries_under_crates_count() {
    let lib = json!([{ "kind": ["lib"] }]);
    let package = |name: &str, path: &str, targets: &serde_json::Value| {
        json!({ "name": name, "manifest_path": path, "targets": targets,
                "features": { "default": ["b"], "b": [], "a": [] } })
    };
    let metadata = json!({ "workspace_root": "/repo", "packages": [
        package("engine", "/repo/crates/engine/Cargo.toml", &lib),
        package("tool", "/repo/crates/tool/Cargo.toml", &json!([{ "kind": ["bin"] }])),
        package("tests", "/repo/tests/Cargo.toml", &lib),
    ]});
    let engine = Library {
        name: "engine".to_owned(),
        features: vec!["a".to_owned(), "b".to_owned()],
        has_default: true,
    };
    assert_eq!(libraries_in(&metadata), Some(vec![engine]));
}

#[test]
fn this_workspace_has_its_facade() {
    assert!(libraries().expect("cargo metadata works").iter().any(|library| library.name == "stageflow"));
}

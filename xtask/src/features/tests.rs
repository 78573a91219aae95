//! Which builds are made.

use super::{clippy, selections};
use crate::workspace::Library;

#[test]
fn none_default_and_each_alone() {
    let library = Library {
        name: "engine".to_owned(),
        features: vec!["a".to_owned(), "b".to_owned()],
        has_default: true,
    };
    let expected = [
        "--no-default-features",
        "",
        "--no-default-features --features a",
        "--no-default-features --features b",
    ];
    let found: Vec<String> = selections(&library).iter().map(|flags| flags.join(" ")).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_library_without_features_is_built_once() {
    let library = Library { name: "core".to_owned(), features: Vec::new(), has_default: false };
    assert_eq!(selections(&library), [["--no-default-features"]]);
}

#[test]
fn warnings_are_denied() {
    let args = clippy("core", &["--no-default-features"]).join(" ");
    assert_eq!(args, "clippy --quiet --package core --lib --no-deps --no-default-features -- -D warnings");
}

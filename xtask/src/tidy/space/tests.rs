//! Each kind is found.

use super::check;
use crate::tidy::sources::file;

#[test]
fn each_kind_is_found_in_each_language() {
    for path in ["a.rs", "docs/a.md", "Cargo.toml"] {
        for text in ["a \n", "a\t\n", "a\tb\n", "a\r\n", "a\n  \n", "a"] {
            assert_eq!(check(&file(path, text)).len(), 1, "{text:?} in {path}");
        }
        assert_eq!(check(&file(path, "a b\n\nc\n")).len(), 0);
    }
}

#[test]
fn recorded_output_is_left_alone() {
    assert!(check(&file("tests/ui/a.stderr", "a \n")).is_empty());
}

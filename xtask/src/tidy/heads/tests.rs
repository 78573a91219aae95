//! A missing head is found, and only where one is due.

use super::check;
use crate::tidy::sources::file;

#[test]
fn a_file_without_a_head_is_found() {
    for path in
        ["crates/a/src/b.rs", "crates/a/examples/b.rs", "xtask/src/b.rs", "tests/it/b.rs", "benches/b.rs"]
    {
        assert_eq!(check(&file(path, "use std::fmt;\n")).len(), 1, "{path}");
        assert_eq!(check(&file(path, "//! What it is.\n")).len(), 0, "{path}");
    }
}

#[test]
fn compile_fail_cases_and_other_languages_need_none() {
    assert!(check(&file("tests/ui/missing_input.rs", "fn main() {}\n")).is_empty());
    assert!(check(&file("docs/guide/intro.md", "# Intro\n")).is_empty());
}

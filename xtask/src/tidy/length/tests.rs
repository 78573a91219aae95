//! What counts, and when it is too much.

use super::{LONGER, check, check_with, lines_of_code};
use crate::tidy::sources::file;

const PATH: &str = "crates/stageflow-dag/src/plan.rs";

#[test]
fn the_501st_line_is_found() {
    assert_eq!(check(&file(PATH, &"//\n".repeat(500))).len(), 0);
    assert_eq!(check(&file(PATH, &"//\n".repeat(501))).len(), 1);
}

#[test]
fn files_of_tests_may_be_long() {
    let text = "//\n".repeat(501);
    for path in
        ["crates/a/src/plan/tests.rs", "crates/a/src/tests/plan.rs", "tests/it/plan.rs", "xtask/src/a.rs"]
    {
        assert!(check(&file(path, &text)).is_empty(), "{path}");
    }
}

#[test]
fn inline_tests_do_not_count() {
    let text =
        "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {\n    }\n}\nfn c() {}\n#[cfg(test)]\nmod d;\n";
    assert_eq!(lines_of_code(text), 4);
}

#[test]
fn the_list_holds_a_file_to_its_own_limit_and_has_no_stale_entries() {
    let longer = [(PATH, 600, "a table")];
    assert_eq!(check_with(&file(PATH, &"//\n".repeat(600)), &longer).len(), 0);
    assert_eq!(check_with(&file(PATH, &"//\n".repeat(601)), &longer).len(), 1);
    assert_eq!(check_with(&file(PATH, &"//\n".repeat(500)), &longer).len(), 1);
}

#[test]
fn every_entry_of_the_list_names_a_file() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for (path, ..) in LONGER {
        assert!(root.join(path).is_file(), "{path} is gone: take it off the list");
    }
}

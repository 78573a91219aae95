//! Each word is found where it matters.

use super::check;
use crate::tidy::sources::file;

fn problems(path: &str, text: &str) -> usize {
    check(&file(path, text)).len()
}

#[test]
fn each_word_is_found_in_code_and_in_tests() {
    for line in [
        "todo!()",
        "unimplemented!()",
        "dbg!(x)",
        "#[ignore]",
        "#[ignore = \"slow\"]",
        "std::thread::sleep(d)",
    ] {
        for path in ["crates/a/src/b.rs", "crates/a/src/b/tests.rs", "tests/it/b.rs", "benches/b.rs"] {
            assert_eq!(problems(path, &format!("//! Head.\n    {line};\n")), 1, "{line} in {path}");
        }
    }
}

#[test]
fn a_longer_name_is_another_word() {
    assert_eq!(problems("crates/a/src/b.rs", "my_todo!(); ledger_dbg!(x);"), 0);
}

#[test]
fn compile_fail_cases_and_this_tool_are_free() {
    assert_eq!(problems("tests/ui/b.rs", "todo!()"), 0);
    assert_eq!(problems("xtask/src/b.rs", "todo!()"), 0);
}

#[test]
fn a_test_sleeps_on_a_paused_clock_only() {
    let sleep = "tokio::time::sleep(SECOND).await;\n";
    assert_eq!(problems("tests/it/b.rs", sleep), 1);
    assert_eq!(problems("crates/a/src/b/tests.rs", sleep), 1);
    assert_eq!(problems("crates/a/src/b.rs", sleep), 0);
    assert_eq!(problems("tests/it/b.rs", &format!("#[tokio::test(start_paused = true)]\n{sleep}")), 0);
    assert_eq!(problems("tests/it/b.rs", &format!("Sim::seeds(0..9).run(test);\n{sleep}")), 0);
}

#[test]
fn a_sleep_with_a_reason_is_excused() {
    assert_eq!(
        problems("tests/it/b.rs", "// sleeps: it is cancelled at once\ntime::sleep(HOUR).await;\n"),
        0
    );
    assert_eq!(problems("tests/it/b.rs", "time::sleep(HOUR).await; // sleeps: cancelled at once\n"), 0);
    assert_eq!(problems("tests/it/b.rs", "// why\ntime::sleep(HOUR).await;\n"), 1);
}

//! Which command lines the arguments become.

use super::{Selection, runner};

fn args(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

fn nextest(line: &str) -> String {
    runner(true, &args(line)).join(" ")
}

fn cargo_test(line: &str) -> String {
    runner(false, &args(line)).join(" ")
}

#[test]
fn without_arguments_everything_runs_to_the_end() {
    assert_eq!(nextest(""), "nextest run --workspace --features stageflow-benches/stress --profile ci");
    assert_eq!(
        cargo_test(""),
        "test --lib --bins --tests --no-fail-fast --workspace --features stageflow-benches/stress"
    );
}

#[test]
fn names_select_among_all_packages() {
    assert_eq!(nextest("retry cancel"), "nextest run --workspace --features stageflow-benches/stress");
    assert_eq!(
        cargo_test("retry cancel"),
        "test --lib --bins --tests --no-fail-fast --workspace --features stageflow-benches/stress --"
    );
}

#[test]
fn a_chosen_package_replaces_the_workspace() {
    assert_eq!(nextest("-p stageflow-exec"), "nextest run");
    assert_eq!(nextest("--package=stageflow-exec"), "nextest run");
    assert_eq!(nextest("--no-capture"), "nextest run --workspace --features stageflow-benches/stress");
}

#[test]
fn one_option_makes_the_selection_the_runners_own() {
    assert_eq!(Selection::of(&[]), Selection::All);
    assert_eq!(Selection::of(&args("retry")), Selection::Names);
    assert_eq!(Selection::of(&args("retry --no-capture")), Selection::Options);
}

//! The report is red exactly when it has to be.

use super::{Outcome, Report};
use anyhow::bail;

fn report(in_ci: bool, outcomes: &[Outcome]) -> Report {
    let mut report = Report::new(in_ci);
    for outcome in outcomes {
        report.gate("gate", || Ok(outcome.clone()));
    }
    report
}

fn missing() -> Outcome {
    Outcome::Missing("no cargo-deny".to_owned())
}

#[test]
fn one_failure_among_passes_is_red() {
    assert!(report(false, &[Outcome::Pass, Outcome::Pass]).is_green());
    assert!(!report(false, &[Outcome::Pass, Outcome::Fail("why".to_owned()), Outcome::Pass]).is_green());
}

#[test]
fn a_gate_that_cannot_run_is_red_and_the_next_one_still_runs() {
    let mut report = Report::new(false);
    report.gate("broken", || bail!("no such file"));
    report.gate("sound", || Ok(Outcome::Pass));
    // Without the durations, which are not the same each time.
    let table = report.table();
    let ends: Vec<&str> = table.lines().filter_map(|line| line.split("s  ").nth(1)).collect();
    assert_eq!(ends, ["FAIL: no such file", "PASS"], "{table}");
    assert!(!report.is_green());
}

#[test]
fn a_missing_tool_is_told_everywhere_and_red_in_ci_only() {
    let (at_home, in_ci) = (report(false, &[missing()]), report(true, &[missing()]));
    assert!(at_home.table().contains("NOT CHECKED: no cargo-deny"));
    assert!(in_ci.table().contains("FAIL: NOT CHECKED: no cargo-deny"));
    assert!(at_home.is_green() && !in_ci.is_green());
}

#[test]
fn an_accepted_gap_is_told_and_not_counted_as_green() {
    let mut report = report(true, &[Outcome::Pass]);
    report.not_checked("advisories", "no database");
    let table = report.table();
    assert!(report.is_green());
    assert!(table.contains("NOT CHECKED: no database"), "{table}");
    assert!(table.contains("1 passed, 0 failed, 1 not checked"), "{table}");
}

#[test]
fn the_table_has_one_line_per_gate() {
    let table = report(false, &[Outcome::Fail("first\nsecond".to_owned())]).table();
    assert!(table.contains("FAIL: first\n") && !table.contains("second"), "{table}");
}

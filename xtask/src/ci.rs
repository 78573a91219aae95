//! `cargo xtask ci`: every gate, all of them even after a failure, and a table at the end.
//!
//! The quick gates come first. The tests come last, so that the closing lines of the runner stand next to the table.

use crate::report::{Outcome, Report};
use crate::shell::{cargo, outcome};
use crate::{bench, deny, features, fuzz, test, tidy};
use anyhow::{Result, bail};

pub(crate) const HELP: &str = "
Usage: cargo xtask ci [--bench]

Runs every gate and prints a table: formatting, tidy, clippy, documentation,
each feature alone, licences and sources of dependencies, the examples that
show something, the command line on one of its own, random data for a while, tests, doctests.
A gate whose tool is missing and cannot be installed is reported as NOT CHECKED, and fails if the environment has CI=true.

    --bench   also runs `cargo xtask bench --check`";

/// The examples that are run. Each takes a few seconds at most, and says by its exit code whether it did what it shows.
const EXAMPLES: [&str; 6] = ["quickstart", "resilient", "observed", "lint", "router", "priority"];

pub(crate) fn run(args: &[String]) -> Result<bool> {
    let with_bench = match args {
        [] => false,
        [flag] if flag == "--bench" => true,
        _ => bail!("`ci` takes only `--bench`, got `{}`", args.join(" ")),
    };
    let mut report = Report::from_env();
    report.gate("fmt", || outcome(&mut cargo(["fmt", "--all", "--check"])));
    tidy::gates(&mut report);
    report.gate("clippy", clippy);
    report.gate("doc", doc);
    report.gate("features", features::gate);
    deny::gates(&mut report, deny::Advisories::Skip);
    for example in EXAMPLES {
        report.gate(example, || outcome(&mut cargo(["run", "--package", "stageflow", "--example", example])));
    }
    let support = ["run", "--package", "stageflow-cli", "--", "run", "examples/support.json"];
    report.gate("stageflow-cli", || outcome(&mut cargo(support)));
    report.gate("fuzz", fuzz::gate);
    test::gates(&mut report, &[]);
    if with_bench {
        report.gate("bench", || bench::gate(&["--check".to_owned()]));
    } else {
        report.not_checked("bench", "asked for with --bench");
    }
    Ok(report.finish())
}

fn clippy() -> Result<Outcome> {
    outcome(&mut cargo([
        "clippy",
        "--workspace",
        "--all-targets",
        "--features",
        test::LOAD_TESTS,
        "--",
        "-D",
        "warnings",
    ]))
}

fn doc() -> Result<Outcome> {
    outcome(cargo(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))
}

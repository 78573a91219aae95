//! `docs`: writes what the documentation has of tables in the code.

use crate::shell;
use anyhow::Result;

pub(crate) const HELP: &str = "
Usage: cargo xtask docs

Writes the tables of events, metrics and spans in docs/telemetry.md and the dashboard docs/telemetry/grafana.json. What they say
stands in the code; the tests of stageflow-events fail while the files say something else.
";

pub(crate) fn run(_: &[String]) -> Result<bool> {
    let mut test = shell::cargo([
        "test",
        "--quiet",
        "--package",
        "stageflow-events",
        "--features",
        "otlp-grpc",
        "--lib",
        "docs::",
    ]);
    test.env("STAGEFLOW_WRITE_DOCS", "1");
    shell::become_(&mut test)
}

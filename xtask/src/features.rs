//! `cargo xtask features`: every library builds without features, with its defaults and with each feature alone.
//!
//! A build of the workspace sees the union of all features, so an item that forgot its `cfg` passes there.
//! Clippy rather than `cargo check` does the checking, because it denies warnings of our own crates
//! without changing the flags of everybody else's, which would compile them all again.

use crate::report::{Outcome, Report};
use crate::shell::{self, Stopwatch};
use crate::workspace::{self, Library};
use anyhow::Result;

pub(crate) const HELP: &str = "
Usage: cargo xtask features

Checks every library under crates/ with no default features, with its default
features, and with each of its features alone. Warnings are errors.";

pub(crate) fn run(args: &[String]) -> Result<bool> {
    if let Some(arg) = args.first() {
        anyhow::bail!("`features` takes no arguments, got `{arg}`");
    }
    let mut report = Report::from_env();
    report.gate("features", gate);
    Ok(report.finish())
}

pub(crate) fn gate() -> Result<Outcome> {
    let mut failed = Vec::new();
    for library in workspace::libraries()? {
        for flags in selections(&library) {
            let watch = Stopwatch::start();
            let result = shell::stdout(&mut shell::cargo(clippy(&library.name, &flags)));
            let verdict = if result.is_ok() { "ok" } else { "FAILED" };
            let what = format!("{} {}", library.name, flags.join(" "));
            println!("{what}: {verdict} in {:.1}s", watch.elapsed().as_secs_f64());
            if let Err(error) = result {
                println!("{error:#}");
                failed.push(what);
            }
        }
    }
    Ok(if failed.is_empty() { Outcome::Pass } else { Outcome::Fail(failed.join("; ")) })
}

fn clippy<'a>(library: &'a str, flags: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec!["clippy", "--quiet", "--package", library, "--lib", "--no-deps"];
    args.extend(flags);
    args.extend(["--", "-D", "warnings"]);
    args
}

/// The flags of each build of a library.
fn selections(library: &Library) -> Vec<Vec<&str>> {
    let mut selections = vec![vec!["--no-default-features"]];
    if library.has_default {
        selections.push(Vec::new());
    }
    selections.extend(library.features.iter().map(|name| vec!["--no-default-features", "--features", name]));
    selections
}

#[cfg(test)]
mod tests;

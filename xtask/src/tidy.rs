//! `cargo xtask tidy`: the rules of the house that no compiler checks, one module per rule.
//!
//! Each rule is a function from a file (or from what `cargo tree` prints) to its problems, so that its tests can
//! show it red on a bad input.

mod heads;
mod layering;
mod length;
mod links;
mod machine;
mod sources;
mod space;
mod words;

use crate::report::{Outcome, Report};
use anyhow::{Result, bail};
use sources::File;
use std::fmt;

pub(crate) const HELP: &str = "
Usage: cargo xtask tidy

Checks every file that git tracks or would track:

    heads      every .rs file starts with `//!`
    length     no file of a crate has more than 500 lines that are not tests
    words      no todo!, unimplemented!, dbg!, #[ignore], no sleeping in tests
    machine    no absolute path of somebody's machine
    space      no trailing space, tab or carriage return; a newline at the end
    links      every relative link in a Markdown file leads to a file
    layering   no crate depends on one it may not know";

/// Something a rule does not allow.
#[derive(Debug, PartialEq, Eq)]
struct Problem {
    /// `path`, `path:line` or the name of a crate.
    place: String,
    what: String,
}

impl Problem {
    fn new(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self { place: place.into(), what: what.into() }
    }

    /// At a line of a file, counted from 0.
    fn at(file: &File, index: usize, what: impl Into<String>) -> Self {
        Self::new(format!("{}:{}", file.path, index + 1), what)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

pub(crate) fn run(args: &[String]) -> Result<bool> {
    if let Some(arg) = args.first() {
        bail!("`tidy` takes no arguments, got `{arg}`");
    }
    let mut report = Report::from_env();
    gates(&mut report);
    Ok(report.finish())
}

/// Adds one gate per rule to a report.
pub(crate) fn gates(report: &mut Report) {
    let files = match sources::read() {
        Ok(files) => files,
        Err(error) => return report.gate("tidy", || Err(error)),
    };
    let mut each = |gate: &str, rule: fn(&File) -> Vec<Problem>| {
        report.gate(gate, || Ok(verdict(&files.iter().flat_map(rule).collect::<Vec<_>>())));
    };
    each("tidy heads", heads::check);
    each("tidy length", length::check);
    each("tidy words", words::check);
    each("tidy machine", machine::check);
    each("tidy space", space::check);
    report.gate("tidy links", || Ok(verdict(&links::check(&files))));
    report.gate("tidy layering", || Ok(verdict(&layering::check()?)));
}

fn verdict(problems: &[Problem]) -> Outcome {
    for problem in problems {
        println!("{problem}");
    }
    match problems {
        [] => Outcome::Pass,
        [only] => Outcome::Fail(only.to_string()),
        [first, rest @ ..] => Outcome::Fail(format!("{first} (and {} more)", rest.len())),
    }
}

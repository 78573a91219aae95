//! Problems of a file, as compilers print theirs.

use std::fmt;

use serde::Serialize;
use stageflow::{BuildError, Code, Problem, spec::SpecError};

use crate::place::{Place, Places};

/// Nobody reads more at a time.
pub(crate) const MOST_SHOWN: usize = 50;
/// So many characters of a line are shown.
const SHOWN: usize = 100;

/// Something that is wrong in a file, or may be.
#[derive(Debug, Serialize)]
pub(crate) struct Found {
    pub(crate) severity: &'static str,
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) help: String,
    /// A JSON pointer.
    pub(crate) pointer: Option<String>,
    pub(crate) line: Option<usize>,
    pub(crate) column: Option<usize>,
    #[serde(skip)]
    excerpt: Option<Excerpt>,
}

#[derive(Debug)]
struct Excerpt {
    line: String,
    before: usize,
    length: usize,
}

impl Found {
    pub(crate) fn new(severity: &'static str, code: impl fmt::Display, message: &str, help: &str) -> Self {
        Self {
            severity,
            code: code.to_string(),
            message: message.to_owned(),
            // Who reads it has a command line, and no registry.
            help: help
                .replace("`Registry::schema`", "the command `schema`")
                .replace("`Registry::kinds`", "the command `kinds`"),
            pointer: None,
            line: None,
            column: None,
            excerpt: None,
        }
    }

    fn error(code: Code, message: &str, help: &str) -> Self {
        Self::new("error", code, message, help)
    }

    /// What made a text no pipeline.
    pub(crate) fn of_spec(error: &SpecError, text: &str) -> Self {
        let found = Self::error(error.code(), error.message(), error.hint());
        let places = &mut Places::new(text);
        let parser = error.line_column().map(|place| places.of_parser(place));
        let found = Self { pointer: Some(error.pointer().to_owned()), ..found };
        // The parser has stopped behind what is wrong. Of a key that comes twice its place is that of the second, and the other that of the first.
        let exact = places.locate(error.pointer());
        let place = match (parser, exact) {
            (Some(parser), Some(exact)) if parser.line != exact.line => Some(parser),
            (parser, exact) => exact.or(parser),
        };
        match place {
            Some(place) => found.placed(place, places),
            None => found,
        }
    }

    /// All that is wrong with a pipeline.
    pub(crate) fn of_build(error: &BuildError, text: &str) -> Vec<Self> {
        let places = &mut Places::new(text);
        error.problems().iter().map(|problem| Self::of_problem("error", problem, places)).collect()
    }

    pub(crate) fn of_problem(severity: &'static str, problem: &Problem, places: &mut Places<'_>) -> Self {
        let found = Self::new(severity, problem.code(), problem.message(), problem.hint());
        match problem.pointer() {
            Some(pointer) => found.at(pointer, places),
            None => found,
        }
    }

    /// Says where it is.
    pub(crate) fn at(mut self, pointer: &str, places: &mut Places<'_>) -> Self {
        self.pointer = Some(pointer.to_owned());
        match places.locate(pointer) {
            Some(place) => self.placed(place, places),
            None => self,
        }
    }

    fn placed(mut self, place: Place, places: &Places<'_>) -> Self {
        self.line = Some(place.line);
        self.column = Some(place.column);
        let row = places.line(place.line);
        // What is far to the right is shown from nearby.
        let cut = (place.column - 1).saturating_sub(SHOWN * 2 / 3);
        let line: String =
            row.chars().skip(cut).take(SHOWN).map(|c| if c.is_control() { ' ' } else { c }).collect();
        let before = place.column - 1 - cut;
        let length = place.length.min(SHOWN.saturating_sub(before)).max(1);
        self.excerpt = Some(Excerpt { line, before, length });
        self
    }

    /// How it is printed, with the name of the file.
    pub(crate) fn shown<'f>(&'f self, file: &'f str) -> impl fmt::Display + 'f {
        Shown { found: self, file }
    }
}

struct Shown<'f> {
    found: &'f Found,
    file: &'f str,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Found { severity, code, message, help, pointer, line, column, excerpt } = self.found;
        write!(f, "{severity}[{code}]: {message}\n  --> {}", self.file)?;
        if let (Some(line), Some(column)) = (line, column) {
            write!(f, ":{line}:{column}")?;
        }
        if let Some(pointer) = pointer.as_deref().filter(|pointer| !pointer.is_empty()) {
            write!(f, " ({})", pointer.escape_debug())?;
        }
        if let (Some(line), Some(excerpt)) = (line, excerpt) {
            let number = line.to_string();
            let margin = " ".repeat(number.len());
            let (before, carets) = (" ".repeat(excerpt.before), "^".repeat(excerpt.length));
            write!(f, "\n {margin} |\n {number} | {}\n {margin} | {before}{carets}", excerpt.line)?;
        }
        if !help.is_empty() {
            write!(f, "\n  = help: {help}")?;
        }
        Ok(())
    }
}

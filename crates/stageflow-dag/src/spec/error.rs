//! [`SpecError`]: what is wrong with data, and where.

use std::{borrow::Cow, error::Error, fmt};

use stageflow_core::{Code, code};

use super::hint;
use crate::problem::clean;

/// Data that cannot be read, or a configuration that a constructor refuses.
///
/// Says what is wrong, where, and what would mend it. Values of configurations are not printed where they are text: they may be
/// secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecError {
    code: Code,
    message: String,
    hint: Cow<'static, str>,
    pointer: String,
    line_column: Option<(usize, usize)>,
}

impl SpecError {
    /// A configuration that a constructor refuses, with the code `INVALID_CONFIG`.
    ///
    /// ```
    /// use stageflow_dag::spec::SpecError;
    ///
    /// let refused = SpecError::new("a batch of none").at("/size").help("use one item at least");
    /// assert_eq!(refused.to_string(), "INVALID_CONFIG at /size: a batch of none");
    /// ```
    pub fn new(message: impl Into<String>) -> Self {
        Self::with_code(code::INVALID_CONFIG, message.into())
    }

    /// Says where in the configuration it is: a JSON pointer, such as `/retry/max_attempts`.
    #[must_use]
    pub fn at(mut self, pointer: impl Into<String>) -> Self {
        self.pointer = pointer.into();
        self
    }

    /// Says what would mend it.
    #[must_use]
    pub fn help(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.hint = hint.into();
        self
    }

    pub(crate) fn with_code(code: Code, message: String) -> Self {
        let hint = Cow::Borrowed(code.hint().unwrap_or_default());
        Self { code, message, hint, pointer: String::new(), line_column: None }
    }

    pub(super) fn in_text(mut self, line: usize, column: usize) -> Self {
        self.line_column = (line > 0).then_some((line, column));
        self
    }

    /// The error of a deserialiser, whose position in the text is not part of the message.
    pub(super) fn of_serde(code: Code, error: &serde_json::Error) -> Self {
        let full = error.to_string();
        let position = format!(" at line {} column {}", error.line(), error.column());
        let message = full.strip_suffix(&position).unwrap_or(&full);
        let mut found = Self::with_code(code, hint::shortened(hint::without_values(message)));
        if let Some(hint) = hint::of_serde(message) {
            found.hint = hint.into();
        }
        found.in_text(error.line(), error.column())
    }

    pub(super) fn because(mut self, reason: &str) -> Self {
        self.message = format!("{reason}: {}", self.message);
        self
    }

    pub(super) fn within(mut self, pointer: &str) -> Self {
        self.pointer.insert_str(0, pointer);
        self
    }

    /// The stable code: `INVALID_SPEC`, or `INVALID_CONFIG` of a configuration.
    pub fn code(&self) -> Code {
        self.code
    }

    /// What is wrong.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What would mend it.
    pub fn hint(&self) -> &str {
        &self.hint
    }

    /// The place in the data: a JSON pointer (RFC 6901), empty for the top.
    pub fn pointer(&self) -> &str {
        &self.pointer
    }

    /// The line and the column in the text, both from one, if it was text.
    pub fn line_column(&self) -> Option<(usize, usize)> {
        self.line_column
    }
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if !self.pointer.is_empty() {
            f.write_str(" at ")?;
            clean(f, &self.pointer, 200)?;
        }
        if let Some((line, column)) = self.line_column {
            write!(f, " (line {line}, column {column})")?;
        }
        f.write_str(": ")?;
        clean(f, &self.message, 1_000)
    }
}

impl Error for SpecError {}

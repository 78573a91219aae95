//! What is wrong with a configuration.

use std::{error::Error, fmt};

use stageflow_core::{Code, code};

/// Keys or rules for tokens that cannot work. It lists every problem, and no part of a key.
///
/// ```
/// use stageflow_interceptors::JwtAuthenticator;
///
/// // Nothing is checked by default, and so nothing is built by default.
/// let error = JwtAuthenticator::builder().build().unwrap_err();
/// assert_eq!(error.problems().len(), 3);
/// assert!(error.to_string().contains("there is no issuer"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtConfigError {
    problems: Vec<String>,
}

impl JwtConfigError {
    pub(super) fn of(problem: impl Into<String>) -> Self {
        Self { problems: vec![problem.into()] }
    }

    pub(super) fn all(problems: Vec<String>) -> Self {
        Self { problems }
    }

    /// Fails if there is a problem.
    pub(super) fn check(problems: Vec<String>) -> Result<(), Self> {
        if problems.is_empty() { Ok(()) } else { Err(Self { problems }) }
    }

    /// Every problem; never empty.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// The code: `INVALID_POLICY`.
    pub fn code(&self) -> Code {
        code::INVALID_POLICY
    }
}

impl fmt::Display for JwtConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tokens cannot be verified: {}", self.problems.join("; "))
    }
}

impl Error for JwtConfigError {}

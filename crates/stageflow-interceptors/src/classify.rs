//! Which class an error of another side is: by HTTP status, by the provider's code, by what it says.

use std::{
    borrow::Cow,
    fmt,
    time::{Duration, SystemTime},
};

use stageflow_core::{BoxError, ErrorClass, StageExit};

/// What another side said when it did not do what it was asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Refused<'a> {
    /// The HTTP status, if there was one.
    pub status: Option<u16>,
    /// The provider's own code, such as `context_length_exceeded`.
    pub code: Option<&'a str>,
    /// What it said.
    pub message: &'a str,
    /// The header `Retry-After`, as it came.
    pub retry_after: Option<&'a str>,
}

/// Classifies the errors of a service: what may be tried again, and what never.
///
/// Codes go before statuses, statuses before words, and rules of your own before those that are there.
///
/// ```
/// use stageflow_core::{DurationExt as _, ErrorClass};
/// use stageflow_interceptors::{ErrorClassifier, Refused};
///
/// let classifier = ErrorClassifier::default();
/// let busy = Refused { status: Some(429), retry_after: Some("7"), message: "slow down", ..Refused::default() };
/// assert_eq!(classifier.classify(&busy), ErrorClass::Transient);
/// assert_eq!(classifier.exit(&busy).retry_after(), Some(7.secs()));
///
/// let long = Refused { status: Some(400), code: Some("context_length_exceeded"), ..Refused::default() };
/// assert_eq!(classifier.classify(&long), ErrorClass::Permanent);
/// ```
#[derive(Clone, Debug, Default)]
pub struct ErrorClassifier {
    codes: Vec<(Cow<'static, str>, ErrorClass)>,
    statuses: Vec<(u16, ErrorClass)>,
}

/// Codes of language models and other services; all in small letters.
const CODES: &[(&str, ErrorClass)] = &[
    ("rate_limit_exceeded", ErrorClass::Transient),
    ("rate_limit_error", ErrorClass::Transient),
    ("overloaded_error", ErrorClass::Transient),
    ("server_error", ErrorClass::Transient),
    ("api_error", ErrorClass::Transient),
    ("resource_exhausted", ErrorClass::Transient),
    ("unavailable", ErrorClass::Transient),
    ("deadline_exceeded", ErrorClass::Timeout),
    ("timeout", ErrorClass::Timeout),
    // Money and rights do not come back within the run.
    ("insufficient_quota", ErrorClass::Permanent),
    ("billing_error", ErrorClass::Permanent),
    ("invalid_api_key", ErrorClass::Permanent),
    ("authentication_error", ErrorClass::Permanent),
    ("permission_error", ErrorClass::Permanent),
    ("not_found_error", ErrorClass::Permanent),
    ("model_not_found", ErrorClass::Permanent),
    ("invalid_request_error", ErrorClass::Permanent),
    ("context_length_exceeded", ErrorClass::Permanent),
    ("request_too_large", ErrorClass::Permanent),
    ("content_filter", ErrorClass::Permanent),
    ("content_policy_violation", ErrorClass::Permanent),
];

/// Words for services that give neither a code nor a status; all in small letters. The first that occurs decides.
const WORDS: &[(&str, ErrorClass)] = &[
    ("invalid api key", ErrorClass::Permanent),
    ("incorrect api key", ErrorClass::Permanent),
    ("unauthorized", ErrorClass::Permanent),
    ("forbidden", ErrorClass::Permanent),
    ("context length", ErrorClass::Permanent),
    ("maximum context", ErrorClass::Permanent),
    ("quota", ErrorClass::Permanent),
    ("rate limit", ErrorClass::Transient),
    ("too many requests", ErrorClass::Transient),
    ("overloaded", ErrorClass::Transient),
    ("temporarily", ErrorClass::Transient),
    ("connection reset", ErrorClass::Transient),
    ("connection refused", ErrorClass::Transient),
    ("broken pipe", ErrorClass::Transient),
    ("timed out", ErrorClass::Timeout),
    ("timeout", ErrorClass::Timeout),
];

impl ErrorClassifier {
    /// Adds a code of a provider, in whatever letters it comes.
    #[must_use]
    pub fn code(mut self, code: impl Into<Cow<'static, str>>, class: ErrorClass) -> Self {
        self.codes.push((code.into(), class));
        self
    }

    /// Says what a status means here.
    #[must_use]
    pub fn status(mut self, status: u16, class: ErrorClass) -> Self {
        self.statuses.push((status, class));
        self
    }

    /// The class of an error; [`ErrorClass::Unclassified`] where nothing is known.
    pub fn classify(&self, refused: &Refused<'_>) -> ErrorClass {
        let by_code = refused.code.and_then(|code| {
            let same = |known: &str| known.eq_ignore_ascii_case(code.trim());
            let own = self.codes.iter().rev().find(|(known, _)| same(known)).map(|(_, class)| *class);
            own.or_else(|| CODES.iter().find(|(known, _)| same(known)).map(|(_, class)| *class))
        });
        let by_status = || {
            let status = refused.status?;
            let own = self.statuses.iter().rev().find(|(known, _)| *known == status);
            own.map(|(_, class)| *class).or_else(|| class_of_status(status))
        };
        let by_words = || {
            let message = refused.message.to_lowercase();
            WORDS.iter().find(|(word, _)| message.contains(word)).map(|(_, class)| *class)
        };
        by_code.or_else(by_status).or_else(by_words).unwrap_or_default()
    }

    /// The error as the exit of a stage: a failure of its class that says when to try again, if the other side said so.
    pub fn exit(&self, refused: &Refused<'_>) -> StageExit {
        let error = RefusedError {
            status: refused.status,
            code: refused.code.map(str::to_owned),
            message: refused.message.to_owned(),
        };
        let exit = StageExit::fail(BoxError::from(error)).class(self.classify(refused));
        match refused.retry_after.and_then(retry_after) {
            Some(delay) => exit.after(delay),
            None => exit,
        }
    }
}

/// What an HTTP status says of another try (RFC 9110 §15); nothing of those that are no errors.
fn class_of_status(status: u16) -> Option<ErrorClass> {
    match status {
        // Gone wrong on the way, or too early.
        408 | 504 | 524 => Some(ErrorClass::Timeout),
        423 | 425 | 429 | 500 | 502 | 503 | 520..=523 | 529 => Some(ErrorClass::Transient),
        400..=499 | 501 | 505..=511 => Some(ErrorClass::Permanent),
        _ => None,
    }
}

/// Reads a `Retry-After` header: seconds, or a date (RFC 9110 §10.2.3). A date that is over is no delay; what is neither gives nothing.
///
/// ```
/// use stageflow_core::DurationExt as _;
/// use stageflow_interceptors::retry_after;
/// assert_eq!(retry_after("120"), Some(120.secs()));
/// assert_eq!(retry_after("Fri, 31 Dec 1999 23:59:59 GMT"), Some(0.secs()));
/// assert_eq!(retry_after("-3"), None);
/// ```
pub fn retry_after(header: &str) -> Option<Duration> {
    #[expect(clippy::disallowed_methods, reason = "the header is a time of day, and means the real one")]
    retry_after_at(header, SystemTime::now())
}

fn retry_after_at(header: &str, now: SystemTime) -> Option<Duration> {
    let header = header.trim();
    if !header.is_empty() && header.bytes().all(|byte| byte.is_ascii_digit()) {
        // More seconds than fit are as good as for ever.
        return Some(Duration::from_secs(header.parse().unwrap_or(u64::MAX)));
    }
    let date = httpdate::parse_http_date(header).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// What the other side said, as an error.
#[derive(Debug)]
struct RefusedError {
    status: Option<u16>,
    code: Option<String>,
    message: String,
}

impl fmt::Display for RefusedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        if let Some(status) = self.status {
            write!(f, "{status}")?;
            separator = " ";
        }
        if let Some(code) = &self.code {
            write!(f, "{separator}{code}")?;
            separator = " ";
        }
        if self.message.is_empty() {
            return if separator.is_empty() { f.write_str("refused") } else { Ok(()) };
        }
        let colon = if separator.is_empty() { "" } else { ": " };
        write!(f, "{colon}{}", self.message)
    }
}

impl std::error::Error for RefusedError {}

#[cfg(test)]
mod tests;

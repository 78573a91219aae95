//! What a scripted model says, or how it refuses.

use std::time::Duration;

use stageflow_core::{Code, ErrorClass, StageExit, code};

/// A reply of a [`ScriptedModel`](crate::ScriptedModel): a text, or an error. A text by itself is one: `.on("hi", "hello")`.
///
/// ```
/// use stageflow_core::{Code, DurationExt, ErrorClass};
/// use stageflow_testing::Reply;
/// let late = Reply::text("hello").after(2.secs());
/// let refused = Reply::error(ErrorClass::Denied, Code::new("CONTENT_POLICY"), "not about this");
/// # let _ = (late, refused);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use = "a reply belongs to a rule"]
pub struct Reply {
    pub(super) result: Result<String, ModelError>,
    pub(super) delay: Duration,
}

impl Reply {
    /// A text.
    pub fn text(text: impl Into<String>) -> Self {
        Self { result: Ok(text.into()), delay: Duration::ZERO }
    }

    /// An error of a class, with a code of your own.
    pub fn error(class: ErrorClass, code: Code, message: impl Into<String>) -> Self {
        Self { result: Err(ModelError::new(class, code, message.into())), delay: Duration::ZERO }
    }

    /// Too many requests: transient, with the code [`RATE_LIMITED`](code::RATE_LIMITED).
    pub fn rate_limited() -> Self {
        Self::error(ErrorClass::Transient, code::RATE_LIMITED, "too many requests")
    }

    /// The provider is down: transient, with the code [`ModelError::UNAVAILABLE`].
    pub fn unavailable() -> Self {
        Self::error(ErrorClass::Transient, ModelError::UNAVAILABLE, "the model is overloaded")
    }

    /// The prompt is too long: permanent, with the code [`ModelError::CONTEXT_LENGTH`].
    pub fn context_length() -> Self {
        let message = "the prompt is longer than the context of the model";
        Self::error(ErrorClass::Permanent, ModelError::CONTEXT_LENGTH, message)
    }

    /// How long this reply takes, besides the delay of the model.
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }
}

impl From<&str> for Reply {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl From<String> for Reply {
    fn from(text: String) -> Self {
        Self::text(text)
    }
}

/// Why a [`ScriptedModel`](crate::ScriptedModel) gave no text: the cause of the stage's failure.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ModelError {
    class: ErrorClass,
    code: Code,
    message: String,
}

impl ModelError {
    /// The code of [`Reply::unavailable`].
    pub const UNAVAILABLE: Code = Code::new("MODEL_UNAVAILABLE");
    /// The code of [`Reply::context_length`].
    pub const CONTEXT_LENGTH: Code = Code::new("CONTEXT_LENGTH");

    pub(super) fn new(class: ErrorClass, code: Code, message: String) -> Self {
        Self { class, code, message }
    }

    /// The class.
    pub fn class(&self) -> ErrorClass {
        self.class
    }

    /// The code.
    pub fn code(&self) -> Code {
        self.code
    }

    pub(super) fn into_exit(self) -> StageExit {
        let (class, code) = (self.class, self.code);
        StageExit::fail(self).class(class).code(code)
    }
}

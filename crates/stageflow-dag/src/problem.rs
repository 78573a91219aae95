//! What is wrong with a pipeline, said in full.

use std::{borrow::Cow, error::Error, fmt, panic::Location, sync::Arc};

use serde::{Serialize, Serializer, ser::SerializeStruct};
use stageflow_core::Code;

use crate::draft::Place;

/// The pipeline cannot be built. Lists every problem, not only the first (rule S-1).
///
/// `Debug` prints the same text as `Display`: it is what a test that unwraps shows.
#[derive(Clone, Serialize)]
pub struct BuildError {
    pipeline: Arc<str>,
    problems: Vec<Problem>,
}

/// One thing that is wrong with a pipeline, or suspicious.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    code: Code,
    stages: Vec<String>,
    message: String,
    hint: Cow<'static, str>,
    place: Place,
    pointer: Option<Box<str>>,
}

impl BuildError {
    pub(crate) fn new(pipeline: Arc<str>, problems: Vec<Problem>) -> Self {
        Self { pipeline, problems }
    }

    #[cfg(feature = "spec")]
    pub(crate) fn pointed(mut self, pointer: impl Fn(u32) -> Option<String>) -> Self {
        self.problems = self.problems.into_iter().map(|problem| problem.pointed(&pointer)).collect();
        self
    }

    /// The name of the pipeline.
    pub fn pipeline(&self) -> &str {
        &self.pipeline
    }

    /// Every problem; never empty.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Whether one of the problems has this code.
    ///
    /// ```
    /// # use stageflow_core::code;
    /// # use stageflow_dag::Pipeline;
    /// let p = Pipeline::builder("nothing");
    /// let input = p.input();
    /// let error = p.build::<()>(input).unwrap_err();
    /// assert!(error.has(code::EMPTY));
    /// ```
    pub fn has(&self, code: Code) -> bool {
        self.problems.iter().any(|problem| problem.code == code)
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.problems.len();
        let plural = if count == 1 { "" } else { "s" };
        write!(f, "cannot build pipeline {}: {count} problem{plural}", Quoted(&self.pipeline))?;
        self.problems.iter().try_for_each(|problem| {
            write!(f, "\n  {} at {}", problem.code, problem.at())?;
            write!(f, "\n    {}\n    help: {}", problem.message, problem.hint)
        })
    }
}

impl fmt::Debug for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for BuildError {}

impl Problem {
    pub(crate) fn new(code: Code, place: impl Into<Place>, message: impl Into<String>) -> Self {
        let hint = Cow::Borrowed(code.hint().unwrap_or("see the documentation of the code"));
        Self { code, stages: Vec::new(), message: message.into(), hint, place: place.into(), pointer: None }
    }

    pub(crate) fn about<'n>(mut self, stages: impl IntoIterator<Item = &'n str>) -> Self {
        self.stages.extend(stages.into_iter().map(str::to_owned));
        self
    }

    pub(crate) fn help(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.hint = hint.into();
        self
    }

    /// The stable code, with a page of its own in `docs/errors`.
    pub fn code(&self) -> Code {
        self.code
    }

    /// The names of the stages it is about, each once; none if it is about the pipeline.
    pub fn stages(&self) -> &[String] {
        &self.stages
    }

    /// What is wrong.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What would mend it.
    pub fn hint(&self) -> &str {
        &self.hint
    }

    /// The call in the code of the user that made it.
    ///
    /// For what comes from data it is where the kind of the stage was registered, or where the pipeline was built.
    pub fn location(&self) -> &'static Location<'static> {
        self.place.call
    }

    /// The place in the data, of a pipeline from data: a JSON pointer (RFC 6901), such as `/stages/join/inputs/1`.
    pub fn pointer(&self) -> Option<&str> {
        self.pointer.as_deref()
    }

    /// Puts places in the data in place of marks.
    #[cfg(feature = "spec")]
    pub(crate) fn pointed(mut self, pointer: impl FnOnce(u32) -> Option<String>) -> Self {
        if self.pointer.is_none() && self.place.mark != 0 {
            self.pointer = pointer(self.place.mark).map(String::into_boxed_str);
        }
        self
    }

    fn at(&self) -> At<'_> {
        At(self)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} (at {})", self.code, self.message, self.at())
    }
}

impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let count = if self.pointer.is_some() { 6 } else { 5 };
        let mut fields = serializer.serialize_struct("Problem", count)?;
        fields.serialize_field("code", &self.code)?;
        fields.serialize_field("stages", &self.stages)?;
        fields.serialize_field("message", &self.message)?;
        fields.serialize_field("hint", &self.hint)?;
        fields.serialize_field("location", &self.place.to_string())?;
        if let Some(pointer) = self.pointer() {
            fields.serialize_field("pointer", pointer)?;
        }
        fields.end()
    }
}

/// Where a problem is, for people: in the data if it comes from data.
struct At<'p>(&'p Problem);

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.pointer() {
            Some("") => f.write_str("the top"),
            Some(pointer) => clean(f, pointer, 200),
            None => self.0.place.fmt(f),
        }
    }
}

/// A name in a message: between back-ticks, without control characters, and not endless.
pub(crate) struct Quoted<'a>(pub(crate) &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`")?;
        clean(f, self.0, 100)?;
        f.write_str("`")
    }
}

/// Writes text that others chose: without control characters, and not endless.
pub(crate) fn clean(f: &mut fmt::Formatter<'_>, text: &str, longest: usize) -> fmt::Result {
    for (count, c) in text.chars().enumerate() {
        if count == longest {
            return f.write_str("…");
        }
        if c.is_control() { write!(f, "{}", c.escape_default())? } else { write!(f, "{c}")? }
    }
    Ok(())
}

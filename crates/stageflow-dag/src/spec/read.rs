//! Text to [`PipelineSpec`], with the place of what is wrong.

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use serde_path_to_error::{Path, Segment};
use stageflow_core::code;

use super::{PipelineSpec, SpecError, format::unknown_version};

/// How many bytes of text are read.
pub(super) const LONGEST_TEXT: usize = 16 << 20;

impl PipelineSpec {
    /// Reads a pipeline from a text in JSON, of 16 MiB at most.
    ///
    /// # Errors
    ///
    /// `INVALID_SPEC`, with line, column and the place in the data, for a text that is no JSON or not in the format, an unknown
    /// version, an unknown field, or a key that comes twice. The first error only: a text that is not well formed has no second.
    ///
    /// ```
    /// use stageflow_dag::spec::PipelineSpec;
    ///
    /// let text = r#"{
    ///     "stageflow": 1,
    ///     "name": "greet",
    ///     "stages": { "greet": { "use": "greet", "input": "input" } },
    ///     "output": "greet"
    /// }"#;
    /// let error = PipelineSpec::from_json(text).unwrap_err();
    /// assert_eq!(error.pointer(), "/stages/greet/input");
    /// assert_eq!(error.line_column(), Some((4, 50)));
    /// assert_eq!(error.hint(), "did you mean `inputs`?");
    /// ```
    pub fn from_json(text: &str) -> Result<Self, SpecError> {
        if text.len() > LONGEST_TEXT {
            let message = format!("the text has {} bytes, and at most {LONGEST_TEXT} are read", text.len());
            return Err(SpecError::with_code(code::INVALID_SPEC, message));
        }
        // Where an error is costs time to know, and most texts have none.
        serde_json::from_str(text).map_err(|error| error_of(text, &error))
    }
}

fn error_of(text: &str, first: &serde_json::Error) -> SpecError {
    if let Some(version) = other_version(text) {
        let message = unknown_version(version);
        return SpecError::with_code(code::INVALID_SPEC, message)
            .at("/stageflow")
            .help("use a program of that version, or write the pipeline in this one");
    }
    let mut text = serde_json::Deserializer::from_str(text);
    match serde_path_to_error::deserialize::<_, PipelineSpec>(&mut text) {
        Ok(_) => SpecError::of_serde(code::INVALID_SPEC, first),
        Err(error) => SpecError::of_serde(code::INVALID_SPEC, error.inner()).at(pointer(error.path())),
    }
}

/// The version that a text says it is in, if it is another: its fields may be others as well.
fn other_version(text: &str) -> Option<u64> {
    #[derive(Deserialize)]
    struct Head {
        stageflow: u64,
    }
    let head: Head = serde_json::from_str(text).ok()?;
    (head.stageflow != PipelineSpec::VERSION).then_some(head.stageflow)
}

/// Reads a configuration.
pub(super) fn config<C: DeserializeOwned>(config: Option<&Value>) -> Result<C, SpecError> {
    let empty = Value::Object(serde_json::Map::new());
    let error = match serde_path_to_error::deserialize(config.unwrap_or(&empty)) {
        Ok(config) => return Ok(config),
        Err(error) => error,
    };
    if config.is_none()
        && let Ok(config) = C::deserialize(Value::Null)
    {
        // A stage without a configuration takes `()`.
        return Ok(config);
    }
    let found = SpecError::of_serde(code::INVALID_CONFIG, error.inner());
    Err(match config {
        Some(_) => found.at(pointer(error.path())),
        None => found.because("there is no configuration, and it is needed"),
    })
}

/// A path as a JSON pointer.
fn pointer(path: &Path) -> String {
    let mut pointer = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => push(&mut pointer, &index.to_string()),
            Segment::Map { key } => push(&mut pointer, key),
            Segment::Enum { variant } => push(&mut pointer, variant),
            Segment::Unknown => {}
        }
    }
    pointer
}

/// Adds a step to a JSON pointer.
pub(super) fn push(pointer: &mut String, step: &str) {
    pointer.push('/');
    for c in step.chars() {
        match c {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            c => pointer.push(c),
        }
    }
}

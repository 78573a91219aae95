//! From a file to a pipeline, or to all that is wrong with it.

use serde_json::Value;
use stageflow::{
    Pipeline,
    spec::{PipelineSpec, Registry},
};

use crate::{
    exit::Exit,
    files::Source,
    problem::{Found, MOST_SHOWN},
    screen,
};

/// A pipeline, and the text that it was.
pub(crate) struct Loaded {
    pub(crate) pipeline: Pipeline<Value, Value>,
    pub(crate) text: String,
}

/// Why there is no pipeline.
pub(crate) enum Broken {
    /// There is no text.
    Unread(String),
    /// The text is none that can be built.
    Problems(Vec<Found>),
}

pub(crate) fn load(registry: &Registry, file: &Source) -> Result<Loaded, Broken> {
    let text = file.read().map_err(Broken::Unread)?;
    let spec = PipelineSpec::from_json(&text)
        .map_err(|error| Broken::Problems(vec![Found::of_spec(&error, &text)]))?;
    let built = registry.build(&spec);
    match built {
        Ok(pipeline) => Ok(Loaded { pipeline, text }),
        Err(error) => Err(Broken::Problems(Found::of_build(&error, &text))),
    }
}

impl Broken {
    pub(crate) fn exit(&self) -> Exit {
        Exit::Spec
    }

    /// In one line.
    pub(crate) fn message(&self, file: &Source) -> String {
        match self {
            Self::Unread(what) => format!("{}: {what}", file.name()),
            Self::Problems(problems) => {
                format!(
                    "{}: {} {}",
                    file.name(),
                    problems.len(),
                    if problems.len() == 1 { "error" } else { "errors" }
                )
            }
        }
    }

    pub(crate) fn problems(&self) -> &[Found] {
        match self {
            Self::Unread(_) => &[],
            Self::Problems(problems) => problems,
        }
    }

    /// Says it to a person.
    pub(crate) fn print(&self, file: &Source) -> Exit {
        for problem in self.problems().iter().take(MOST_SHOWN) {
            screen::complain(format_args!("{}\n", problem.shown(&file.name())));
        }
        if let Some(more) = self.problems().len().checked_sub(MOST_SHOWN).filter(|more| *more > 0) {
            screen::complain(format_args!("… and {more} more\n"));
        }
        screen::complain(format_args!("error: {}", self.message(file)));
        self.exit()
    }
}

//! Assertions about runs and their traces that say what the run was when they fail.

use std::{error::Error, fmt::Write};

use stageflow_core::{Code, RunOutcome};
use stageflow_exec::{Completed, RunError, RunReport};

mod file;
#[cfg(test)]
mod tests;
mod trace;

#[doc(hidden)]
pub use file::trace_file;
pub use trace::TraceLines;
#[doc(hidden)]
pub use trace::trace;

/// Asserts that a run gave its output, and gives the [`Completed`] back.
///
/// Takes the `Result` of a run. A run that completed with failures its policy tolerates has completed.
///
/// # Panics
///
/// Prints the chain of errors and the report of the run.
///
/// ```
/// # use std::sync::Arc;
/// # use stageflow_dag::Pipeline;
/// use stageflow_exec::PipelineExt;
/// use stageflow_testing::{assert_completed, ok};
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// # let mut p = Pipeline::builder("five");
/// # let n = p.input();
/// # let five = p.stage("five", ok(5).takes::<Arc<u32>>()).inputs(n);
/// # let pipeline: Pipeline<u32, u32> = p.build(five)?;
/// let run = assert_completed!(pipeline.run(1).await);
/// assert_eq!(*run.output(), 5);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[macro_export]
macro_rules! assert_completed {
    ($result:expr $(,)?) => {
        $crate::assert::completed($result)
    };
}

/// Asserts that a run ended without output and with this code, and gives the [`RunError`] back.
///
/// # Panics
///
/// Prints the chain of errors and the report of the run.
///
/// ```
/// # use std::sync::Arc;
/// # use stageflow_dag::Pipeline;
/// use stageflow_core::code;
/// use stageflow_exec::PipelineExt;
/// use stageflow_testing::{assert_failed, panics};
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// # let mut p = Pipeline::builder("five");
/// # let n = p.input();
/// # let five = p.stage("five", panics().takes::<Arc<u32>>()).inputs(n);
/// # let pipeline: Pipeline<u32, u32> = p.build(five)?;
/// let error = assert_failed!(pipeline.run(1).await, code::PANIC);
/// assert_eq!(error.failure().map(|failure| failure.stage().to_owned()).as_deref(), Some("five"));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[macro_export]
macro_rules! assert_failed {
    ($result:expr, $code:expr $(,)?) => {
        $crate::assert::failed($result, $code)
    };
}

/// Asserts how a run ended. It only looks at the result, which stays usable.
///
/// # Panics
///
/// Prints the chain of errors and the report of the run.
///
/// ```
/// # use std::sync::Arc;
/// # use stageflow_dag::Pipeline;
/// use stageflow_core::RunOutcome;
/// use stageflow_exec::PipelineExt;
/// use stageflow_testing::{assert_outcome, skips};
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// # let mut p = Pipeline::builder("five");
/// # let n = p.input();
/// # let five = p.stage("five", skips("not today").takes::<Arc<u32>>()).inputs(n);
/// # let pipeline: Pipeline<u32, u32> = p.build(five)?;
/// let run = pipeline.run(1).await;
/// assert_outcome!(run, RunOutcome::Completed); // without an output
/// assert!(run.is_err());
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[macro_export]
macro_rules! assert_outcome {
    ($result:expr, $outcome:expr $(,)?) => {
        $crate::assert::outcome(&$result, $outcome)
    };
}

/// Asserts that a trace reads as expected: a [`Recorder`](stageflow_core::Recorder), or anything else with [`TraceLines`].
///
/// Of both sides the common indentation, white space at the ends of lines, and blank lines at the beginning and end do not
/// count, so that the expectation can stand where the code stands.
///
/// # Panics
///
/// Prints the difference line by line: `-` is expected and missing, `+` is there and unexpected.
///
/// ```
/// use stageflow_testing::assert_trace;
/// assert_trace!(
///     ["stage.started fetch", "stage.completed fetch"],
///     "
///     stage.started fetch
///     stage.completed fetch
///     "
/// );
/// ```
#[macro_export]
macro_rules! assert_trace {
    ($lines:expr, $expected:expr $(,)?) => {
        $crate::assert::trace(&$lines, &$expected)
    };
}

/// Asserts that a trace reads as a file does, whose path is relative to the folder of the `Cargo.toml` of the test.
///
/// With `STAGEFLOW_UPDATE=1` in the environment the file is written instead. Lines are compared as [`assert_trace!`] does.
///
/// # Panics
///
/// Prints the difference line by line, or that the file cannot be read or written.
///
/// ```no_run
/// use stageflow_testing::assert_trace_file;
/// assert_trace_file!(["stage.started fetch", "stage.completed fetch"], "tests/traces/fetch.txt");
/// ```
#[macro_export]
macro_rules! assert_trace_file {
    ($lines:expr, $path:expr $(,)?) => {
        $crate::assert::trace_file(&$lines, ::core::env!("CARGO_MANIFEST_DIR"), $path)
    };
}

/// How a run ended: what [`assert_outcome!`](crate::assert_outcome) takes.
#[doc(hidden)]
pub trait RunEnd {
    fn outcome(&self) -> Option<RunOutcome>;
    fn story(&self) -> String;
}

impl<O> RunEnd for Result<Completed<O>, RunError> {
    fn outcome(&self) -> Option<RunOutcome> {
        match self {
            Ok(completed) => Some(completed.outcome()),
            Err(error) => error.outcome(),
        }
    }

    fn story(&self) -> String {
        match self {
            Ok(completed) => table(&completed.report()),
            Err(error) => story(error),
        }
    }
}

impl<O> RunEnd for Completed<O> {
    fn outcome(&self) -> Option<RunOutcome> {
        Some(self.outcome())
    }

    fn story(&self) -> String {
        table(&self.report())
    }
}

impl RunEnd for RunError {
    fn outcome(&self) -> Option<RunOutcome> {
        self.outcome()
    }

    fn story(&self) -> String {
        story(self)
    }
}

impl<T: RunEnd + ?Sized> RunEnd for &T {
    fn outcome(&self) -> Option<RunOutcome> {
        (**self).outcome()
    }

    fn story(&self) -> String {
        (**self).story()
    }
}

#[doc(hidden)]
#[track_caller]
pub fn completed<O>(result: Result<Completed<O>, RunError>) -> Completed<O> {
    match result {
        Ok(completed) => completed,
        Err(error) => panic!("the run gave no output: it {}{}", ended(error.outcome()), story(&error)),
    }
}

#[doc(hidden)]
#[track_caller]
pub fn failed<O>(result: Result<Completed<O>, RunError>, code: Code) -> RunError {
    match result {
        Err(error) if error.code() == code => error,
        Err(error) => {
            panic!(
                "the run should have failed with {code}, and the code is {}{}",
                error.code(),
                story(&error)
            )
        }
        Ok(completed) => panic!(
            "the run should have failed with {code}, and it {}{}",
            ended(Some(completed.outcome())),
            table(&completed.report())
        ),
    }
}

#[doc(hidden)]
#[track_caller]
pub fn outcome(run: &impl RunEnd, expected: RunOutcome) {
    let actual = run.outcome();
    assert!(
        actual == Some(expected),
        "the run should have {}, and it {}{}",
        ended(Some(expected)),
        ended(actual),
        run.story()
    );
}

/// The outcome as the end of a sentence.
fn ended(outcome: Option<RunOutcome>) -> String {
    match outcome {
        Some(outcome) => format!("ended as `{outcome}`"),
        None => "never started".to_owned(),
    }
}

/// The error with all its causes, and the report.
fn story(error: &RunError) -> String {
    let mut out = format!("\n\nerror: {error} [{}]", error.code());
    let mut cause = error.source();
    while let Some(inner) = cause {
        let _ = write!(out, "\n  caused by: {inner}");
        cause = inner.source();
    }
    if let Some(hint) = error.hint() {
        let _ = write!(out, "\n  help: {hint}");
    }
    if let Some(report) = error.report() {
        out.push_str(&table(&report));
    }
    out
}

fn table(report: &RunReport) -> String {
    format!("\n\n{}", report.to_string().trim_end())
}

//! Traces as lines, and how two of them differ.

use std::fmt::Write;

use similar::{ChangeTag, TextDiff};
use stageflow_core::Recorder;

/// What [`assert_trace!`](crate::assert_trace) compares: a trace as lines.
///
/// A [`Recorder`] gives its [`lines`](Recorder::lines), a text its own, a list of texts each of them.
///
/// ```
/// use stageflow_testing::TraceLines;
/// assert_eq!("a\nb".trace_lines(), vec!["a", "b"].trace_lines());
/// ```
pub trait TraceLines {
    /// The lines, without line ends.
    fn trace_lines(&self) -> Vec<String>;
}

impl TraceLines for Recorder {
    fn trace_lines(&self) -> Vec<String> {
        self.lines()
    }
}

impl TraceLines for str {
    fn trace_lines(&self) -> Vec<String> {
        self.lines().map(str::to_owned).collect()
    }
}

impl TraceLines for String {
    fn trace_lines(&self) -> Vec<String> {
        self.as_str().trace_lines()
    }
}

impl<T: AsRef<str>> TraceLines for [T] {
    fn trace_lines(&self) -> Vec<String> {
        self.iter().map(|line| line.as_ref().to_owned()).collect()
    }
}

impl<T: AsRef<str>, const N: usize> TraceLines for [T; N] {
    fn trace_lines(&self) -> Vec<String> {
        self.as_slice().trace_lines()
    }
}

impl<T: AsRef<str>> TraceLines for Vec<T> {
    fn trace_lines(&self) -> Vec<String> {
        self.as_slice().trace_lines()
    }
}

impl<T: TraceLines + ?Sized> TraceLines for &T {
    fn trace_lines(&self) -> Vec<String> {
        (**self).trace_lines()
    }
}

#[doc(hidden)]
#[track_caller]
pub fn trace(actual: &(impl TraceLines + ?Sized), expected: &(impl TraceLines + ?Sized)) {
    let difference = difference(&dedent(expected.trace_lines()), &dedent(actual.trace_lines()));
    if let Some(difference) = difference {
        panic!("the trace is not as expected\n{difference}");
    }
}

/// The lines without what does not count.
pub(super) fn dedent(mut lines: Vec<String>) -> Vec<String> {
    for line in &mut lines {
        line.truncate(line.trim_end().len());
    }
    let first = lines.iter().position(|line| !line.is_empty()).unwrap_or(lines.len());
    lines.drain(..first);
    let last = lines.iter().rposition(|line| !line.is_empty()).map_or(0, |last| last + 1);
    lines.truncate(last);
    let indent = |line: &String| line.len() - line.trim_start_matches(' ').len();
    let common = lines.iter().filter(|line| !line.is_empty()).map(indent).min().unwrap_or(0);
    for line in lines.iter_mut().filter(|line| !line.is_empty()) {
        line.drain(..common);
    }
    lines
}

/// The difference line by line; `None` where there is none.
pub(super) fn difference(expected: &[String], actual: &[String]) -> Option<String> {
    if expected == actual {
        return None;
    }
    let (expected, actual): (Vec<&str>, Vec<&str>) =
        (expected.iter().map(String::as_str).collect(), actual.iter().map(String::as_str).collect());
    let mut out = "  (`-` is expected and missing, `+` is there and unexpected)".to_owned();
    for change in TextDiff::from_slices(&expected, &actual).iter_all_changes() {
        let mark = match change.tag() {
            ChangeTag::Delete => '-',
            ChangeTag::Insert => '+',
            ChangeTag::Equal => ' ',
        };
        let line = format!("{mark} {}", change.value());
        let _ = write!(out, "\n{}", line.trim_end());
    }
    Some(out)
}

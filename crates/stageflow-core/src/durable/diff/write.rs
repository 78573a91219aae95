//! A difference as text.

use std::fmt;

use super::{Changed, Only, RunDiff, StageDiff, StageTimes};
use crate::time::Human;

/// The width of the words before what has changed.
const WIDTH: usize = 8;

impl fmt::Display for RunDiff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let times: Vec<&StageTimes> = self.times.iter().filter(|times| self.shows(times)).collect();
        let said = if self.is_same() { "did the same" } else { "did not do the same" };
        writeln!(f, "run {} and run {} {said}", self.runs.before, self.runs.after)?;
        line(f, "  ", "pipeline", self.pipeline.as_ref())?;
        line(f, "  ", "outcome", self.outcome.as_ref())?;
        line(f, "  ", "retries", self.retries.as_ref())?;
        line(f, "  ", "cost", self.cost.as_ref())?;
        for stage in &self.stages {
            stage.fmt(f)?;
        }
        if !times.is_empty() {
            writeln!(f, "  times")?;
        }
        let widest = times.iter().map(|times| times.stage.len()).max().unwrap_or(0);
        for times in times {
            let Changed { before, after } = times.took;
            write!(f, "    {:widest$}  {} → {}", times.stage, Human(before), Human(after))?;
            match times.ratio() {
                Some(ratio) => writeln!(f, " ({ratio:.1} ×)")?,
                None => writeln!(f)?,
            }
        }
        Ok(())
    }
}

impl RunDiff {
    fn shows(&self, times: &StageTimes) -> bool {
        let Some(factor) = self.shown_from else { return false };
        times.ratio().is_none_or(|ratio| ratio >= factor || ratio * factor <= 1.0)
    }
}

impl fmt::Display for StageDiff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What was decided for the run as a whole has no stage.
        let name = if self.stage.is_empty() { "the run".to_owned() } else { format!("`{}`", self.stage) };
        match self.only {
            Some(Only::Before) => return writeln!(f, "  {name}: only in the first"),
            Some(Only::After) => return writeln!(f, "  {name}: only in the second"),
            None => writeln!(f, "  {name}")?,
        }
        if self.rewired {
            writeln!(f, "    its kind or its inputs have changed")?;
        }
        line(f, "    ", "end", self.end.as_ref())?;
        line(f, "    ", "attempts", self.attempts.as_ref())?;
        for decision in &self.no_longer_decided {
            writeln!(f, "    - {decision}")?;
        }
        for decision in &self.newly_decided {
            writeln!(f, "    + {decision}")?;
        }
        if self.output_differs {
            writeln!(f, "    {:WIDTH$}  not the same", "output")?;
        }
        Ok(())
    }
}

fn line<T: fmt::Display>(
    f: &mut fmt::Formatter<'_>,
    indent: &str,
    what: &str,
    changed: Option<&Changed<T>>,
) -> fmt::Result {
    match changed {
        Some(Changed { before, after }) => writeln!(f, "{indent}{what:WIDTH$}  {before} → {after}"),
        None => Ok(()),
    }
}

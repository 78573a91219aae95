//! Findings as compilers print theirs.

use std::fmt;

use stageflow_core::{text::OneLine, time::Human};

use super::{Finding, LintReport, Severity};
use crate::problem::Quoted;

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]: {}", self.severity(), self.lint(), self.message())?;
        write!(f, "\n  --> ")?;
        let names = self.stages();
        let shown = if self.count() > 3 { 1 } else { names.len() };
        for (index, name) in names.iter().take(shown).enumerate() {
            write!(f, "{}{}", if index == 0 { "" } else { ", " }, Quoted(name))?;
        }
        let others = self.count().saturating_sub(shown as u64);
        if others > 0 {
            write!(f, " and {others} more")?;
        }
        write!(f, " at {}", self.location())?;
        let mut numbers = Vec::new();
        numbers.extend(self.amplification().map(|factor| format!("amplification ×{factor}")));
        numbers.extend(self.calls().map(|calls| format!("calls {calls}")));
        numbers.extend(self.time().map(|time| format!("time {}", Human(time))));
        if !numbers.is_empty() {
            write!(f, "\n  = at worst: {}", numbers.join(", "))?;
        }
        write!(f, "\n  = help: {}", self.help())
    }
}

impl fmt::Display for LintReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in self.findings() {
            write!(f, "{finding}\n\n")?;
        }
        for (finding, reason) in self.allowed() {
            writeln!(f, "allowed[{}]: {}", finding.lint(), finding.message())?;
            write!(f, "  = because: {}\n\n", OneLine(reason))?;
        }
        let count = |severity| self.findings().iter().filter(|one| one.severity() == severity).count();
        let (dangers, warnings) = (count(Severity::Danger), count(Severity::Warning));
        write!(f, "pipeline {}: ", Quoted(self.pipeline()))?;
        if self.is_clean() {
            f.write_str("nothing found")?;
        } else {
            write!(f, "{dangers} dangerous, {warnings} suspicious")?;
        }
        if self.allowed().len() > 0 {
            write!(f, ", {} allowed", self.allowed().len())?;
        }
        if !self.is_complete() {
            f.write_str("; not all of it was looked at")?;
        }
        Ok(())
    }
}

//! The plain objects: exact levels, cuts that keep their word, merges in any order, hashes.

mod conflicts;
mod cuts;
#[cfg(feature = "tokenizer")]
mod tokens;
mod utilization;
mod version;

use super::TokenCounter;

/// Counts characters.
pub(crate) struct Chars;

impl TokenCounter for Chars {
    fn count(&self, text: &str) -> usize {
        text.chars().count()
    }
}

/// A counter that is no sum: one for each run of the same character, and one for each line.
pub(crate) struct Runs;

impl TokenCounter for Runs {
    fn count(&self, text: &str) -> usize {
        let mut last = None;
        text.chars().filter(|one| last.replace(*one) != Some(*one)).count() + text.matches('\n').count()
    }

    fn boundaries(&self, text: &str) -> Option<Vec<usize>> {
        let mut ends: Vec<_> = text.char_indices().map(|(at, _)| at).collect();
        ends.push(text.len());
        Some(ends.into_iter().step_by(3).collect())
    }
}

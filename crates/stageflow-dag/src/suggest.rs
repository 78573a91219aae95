//! "Did you mean": the known name that is closest to an unknown one, at a bounded cost.

use crate::plan::Names;

/// How many names are compared in one build, however many are unknown.
pub(crate) const COMPARISONS: usize = 50_000;
const LONGEST: usize = 48;

pub(crate) struct Suggestions<'n> {
    names: &'n Names,
    left: usize,
}

impl<'n> Suggestions<'n> {
    pub(crate) fn new(names: &'n Names) -> Self {
        Self { names, left: COMPARISONS }
    }

    /// The known name with the fewest typing errors, if they are few for its length.
    pub(crate) fn closest(&mut self, unknown: &str) -> Option<&'n str> {
        closest(unknown, self.names.iter(), &mut self.left)
    }
}

/// The name with the fewest typing errors, if they are few for its length; `left` says how many may still be compared.
pub(crate) fn closest<'n>(
    unknown: &str,
    names: impl Iterator<Item = &'n str>,
    left: &mut usize,
) -> Option<&'n str> {
    let wanted: Vec<char> = unknown.chars().take(LONGEST + 1).collect();
    if wanted.len() > LONGEST {
        return None;
    }
    let tolerated = wanted.len().div_ceil(3);
    let mut best = None;
    for known in names {
        if *left == 0 {
            break;
        }
        *left -= 1;
        // A char has at most four bytes: most names are ruled out by their length.
        if known.len() > 4 * (wanted.len() + tolerated) || 4 * known.len() + tolerated < wanted.len() {
            continue;
        }
        let errors = distance(&wanted, known);
        if errors <= tolerated && best.is_none_or(|(fewest, _)| errors < fewest) {
            best = Some((errors, known));
        }
    }
    best.map(|(_, known)| known)
}

/// How many characters have to be put in, left out or replaced (Levenshtein), by the usual table, row by row.
fn distance(wanted: &[char], known: &str) -> usize {
    let mut row: Vec<usize> = (0..=wanted.len()).collect();
    for (line, c) in known.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, w) in wanted.iter().enumerate() {
            let replaced = diagonal + usize::from(*w != c);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[wanted.len()]
}

//! Files of a crate stay short: aim at 90 to 250 lines, split at 500. Lines of tests do not count.

use super::Problem;
use super::sources::File;

const LIMIT: usize = 500;

/// Files that may be longer, how long, and why. An entry that is no longer needed is a problem, too.
const LONGER: &[(&str, usize, &str)] = &[];

pub(super) fn check(file: &File) -> Vec<Problem> {
    check_with(file, LONGER)
}

fn check_with(file: &File, longer: &[(&str, usize, &str)]) -> Vec<Problem> {
    let in_a_crate = file.path.starts_with("crates/") && file.path.contains("/src/");
    if !file.is_rust() || !in_a_crate || file.is_test() {
        return Vec::new();
    }
    let lines = lines_of_code(&file.text);
    let what = match longer.iter().find(|(path, ..)| *path == file.path) {
        None if lines > LIMIT => {
            format!("{lines} lines, and {LIMIT} are allowed: split it by what its parts are for")
        }
        Some((_, limit, reason)) if lines > *limit => {
            format!("{lines} lines, and {limit} are allowed ({reason}): it has grown, split it")
        }
        Some(_) if lines <= LIMIT => {
            "is short again: take it off the list in xtask/src/tidy/length.rs".to_owned()
        }
        None | Some(_) => return Vec::new(),
    };
    vec![Problem::new(&file.path, what)]
}

/// Lines outside an inline `#[cfg(test)] mod … { … }`.
fn lines_of_code(text: &str) -> usize {
    let mut count = 0;
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let opens_tests = line == "#[cfg(test)]"
            && lines.peek().is_some_and(|next| next.starts_with("mod ") && next.ends_with('{'));
        if opens_tests {
            // Formatted code closes the module with a brace in the first column.
            lines.by_ref().find(|line| *line == "}");
        } else {
            count += 1;
        }
    }
    count
}

#[cfg(test)]
mod tests;

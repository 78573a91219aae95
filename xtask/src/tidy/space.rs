//! White space that nobody sees: at the end of lines, tabs, a missing last newline.

use super::Problem;
use super::sources::File;

pub(super) fn check(file: &File) -> Vec<Problem> {
    if ![".rs", ".md", ".toml"].iter().any(|end| file.path.ends_with(end)) {
        return Vec::new();
    }
    let mut problems = Vec::new();
    // Not `lines()`, which drops a carriage return.
    for (index, line) in file.text.split('\n').enumerate() {
        if line.ends_with(char::is_whitespace) {
            problems.push(Problem::at(file, index, "white space at the end of the line"));
        } else if line.contains('\t') {
            problems.push(Problem::at(file, index, "a tab: use spaces, or `\\t` in a string"));
        }
    }
    if !file.text.is_empty() && !file.text.ends_with('\n') {
        problems.push(Problem::new(&file.path, "no newline at the end of the file"));
    }
    problems
}

#[cfg(test)]
mod tests;

//! No file names a place on the machine it was written on.

use super::Problem;
use super::sources::File;

/// Folders directly under the root of the file system that hold somebody's own files, each with the least number
/// of folders below it that make a path a private one.
const PRIVATE: &[(&str, usize)] = &[("work", 1), ("root", 1), ("home", 2), ("Users", 2)];

pub(super) fn check(file: &File) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        if let Some(path) = private_path(line) {
            let what = format!("`{path}` is a path of one machine: write it from the root of the repository");
            problems.push(Problem::at(file, index, what));
        }
    }
    problems
}

/// The first absolute path in a line that points into a private folder.
fn private_path(line: &str) -> Option<&str> {
    line.match_indices('/').find_map(|(at, _)| {
        let before = &line[..at];
        let path = &line[at..];
        let path = &path[..path.find(|c| !is_path(c)).unwrap_or(path.len())];
        (starts_path(before) && is_private(path)).then_some(path)
    })
}

fn is_path(c: char) -> bool {
    c.is_alphanumeric() || "/._-+@".contains(c)
}

/// Whether a slash after this text is the root of the file system, and not a separator in an address or a longer path.
fn starts_path(before: &str) -> bool {
    match before.chars().next_back() {
        None => true,
        Some(c) => c.is_whitespace() || "\"'`=(:,<|[{;".contains(c),
    }
}

fn is_private(path: &str) -> bool {
    // Two slashes begin the host of an address; three are the path of a `file:` address.
    if path.starts_with("//") && !path.starts_with("///") {
        return false;
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    match parts.as_slice() {
        // Where some shells that run for others keep what a command printed.
        ["tmp", second, ..] => second.starts_with("bash"),
        [first, below @ ..] => PRIVATE.iter().any(|(folder, least)| first == folder && below.len() >= *least),
        [] => false,
    }
}

#[cfg(test)]
mod tests;

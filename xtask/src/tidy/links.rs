//! Every relative link in a Markdown file leads to a file of this repository.

use super::Problem;
use super::sources::File;
use std::collections::BTreeSet;

pub(super) fn check(files: &[File]) -> Vec<Problem> {
    let paths = with_folders(files);
    let mut problems = Vec::new();
    for file in files.iter().filter(|file| file.is_markdown()) {
        for (index, target) in links(&file.text) {
            let found =
                resolve(&file.path, target).is_some_and(|path| path.is_empty() || paths.contains(&path));
            if !found {
                problems.push(Problem::at(file, index, format!("the link `{target}` leads nowhere")));
            }
        }
    }
    problems
}

/// Every path, and every folder on the way to it.
fn with_folders(files: &[File]) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    for file in files {
        let ends = file.path.match_indices('/').map(|(at, _)| at);
        paths.extend(ends.map(|at| file.path[..at].to_owned()));
        paths.insert(file.path.clone());
    }
    paths
}

/// Relative links outside code, with the line they stand in, counted from 0.
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut links = Vec::new();
    let mut fence: Option<&str> = None;
    for (index, line) in text.lines().enumerate() {
        let start = line.trim_start();
        let mark = ["```", "~~~"].into_iter().find(|mark| start.starts_with(mark));
        match (fence, mark) {
            (None, Some(_)) => fence = mark,
            (Some(open), Some(close)) if open == close => fence = None,
            (Some(_), _) => {}
            (None, None) => links.extend(targets(line).into_iter().map(|target| (index, target))),
        }
    }
    links.retain(|(_, target)| is_relative(target));
    links
}

/// The targets of `[text](target)` and of `[name]: target` in one line.
fn targets(line: &str) -> Vec<&str> {
    let mut targets = Vec::new();
    if let Some((name, target)) = line.trim_start().split_once("]: ")
        && name.starts_with('[')
        && !name.starts_with("[^")
    {
        targets.push(target);
    }
    for (at, _) in line.match_indices("](") {
        // An odd number of backticks before it means that it stands in code.
        if line[..at].matches('`').count().is_multiple_of(2) {
            let rest = &line[at + 2..];
            targets.push(&rest[..rest.find(')').unwrap_or(rest.len())]);
        }
    }
    // Without a title, and without the brackets that allow spaces.
    targets
        .iter()
        .map(|target| target.split(" \"").next().unwrap_or(target).trim().trim_matches(['<', '>']))
        .collect()
}

/// Neither an address, nor a place on the same page, nor a Rust path that rustdoc resolves.
fn is_relative(target: &str) -> bool {
    let scheme = target.split_once(':').is_some_and(|(scheme, _)| scheme.chars().all(char::is_alphanumeric));
    !target.is_empty() && !target.starts_with('#') && !scheme
}

/// The path from the root of the repository; none if it leaves the repository.
fn resolve(from: &str, target: &str) -> Option<String> {
    let target = target.split('#').next().unwrap_or(target);
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests;

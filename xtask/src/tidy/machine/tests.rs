//! Private paths are found, addresses and longer paths are not. The paths are put together here, since this
//! file is checked as well.

use super::check;
use crate::tidy::sources::file;

fn problems(folder: &str, template: &str) -> usize {
    check(&file("docs/a.md", &template.replace('%', &format!("/{folder}")))).len()
}

#[test]
fn private_paths_are_found_in_any_dress() {
    for template in ["%/a/b", "see `%/a`.", "(%/a)", "path = \"%/a\"", "-I=%/a", "file://%/a", "x:%/a/b.rs:3"]
    {
        assert_eq!(problems("work", template), 1, "{template}");
        assert_eq!(problems("root", template), 1, "{template}");
        assert_eq!(problems("home/ann", template), 1, "{template}");
        assert_eq!(problems("Users/ann", template), 1, "{template}");
    }
    assert_eq!(problems("tmp", "in %/bash_jobs.0/1"), 1);
}

#[test]
fn other_paths_are_none() {
    for template in [
        "a%/b",
        "https://x.org%/b",
        "https:/%/b",
        "../%/b",
        "$HOME%/b",
        "GET %/{id}",
        "{dir}%/b",
        "**%/b",
        "% alone",
    ] {
        assert_eq!(problems("work", template), 0, "{template}");
    }
    assert_eq!(problems("home", "%/ is where people live"), 0);
    assert_eq!(problems("usr", "%/bin/env bash"), 0);
}

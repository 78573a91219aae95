//! Every Rust file says in its first line what it is.

use super::Problem;
use super::sources::File;

pub(super) fn check(file: &File) -> Vec<Problem> {
    if !file.is_our_rust() || file.text.starts_with("//!") {
        return Vec::new();
    }
    vec![Problem::at(file, 0, "the first line must be a `//!` head that says what the file is for")]
}

#[cfg(test)]
mod tests;

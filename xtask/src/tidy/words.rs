//! Words that may not stand in the code: unfinished work, debugging, switched-off tests, sleeping tests.

use super::Problem;
use super::sources::File;

/// A word, and what to do instead.
const FORBIDDEN: &[(&str, &str)] = &[
    ("todo!(", "finish it, or return an error that says what is missing"),
    ("unimplemented!(", "finish it, or return an error that says what is missing"),
    ("dbg!(", "take it out; what users should see is an event"),
    ("#[ignore", "a test that does not run proves nothing: repair it or delete it"),
    ("thread::sleep(", "use the run's clock; in tests wait for what happens, or pause the time"),
];

/// Excuses a sleep on the same line or the next: `// sleeps: <reason>`.
const EXCUSE: &str = "// sleeps: ";

pub(super) fn check(file: &File) -> Vec<Problem> {
    if !file.is_our_rust() || file.path.starts_with("xtask/") {
        return Vec::new();
    }
    let mut problems = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        for (word, instead) in FORBIDDEN {
            if contains(line, word) {
                problems.push(Problem::at(file, index, format!("`{word}`: {instead}")));
            }
        }
    }
    problems.extend(sleeping_tests(file));
    problems
}

/// Sleeping on tokio's clock is fine in a test where that clock is paused, and nowhere else.
fn sleeping_tests(file: &File) -> Vec<Problem> {
    let paused = ["start_paused", "time::pause(", "Sim::seeds(", "Sim::cancel_at_every_poll("]
        .iter()
        .any(|word| file.text.contains(word));
    if !file.is_test() || paused {
        return Vec::new();
    }
    let lines: Vec<&str> = file.text.lines().collect();
    let excused = |index: usize| {
        let above = index.checked_sub(1).map_or("", |above| lines[above]);
        lines[index].contains(EXCUSE) || above.trim_start().starts_with(EXCUSE)
    };
    let sleeps =
        lines.iter().enumerate().filter(|(index, line)| contains(line, "time::sleep(") && !excused(*index));
    let what = format!("sleeps in real time: pause it (`start_paused`), or say `{EXCUSE}<reason>` above");
    sleeps.map(|(index, _)| Problem::at(file, index, what.as_str())).collect()
}

/// Whether a word occurs that is not the end of a longer one.
fn contains(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|before| !before.is_alphanumeric() && before != '_')
    })
}

#[cfg(test)]
mod tests;

//! The page of the guide says the truth: its files and commands are used as they stand there.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use serde_json::Value;

use crate::kit::Folder;

fn page() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guide/29-command-line.md"))
        .unwrap()
}

/// The blocks of a page: the line before, the language, the text.
fn blocks(page: &str) -> Vec<(String, String, String)> {
    let mut blocks = Vec::new();
    let mut lines = page.lines();
    let mut before = String::new();
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let text =
                lines.by_ref().take_while(|line| *line != "```").map(|line| format!("{line}\n")).collect();
            blocks.push((before.clone(), language.to_owned(), text));
        } else if !line.is_empty() {
            line.clone_into(&mut before);
        }
    }
    blocks
}

#[test]
fn every_command_prints_what_stands_behind_it() {
    let folder = Folder::new();
    let mut commands = 0;
    for (before, language, text) in blocks(&page()) {
        if language == "json" {
            let name = before.rsplit('`').nth(1).expect("the line before names the file");
            folder.write(name, text);
        } else if language == "console" {
            for session in text.split("$ stageflow ").skip(1) {
                let (command, expected) = session.split_once('\n').unwrap();
                // The shell reads the quotes, and joins what is said on both ways.
                let script = format!("exec '{}' {command} 2>&1", env!("CARGO_BIN_EXE_stageflow"));
                let output =
                    Command::new("sh").args(["-c", &script]).current_dir(folder.path()).output().unwrap();
                let mut said = String::from_utf8(output.stdout).unwrap();
                if !output.status.success() {
                    said += &format!("[exit code {}]\n", output.status.code().unwrap());
                }
                assert_eq!(said, expected, "stageflow {command}");
                commands += 1;
            }
        }
    }
    assert!(commands >= 6, "{commands}");
    assert!(folder.read("hello.svg").starts_with("<svg "));
}

/// The first cells of the rows of a table, without back-ticks.
fn column(page: &str, heading: &str) -> BTreeSet<String> {
    let rows = page.split_once(heading).expect("the table is there").1.lines().skip(2);
    let rows = rows.take_while(|line| line.starts_with("| "));
    rows.map(|row| row.trim_start_matches("| ").split(" |").next().unwrap().replace('`', "")).collect()
}

#[test]
fn the_tables_are_those_of_the_program() {
    let (page, folder) = (page(), Folder::new());
    let kinds: Value = serde_json::from_str(&folder.run(&["kinds", "--json"]).stdout).unwrap();
    for (heading, list) in [
        ("| stage | what it does |", "stages"),
        ("| condition | holds if a part of the value |", "conditions"),
    ] {
        let names =
            kinds[list].as_array().unwrap().iter().map(|kind| kind["name"].as_str().unwrap().to_owned());
        assert_eq!(column(&page, heading), names.collect());
    }
    let help = folder.run(&["--help"]).stdout;
    for row in page
        .split_once("| code | meaning |")
        .unwrap()
        .1
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with("| "))
    {
        let (code, meaning) = row.trim_matches(['|', ' ']).split_once(" | ").unwrap();
        assert!(
            help.contains(&format!("\n  {code:4} {meaning}\n"))
                || help.ends_with(&format!("\n  {code:4} {meaning}\n")),
            "{row}"
        );
    }
    assert_eq!(
        help.split_once("Exit codes:\n").unwrap().1.lines().count(),
        column(&page, "| code | meaning |").len()
    );
}

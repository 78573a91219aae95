//! `run`: outputs, inputs, outcomes.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::kit::{Folder, Said, pipeline};

const ECHO: &str = r#""echo": { "use": "select", "with": { "at": "" }, "inputs": "input" }"#;

#[test]
fn a_text_is_printed_as_it_is_and_the_rest_as_json() {
    let folder = Folder::new();
    folder.write("p.json", pipeline(ECHO, "echo"));
    let said = folder.run(&["run", "p.json", "--input", "\"two\\nlines\""]);
    assert_eq!((said.code, said.stdout.as_str()), (0, "two\nlines\n"));
    assert!(said.stderr.starts_with("[1/1] echo: completed\np completed in "), "{}", said.stderr);
    let said = folder.run(&["run", "p.json", "-q", "--input", "[1, null]"]);
    assert_eq!((said.code, said.stdout.as_str(), said.stderr.as_str()), (0, "[\n  1,\n  null\n]\n", ""));
    let said = folder.run(&["run", "p.json", "-q"]);
    assert_eq!((said.code, said.stdout.as_str()), (0, "null\n"));
}

#[test]
fn inputs_come_from_the_line_a_file_or_stdin_and_so_does_the_pipeline() {
    let folder = Folder::new();
    folder.write("p.json", pipeline(ECHO, "echo")).write("in.json", "\u{FEFF}{\"n\": 1}");
    let said = folder.run(&["run", "p.json", "-q", "--input=@in.json"]);
    assert_eq!(said.stdout, "{\n  \"n\": 1\n}\n");
    let said = folder.run_with(&["run", "-q", "-i", "-", "p.json"], "\"in\"");
    assert_eq!(said.stdout, "in\n");
    let said = folder.run_with(&["run", "-", "-q", "--input", "7"], pipeline(ECHO, "echo"));
    assert_eq!(said.stdout, "7\n");
    folder.run(&["run", "-", "--input", "-"]).fails(2, "cannot both be the standard input");
}

#[test]
fn an_input_that_is_none_is_told_before_anything_runs() {
    let folder = Folder::new();
    let write = r#""w": { "use": "write_file", "with": { "path": "out" }, "inputs": "input" }"#;
    folder.write("p.json", pipeline(write, "w"));
    folder
        .run(&["run", "p.json", "--input", "hello"])
        .fails(2, "--input: the input is no JSON: expected value at line 1 column 1")
        .fails(2, "= help: a text is written '\"text\"'");
    folder.run(&["run", "p.json", "--input", "@none.json"]).fails(2, "none.json: does not exist");
    folder.run(&["run", "p.json", "--input", "@."]).fails(2, ".: is a folder");
    assert_eq!(folder.names(), ["p.json"]);
}

#[test]
fn the_object_of_json_is_alone_on_stdout_and_holds_everything() {
    let folder = Folder::new();
    let object = folder.stages(ECHO, "echo", "{\"a\": 1}");
    assert_eq!(object["format"], 1);
    assert_eq!(
        (&object["outcome"], &object["output"], &object["error"]),
        (&json!("completed"), &json!({"a": 1}), &Value::Null)
    );
    assert_eq!(object["report"]["stages"][0]["name"], "echo");
    let keys: Vec<_> = object.as_object().unwrap().keys().cloned().collect();

    let failing = r#""g": { "use": "guard", "with": { "require": { "/a": "text" } }, "inputs": "input" }"#;
    let object = folder.stages(failing, "g", "{\"a\": 1}");
    assert_eq!(
        (&object["outcome"], &object["exit_code"], &object["output"]),
        (&json!("failed"), &json!(1), &Value::Null)
    );
    assert_eq!(object["error"]["code"], "INVALID_INPUT");
    assert_eq!(object["error"]["stage"], "g");
    let message = object["error"]["message"].as_str().unwrap();
    assert!(message.ends_with("/a is a number and has to be a text that is not blank"), "{message}");
    assert_eq!(object.as_object().unwrap().keys().cloned().collect::<Vec<_>>(), keys);

    let object = folder.stages("\"g\": { \"use\": \"gard\" }", "g", "1");
    assert_eq!((&object["outcome"], &object["exit_code"]), (&json!("refused"), &json!(3)));
    assert_eq!(object["problems"][0]["code"], "UNKNOWN_KIND");
    assert_eq!((&object["problems"][0]["line"], &object["problems"][0]["column"]), (&json!(5), &json!(19)));
    assert_eq!(object.as_object().unwrap().keys().cloned().collect::<Vec<_>>(), keys);
}

#[test]
fn failures_are_told_with_stage_cause_and_report() {
    let folder = Folder::new();
    let flaky =
        r#""f": { "use": "flaky", "with": { "failures": 9, "message": "no luck" }, "inputs": "input" }"#;
    folder.write("p.json", pipeline(flaky, "f"));
    let said = folder.run(&["run", "p.json"]);
    said.fails(1, "p failed in ")
        .fails(1, "error[STAGE_FAILED]: pipeline `p` failed at stage `f`")
        .fails(1, "no luck");
    assert_eq!(said.stdout, "");
    assert_eq!(
        folder.run(&["run", "p.json", "-q"]).stderr.lines().filter(|line| line.starts_with("error")).count(),
        1
    );
}

#[test]
fn time_that_is_up_and_runs_that_are_not_let_in_have_codes() {
    let folder = Folder::new();
    folder.write(
        "p.json",
        pipeline(r#""d": { "use": "delay", "with": { "time": "1h" }, "inputs": "input" }"#, "d"),
    );
    folder
        .run(&["run", "p.json", "--deadline", "50ms"])
        .fails(1, "error[DEADLINE_EXCEEDED]: pipeline `p` used up its time");
    let least = r#""d": { "use": "delay", "with": { "time": "1h" }, "inputs": "input", "policies": { "min_time": "1h" } }"#;
    folder.write("p.json", pipeline(least, "d"));
    folder.run(&["run", "p.json", "--deadline", "50ms"]).fails(4, "error[DEADLINE_EXCEEDED]");
    folder.run(&["run", "p.json", "--deadline", "50"]).fails(2, "`--deadline`: `50` is no duration");
}

#[test]
fn a_run_whose_output_is_skipped_has_no_output() {
    let folder = Folder::new();
    let skipped = r#""a": { "use": "value", "with": { "value": 1 } },
    "b": { "use": "select", "with": { "at": "" }, "inputs": "a", "when": { "of": "a", "is": "equals", "with": { "value": 2 } } }"#;
    folder.write("p.json", pipeline(skipped, "b"));
    folder.run(&["run", "p.json"]).fails(1, "error[NO_OUTPUT]");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let folder = Folder::new();
    let long = "x".repeat(3_000_000);
    folder.write("p.json", pipeline(ECHO, "echo")).write("in.json", format!("\"{long}\""));
    for args in
        [&["run", "p.json", "-q", "-i", "@in.json"][..], &["run", "p.json", "--json", "-i", "@in.json"]]
    {
        let mut child = folder.command(args).stdout(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let said = Said::of(child.wait_with_output().unwrap());
        assert_eq!((said.code, said.stderr.as_str()), (0, ""));
    }
}

#[test]
fn events_are_lines_of_json_and_a_place_where_they_cannot_be_written_is_told_first() {
    let folder = Folder::new();
    folder.write("p.json", pipeline(ECHO, "echo"));
    let said = folder.run(&["run", "p.json", "-q", "--tenant", "acme", "--events", "e.jsonl"]);
    assert_eq!((said.code, said.stderr.as_str()), (0, ""));
    let events: Vec<Value> =
        folder.read("e.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<_> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(names, ["pipeline.started", "stage.started", "stage.completed", "pipeline.completed"]);
    assert!(events.iter().all(|event| event["tenant"] == "acme"));
    folder
        .run(&["run", "p.json", "--events", "none/e.jsonl"])
        .fails(6, "none/e.jsonl: events cannot be written there");
}

#[test]
fn a_line_that_makes_no_sense_is_told_with_the_help_to_ask() {
    let folder = Folder::new();
    folder.run(&[]).fails(
        2,
        "error: say what to do: `run`, `lint`, `graph`, `schema` or `kinds`\n  = help: `stageflow --help`",
    );
    folder.run(&["go"]).fails(2, "`go` is no command");
    folder.run(&["p.json"]).fails(2, "did you mean `run p.json`?");
    folder.run(&["run"]).fails(2, "which FILE?").fails(2, "`stageflow run --help` says more");
    folder.run(&["run", "a", "b"]).fails(2, "one FILE is enough");
    folder.run(&["run", "a", "--json", "--json"]).fails(2, "`--json` is there twice");
    folder.run(&["run", "a", "--input"]).fails(2, "`--input` needs a value");
    folder.run(&["run", "a", "--format", "svg"]).fails(2, "invalid option '--format'");
    folder.run(&["graph", "a", "--format", "png"]).fails(2, "`png` is no format");
    folder.run(&["schema", "x"]).fails(2, "unexpected argument");
    folder.run(&["run", ""]).fails(2, "the name of the file of `FILE` is empty");
}

#[test]
fn help_is_on_stdout() {
    let folder = Folder::new();
    for args in [
        &["--help"][..],
        &["help"],
        &["run", "-h"],
        &["run", "p.json", "--help"],
        &["help", "graph"],
        &["lint", "--help"],
    ] {
        let said = folder.run(args);
        assert_eq!((said.code, said.stderr.as_str()), (0, ""));
        assert!(said.stdout.contains("Usage: stageflow "), "{}", said.stdout);
        assert!(said.stdout.lines().all(|line| line.chars().count() <= 110), "{}", said.stdout);
    }
    assert_eq!(folder.run(&["--version"]).stdout, format!("stageflow {}\n", env!("CARGO_PKG_VERSION")));
}

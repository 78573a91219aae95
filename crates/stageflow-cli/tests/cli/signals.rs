//! Ctrl-C, once and twice, and the request of the system to end.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    os::unix::fs::PermissionsExt,
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use crate::kit::{Folder, pipeline};

/// A pipeline whose second stage takes an hour.
fn hour(policies: &str) -> String {
    let stages = format!(
        r#""soon": {{ "use": "value", "with": {{ "value": 1 }} }},
    "late": {{ "use": "delay", "with": {{ "time": "1h" }}, "inputs": "soon"{policies} }}"#
    );
    pipeline(&stages, "late")
}

/// A running command, and the lines that it complains about.
struct Running {
    child: Child,
    lines: BufReader<std::process::ChildStderr>,
}

impl Running {
    fn start(folder: &Folder, args: &[&str]) -> Self {
        let mut child = folder.command(args).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap());
        Self { child, lines }
    }

    fn until(&mut self, wanted: &str) {
        let mut all = String::new();
        while !all.contains(wanted) {
            assert_ne!(self.lines.read_line(&mut all).unwrap(), 0, "it ended: {all}");
        }
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    fn ends(mut self, code: i32) -> (String, String) {
        let (mut rest, mut stdout) = (String::new(), String::new());
        self.lines.read_to_string(&mut rest).unwrap();
        self.child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        let status = self.child.wait().unwrap();
        assert_eq!(status.code(), Some(code), "{rest}");
        (stdout, rest)
    }
}

#[test]
fn ctrl_c_cancels_the_run_and_tells_what_became_of_it() {
    let folder = Folder::new();
    folder.write("p.json", hour(""));
    let mut run = Running::start(&folder, &["run", "p.json"]);
    run.until("soon: completed");
    run.signal("-INT");
    let (stdout, stderr) = run.ends(130);
    assert_eq!(stdout, "");
    assert!(stderr.starts_with("you pressed Ctrl-C: cancelling; once more to stop at once\n"), "{stderr}");
    assert!(
        stderr.contains("p cancelled in ") && stderr.contains("  because you pressed Ctrl-C"),
        "{stderr}"
    );
    assert!(stderr.contains("error[CANCELLED]: pipeline `p` was cancelled"), "{stderr}");
}

#[test]
fn the_system_may_ask_as_well_and_json_stays_json() {
    let folder = Folder::new();
    folder.write("p.json", hour(""));
    let mut run = Running::start(&folder, &["run", "p.json", "--events", "e.jsonl"]);
    run.until("soon: completed");
    run.signal("-TERM");
    run.ends(143);
    assert!(
        folder
            .read("e.jsonl")
            .trim_end()
            .lines()
            .last()
            .unwrap()
            .contains("\"event\":\"pipeline.cancelled\"")
    );
}

#[test]
fn a_second_ctrl_c_does_not_wait_for_whoever_takes_long_to_end() {
    let folder = Folder::new();
    folder.write("p.json", hour(r#", "policies": { "grace": "1h" }"#));
    let mut run = Running::start(&folder, &["run", "p.json"]);
    run.until("soon: completed");
    run.signal("-INT");
    run.until("once more to stop at once");
    run.signal("-INT");
    let (_, stderr) = run.ends(130);
    assert!(stderr.contains("error: the run was abandoned; its clean-ups may be missing"), "{stderr}");
}

#[test]
fn programs_that_were_started_are_killed() {
    for (grace, signals) in [("", 1), (r#", "policies": { "grace": "1h" }"#, 2)] {
        let folder = Folder::new();
        let pipe = folder.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        // The pipe is open until the program is dead, and no longer.
        folder.write("late.sh", "#!/bin/sh\nexec 3> pipe\necho up >&3\nsleep 20 3>&-\necho late >&3\n");
        let script = folder.path().join("late.sh");
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        let late = format!(
            r#""late": {{ "use": "command", "with": {{ "program": "./late.sh", "timeout": "1h" }}, "inputs": "input"{grace} }}"#
        );
        folder.write("p.json", pipeline(&late, "late"));
        let mut run = Running::start(&folder, &["run", "p.json"]);
        let mut pipe = BufReader::new(fs::File::open(&pipe).unwrap());
        let mut said = String::new();
        pipe.read_line(&mut said).unwrap();
        run.signal("-INT");
        if signals == 2 {
            run.until("once more to stop at once");
            run.signal("-INT");
        }
        run.ends(130);
        pipe.read_to_string(&mut said).unwrap();
        assert_eq!(said, "up\n");
    }
}

#[test]
fn json_of_a_cancelled_run_is_an_object() {
    let folder = Folder::new();
    assert!(Command::new("mkfifo").arg(folder.path().join("pipe")).status().unwrap().success());
    folder.write("p.json", pipeline(r#""r": { "use": "command", "with": { "program": "sh", "args": ["-c", "echo up > pipe; sleep 3600"] }, "inputs": "input" }"#, "r"));
    let run = Running::start(&folder, &["run", "p.json", "--json"]);
    assert_eq!(folder.read("pipe"), "up\n");
    run.signal("-INT");
    let (stdout, _) = run.ends(130);
    let object: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&object["outcome"], &object["exit_code"]), (&"cancelled".into(), &130.into()));
}

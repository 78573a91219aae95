//! The ready-made stages, each in a run.

use serde_json::{Value, json};

use crate::kit::{Folder, pipeline};

/// The output of one stage `s`.
fn output(folder: &Folder, config: &str, input: &str) -> Value {
    let object = folder.stages(&stage(config), "s", input);
    assert_eq!(object["outcome"], "completed", "{object:#}");
    object["output"].clone()
}

/// Why one stage `s` failed.
fn failure(folder: &Folder, config: &str, input: &str) -> String {
    let object = folder.stages(&stage(config), "s", input);
    assert_eq!(object["outcome"], "failed", "{object:#}");
    let message = object["error"]["message"].as_str().unwrap().to_owned();
    message.split_once(": stage `s` failed: ").map_or(message.clone(), |(_, cause)| cause.to_owned())
}

/// Why a configuration was refused.
fn refusal(folder: &Folder, config: &str) -> String {
    let object = folder.stages(&stage(config), "s", "null");
    assert_eq!(object["exit_code"], 3, "{object:#}");
    let problem = &object["problems"][0];
    format!("{} {}", problem["pointer"].as_str().unwrap(), problem["message"].as_str().unwrap())
}

fn stage(config: &str) -> String {
    let inputs = if config.contains("\"inputs\"") || config.contains("\"read_file\"") {
        ""
    } else {
        ", \"inputs\": \"input\""
    };
    format!("\"s\": {{ {config}{inputs} }}")
}

#[test]
fn select_gives_a_part_or_says_what_is_there() {
    let folder = Folder::new();
    let input = r#"{"a": {"b/c": [1, null]}, "d": 2}"#;
    assert_eq!(output(&folder, r#""use": "select", "with": {"at": "/a/b~1c/0"}"#, input), 1);
    assert_eq!(output(&folder, r#""use": "select", "with": {"at": "/a/b~1c/1"}"#, input), Value::Null);
    assert_eq!(
        output(&folder, r#""use": "select", "with": {"at": "/x", "otherwise": null}"#, input),
        Value::Null
    );
    let missing = failure(&folder, r#""use": "select", "with": {"at": "/x"}"#, input);
    assert!(missing.contains("/x is missing: the input is an object with `a`, `d`"), "{missing}");
    assert!(
        refusal(&folder, r#""use": "select", "with": {"at": "x"}"#)
            .ends_with("write `/x`, or nothing for the whole value")
    );
}

#[test]
fn templates_are_filled_and_whole_values_stay_values() {
    let folder = Folder::new();
    let run = |give: &str| {
        let stages = format!(
            r#""in": {{ "use": "select", "with": {{"at": ""}}, "inputs": "input" }},
            "no": {{ "use": "select", "with": {{"at": ""}}, "inputs": "in", "when": {{ "of": "in", "is": "equals", "with": {{"value": 0}} }} }},
            "t": {{ "use": "template", "with": {{ "give": {give} }}, "inputs": ["in", {{"optional": "no"}}] }}"#
        );
        folder.stages(&stages, "t", r#"{"a": [1, {"b": "x"}], "n": null}"#)
    };
    assert_eq!(run(r#""{{in/a/1/b}}, {{ in/a }} and {{in/n}}.""#)["output"], "x, [1,{\"b\":\"x\"}] and .");
    assert_eq!(
        run(r#"{"k": ["{{in/a}}", "{{no?}}", "{{in/z?}}", 5]}"#)["output"],
        json!({"k": [[1, {"b": "x"}], null, null, 5]})
    );
    assert_eq!(run(r#""{{{{in}} }}""#)["output"], "{{in}} }}");
    assert_eq!(run(r#""""#)["output"], "");
    let missing = run(r#""{{in/z}}""#);
    assert!(
        missing["error"]["message"].as_str().unwrap().contains("the output of `in` has no /z"),
        "{missing:#}"
    );
    assert_eq!(run(r#""{{no}}""#)["error"]["code"], "INPUT_SKIPPED");
    assert_eq!(run(r#"["a", {"b/": "{{in"}]"#)["problems"][0]["pointer"], "/stages/t/with/give/1/b~1");
    assert_eq!(run(r#""{{other}}""#)["error"]["code"], "UNDECLARED_DEP");
}

#[test]
fn merge_makes_one_object() {
    let folder = Folder::new();
    let run = |config: &str| {
        let stages = format!(
            r#""a": {{ "use": "value", "with": {{"value": {{"x": 1, "y": 1}}}} }}, "b": {{ "use": "value", "with": {{"value": {{"y": 2}}}} }},
            "m": {{ "use": "merge", "inputs": ["a", "b"]{config} }}"#
        );
        folder.stages(&stages, "m", "null")["output"].clone()
    };
    assert_eq!(run(""), json!({"a": {"x": 1, "y": 1}, "b": {"y": 2}}));
    assert_eq!(run(r#", "with": {"by": "field"}"#), json!({"x": 1, "y": 2}));
}

#[test]
fn guard_tells_everything_at_once() {
    let folder = Folder::new();
    let config = r#""use": "guard", "with": {
        "require": {"/a": "text", "/b": "number", "/c": "array", "/d": "any"},
        "max_chars": {"/e": 3}, "one_of": {"/f": ["x", 1]}, "forbid": {"/g": ["top secret"]} }"#;
    let good = r#"{"a": "t", "b": 1, "c": [], "d": 0, "e": "üüü", "f": 1, "g": "secret top"}"#;
    assert_eq!(output(&folder, config, good)["e"], "üüü");
    let bad = r#"{"a": "", "b": "1", "d": null, "e": "four", "f": "y", "g": "TOP -- secret!"}"#;
    let all = failure(&folder, config, bad);
    for part in [
        "/a is a text and has to be a text that is not blank",
        "/b is a text and has to be a number",
        "/c is missing",
        "/d is missing",
        "/e has 4 characters, and 3 are allowed",
        "/f is none of \"x\", 1",
        "/g says \"top secret\"",
    ] {
        assert!(all.contains(part), "{part}: {all}");
    }
    assert!(
        refusal(&folder, r#""use": "guard", "with": {"forbid": {"/a": ["--"]}}"#)
            .starts_with("/stages/s/with/forbid ")
    );
}

#[test]
fn route_says_why() {
    let folder = Folder::new();
    let config = r#""use": "route.phrases", "with": {"rules": [{"route": "fast", "phrases": ["right now"]}], "otherwise": "slow"}"#;
    assert_eq!(
        output(&folder, config, "\"do it RIGHT NOW\""),
        json!({"route": "fast", "because": "right now", "confidence": 1.0})
    );
    assert_eq!(output(&folder, config, "\"\"")["route"], "slow");
    assert!(failure(&folder, config, "3").contains("the input is a number and has to be a text"));
}

#[test]
fn lookup_and_rank_find_what_is_known() {
    let folder = Folder::new();
    folder.write("t.json", r#"{"a": {"n": 1}}"#);
    assert_eq!(
        output(&folder, r#""use": "lookup", "with": {"key": "", "file": "t.json"}"#, "\"a\""),
        json!({"n": 1})
    );
    assert_eq!(
        output(&folder, r#""use": "lookup", "with": {"key": "", "table": {}, "otherwise": 0}"#, "\"a\""),
        0
    );
    assert!(
        failure(&folder, r#""use": "lookup", "with": {"key": "", "table": {}}"#, "\"secret\"")
            .ends_with("what the input names is not in the table")
    );
    assert!(refusal(&folder, r#""use": "lookup", "with": {"key": ""}"#).contains("it has no table"));
    let stages = r#""in": { "use": "select", "with": {"at": ""}, "inputs": "input" },
        "r": { "use": "rank", "with": {"text": "in/q", "documents": "in/d", "top": 2}, "inputs": ["in"] }"#;
    let ranked = folder.stages(
        stages,
        "r",
        r#"{"q": "red apple", "d": ["a pear", "an apple", {"t": "a red apple"}, "red", 7]}"#,
    );
    let found = ranked["output"].as_array().unwrap();
    assert_eq!((found.len(), &found[0]["t"]), (2, &json!("a red apple")), "{ranked:#}");
    assert!(found[0]["score"].as_f64() > found[1]["score"].as_f64());
}

#[test]
fn split_and_redact_work_on_texts() {
    let folder = Folder::new();
    let text = r#""a b\r\n\n c\nd""#;
    assert_eq!(output(&folder, r#""use": "split""#, text), json!(["a b", " c", "d"]));
    assert_eq!(
        output(&folder, r#""use": "split", "with": {"by": "words"}"#, text),
        json!(["a", "b", "c", "d"])
    );
    assert_eq!(
        output(&folder, r#""use": "split", "with": {"by": "paragraphs"}"#, text),
        json!(["a b", " c\nd"])
    );
    let redacted = output(
        &folder,
        r#""use": "redact", "with": {"digits": 4}"#,
        r#"["to a@b.org", {"k": "12-34"}, 12345]"#,
    );
    assert_eq!(redacted, json!(["to [email]", {"k": "[number]"}, 12345]));
}

#[test]
fn files_are_read_and_written_in_the_folder_and_nowhere_else() {
    let folder = Folder::new();
    folder.write("lines.txt", "a\nb\n").write("bad.json", "{");
    assert_eq!(
        output(&folder, r#""use": "read_file", "with": {"path": "lines.txt", "format": "lines"}"#, "1"),
        json!(["a", "b"])
    );
    assert_eq!(
        output(&folder, r#""use": "read_file", "with": {"path": "./lines.txt", "format": "text"}"#, "1"),
        "a\nb\n"
    );
    assert!(
        failure(&folder, r#""use": "read_file", "with": {"path": "bad.json"}"#, "1")
            .contains("`bad.json` is no JSON: EOF")
    );
    assert!(
        failure(&folder, r#""use": "read_file", "with": {"path": "lines.txt", "max_bytes": 3}"#, "1")
            .contains("has more than 3 bytes")
    );
    assert!(failure(&folder, r#""use": "read_file", "with": {"path": "none"}"#, "1").contains("`none`: "));
    for path in ["../x", "/etc/passwd", "a/../../x", "", "dir/", ".", ".."] {
        let config = format!(r#""use": "read_file", "with": {{"path": "{path}"}}"#);
        assert!(refusal(&folder, &config).starts_with("/stages/s/with/path "), "{path}");
    }
    let written = output(&folder, r#""use": "write_file", "with": {"path": "out.json"}"#, r#"{"a": 1}"#);
    assert_eq!(written, json!({"path": "out.json", "bytes": 13}));
    assert_eq!(folder.read("out.json"), "{\n  \"a\": 1\n}\n");
    output(&folder, r#""use": "write_file", "with": {"path": "out.json", "format": "lines"}"#, r#"["a", 1]"#);
    assert_eq!(folder.read("out.json"), "a\n1\n");
    assert!(
        failure(&folder, r#""use": "write_file", "with": {"path": "none/out"}"#, "1").contains("`none`: ")
    );
    assert_eq!(folder.names(), ["bad.json", "lines.txt", "out.json", "p.json"]);
}

#[test]
fn whoever_writes_the_same_file_at_the_same_time_writes_it_whole() {
    let folder = Folder::new();
    let mut stages: Vec<String> = (0..12)
        .map(|n| {
            let text = n.to_string().repeat(100_000);
            format!(
                r#""v{n}": {{ "use": "value", "with": {{"value": "{text}"}} }},
                "w{n}": {{ "use": "write_file", "with": {{"path": "out", "format": "text"}}, "inputs": "v{n}" }}"#
            )
        })
        .collect();
    let names: Vec<String> = (0..12).map(|n| format!("\"w{n}\"")).collect();
    stages.push(format!(r#""all": {{ "use": "merge", "inputs": [{}] }}"#, names.join(", ")));
    let object = folder.stages(&stages.join(",\n"), "all", "0");
    assert_eq!(object["outcome"], "completed", "{}", object["error"]);
    let out = folder.read("out");
    assert!((0..12).any(|n| out == n.to_string().repeat(100_000)), "{} bytes", out.len());
    assert_eq!(folder.names(), ["out", "p.json"]);
}

#[cfg(unix)]
#[test]
fn links_and_pipes_are_not_followed_out_of_the_folder() {
    let (folder, outside) = (Folder::new(), Folder::new());
    outside.write("secret", "1");
    std::os::unix::fs::symlink(outside.path(), folder.path().join("link")).unwrap();
    let read = failure(&folder, r#""use": "read_file", "with": {"path": "link/secret"}"#, "1");
    assert!(read.contains("`link/secret` leads out of the folder of the pipeline by a link"), "{read}");
    for path in ["link/secret", "link/new"] {
        let config = format!(r#""use": "write_file", "with": {{"path": "{path}"}}"#);
        assert!(failure(&folder, &config, "2").contains("leads out of the folder"), "{path}");
    }
    assert_eq!((outside.names(), outside.read("secret")), (vec!["secret".to_owned()], "1".to_owned()));
    // Nobody writes to it, and nobody waits for that.
    assert!(std::process::Command::new("mkfifo").arg(folder.path().join("pipe")).status().unwrap().success());
    assert!(
        failure(&folder, r#""use": "read_file", "with": {"path": "pipe"}"#, "1")
            .contains("`pipe` is no ordinary file")
    );
    assert!(
        failure(&folder, r#""use": "write_file", "with": {"path": "pipe"}"#, "1")
            .contains("`pipe` is no ordinary file")
    );
    std::os::unix::fs::symlink("nowhere", folder.path().join("dangling")).unwrap();
    assert!(
        failure(&folder, r#""use": "write_file", "with": {"path": "dangling"}"#, "2")
            .contains("`dangling`: ")
    );
}

#[test]
fn default_stands_in_for_null() {
    let folder = Folder::new();
    folder.write("d.json", "[1]");
    assert_eq!(output(&folder, r#""use": "default", "with": {"file": "d.json"}"#, "null"), json!([1]));
    assert_eq!(output(&folder, r#""use": "default", "with": {"file": "none"}"#, "0"), 0);
}

#[test]
fn flaky_is_mended_by_a_retry_if_it_may_be() {
    let folder = Folder::new();
    let retry = r#""policies": {"retry": {"base": "1ms"}}"#;
    assert_eq!(output(&folder, &format!(r#""use": "flaky", "with": {{"failures": 2}}, {retry}"#), "1"), 1);
    assert!(
        failure(&folder, &format!(r#""use": "flaky", "with": {{"failures": 3}}, {retry}"#), "1")
            .contains("the service is busy")
    );
    let stages = stage(&format!(r#""use": "flaky", "with": {{"failures": 1, "transient": false}}, {retry}"#));
    let object = folder.stages(&stages, "s", "1");
    assert_eq!(object["report"]["stages"][0]["attempts"], 1);
}

#[cfg(unix)]
mod programs {
    use super::{Folder, failure, json, output, pipeline, refusal};

    fn sh(script: &str, more: &str) -> String {
        format!(r#""use": "command", "with": {{"program": "sh", "args": ["-c", {}]{more}}}"#, json!(script))
    }

    #[test]
    fn a_program_is_given_json_and_gives_json() {
        let folder = Folder::new();
        assert_eq!(
            output(&folder, r#""use": "command", "with": {"program": "cat"}"#, r#"{"a": [1]}"#),
            json!({"a": [1]})
        );
        assert_eq!(
            output(&folder, &sh("cat; echo; echo", r#", "stdin": "text", "stdout": "text""#), "\"a\\nb\""),
            "a\nb"
        );
        assert_eq!(
            output(
                &folder,
                &sh(
                    "pwd | wc -l; echo $X",
                    r#", "stdin": "nothing", "stdout": "lines", "env": {"X": "y z"}"#
                ),
                "0"
            ),
            json!(["1", "y z"])
        );
        // Nothing is a shell: this is one argument.
        let config = r#""use": "command", "with": {"program": "echo", "args": ["$HOME; ls *", "b"], "stdout": "text"}"#;
        assert_eq!(output(&folder, config, "0"), "$HOME; ls * b");
        // It need not read what it is given, however much that is.
        let stages = r#""l": { "use": "read_file", "with": {"path": "long.txt", "format": "text"} },
            "s": { "use": "command", "with": {"program": "true", "stdout": "text"}, "inputs": "l" }"#;
        folder.write("long.txt", "x".repeat(1_000_000));
        assert_eq!(folder.stages(stages, "s", "0")["output"], "");
    }

    #[test]
    fn what_a_program_does_wrong_is_told() {
        let folder = Folder::new();
        let said = failure(&folder, &sh("echo 'no such\n\ttable' >&2; exit 3", ""), "0");
        assert!(said.ends_with("`sh` ended with exit code 3: no such table"), "{said}");
        assert!(failure(&folder, &sh("echo x", ""), "0").contains("`sh` printed no JSON: expected value"));
        assert!(
            failure(&folder, &sh("yes", r#", "max_bytes": 1000"#), "0")
                .contains("`sh` printed more than 1000 bytes")
        );
        assert!(failure(&folder, &sh("printf '\\377'", ""), "0").contains("no UTF-8"));
        assert!(
            failure(&folder, &sh("sleep 60", r#", "timeout": "20ms""#), "0")
                .contains("`sh` took longer than 20ms")
        );
        let missing =
            failure(&folder, r#""use": "command", "with": {"program": "no-such-program-here"}"#, "0");
        assert!(missing.contains("`no-such-program-here` cannot be started: "), "{missing}");
        for (config, place) in [
            (r#"{"program": "/bin/sh"}"#, "/program"),
            (r#"{"program": "../x"}"#, "/program"),
            (r#"{"program": "./../x"}"#, "/program"),
            (r#"{"program": ""}"#, "/program"),
            (r#"{"program": "x", "args": ["a\u0000b"]}"#, "/args/0"),
            (r#"{"program": "x", "env": {"A=B": ""}}"#, "/env"),
            (r#"{"program": "x", "timeout": "0s"}"#, "/timeout"),
        ] {
            let refused = refusal(&folder, &format!(r#""use": "command", "with": {config}"#));
            assert!(refused.starts_with(&format!("/stages/s/with{place} ")), "{refused}");
        }
    }

    #[test]
    fn seventy_five_is_tried_again() {
        let folder = Folder::new();
        let script = "if [ -e once ]; then echo 1; else touch once; exit 75; fi";
        let config = format!(
            r#"{}, "policies": {{"retry": {{"base": "1ms"}}, "attempt_timeout": "5s", "allow_lint": {{"retry-of-work": "it is a test"}}}}"#,
            sh(script, "")
        );
        assert_eq!(output(&folder, &config, "0"), 1);
        folder.write("p.json", pipeline(&super::stage(&config), "s"));
        assert_eq!(folder.run(&["lint", "p.json"]).code, 0);
    }
}

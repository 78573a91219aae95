//! Files that are no pipelines, and files that cannot be written.

use serde_json::Value;

use crate::kit::{Folder, pipeline};

const VALUE: &str = r#""v": { "use": "value", "with": { "value": 1 } }"#;

#[test]
fn what_cannot_be_read_is_told_as_it_is() {
    let folder = Folder::new();
    for command in ["run", "lint", "graph"] {
        folder.run(&[command, "none.json"]).fails(3, "error: none.json: does not exist");
        folder.run(&[command, "."]).fails(3, "error: .: is a folder, and a file is needed");
    }
    folder.write("p.json", b"{\n\"name\": \"\xff\"}");
    folder.run(&["run", "p.json"]).fails(3, "p.json: is no UTF-8 text: byte 12 (line 2) is wrong");
    folder.write("p.json", b"\xff\xfe{\0}\0");
    folder.run(&["run", "p.json"]).fails(3, "it looks like UTF-16");
    folder.write("p.json", b"");
    folder
        .run(&["run", "p.json"])
        .fails(3, "error[INVALID_SPEC]: EOF while parsing a value\n  --> p.json:1:1\n");
}

#[test]
fn a_mark_of_byte_order_is_no_error() {
    let folder = Folder::new();
    folder.write("p.json", format!("\u{FEFF}{}", pipeline(VALUE, "v")));
    assert_eq!(folder.run(&["run", "p.json", "-q"]).stdout, "1\n");
}

#[test]
fn what_is_too_large_is_not_read() {
    let folder = Folder::new();
    folder.write("p.json", " ".repeat(17 << 20));
    folder.run(&["run", "p.json"]).fails(3, "the text has 17825792 bytes");
    folder.write("in.json", " ".repeat((64 << 20) + 1)).write("p.json", pipeline(VALUE, "v"));
    folder.run(&["run", "p.json", "--input", "@in.json"]).fails(2, "in.json: has more than 64 MiB");
}

#[test]
fn a_malformed_file_is_shown_where_it_is_wrong() {
    let folder = Folder::new();
    folder.write("p.json", "{\n  \"stageflow\": 1,\n  \"name\": \"p\",\n  \"stages\": {\n\t\"a\": { \"use\": \"value\", \"wiht\": {} }\n  }\n}\n");
    let said = folder.run(&["run", "p.json"]);
    let stderr = "\
error[INVALID_SPEC]: unknown field `wiht`, expected one of `use`, `description`, `with`, `inputs`, `after`, `when`, `kind`, `policies`
  --> p.json:5:25 (/stages/a/wiht)
   |
 5 |  \"a\": { \"use\": \"value\", \"wiht\": {} }
   |                         ^^^^^^
  = help: did you mean `with`?

error: p.json: 1 error
";
    assert_eq!((said.code, said.stdout.as_str(), said.stderr.as_str()), (3, "", stderr));
}

#[test]
fn all_that_is_wrong_with_a_pipeline_is_told_at_once_with_its_places() {
    let folder = Folder::new();
    let stages = r#""a": { "use": "valeu", "with": { "value": 1 } },
    "b": { "use": "select", "with": { "at": "/x", "ta": 1 }, "inputs": "a" },
    "c": { "use": "select", "with": { "at": "" }, "inputs": "d" },
    "d": { "use": "select", "with": { "at": "" }, "inputs": "c" }"#;
    folder.write("p.json", pipeline(stages, "e"));
    let said = folder.run(&["run", "p.json"]);
    said.fails(3, "error[UNKNOWN_KIND]: stage `a` is to be a `valeu`, and no kind of stage has that name\n  --> p.json:5:19 (/stages/a/use)")
        .fails(3, "  = help: did you mean `value`?")
        .fails(3, "error[INVALID_CONFIG]: stage `b`: unknown field `ta`")
        .fails(3, "error[CYCLE]")
        .fails(3, "error[MISSING_DEP]: the pipeline's output is `e`")
        .fails(3, "error: p.json: 4 errors\n");
    assert_eq!(folder.run(&["lint", "p.json"]).stderr, said.stderr);
    assert_eq!(folder.run(&["graph", "p.json"]).stderr, said.stderr);
}

#[test]
fn of_very_many_errors_the_first_are_shown_and_all_are_listed() {
    let folder = Folder::new();
    let stages: Vec<_> = (0..5_000).map(|stage| format!("\"s{stage}\": {{ \"use\": \"valeu\" }}")).collect();
    folder.write("p.json", pipeline(&stages.join(",\n"), "s0"));
    let said = folder.run(&["run", "p.json"]);
    said.fails(3, "… and 4950 more\n").fails(3, "error: p.json: 5000 errors\n");
    assert_eq!(said.stderr.matches("error[").count(), 50);
    let said = folder.run(&["lint", "p.json", "--json"]);
    let object: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(object["problems"][4_999]["line"], 5_004);
}

#[test]
fn nothing_that_a_terminal_obeys_is_told() {
    let folder = Folder::new();
    folder.run(&["run", "\u{1b}[31m.json"]).fails(3, "error: \\u{1b}[31m.json: does not exist");
    let flaky = "\"f\": { \"use\": \"flaky\", \"with\": { \"failures\": 1, \"message\": \"\\u001b[31m\\n\\u0007\" }, \"inputs\": \"input\" }";
    folder.write("p.json", pipeline(flaky, "f"));
    let said = folder.run(&["run", "p.json"]);
    assert!(said.code == 1 && !said.stderr.contains(|c: char| c.is_control() && c != '\n'), "{said:?}");
}

#[test]
fn long_lines_are_shown_around_the_place() {
    let folder = Folder::new();
    let flat = pipeline(VALUE, "v")
        .replace('\n', " ")
        .replace("\"name\"", &format!("\"description\": \"{}\", \"name\"", "ü".repeat(3_000)));
    folder.write("p.json", flat.replace("\"use\": \"value\"", "\"use\": \"valeu\""));
    let said = folder.run(&["run", "p.json"]);
    said.fails(3, "did you mean `value`?");
    let lines: Vec<_> = said.stderr.lines().collect();
    let (excerpt, carets) = (lines[3], lines[4]);
    assert!(excerpt.chars().count() < 120, "{excerpt}");
    let at = carets.chars().position(|c| c == '^').unwrap();
    assert_eq!(excerpt.chars().skip(at).take(7).collect::<String>(), "\"valeu\"");
}

#[test]
fn a_picture_is_written_whole_or_not_at_all() {
    let folder = Folder::new();
    folder.write("p.json", pipeline(VALUE, "v")).write("old.svg", "old");
    let said = folder.run(&["graph", "p.json", "-o", "old.svg"]);
    assert_eq!((said.code, said.stdout.as_str(), said.stderr.as_str()), (0, "", ""));
    assert!(folder.read("old.svg").starts_with("<svg "));
    folder.run(&["graph", "p.json", "-o", "none/p.svg"]).fails(6, "error: none/p.svg: cannot be written: ");
    folder.run(&["graph", "p.json", "-o", "."]).fails(6, "error: .: cannot be written: ");
    assert_eq!(folder.names(), ["old.svg", "p.json"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told() {
    let folder = Folder::new();
    folder.write("p.json", pipeline(VALUE, "v"));
    folder.run(&["graph", "p.json", "-o", "/dev/full"]).fails(6, "/dev/full: cannot be written: ");
    for args in [&["run", "p.json", "-q"][..], &["graph", "p.json"], &["schema"], &["--help"]] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut command = folder.command(args);
        let said = crate::kit::Said::of(command.stdout(full).output().unwrap());
        said.fails(6, "error: the output cannot be written: ");
    }
}

#[cfg(unix)]
#[test]
fn nothing_half_written_is_left() {
    let folder = Folder::new();
    folder.write("p.json", pipeline(VALUE, "v")).write("p.svg", "old");
    // The system lets no file grow beyond 512 bytes, and the picture is larger.
    let script = format!(
        "trap '' XFSZ; ulimit -f 1; exec '{}' graph p.json -o p.svg",
        env!("CARGO_BIN_EXE_stageflow")
    );
    let limited =
        std::process::Command::new("sh").args(["-c", &script]).current_dir(folder.path()).output().unwrap();
    crate::kit::Said::of(limited).fails(6, "error: p.svg: cannot be written: ");
    assert_eq!(
        (folder.names(), folder.read("p.svg")),
        (vec!["p.json".to_owned(), "p.svg".to_owned()], "old".to_owned())
    );
}

#[test]
fn what_is_read_is_not_replaced() {
    let folder = Folder::new();
    folder.write("p.json", pipeline(VALUE, "v")).write("in.json", "1");
    folder
        .run(&["graph", "p.json", "-o", "./p.json", "-f", "text"])
        .fails(2, "`--output` would replace the pipeline");
    for file in ["p.json", "./in.json"] {
        folder
            .run(&["run", "p.json", "-i", "@in.json", "-e", file])
            .fails(2, "`--events` would replace what is read");
    }
    assert_eq!((folder.read("p.json"), folder.read("in.json")), (pipeline(VALUE, "v"), "1".to_owned()));
}

//! `lint`, `graph`, `schema`, `kinds`.

use serde_json::{Value, json};

use crate::kit::{Folder, pipeline};

const TWO: &str = r#""a": { "use": "value", "with": { "value": 1 } },
    "b": { "use": "select", "with": { "at": "" }, "inputs": "a", "when": { "of": "a", "not": "equals", "with": { "value": 2 } } }"#;

#[test]
fn a_pipeline_is_drawn_in_four_ways() {
    let folder = Folder::new();
    folder.write("p.json", pipeline(TWO, "b"));
    let drawn = |args: &[&str]| {
        let said = folder.run(&[&["graph", "p.json"], args].concat());
        assert_eq!((said.code, said.stderr.as_str()), (0, ""));
        said.stdout
    };
    assert_eq!(
        drawn(&[]),
        "p: Value → Value (2 stages)\n├─ a  transform\n╰─ b  transform  ← a, when a  → output\n"
    );
    assert_eq!(drawn(&["--format=text"]), drawn(&[]));
    assert!(drawn(&["-f", "dot"]).starts_with("digraph \"p\" {\n"));
    assert!(drawn(&["-f", "mermaid"]).starts_with("flowchart LR\n"));
    let svg = drawn(&["-f", "svg"]);
    assert!(svg.starts_with("<svg xmlns=") && svg.ends_with("</svg>\n"));
    for (name, begin) in [
        ("p.svg", "<svg "),
        ("p.dot", "digraph"),
        ("p.mmd", "flowchart"),
        ("p.txt", "p: Value"),
        ("p", "p: Value"),
    ] {
        assert_eq!(drawn(&["-o", name]), "");
        assert!(folder.read(name).starts_with(begin), "{name}");
    }
    drawn(&["-o", "x.svg", "-f", "dot"]);
    assert!(folder.read("x.svg").starts_with("digraph"));
    assert_eq!(drawn(&["-o", "x.png", "-f", "dot"]), "");

    let said = folder.run(&["graph", "p.json", "-o", "y.png"]);
    let error =
        "error: no picture ends in `.png`: end in `.svg`, `.dot`, `.mmd` or `.txt`, or say `--format`\n";
    assert_eq!((said.code, said.stdout.as_str()), (2, ""));
    assert!(said.stderr.starts_with(error), "{}", said.stderr);
    assert!(!folder.path().join("y.png").exists());
}

#[test]
fn lint_tells_dangers_and_warnings_with_their_places() {
    let folder = Folder::new();
    let stages = r#""unused": { "use": "value", "with": { "value": 1 } },
    "b": { "use": "command", "with": { "program": "x" }, "inputs": "input", "policies": { "retry": {}, "attempt_timeout": "1s" } }"#;
    folder.write("p.json", pipeline(stages, "b"));
    let said = folder.run(&["lint", "p.json"]);
    assert_eq!((said.code, said.stderr.as_str()), (5, ""));
    let danger = "danger[retry-of-work]: one call of a stage of kind `work` may have its effect 3 times\n  --> p.json:6:5 (/stages/b)\n";
    assert!(said.stdout.contains(danger), "{}", said.stdout);
    assert!(
        said.stdout.contains("warning[ORPHAN]") && said.stdout.contains("--> p.json:5:5 (/stages/unused)"),
        "{}",
        said.stdout
    );
    assert!(said.stdout.ends_with("p.json: 2 stages, 3 findings\n"), "{}", said.stdout);

    let said = folder.run(&["lint", "p.json", "--json"]);
    let object: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!((said.code, said.stderr.as_str(), &object["exit_code"]), (5, "", &json!(5)));
    let found: Vec<_> = object["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (&one["severity"], &one["code"], &one["line"]))
        .collect();
    let rows = [("danger", "retry-of-work", 6), ("warning", "ORPHAN", 5), ("warning", "UNUSED_OUTPUT", 5)];
    assert_eq!(json!(found), json!(rows));

    folder.write("p.json", "{");
    let said = folder.run(&["lint", "p.json", "--json"]);
    let object: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(
        (said.code, &object["exit_code"], &object["problems"][0]["code"]),
        (3, &json!(3), &json!("INVALID_SPEC"))
    );
}

#[test]
fn the_schema_knows_every_kind_and_what_it_is_for() {
    let folder = Folder::new();
    let said = folder.run(&["schema"]);
    assert_eq!((said.code, said.stderr.as_str()), (0, ""));
    let _: Value = serde_json::from_str(&said.stdout).unwrap();
    let kinds: Value = serde_json::from_str(&folder.run(&["kinds", "--json"]).stdout).unwrap();
    let table = folder.run(&["kinds"]).stdout;
    let mut count = 0;
    for list in ["stages", "policies", "conditions"] {
        for kind in kinds[list].as_array().unwrap() {
            let name = kind["name"].as_str().unwrap();
            assert!(said.stdout.contains(&format!("\"{name}\"")), "{name} is not in the schema");
            assert!(
                table.lines().any(|line| line.split_whitespace().next() == Some(name)),
                "{name} is not in the table"
            );
            count += 1;
        }
    }
    assert_eq!(count, 16 + 5 + 4);
}

#[test]
fn a_kind_is_explained_with_every_field_of_its_configuration() {
    let folder = Folder::new();
    let page = "\
read_file: a stage, enrich, nothing → Value

Gives what a file holds.

  format     \"json\" | \"text\" | \"lines\"
             What it holds. \"json\" unless set.
  max_bytes  integer
             A larger file is a failure. 16777216 unless set.
  path       relative path
             The file, relative to the folder of the pipeline. Needed.
";
    let said = folder.run(&["kinds", "read_file"]);
    assert_eq!((said.code, said.stdout.as_str()), (0, page));
    for (name, part) in [
        ("retry", "  base          human duration\n"),
        ("equals", "equals: a condition, of Value\n"),
        ("fallback", "fallback: a policy\n\nAnswers in the place of a stage that fails."),
    ] {
        assert!(folder.run(&["kinds", name]).stdout.contains(part), "{name}");
    }
    let kinds: Value = serde_json::from_str(&folder.run(&["kinds", "--json"]).stdout).unwrap();
    for stage in kinds["stages"].as_array().unwrap() {
        let name = stage["name"].as_str().unwrap();
        let page = folder.run(&["kinds", name]).stdout;
        assert!(page.lines().count() > 3 && page.lines().all(|line| line.chars().count() <= 100), "{page}");
    }
    folder.run(&["kinds", "none"]).fails(2, "nothing is named `none`");
    folder.run(&["kinds", "retry", "--json"]).fails(2, "`schema` has their configurations");
}

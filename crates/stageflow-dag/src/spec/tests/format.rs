//! Text to data: what is read, what is refused and where, and that it serialises to the same again.

use serde_json::{Value, json};
use stageflow_core::code;

use crate::spec::{PipelineSpec, SpecError};

fn refused(text: &str) -> SpecError {
    let error = PipelineSpec::from_json(text).unwrap_err();
    assert_eq!(error.code(), code::INVALID_SPEC, "{error}");
    error
}

/// A text with one stage, whose fields these are.
fn stage(fields: &str) -> String {
    format!(r#"{{"stageflow":1,"name":"p","stages":{{"a":{{"use":"one",{fields}}}}},"output":"a"}}"#)
}

fn everything() -> Value {
    json!({
        "$schema": "pipeline.schema.json",
        "stageflow": 1,
        "name": "p",
        "description": "all there is",
        "policies": { "deadline": "2s", "called": null },
        "stages": {
            "a": { "use": "one", "inputs": "input", "with": { "list": [1, -2, 3.5, "x", null, true, {}] } },
            "b": { "use": "one", "inputs": { "or": ["a", "input"] }, "after": "a", "with": null },
            "c": {
                "use": "deep",
                "description": "nested",
                "inputs": [["a", ["a", "b"]], { "optional": { "or": ["a", "b"] } }],
                "after": ["a", "b"],
                "when": { "of": "a", "is": "even" },
                "kind": "guard",
                "policies": {},
            },
            "d": {
                "use": "one",
                "inputs": { "optional": "a" },
                "when": [{ "of": "a", "not": "above", "with": { "limit": 3 } }],
            },
        },
        "output": "c",
    })
}

#[test]
fn what_is_read_serialises_to_the_same() {
    let spec: PipelineSpec = serde_json::from_value(everything()).unwrap();
    assert_eq!(serde_json::to_value(&spec).unwrap(), everything());
    let text = serde_json::to_string(&spec).unwrap();
    assert_eq!(PipelineSpec::from_json(&text), Ok(spec));
}

#[test]
fn objects_keep_the_order_of_the_text() {
    let text = r#"{"stageflow":1,"name":"p","policies":{"z":1,"a":2},"stages":{"b":{"use":"one"},"a":{"use":"one"}},"output":"a"}"#;
    let spec = PipelineSpec::from_json(text).unwrap();
    assert_eq!(spec.stages().collect::<Vec<_>>(), [("b", "one"), ("a", "one")]);
    assert_eq!(serde_json::to_string(&spec).unwrap(), text);
}

#[test]
fn an_error_says_line_column_place_and_what_was_meant() {
    let error = refused("{\n  \"stageflow\": 1,\n  \"name\": \"p\",\n  \"outputs\": \"a\"\n}");
    assert_eq!((error.pointer(), error.line_column()), ("/outputs", Some((4, 11))));
    assert_eq!(error.hint(), "did you mean `output`?");
    assert_eq!(
        error.to_string(),
        "INVALID_SPEC at /outputs (line 4, column 11): unknown field `outputs`, expected one of `$schema`, \
         `stageflow`, `name`, `description`, `policies`, `stages`, `output`"
    );
}

#[test]
fn keys_that_come_twice_are_errors_at_every_level() {
    let whole = r#""stageflow":1,"name":"p","stages":{},"output":"a""#;
    let cases = [
        (format!(r#"{{{whole},"name":"q"}}"#), ""),
        (
            r#"{"stageflow":1,"name":"p","stages":{"a":{"use":"one"},"a":{"use":"one"}},"output":"a"}"#
                .to_owned(),
            "/stages",
        ),
        (stage(r#""use":"two""#), "/stages/a"),
        (stage(r#""with":{"n":1,"n":2}"#), "/stages/a/with"),
        (stage(r#""with":[{"n":{"m":1,"m":1}}]"#), "/stages/a/with/0/n"),
        (stage(r#""policies":{"timeout":"1s","timeout":"2s"}"#), "/stages/a/policies"),
        (stage(r#""inputs":{"or":["a"],"or":["b"]}"#), "/stages/a/inputs"),
        (stage(r#""inputs":{"optional":{"or":[],"or":[]}}"#), "/stages/a/inputs/optional"),
        (stage(r#""when":{"of":"a","of":"b"}"#), "/stages/a/when"),
    ];
    for (text, place) in cases {
        let error = refused(&text);
        assert!(error.message().contains("twice") || error.message().contains("duplicate field"), "{error}");
        assert!(error.pointer().starts_with(place), "{error} is not at {place}");
    }
}

#[test]
fn what_cannot_be_meant_is_refused_at_its_place() {
    let cases = [
        (stage(r#""inputs":null"#), "/stages/a/inputs"),
        (stage(r#""inputs":5"#), "/stages/a/inputs"),
        (stage(r#""inputs":{}"#), "/stages/a/inputs"),
        (stage(r#""inputs":{"optional":"a","or":["b"]}"#), "/stages/a/inputs"),
        (stage(r#""inputs":{"either":"a"}"#), "/stages/a/inputs"),
        (stage(r#""inputs":{"optional":["a"]}"#), "/stages/a/inputs/optional"),
        (stage(r#""inputs":["a",{"optional":{"optional":"a"}}]"#), "/stages/a/inputs/1/optional"),
        (stage(r#""after":5"#), "/stages/a/after"),
        (stage(r#""after":["a",null]"#), "/stages/a/after"),
        (stage(r#""when":"a""#), "/stages/a/when"),
        (stage(r#""when":[{"of":"a","is":"even","or":1}]"#), "/stages/a/when"),
        (stage(r#""kind":"thing""#), "/stages/a/kind"),
        (stage(r#""description":null"#), "/stages/a/description"),
        (stage(r#""retry":{}"#), "/stages/a/retry"),
        (r#"{"stageflow":1,"name":"p","stages":[],"output":"a"}"#.to_owned(), "/stages"),
        (r#"{"stageflow":1,"name":"p","stages":{"a":["one"]},"output":"a"}"#.to_owned(), "/stages/a"),
        (stage(r#""when":[["a","even"]]"#), "/stages/a/when"),
        (r#"["",1,"p","",{},{},"a"]"#.to_owned(), ""),
    ];
    for (text, place) in cases {
        let error = refused(&text);
        assert!(error.pointer().starts_with(place), "{error} is not at {place}");
        assert!(error.line_column().is_some(), "{error}");
    }
}

#[test]
fn another_version_is_said_before_anything_else() {
    let error = refused(r#"{"stageflow": 2, "title": "p", "nodes": []}"#);
    assert_eq!((error.pointer(), error.line_column()), ("/stageflow", None));
    assert_eq!(error.message(), "version 2 of the format is unknown: this program reads version 1");
    for version in ["0", "\"1\"", "1.0", "-1", "null", "[1]", "18446744073709551616"] {
        refused(&format!(r#"{{"stageflow":{version},"name":"p","stages":{{}},"output":"a"}}"#));
    }
    assert_eq!(refused(r#"{"name":"p","stages":{},"output":"a"}"#).message(), "missing field `stageflow`");
}

#[test]
fn a_text_that_is_no_json_is_refused_where_it_breaks_off() {
    for text in ["", "{", "nonsense", "[]", "1", "\"x\"", "{\"stageflow\":1}}", "\u{feff}{}", "null"] {
        refused(text);
    }
    assert_eq!(refused("{\n  \"stageflow\": 1,\n  oops\n}").line_column(), Some((3, 3)));
}

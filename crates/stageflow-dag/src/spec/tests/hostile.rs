//! Data that was written to do harm: it is refused, and costs no more than its length.

use std::fmt::Write;

use serde_json::json;
use stageflow_core::code::{self, CYCLE, INVALID_NAME, INVALID_SPEC, MISSING_DEP, SELF_DEP, TOO_LARGE};

use super::{places, problems, registry};
use crate::{Pipeline, spec::PipelineSpec};

/// A pipeline of so many stages, each with these fields.
fn stages(count: usize, fields: impl Fn(usize) -> String) -> String {
    let mut text = String::from(r#"{"stageflow":1,"name":"p","stages":{"#);
    for stage in 0..count {
        let comma = if stage == 0 { "" } else { "," };
        write!(text, r#"{comma}"{stage}":{{{}}}"#, fields(stage)).unwrap();
    }
    write!(text, r#"}},"output":"{}"}}"#, count.saturating_sub(1)).unwrap();
    text
}

fn chain(stage: usize) -> String {
    let source = if stage == 0 { "input".to_owned() } else { (stage - 1).to_string() };
    format!(r#""use":"one","inputs":"{source}""#)
}

fn built(text: &str) -> Result<Pipeline<u32, u32>, Vec<(code::Code, String)>> {
    let spec = PipelineSpec::from_json(text).unwrap();
    registry().build(&spec).map_err(|error| {
        // Printing it must not be a problem of its own.
        assert!(!error.to_string().is_empty());
        places(&error)
    })
}

#[test]
fn a_hundred_thousand_stages_are_built_and_one_more_is_not() {
    let pipeline = built(&stages(100_000, chain)).unwrap();
    assert_eq!(pipeline.len(), 100_000);
    assert_eq!(built(&stages(100_001, chain)).unwrap_err(), [(TOO_LARGE, "/stages".to_owned())]);
    let spec = PipelineSpec::from_json(&stages(4, chain)).unwrap();
    let error = registry().max_stages(3).build::<u32, u32>(&spec).unwrap_err();
    assert_eq!(places(&error), [(TOO_LARGE, "/stages".to_owned())]);
    assert!(error.to_string().contains("more than 3 stages"), "{error}");
}

#[test]
fn a_circle_of_all_stages_is_found_without_a_stack() {
    let count = 100_000;
    let circle = stages(count, |stage| format!(r#""use":"one","inputs":"{}""#, (stage + 1) % count));
    assert_eq!(built(&circle).unwrap_err(), [(CYCLE, "/stages/0".to_owned())]);
}

#[test]
fn as_many_problems_as_stages_are_all_reported_in_time() {
    // Quadratic work on any of these would take minutes.
    let count = 20_000;
    let selves = stages(count, |stage| format!(r#""use":"one","inputs":"{stage}""#));
    let found = built(&selves).unwrap_err();
    assert!(found.len() == count && found.iter().all(|(code, _)| *code == SELF_DEP));
    let unknown = stages(count, |stage| {
        format!(r#""use":"onne","inputs":"a{stage}","when":{{"of":"b{stage}","is":"evn"}}"#)
    });
    // The kind, the input, the condition and what it looks at.
    assert_eq!(built(&unknown).unwrap_err().len(), 4 * count);
    let wrong = stages(count, |stage| {
        format!(r#""use":"{}","inputs":"input""#, if stage == 0 { "text" } else { "pair" })
    });
    assert_eq!(built(&wrong).unwrap_err().len(), count - 1);
}

#[test]
fn nesting_ends_in_an_error_and_not_in_the_stack() {
    let deep =
        |open: &str, close: &str, count: usize| format!("{}{}", open.repeat(count), close.repeat(count));
    let stage = |fields: &str| stages(1, |_| format!(r#""use":"one",{fields}"#));
    for count in [100, 200, 100_000, 10_000_000] {
        let texts = [
            deep("[", "]", count),
            stage(&format!(r#""with":{}"#, deep("[", "]", count))),
            stage(&format!(r#""inputs":{}"#, deep("[", "]", count))),
            "[".repeat(count),
        ];
        for text in texts {
            assert_eq!(PipelineSpec::from_json(&text).unwrap_err().code(), INVALID_SPEC);
        }
    }
    for count in [100, 200, 100_000] {
        let texts = [
            stage(&format!(r#""with":{}1{}"#, r#"{"a":"#.repeat(count), "}".repeat(count))),
            stage(&format!(r#""inputs":{}"a"{}"#, r#"{"optional":"#.repeat(count), "}".repeat(count))),
            r#"{"stages":{"a":"#.repeat(count),
        ];
        for text in texts {
            assert_eq!(PipelineSpec::from_json(&text).unwrap_err().code(), INVALID_SPEC);
        }
    }
    // What is not too deep is read.
    PipelineSpec::from_json(&stage(&format!(r#""with":{}"#, deep("[", "]", 60)))).unwrap();
}

#[test]
fn a_text_that_is_too_long_is_not_read() {
    let text = format!("{}{{", " ".repeat(16 << 20));
    let error = PipelineSpec::from_json(&text).unwrap_err();
    assert!(error.message().contains("at most 16777216 are read"), "{error}");
}

#[test]
fn names_of_any_text_are_reported_without_breaking_the_terminal() {
    let names = ["a\0b", "\u{1b}[31mred", "a\nb", "", "  ", "\u{7f}"];
    for name in names {
        let found = problems(&json!({ name: { "use": "one", "inputs": "input" } }));
        assert_eq!(found, [(INVALID_NAME, format!("/stages/{name}"))]);
        let error =
            super::build(&json!({ name: { "use": name, "inputs": name, "after": name } })).unwrap_err();
        let text = error.to_string().replace('\n', "");
        assert!(!text.chars().any(char::is_control), "{error}");
    }
    let long = "x".repeat(1_000_000);
    let error =
        super::build(&json!({ &long: { "use": &long, "inputs": "y", "with": { &long: 1 } } })).unwrap_err();
    assert!(error.to_string().len() < 4_000, "{}", error.to_string().len());
    let error = super::build(&json!({ "a": { "use": "scale", "inputs": "input", "with": { &long: 1 } } }))
        .unwrap_err();
    assert!(error.to_string().len() < 4_000, "{}", error.to_string().len());
    let text = stages(1, |_| format!(r#""{long}":1"#));
    assert!(PipelineSpec::from_json(&text).unwrap_err().to_string().len() < 4_000);
    // Names that look like places or like nothing are names.
    for name in ["a/b~c", "..", "constructor", "__proto__", "名前", "e\u{301}", "\u{202e}evil", "$ref", "0"]
    {
        super::build(&json!({ name: { "use": "one", "inputs": "input" } })).unwrap();
    }
}

#[test]
fn the_input_is_no_stage() {
    let stages =
        json!({ "input": { "use": "one", "inputs": "input" }, "z": { "use": "one", "inputs": "input" } });
    assert_eq!(problems(&stages), [(INVALID_NAME, "/stages/input".to_owned())]);
}

#[test]
fn numbers_out_of_range_are_refused() {
    for number in ["1e999", "-1e999", "NaN", "Infinity", "01", "1.", "0x10", "--1"] {
        let text = stages(1, |_| format!(r#""use":"one","with":{number}"#));
        assert_eq!(PipelineSpec::from_json(&text).unwrap_err().code(), INVALID_SPEC, "{number}");
    }
    // No integer of Rust, and a number all the same.
    let text =
        stages(1, |_| r#""use":"one","inputs":"input","with":123456789012345678901234567890"#.to_owned());
    assert_eq!(built(&text).unwrap_err(), [(code::INVALID_CONFIG, "/stages/0/with".to_owned())]);
}

#[test]
fn no_stage_at_all_is_said_once() {
    let text = r#"{"stageflow":1,"name":"p","stages":{},"output":"input"}"#;
    assert_eq!(built(text).unwrap_err(), [(code::EMPTY, "/stages".to_owned())]);
    let text = r#"{"stageflow":1,"name":"p","stages":{},"output":"a"}"#;
    let expected = [(MISSING_DEP, "/output".to_owned()), (code::EMPTY, "/stages".to_owned())];
    assert_eq!(built(text).unwrap_err(), expected);
}

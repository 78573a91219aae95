//! `StageExit`, the classes of errors, failures and their policies.

use std::{borrow::Cow, error::Error, fmt, num::ParseIntError};

use crate::{
    ClassifyExt, Code, DurationExt, ErrorClass, Failure, FailurePolicy, InputError, StageExit, StageInputs,
    StageResult, code, exit::Exit,
};

fn parse(text: &str) -> Result<u16, ParseIntError> {
    text.parse()
}

fn class_of(result: StageResult<u16>) -> Option<ErrorClass> {
    result.err().and_then(|exit| exit.error_class())
}

#[test]
fn any_error_becomes_a_failure_by_question_mark() {
    fn stage(text: &str) -> StageResult<u16> {
        Ok(parse(text)?)
    }
    let exit = stage("x").unwrap_err();
    assert!(exit.is_failure() && !exit.is_skip() && !exit.is_cancel() && !exit.is_retry());
    assert_eq!(
        (exit.error_class(), exit.error_code()),
        (Some(ErrorClass::Unclassified), Some(code::STAGE_FAILED))
    );
    assert_eq!(exit.to_string(), "failed: invalid digit found in string");
    assert_eq!(stage("80").ok(), Some(80));
}

#[test]
fn errors_are_classified_on_their_way_out() {
    assert_eq!(class_of(parse("x").transient()), Some(ErrorClass::Transient));
    assert_eq!(class_of(parse("x").permanent()), Some(ErrorClass::Permanent));
    assert_eq!(class_of(parse("x").invalid()), Some(ErrorClass::Invalid));
    assert_eq!(parse("x").invalid().unwrap_err().error_code(), Some(code::INVALID_INPUT));
    assert_eq!(class_of(parse("7").transient()), None);
    assert_eq!(class_of(Err("a text is an error too").transient()), Some(ErrorClass::Transient));
}

#[test]
fn only_some_classes_may_be_retried() {
    use ErrorClass::{Denied, Invalid, Panic, Permanent, Timeout, Transient, Unclassified};
    let all = [Unclassified, Transient, Permanent, Timeout, Invalid, Denied, Panic];
    let may: Vec<_> = all.into_iter().filter(|class| class.may_retry()).collect();
    assert_eq!(may, [Unclassified, Transient, Timeout]);
}

#[test]
fn exits_that_are_no_failure_take_no_class_and_no_code() {
    let exits = [StageExit::skip("x"), StageExit::cancel("x"), StageExit::retry("x")];
    for exit in exits {
        let exit = exit.class(ErrorClass::Denied).code(code::DENIED).hint("y");
        assert_eq!((exit.error_class(), exit.error_code(), exit.is_failure()), (None, None, false));
    }
    assert_eq!(StageExit::retry("x").after(2.secs()).retry_after(), Some(2.secs()));
    assert_eq!(StageExit::skip("x").after(2.secs()).retry_after(), None);
    assert_eq!(StageExit::fail("x").after(2.secs()).retry_after(), Some(2.secs()));
}

#[test]
fn an_exit_says_what_it_is() {
    let said = |exit: StageExit| exit.to_string();
    assert_eq!(said(StageExit::skip("no audio")), "skipped: no audio");
    assert_eq!(said(StageExit::cancel("hung up")), "cancelled: hung up");
    assert_eq!(said(StageExit::retry("429")), "asks for a retry: 429");
    assert_eq!(said(StageExit::deny("not yours")), "failed: not yours");
    assert!(matches!(StageExit::skip("x").into_exit(), Exit::Skip(Cow::Borrowed("x"))));
}

#[test]
fn an_input_error_keeps_its_code() {
    fn read(inputs: &StageInputs) -> StageResult<u32> {
        Ok(*inputs.get_from::<u32>("typo")?)
    }
    let exit = read(&StageInputs::for_test("s")).unwrap_err();
    assert_eq!(
        (exit.error_code(), exit.error_class()),
        (Some(code::UNDECLARED_DEP), Some(ErrorClass::Permanent))
    );
    let error: InputError = StageInputs::for_test("s").get_from::<u32>("typo").unwrap_err();
    let exit = StageExit::fail(error).class(ErrorClass::Transient).code(Code::new("OWN"));
    assert_eq!(
        (exit.error_code(), exit.error_class()),
        (Some(Code::new("OWN")), Some(ErrorClass::Transient))
    );
}

#[derive(Debug)]
struct Outer(ParseIntError);

impl fmt::Display for Outer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("outer")
    }
}

impl Error for Outer {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

fn failure(attempts: u32, exit: StageExit) -> Failure {
    let Exit::Fail(spec) = exit.into_exit() else { panic!("no failure") };
    Failure::new("load", attempts, spec)
}

/// S-33.
#[test]
fn a_failure_has_code_stage_cause_hint_and_whether_it_helps_to_try_again() {
    let one = failure(1, StageExit::fail(Outer(parse("x").unwrap_err())).class(ErrorClass::Transient));
    assert_eq!(
        (one.to_string(), one.message()),
        ("stage `load` failed [STAGE_FAILED]".into(), "outer".into())
    );
    assert!(one.recoverable() && one.cause().is::<Outer>());
    assert_eq!(one.hint(), code::STAGE_FAILED.hint());
    let source = one.source().and_then(Error::source).unwrap();
    assert!(source.is::<ParseIntError>(), "the whole chain");
    let three = failure(3, StageExit::fail("x").code(code::INVALID_INPUT).hint("own hint"));
    assert_eq!(three.to_string(), "stage `load` failed after 3 attempts [INVALID_INPUT]");
    assert_eq!((three.hint(), three.recoverable(), three.attempts()), (Some("own hint"), false, 3));
    let json = serde_json::to_value(&three).unwrap();
    let expected = serde_json::json!({
        "code": "INVALID_INPUT", "class": "unclassified", "stage": "load", "attempts": 3,
        "cause": "x", "hint": "own hint", "recoverable": false,
    });
    assert_eq!(json, expected);
}

#[test]
fn every_code_has_a_hint_and_its_own_name() {
    let mut names: Vec<_> = code::ALL.iter().map(|(code, _)| code.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), code::ALL.len());
    for (code, hint) in code::ALL {
        assert!(!hint.is_empty() && code.hint() == Some(*hint), "{code}");
        assert!(code.as_str().bytes().all(|b| b.is_ascii_uppercase() || b == b'_'), "{code}");
    }
    assert_eq!(Code::new("MINE").hint(), None);
}

/// S-7.
#[test]
fn policies_tolerate_what_they_say() {
    use FailurePolicy::{Continue, FailFast, TolerateCount, ToleratePercent};
    for (policy, failures, stages, goes_on) in [
        (FailFast, 0, 10, true),
        (FailFast, 1, 10, false),
        (Continue, usize::MAX, 1, true),
        (TolerateCount(0), 1, 10, false),
        (TolerateCount(2), 2, 10, true),
        (TolerateCount(2), 3, 10, false),
        (TolerateCount(u32::MAX), 1_000_000, 10, true),
        (ToleratePercent(0.0), 1, 1_000_000, false),
        (ToleratePercent(10.0), 1, 10, true),
        (ToleratePercent(9.9), 1, 10, false),
        (ToleratePercent(100.0), 10, 10, true),
        (ToleratePercent(f64::NAN), 1, 10, false),
        (ToleratePercent(50.0), 0, 0, true),
    ] {
        assert_eq!(policy.tolerates(failures, stages), goes_on, "{policy:?} {failures} of {stages}");
    }
    assert_eq!(FailurePolicy::default(), FailFast);
}

//! Every problem of a build: its code, its stages, its place, and that none hides another (rule S-1).

use std::time::Duration;

use stageflow_core::{
    Call, FailurePolicy, Interceptor, Layer, Next, StageKind, StageResult, Value, code, intercept::Placement,
    stage_fn,
};

use super::{codes, errors, named, next, single, zero};
use crate::{Pipeline, Port, Problem};

struct Outside;

impl Interceptor for Outside {
    async fn around(&self, _: &Call, next: Next<'_>) -> StageResult<Value> {
        next.run().await
    }

    fn placement(&self) -> Placement {
        Placement::Outside(Layer::Authenticate)
    }
}

/// KEEP 18.1-1.
#[test]
fn a_pipeline_without_stages_is_empty() {
    let error = errors(|p| p.input());
    assert_eq!(codes(error.problems()), [code::EMPTY]);
    assert!(error.problems()[0].stages().is_empty());
}

/// FIX 18.1-10: a name used again is reported, never replaced.
#[test]
fn a_name_used_twice_is_reported_with_both_places() {
    let mut lines = (0, 0);
    let error = errors(|p| {
        let input = p.input();
        p.stage("fast", stage_fn(next)).inputs(input);
        lines.0 = line!() - 1;
        let port = p.stage("fast", stage_fn(next)).inputs(input);
        lines.1 = line!() - 1;
        port
    });
    let [problem] = error.problems() else { panic!("{error}") };
    assert_eq!((problem.code(), problem.stages()), (code::DUPLICATE, &["fast".to_owned()][..]));
    assert_eq!(problem.location().line(), lines.1);
    assert!(problem.message().contains(&format!("problems.rs:{}:", lines.0)), "{problem}");
}

#[test]
fn the_text_of_an_error_names_pipeline_place_cause_and_help() {
    let error = errors(|p| {
        let input = p.input();
        p.stage("fast", stage_fn(next)).inputs(input);
        p.stage("fast", stage_fn(next)).inputs(input)
    });
    let [problem] = error.problems() else { panic!("{error}") };
    let expected = format!(
        "cannot build pipeline `p`: 1 problem\n  DUPLICATE at {}\n    {}\n    help: {}",
        problem.location(),
        problem.message(),
        problem.hint(),
    );
    assert_eq!(error.to_string(), expected);
    assert_eq!(format!("{error:?}"), expected);
}

/// KEEP 18.1-7: the error as data.
#[test]
fn an_error_is_data() {
    let error = errors(|p| p.input());
    let json = serde_json::to_value(&error).unwrap();
    assert_eq!(json["pipeline"], "p");
    let problem = &json["problems"][0];
    assert_eq!((&problem["code"], &problem["stages"]), (&"EMPTY".into(), &serde_json::json!([])));
    assert_eq!(problem["message"], error.problems()[0].message());
    assert_eq!(problem["hint"], error.problems()[0].hint());
    assert_eq!(problem["location"], error.problems()[0].location().to_string());
}

/// FIX 18.1-11, KEEP 18.1-41: blank names and control characters are refused, for pipelines as well.
#[test]
fn blank_names_and_control_characters_are_invalid() {
    let mut p = Pipeline::builder("two\nlines");
    let input: Port<u32> = p.input();
    p.stage("", stage_fn(next)).inputs(input);
    p.stage(" ", stage_fn(next)).inputs(input);
    let port = p.stage("bell\u{7}", stage_fn(next)).inputs(input);
    let error = p.build(port).unwrap_err();
    assert_eq!(codes(error.problems()), [code::INVALID_NAME; 4]);
    let messages: Vec<_> = error.problems().iter().map(Problem::message).collect();
    assert_eq!(
        messages,
        [
            "the pipeline's name `two\\nlines` holds a control character",
            "the stage's name `` is blank",
            "the stage's name ` ` is blank",
            "the stage's name `bell\\u{7}` holds a control character",
        ]
    );
}

/// KEEP 18.1-12.
#[test]
fn long_and_foreign_names_are_fine() {
    for name in ["x".repeat(100_000), "schön 🎉 \u{202e}".to_owned(), "\"];{}<b>".to_owned()] {
        assert_eq!(single("p", &name).stages().next().unwrap().name(), name);
    }
}

/// KEEP 18.1-2, FIX 18.1-6: all of them, each with its stage and name.
#[test]
fn every_missing_name_is_reported_with_a_suggestion() {
    let mut line = 0;
    let error = errors(|p| {
        p.stage("profile", stage_fn(zero)).inputs(());
        p.stage("first", stage_fn(named)).inputs(["profle", "nothing-like-it"]);
        line = line!() - 1;
        p.stage("second", stage_fn(zero)).after_name("Profile").inputs(())
    });
    assert_eq!(codes(error.problems()), [code::MISSING_DEP; 3]);
    let [typo, unknown, case] = error.problems() else { panic!("{error}") };
    assert_eq!(typo.message(), "stage `first` needs `profle`, and no stage has that name");
    assert_eq!((typo.stages(), typo.hint()), (&["first".to_owned()][..], "did you mean `profile`?"));
    assert_eq!(typo.location().line(), line);
    assert_eq!(unknown.hint(), code::MISSING_DEP.hint().unwrap());
    assert_eq!((case.stages(), case.hint()), (&["second".to_owned()][..], "did you mean `profile`?"));
}

/// FIX 18.1-5, KEEP 18.1-39: a code of its own.
#[test]
fn a_stage_that_waits_for_itself_is_reported() {
    let error = errors(|p| {
        p.stage("a", stage_fn(named)).inputs(["a"]);
        p.stage("b", stage_fn(zero)).after_name("b").inputs(())
    });
    assert_eq!(codes(error.problems()), [code::SELF_DEP; 2]);
    assert_eq!(error.problems()[1].stages(), ["b"]);
}

/// KEEP 18.1-3 and 18.1-4: the path ends where it starts, and each member is listed once.
#[test]
fn circles_are_reported_with_their_path() {
    let error = errors(|p| {
        p.stage("a", stage_fn(named)).inputs(["c"]);
        p.stage("b", stage_fn(named)).inputs(["a"]);
        p.stage("c", stage_fn(named)).inputs(["b"]);
        p.stage("behind", stage_fn(named)).inputs(["c"])
    });
    let [problem] = error.problems() else { panic!("{error}") };
    assert_eq!(problem.code(), code::CYCLE);
    assert_eq!(problem.message(), "stages wait for each other: `a` → `b` → `c` → `a`");
    assert_eq!(problem.stages(), ["a", "b", "c"]);
}

#[test]
fn independent_circles_are_reported_once_each() {
    let error = errors(|p| {
        p.stage("x", stage_fn(named)).inputs(["y"]);
        p.stage("y", stage_fn(named)).inputs(["x"]);
        p.stage("p", stage_fn(named)).inputs(["x", "q"]);
        p.stage("q", stage_fn(zero)).after_name("p").inputs(());
        p.stage("self", stage_fn(named)).inputs(["self"])
    });
    let circles: Vec<_> =
        error.problems().iter().map(|problem| (problem.code(), problem.stages().join(" "))).collect();
    assert_eq!(
        circles,
        [
            (code::SELF_DEP, "self".to_owned()),
            (code::CYCLE, "x y".to_owned()),
            (code::CYCLE, "p q".to_owned())
        ]
    );
}

#[test]
fn a_circle_of_many_stages_prints_its_head() {
    let error = errors(|p| {
        let name = |n: u32| format!("s{}", n % 5_000);
        (0..5_000).map(|n| p.stage(name(n), stage_fn(named)).inputs(vec![name(n + 1)])).last().unwrap()
    });
    let [problem] = error.problems() else { panic!("{error}") };
    assert_eq!(problem.stages().len(), 5_000);
    assert!(problem.message().contains("… (4980 more) → `s0`"), "{problem}");
}

#[test]
fn ports_of_other_builders_are_foreign() {
    let mut other = Pipeline::builder("other");
    let input: Port<u32> = other.input();
    let foreign = other.stage("theirs", stage_fn(next)).inputs(input);
    let mut line = 0;
    let error = errors(|p| {
        p.stage("ours", stage_fn(next)).after(foreign).when(foreign, |_| true).inputs(input);
        line = line!() - 1;
        foreign
    });
    assert_eq!(codes(error.problems()), [code::FOREIGN_NODE; 4]);
    assert_eq!(error.problems()[0].stages(), ["ours"]);
    assert_eq!(error.problems()[0].location().line(), line);
    assert!(error.problems()[3].message().contains("output"));
    drop(other);
}

/// KEEP 18.1-36: values that cannot work are refused before anything runs.
#[test]
fn policies_that_cannot_work_are_invalid() {
    let error = errors(|p| {
        p.max_in_flight(0)
            .limit_kind(StageKind::Work, 0)
            .limit_kind(StageKind::Agent, 0)
            .deadline(Duration::ZERO);
        p.on_failure(FailurePolicy::ToleratePercent(f64::NAN));
        let zero_time = Duration::ZERO;
        p.stage("a", stage_fn(zero)).timeout(zero_time).attempt_timeout(zero_time).grace(zero_time).inputs(())
    });
    assert_eq!(codes(error.problems()), [code::INVALID_POLICY; 7], "{error}");
    for percent in [-1.0, 100.1, f64::INFINITY] {
        let error = errors(|p| {
            p.on_failure(FailurePolicy::ToleratePercent(percent));
            p.stage("a", stage_fn(zero)).inputs(())
        });
        assert!(error.has(code::INVALID_POLICY));
    }
}

#[test]
fn the_last_call_of_a_setter_counts() {
    let mut line = 0;
    let error = errors(|p| {
        p.max_in_flight(0).max_in_flight(1).limit_kind(StageKind::Work, 0).limit_kind(StageKind::Work, 3);
        p.deadline(Duration::from_secs(1));
        p.deadline(Duration::ZERO);
        line = line!() - 1;
        p.stage("a", stage_fn(zero)).inputs(())
    });
    let [problem] = error.problems() else { panic!("{error}") };
    assert_eq!((problem.code(), problem.location().line()), (code::INVALID_POLICY, line));
}

#[test]
fn nothing_stands_outside_authentication() {
    let error = errors(|p| {
        p.intercept(Outside);
        p.stage("a", stage_fn(zero)).intercept(Outside).inputs(())
    });
    assert_eq!(codes(error.problems()), [code::OUTSIDE_AUTHENTICATION; 2]);
    assert!(error.problems()[0].stages().is_empty());
    assert_eq!(error.problems()[1].stages(), ["a"]);
}

#[test]
fn too_many_stages_are_reported() {
    let mut p = Pipeline::builder("p");
    p.draft.limit = 2;
    let input: Port<u32> = p.input();
    let a = p.stage("a", stage_fn(next)).inputs(input);
    let b = p.stage("b", stage_fn(next)).timeout(Duration::from_secs(1)).inputs(a);
    let foreign = Pipeline::builder("other").input();
    let c = p.stage("c", stage_fn(named)).timeout(Duration::ZERO).after(foreign).inputs(["gone", "a"]);
    let _: Port<u32> = foreign;
    let d = p.stage("d", stage_fn(next)).when(c, |_| true).inputs(b.or(c));
    let error = p.build(d).unwrap_err();
    assert_eq!(codes(error.problems()), [code::TOO_LARGE]);
}

/// Rule S-1: all problems in one error.
#[test]
fn all_problems_are_in_one_error() {
    let other: Port<u32> = Pipeline::builder("other").input();
    let mut p = Pipeline::builder("");
    p.max_in_flight(0).intercept(Outside);
    p.stage("a", stage_fn(zero)).timeout(Duration::ZERO).inputs(());
    p.stage("a", stage_fn(zero)).inputs(());
    p.stage("\t", stage_fn(named)).inputs(["missing"]);
    p.stage("x", stage_fn(named)).inputs(["y", "x"]);
    p.stage("y", stage_fn(named)).inputs(["x"]);
    p.stage("z", stage_fn(next)).inputs(other);
    let output = p.input();
    let error = p.build::<u32>(output).unwrap_err();
    let mut found = codes(error.problems());
    found.sort_unstable();
    assert_eq!(
        found,
        [
            code::CYCLE,
            code::DUPLICATE,
            code::FOREIGN_NODE,
            code::INVALID_NAME,
            code::INVALID_NAME,
            code::INVALID_POLICY,
            code::INVALID_POLICY,
            code::MISSING_DEP,
            code::OUTSIDE_AUTHENTICATION,
            code::SELF_DEP,
        ]
    );
    assert!(error.problems().iter().all(|problem| problem.location().file().ends_with("problems.rs")));
}

/// KEEP 18.1-40: a stage without edges among others is a warning; a single stage is none.
#[test]
fn stages_without_edges_and_unread_outputs_are_warnings() {
    let pipeline = super::builds(|p| {
        let input = p.input();
        p.stage("alone", stage_fn(zero)).inputs(());
        let unit = p.stage("unit", stage_fn(|_, _: std::sync::Arc<u32>| async { Ok(()) })).inputs(input);
        let a = p.stage("a", stage_fn(next)).after(unit).inputs(input);
        p.stage("unread", stage_fn(next)).inputs(a);
        p.stage("last", stage_fn(next)).inputs(a)
    });
    let warnings: Vec<_> =
        pipeline.warnings().iter().map(|warning| (warning.code(), warning.stages().join(" "))).collect();
    assert_eq!(
        warnings,
        [
            (code::ORPHAN, "alone".to_owned()),
            (code::UNUSED_OUTPUT, "alone".to_owned()),
            (code::UNUSED_OUTPUT, "unread".to_owned())
        ]
    );
    assert_eq!(pipeline.warnings()[1].message(), "nobody reads the `u32` of stage `alone`");
    assert!(single("p", "only").warnings().is_empty());
}

#[test]
fn an_attempt_longer_than_its_stage_is_a_warning() {
    let pipeline = super::builds(|p| {
        let seconds = Duration::from_secs;
        p.stage("a", stage_fn(zero)).timeout(seconds(1)).attempt_timeout(seconds(2)).inputs(())
    });
    let [warning] = pipeline.warnings() else { panic!("one warning") };
    assert_eq!((warning.code(), warning.stages()), (code::POLICY_LINT, &["a".to_owned()][..]));
    let message = "attempt-outlasts-stage: an attempt gets 2.0s of the 1.0s that the stage has, and is never ended by its own time";
    assert_eq!(warning.message(), message);
}

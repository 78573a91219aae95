//! What the assertions accept, and what they print when they do not.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::Arc,
};

use stageflow_core::{Code, Recorder, RunOutcome, code};
use stageflow_dag::Pipeline;
use stageflow_exec::{Completed, Engine, PipelineExt, RunError};

use super::file;
use crate::{Script, assert_completed, assert_failed, assert_outcome, assert_trace, fails, hangs, ok, skips};

fn pipeline(script: Script<Arc<u32>, u32>) -> Pipeline<u32, u32> {
    let mut p = Pipeline::builder("demo");
    let n = p.input();
    let out = p.stage("only", script).inputs(n);
    p.build(out).unwrap()
}

async fn run(script: Script<Arc<u32>, u32>) -> Result<Completed<u32>, RunError> {
    pipeline(script).run(1).await
}

/// What it prints as it panics.
fn message(assertion: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(assertion)).expect_err("it accepts");
    panic.downcast_ref::<String>().expect("a text").clone()
}

#[tokio::test]
async fn completed_gives_the_run_back() {
    assert_eq!(*assert_completed!(run(ok(5)).await).output(), 5);
}

#[tokio::test]
async fn completed_prints_the_chain_and_the_report() {
    let failed = run(fails(1).code(Code::new("BUSY"))).await;
    let text = message(|| drop(assert_completed!(failed)));
    let expected = [
        "the run gave no output: it ended as `failed`",
        "error: pipeline `demo` failed at stage `only` [BUSY]",
        "  caused by: stage `only` failed [BUSY]",
        "  caused by: scripted failure of call 1",
        "demo failed in ",
        "\n  stage  kind       status     try",
        "\n  only   transform  failed       1",
    ];
    for part in expected {
        assert!(text.contains(part), "`{part}` is missing in:\n{text}");
    }
    let text = message(|| drop(assert_completed!(refused())));
    assert!(text.contains("never started") && text.contains("[NO_RUNTIME]"), "{text}");
}

/// A run that was not let in: outside a runtime.
fn refused() -> Result<Completed<u32>, RunError> {
    std::thread::spawn(|| {
        let mut run = Box::pin(IntoFuture::into_future(pipeline(hangs()).run(1)));
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        match Future::poll(run.as_mut(), &mut cx) {
            std::task::Poll::Ready(result) => result,
            std::task::Poll::Pending => panic!("it was let in"),
        }
    })
    .join()
    .unwrap()
}

#[tokio::test]
async fn failed_asks_for_the_code_and_gives_the_error_back() {
    let error = assert_failed!(run(fails(1)).await, code::STAGE_FAILED);
    assert_eq!(error.outcome(), Some(RunOutcome::Failed));
    let other = run(fails(1)).await;
    let text = message(|| drop(assert_failed!(other, code::DENIED)));
    assert!(
        text.starts_with("the run should have failed with DENIED, and the code is STAGE_FAILED\n\nerror:"),
        "{text}"
    );
    let completed = run(ok(5)).await;
    let text = message(|| drop(assert_failed!(completed, code::DENIED)));
    assert!(
        text.starts_with("the run should have failed with DENIED, and it ended as `completed`\n\ndemo"),
        "{text}"
    );
}

#[tokio::test]
async fn outcome_looks_only() {
    let run = run(skips("nothing to do")).await;
    assert_outcome!(run, RunOutcome::Completed);
    assert_outcome!(&run, RunOutcome::Completed);
    let text = message(|| assert_outcome!(run, RunOutcome::Cancelled));
    assert!(
        text.starts_with("the run should have ended as `cancelled`, and it ended as `completed`\n"),
        "{text}"
    );
    assert!(text.contains("nothing to do"), "{text}");
    assert_outcome!(run.unwrap_err(), RunOutcome::Completed);
    assert_outcome!(pipeline(ok(1)).run(1).await.unwrap(), RunOutcome::Completed);
}

#[tokio::test]
async fn traces_are_compared_without_indentation() {
    let recorder = Recorder::new();
    let engine = Engine::builder().sink(recorder.clone()).build().unwrap();
    engine.run(&pipeline(ok(5)), 1).await.unwrap();
    assert_trace!(
        recorder,
        "
        pipeline.started
        stage.started only
        stage.completed only
        pipeline.completed
        "
    );
    assert_trace!(&recorder, recorder.lines());
    assert_trace!(vec!["    1 a", "   10 b"], "  1 a  \n 10 b\n\n");
    assert_trace!(Vec::<String>::new(), "\n   \n");
}

#[test]
fn a_trace_that_differs_is_shown_line_by_line() {
    let text = message(|| assert_trace!(["a", "x", "c"], "a\nb\nc\nd"));
    let expected = "the trace is not as expected\n  (`-` is expected and missing, `+` is there and unexpected)\n  a\n- b\n+ x\n  c\n- d";
    assert_eq!(text, expected);
    let text = message(|| assert_trace!(["a", "  b"], "a\nb"));
    assert!(text.ends_with("\n  a\n- b\n+   b"), "{text}");
}

#[test]
fn a_trace_in_a_file_is_written_and_compared() {
    let folder = std::env::temp_dir().join(format!("stageflow-traces-{}", std::process::id()));
    let root = folder.to_str().unwrap();
    let (path, lines) = (Path::new("deep/trace.txt"), ["  a".to_owned(), "  b".to_owned()]);

    let missing = file::check(&lines, root, path, false).unwrap_err();
    assert_eq!(missing, "there is no trace `deep/trace.txt`: set STAGEFLOW_UPDATE=1 to write it\na\nb");
    file::check(&lines, root, path, true).unwrap();
    assert_eq!(std::fs::read_to_string(folder.join(path)).unwrap(), "a\nb\n");
    file::check(&lines, root, path, false).unwrap();
    std::fs::write(folder.join(path), "a\r\nb\r\n").unwrap();
    file::check(&lines, root, path, false).unwrap();
    let differs = file::check(&lines[..1], root, path, false).unwrap_err();
    assert!(
        differs.starts_with("the trace is not that of `deep/trace.txt`") && differs.ends_with("\n  a\n- b"),
        "{differs}"
    );
    let no_file = file::check(&lines, root, Path::new("deep"), false).unwrap_err();
    assert!(no_file.starts_with("cannot read the trace `deep`"), "{no_file}");

    std::fs::remove_dir_all(folder).unwrap();
}

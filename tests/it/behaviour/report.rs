//! What a run was: the table, the JSON, and the outputs that stay (rules S-5, S-7, S-33).

use std::sync::Arc;

use stageflow::{ErrorClass, FailurePolicy, Keep, Owned, RunOutcome, code, prelude::*};

use super::kit::{error_of, exits, exits_after, gives, naps, never, pipeline, report_of, same, solo, sum};

/// A run in which every ending occurs.
fn mixed() -> Pipeline<(), u32> {
    pipeline(|p| {
        p.on_failure(FailurePolicy::TolerateCount(1));
        let done = p.stage("done", naps(10.millis(), 1)).kind(StageKind::Enrich).inputs(());
        let skips = p.stage("skips", exits(|| StageExit::skip("no audio in this message"))).inputs(());
        p.stage("skipped", same()).inputs(skips);
        let fails =
            p.stage("fails", exits_after(20.millis(), || StageExit::fail("the disk is full"))).inputs(());
        p.stage("blocked", same()).inputs(fails);
        p.stage("not-taken", same()).when(done, |n| *n > 1).inputs(done);
        p.stage("waits", never()).kind(StageKind::Agent).inputs(());
        let second = || StageExit::fail("429").class(ErrorClass::Transient).hint("ask for a larger quota");
        let last =
            p.stage("last-straw", exits_after(1_500.millis(), second)).kind(StageKind::Guard).inputs(());
        p.stage("never-ran", sum()).inputs([last, done])
    })
}

/// S-5: the table of a mixed run, to the letter.
#[tokio::test(start_paused = true)]
async fn a_report_reads_as_a_table() {
    let report = report_of(mixed().run(())).await;
    let expected = "\
test failed in 1.5s: 9 stages, run ID
  because `last-straw` failed: 2 failures, 1 tolerated
  stage       kind       status     try   queued      ran  why
  done        enrich     completed    1      0ns     10ms
  skips       transform  skipped      1      0ns      0ns  no audio in this message
  skipped     transform  skipped      0        -        -  `skips` was skipped
  fails       transform  failed       1      0ns     20ms  STAGE_FAILED
  blocked     transform  blocked      0        -        -  by `fails`
  not-taken   transform  skipped      0        -        -  branch not taken at `done`
  waits       agent      cancelled    1      0ns     1.5s  `last-straw` failed
  last-straw  guard      failed       1      0ns     1.5s  STAGE_FAILED
  never-ran   transform  cancelled    0        -        -  `last-straw` failed
  failure: stage `fails` failed [STAGE_FAILED]: the disk is full
    help: read the cause; classify it with `.transient()` or `.permanent()` so that policies can act on it
  failure: stage `last-straw` failed [STAGE_FAILED]: 429
    help: ask for a larger quota
";
    assert_eq!(report.to_string().replace(&report.run_id().to_string(), "ID"), expected);
}

/// S-33: the JSON of a mixed run.
#[tokio::test(start_paused = true)]
async fn a_report_is_json() {
    let report = report_of(mixed().run(()).tenant("acme")).await;
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(
        (&json["outcome"], &json["tenant"], &json["pipeline"]),
        (&"failed".into(), &"acme".into(), &"test".into())
    );
    assert_eq!(json["run_id"], report.run_id().to_string());
    assert_eq!(json["cancelled"], serde_json::json!({ "cause": "failure", "stage": "last-straw" }));
    let stages = json["stages"].as_array().unwrap();
    let statuses: Vec<_> = stages.iter().map(|stage| stage["status"].as_str().unwrap()).collect();
    let expected = [
        "completed",
        "skipped",
        "skipped",
        "failed",
        "blocked",
        "skipped",
        "cancelled",
        "failed",
        "cancelled",
    ];
    assert_eq!(statuses, expected);
    assert_eq!(stages[5]["cause"], serde_json::json!({ "cause": "not_taken", "route": "done" }));
    assert_eq!(stages[4]["cause"], serde_json::json!({ "by": "fails" }));
    assert_eq!(
        (&stages[3]["cause"]["code"], &stages[3]["kind"]),
        (&"STAGE_FAILED".into(), &"transform".into())
    );
    assert_eq!(stages[0]["ran"], serde_json::json!({ "secs": 0, "nanos": 10_000_000 }));
    assert_eq!(json["failures"][1]["hint"], "ask for a larger quota");
    assert_eq!(
        (&json["failures"][0]["recoverable"], &json["failures"][1]["recoverable"]),
        (&false.into(), &true.into())
    );
}

/// S-7, W4: every completed output can be read from the report, however the run ended.
#[tokio::test(start_paused = true)]
async fn partial_results_stay_readable() {
    let partly = pipeline(|p| {
        let a = p.stage("a", gives(41_u32)).inputs(());
        let b = p.stage("b", gives("text".to_owned())).inputs(());
        let c = p.stage("c", exits_after(5.millis(), || StageExit::fail("boom"))).inputs(());
        let end = |_, it: (Arc<u32>, Arc<String>, Arc<u32>)| async move { Ok(*it.0) };
        p.stage("end", stage_fn(end)).inputs((a, b, c))
    });
    let report = error_of(partly.run(())).await.report().unwrap();
    assert_eq!(*report.output_of::<u32>("a").unwrap(), 41);
    assert_eq!(*report.output_of::<String>("b").unwrap(), "text");
    assert!(report.output_of::<u32>("c").is_none() && report.output_of::<u32>("end").is_none());
    assert!(report.output_of::<u32>("b").is_none(), "another type");
}

/// `Keep::Output`: a value is dropped as soon as its last reader has taken it, however that reader ends.
#[tokio::test(start_paused = true)]
async fn values_leave_with_their_last_reader() {
    for (keep, alive) in [(Keep::All, 3), (Keep::Output, 2)] {
        let token = Arc::new(());
        let given = Arc::clone(&token);
        let chain = pipeline(move |p| {
            p.keep(keep).on_failure(FailurePolicy::Continue);
            let value = p
                .stage("value", stage_fn(move |_, (): ()| std::future::ready(Ok(Arc::clone(&given)))))
                .inputs(());
            type Value = Arc<Arc<()>>;
            let counts = |_, value: Value| async move { Ok(Arc::strong_count(&value)) };
            let one = p.stage("one", stage_fn(counts)).inputs(value);
            let skips = p.stage("skips", exits(|| StageExit::skip("x"))).inputs(());
            let two = p
                .stage("two", stage_fn(|_, _: (Value, Arc<u32>)| async { Ok(1_u32) }))
                .inputs((value, skips));
            let after = p.stage("after", naps(10.millis(), 1)).after(one).inputs(());
            p.stage("end", stage_fn(|_, _: (Arc<u32>, Option<Arc<u32>>)| async { Ok(1_u32) }))
                .inputs((after, two.optional()))
        });
        let run = chain.start(());
        tokio::time::sleep(5.millis()).await;
        // The stage itself holds one, this test another, and the run a third if it keeps it.
        assert_eq!(Arc::strong_count(&token), alive, "{keep:?}");
        let report = run.await.unwrap().report();
        assert_eq!(report.output_of::<Arc<()>>("value").is_some(), keep == Keep::All);
        assert_eq!(*report.output_of::<u32>("end").unwrap(), 1, "the pipeline's output stays");
        drop((chain, report));
        assert_eq!(Arc::strong_count(&token), 1, "{keep:?}");
    }
}

/// Counts how often it is copied.
#[derive(Default)]
struct Copies(Arc<std::sync::atomic::AtomicUsize>);

impl Clone for Copies {
    fn clone(&self) -> Self {
        self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        Self(Arc::clone(&self.0))
    }
}

/// An owned input is moved to its last reader, and copied for the others.
#[tokio::test(start_paused = true)]
async fn owned_inputs_are_moved_to_the_last_reader() {
    for (readers, copies) in [(1, 0), (2, 1), (3, 2)] {
        let counter = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let made = Arc::clone(&counter);
        let owned = pipeline(move |p| {
            let value = p
                .stage("value", stage_fn(move |_, (): ()| std::future::ready(Ok(Copies(Arc::clone(&made))))))
                .inputs(());
            let takes = |_| {
                stage_fn(|_, value: Owned<Copies>| async move { Ok(Arc::strong_count(&value.0.0) as u32) })
            };
            let all = p.parallel("takes", 0..readers, takes).inputs(value);
            p.stage("sum", sum()).inputs(all)
        });
        let done = owned.run(()).await.unwrap();
        assert_eq!(counter.load(std::sync::atomic::Ordering::SeqCst), copies, "{readers}");
        assert!(done.report().output_of::<Copies>("value").is_none(), "it was moved");
    }
}

/// A value with another reader left is copied, and stays.
#[tokio::test(start_paused = true)]
async fn an_owned_input_that_others_read_is_copied() {
    let counter = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let made = Arc::clone(&counter);
    let shared = pipeline(move |p| {
        let value = p
            .stage("value", stage_fn(move |_, (): ()| std::future::ready(Ok(Copies(Arc::clone(&made))))))
            .inputs(());
        let owns = p.stage("owns", stage_fn(|_, _: Owned<Copies>| async { Ok(1_u32) })).inputs(value);
        let reads =
            p.stage("reads", stage_fn(|_, _: Arc<Copies>| async { Ok(1_u32) })).after(owns).inputs(value);
        p.stage("sum", sum()).inputs([owns, reads])
    });
    let done = shared.run(()).await.unwrap();
    assert_eq!(counter.load(std::sync::atomic::Ordering::SeqCst), 1);
    assert!(done.report().output_of::<Copies>("value").is_some());
}

/// S-33: an error has a code, a cause, a hint, and says whether another run may help.
#[tokio::test(start_paused = true)]
async fn an_error_says_what_would_help() {
    let error =
        error_of(solo(exits(|| StageExit::fail("x").class(ErrorClass::Transient).hint("wait"))).run(()))
            .await;
    assert_eq!(
        (error.code(), error.hint().as_deref(), error.recoverable()),
        (code::STAGE_FAILED, Some("wait"), true)
    );
    assert_eq!(format!("{error:?}"), "pipeline `solo` failed at stage `only` [STAGE_FAILED]: x");
    let error = error_of(
        solo(exits(|| StageExit::fail("x").code(code::INVALID_INPUT).class(ErrorClass::Permanent))).run(()),
    )
    .await;
    assert_eq!((error.code(), error.recoverable()), (code::INVALID_INPUT, false));
    assert_eq!(error.hint().as_deref(), code::INVALID_INPUT.hint());
    let own = stageflow::Code::new("OWN");
    let error =
        error_of(solo(exits(|| StageExit::fail("x").code(stageflow::Code::new("OWN")))).run(())).await;
    assert_eq!((error.code(), error.hint()), (own, None));
    assert_eq!(error.report().unwrap().outcome(), RunOutcome::Failed);
}

/// A report of many stages stays readable.
#[tokio::test(start_paused = true)]
async fn a_report_of_many_stages_is_cut() {
    let wide = pipeline(|p| {
        let all = p.parallel("s", 0..999, |_| gives(1_u32)).inputs(());
        p.stage("sum", sum()).inputs(all)
    });
    let report = wide.run(()).await.unwrap().report();
    let text = report.to_string();
    assert_eq!((text.lines().count(), report.stages().count()), (203, 1_000));
    assert!(text.ends_with("… and 800 more stages\n"), "{text}");
}

//! What is emitted: whole lifecycles, their numbers, and events of a stage's own (§18.12; rules S-27, S-28).

use std::{collections::BTreeMap, sync::Arc};

use stageflow::{
    Call, Event, EventKind, FailurePolicy, FieldValue, Interceptor, Next, RunOutcome, TraceContext, Value,
    prelude::*,
};

use super::kit::{error_of, exits, gives, idle, naps, never, pipeline, recorded, report_of, same, solo, sum};

/// The lines of one run of `pipeline`.
async fn lines(pipeline: &Pipeline<(), u32>) -> Vec<String> {
    let (engine, recorder) = recorded();
    report_of(engine.run(pipeline, ())).await;
    recorder.lines()
}

/// KEEP 18.12-264, S-27, W21.
#[tokio::test(start_paused = true)]
async fn a_run_that_completes_tells_its_whole_life() {
    let two = pipeline(|p| {
        let a = p.stage("a", gives(1_u32)).inputs(());
        p.stage("b", same()).inputs(a)
    });
    let expected = [
        "pipeline.started",
        "stage.started a",
        "stage.completed a",
        "stage.started b",
        "stage.completed b",
        "pipeline.completed",
    ];
    assert_eq!(lines(&two).await, expected);
}

/// KEEP 18.12-261, 262, S-27: every terminal state is one event, and so is every outcome of a run.
#[tokio::test(start_paused = true)]
async fn every_ending_is_told_once() {
    let with = |exit: fn() -> StageExit| {
        pipeline(|p| {
            let a = p.stage("a", exits(exit)).inputs(());
            p.stage("b", same()).inputs(a)
        })
    };
    type End = (fn() -> StageExit, [&'static str; 3]);
    let ends: [End; 4] = [
        (|| StageExit::fail("x"), ["stage.failed a", "stage.cancelled b", "pipeline.failed"]),
        (|| StageExit::skip("x"), ["stage.skipped a", "stage.skipped b", "pipeline.completed"]),
        (|| StageExit::cancel("x"), ["stage.cancelled a", "stage.cancelled b", "pipeline.cancelled"]),
        (|| StageExit::deny("x"), ["stage.failed a", "stage.cancelled b", "pipeline.denied"]),
    ];
    for (exit, expected) in ends {
        let lines = lines(&with(exit)).await;
        assert_eq!(lines[..2], ["pipeline.started", "stage.started a"]);
        assert_eq!(lines[2..], expected);
    }
    let blocked = pipeline(|p| {
        p.on_failure(FailurePolicy::Continue);
        let a = p.stage("a", exits(|| StageExit::fail("x"))).inputs(());
        p.stage("b", same()).inputs(a)
    });
    assert_eq!(lines(&blocked).await[2..], ["stage.failed a", "stage.blocked b", "pipeline.failed"]);
    let late = pipeline(|p| {
        p.deadline(1.secs());
        p.stage("only", never()).inputs(())
    });
    assert_eq!(lines(&late).await[2..], ["stage.cancelled only", "pipeline.timed_out"]);
}

/// S-28, S-27: a number for each event from 1 on without gaps, and one terminal event per stage, on several threads too.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn numbers_have_no_gaps_and_each_stage_ends_once() {
    for _ in 0..20 {
        let (engine, recorder) = recorded();
        let wide = pipeline(|p| {
            p.on_failure(FailurePolicy::Continue);
            let good = p.parallel("good", 0..100, |i| {
                stage_fn(move |_, (): ()| async move {
                    if i % 3 == 0 {
                        tokio::task::yield_now().await;
                    }
                    Ok(1_u32)
                })
            });
            let good = good.inputs(());
            let bad = p.parallel("bad", 0..20, |_| exits(|| StageExit::fail("x"))).inputs(());
            p.stage("blocked", sum()).inputs(bad);
            p.stage("sum", sum()).inputs(good)
        });
        engine.run(&wide, ()).await.unwrap();
        let events = recorder.events();
        let numbers: Vec<_> = events.iter().map(Event::seq).collect();
        assert_eq!(numbers, (1..=events.len() as u64).collect::<Vec<_>>());
        let mut ends = BTreeMap::<String, Vec<String>>::new();
        for event in events.iter().filter(|event| event.kind().is_terminal()) {
            ends.entry(event.stage().unwrap_or("").to_owned()).or_default().push(event.name().into_owned());
        }
        assert!(ends.values().all(|all| all.len() == 1), "{ends:?}");
        assert_eq!((ends.len(), events.len()), (123, 1 + 121 * 2 + 1 + 1));
        assert_eq!(events.last().unwrap().name(), "pipeline.completed");
    }
}

/// S-28: what every event carries.
#[tokio::test(start_paused = true)]
async fn every_event_says_whose_it_is_and_when() {
    let (engine, recorder) = recorded();
    let trace: TraceContext = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().unwrap();
    let run = engine.run(&solo(naps(1_500.millis(), 1)), ()).tenant("acme").correlation("c-1").trace(trace);
    let done = run.await.unwrap();
    for event in recorder.events() {
        assert_eq!((event.run_id(), event.pipeline()), (done.run_id(), "solo"));
        assert_eq!((event.tenant(), event.correlation_id()), (Some("acme"), Some("c-1")));
        assert_eq!(event.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(event.time(), event.run().started() + event.elapsed());
    }
    let at: Vec<_> = recorder.events().iter().map(|event| (event.elapsed(), event.attempt())).collect();
    let expected = [(0.secs(), None), (0.secs(), Some(1)), (1_500.millis(), Some(1)), (1_500.millis(), None)];
    assert_eq!(at, expected);
}

/// S-28: the JSON of an event, key by key.
#[tokio::test(start_paused = true)]
async fn an_event_is_flat_json() {
    let (engine, recorder) = recorded();
    let failing = solo(exits(|| StageExit::fail("a \"quoted\"\nmessage").hint("try again")));
    let report = report_of(engine.run(&failing, ()).tenant("acme")).await;
    let events = recorder.events();
    let mut json = serde_json::to_value(&events[2]).unwrap();
    assert!(json["unix_ms"].take().as_u64().unwrap() > 1_600_000_000_000);
    let failure = serde_json::json!({
        "code": "STAGE_FAILED", "class": "unclassified", "stage": "only", "attempts": 1,
        "cause": "a \"quoted\"\nmessage", "hint": "try again", "recoverable": false,
    });
    let expected = serde_json::json!({
        "event": "stage.failed", "seq": 3, "run_id": report.run_id().to_string(), "tenant": "acme",
        "correlation_id": null, "trace_id": events[2].trace_id(), "pipeline": "solo", "stage": "only", "attempt": 1,
        "elapsed_ns": 0, "unix_ms": null, "details": { "failure": failure },
    });
    assert_eq!(json, expected);
    assert!(!serde_json::to_string(&events[2]).unwrap().contains('\n'), "one event is one line");
    let last = serde_json::to_value(events.last().unwrap()).unwrap();
    assert_eq!((&last["event"], &last["details"]["outcome"]), (&"pipeline.failed".into(), &"failed".into()));
}

/// S-28: the spelling on the wire.
#[tokio::test(start_paused = true)]
async fn cancelled_is_spelled_with_two_l() {
    let (engine, recorder) = recorded();
    let run = engine.start(&solo(never()), ());
    idle().await;
    run.cancel("x");
    error_of(run).await;
    let json = serde_json::to_string(&recorder.events()).unwrap();
    assert!(
        json.contains("stage.cancelled") && json.contains("pipeline.cancelled") && !json.contains("canceled")
    );
}

/// KEEP 18.2-70, 18.10-225, W22, W31: events of a stage's own, also from a task it spawned.
#[tokio::test(start_paused = true)]
async fn stages_emit_events_of_their_own() {
    let (engine, recorder) = recorded();
    let emits = stage_fn(|ctx: StageContext, (): ()| async move {
        ctx.emit("page.read", [("page", FieldValue::from(7)), ("of", "x".into()), ("share", 0.5.into())]);
        ctx.record_stage_event("progress", [("done", true)]);
        let spawned = ctx.clone();
        tokio::spawn(async move { spawned.emit("from.task", [("n", u64::MAX)]) }).await?;
        Ok(1_u32)
    });
    engine.run(&solo(emits), ()).await.unwrap();
    let lines = recorder.lines();
    assert_eq!(lines[2..5], ["page.read only", "stage.progress only", "from.task only"]);
    let events = recorder.events();
    let EventKind::Custom(custom) = events[2].kind() else { panic!("{:?}", events[2]) };
    assert_eq!((custom.name(), custom.field("page")), ("page.read", Some(&FieldValue::Int(7))));
    let json = serde_json::to_value(&events[2]).unwrap();
    assert_eq!(json["details"], serde_json::json!({ "page": 7, "of": "x", "share": 0.5 }));
    assert_eq!(events[4].attempt(), Some(1));
    assert_eq!(events[2].to_string().trim(), "3      0ns page.read only page=7 of=\"x\" share=0.5");
}

/// Nobody can give an event of their own the name of one of the engine's.
#[tokio::test(start_paused = true)]
async fn the_names_of_the_engines_events_are_reserved() {
    let (engine, recorder) = recorded();
    let emits = stage_fn(|ctx: StageContext, (): ()| async move {
        ctx.record_stage_event("completed", [("forged", true)]);
        for name in ["pipeline.completed", "events.gap", "stage.completed_twice", "stage."] {
            ctx.emit(name, [("forged", true)]);
        }
        Ok(1_u32)
    });
    engine.run(&solo(emits), ()).await.unwrap();
    let own: Vec<String> = recorder.lines().drain(2..7).collect();
    let expected = [
        "custom.stage.completed only",
        "custom.pipeline.completed only",
        "custom.events.gap only",
        "stage.completed_twice only",
        "stage. only",
    ];
    assert_eq!(own, expected);
}

/// S-29: nothing comes after the last event of a run, whoever still has a context.
#[tokio::test(start_paused = true)]
async fn nothing_is_emitted_after_the_end() {
    let (engine, recorder) = recorded();
    let kept = solo(stage_fn(|ctx: StageContext, (): ()| async move { Ok(ctx) }));
    let done = engine.run(&kept, ()).await.unwrap();
    done.output().emit("late", [("n", 1)]);
    idle().await;
    assert_eq!(recorder.lines().last().unwrap(), "pipeline.completed");
    assert_eq!(recorder.len(), 4);
}

/// S-27: the end of a run says how and why.
#[tokio::test(start_paused = true)]
async fn the_last_event_says_how_and_why() {
    let (engine, recorder) = recorded();
    report_of(engine.run(&solo(exits(|| StageExit::cancel("hung up"))), ())).await;
    let events = recorder.events();
    let EventKind::PipelineEnded { outcome, failure, cancelled } = events.last().unwrap().kind() else {
        panic!("{events:?}");
    };
    assert_eq!((*outcome, failure.is_none()), (RunOutcome::Cancelled, true));
    assert_eq!(cancelled.as_ref().unwrap().to_string(), "`only` ended the run: hung up");
}

/// S-28: an attempt that an interceptor repeats has a number of its own.
#[tokio::test(start_paused = true)]
async fn each_attempt_is_told() {
    let (engine, recorder) = recorded();
    let flaky = stage_fn(|ctx: StageContext, (): ()| async move {
        if ctx.attempt() < 3 { Err(StageExit::fail("x")) } else { Ok(ctx.attempt()) }
    });
    let done =
        engine.run(&pipeline(|p| p.stage("only", flaky).intercept(Again).inputs(())), ()).await.unwrap();
    let seen: Vec<_> = recorder.events().iter().map(|it| (it.name().into_owned(), it.attempt())).collect();
    let expected = [("stage.started", 1), ("stage.started", 2), ("stage.started", 3), ("stage.completed", 3)];
    assert_eq!(seen[1..5], expected.map(|(name, attempt)| (name.to_owned(), Some(attempt))));
    assert_eq!((*done.output(), done.report().stage("only").unwrap().attempts), (3, 3));
}

struct Again;

impl Interceptor for Again {
    async fn around(&self, _: &Call, next: Next<'_>) -> StageResult<Value> {
        loop {
            let done = next.clone().run().await;
            if done.is_ok() {
                return done;
            }
        }
    }
}

/// S-2: two runs at once have numbers of their own.
#[tokio::test(start_paused = true)]
async fn each_run_counts_for_itself() {
    let (engine, recorder) = recorded();
    let nap = solo(naps(10.millis(), 1));
    let (one, other) = (engine.start(&nap, ()), engine.start(&nap, ()));
    let ids = [one.run_id().unwrap(), other.run_id().unwrap()];
    one.await.unwrap();
    other.await.unwrap();
    let events: Arc<[Event]> = recorder.events().into();
    for id in ids {
        let numbers: Vec<_> = events.iter().filter(|event| event.run_id() == id).map(Event::seq).collect();
        assert_eq!(numbers, [1, 2, 3, 4]);
    }
}

/// S-28: the start of a stage stands before everything that it, its attempts and its own run emit, also once a worker has seen
/// so many quick stages in a row that it notes starts and ends together.
#[tokio::test(start_paused = true)]
async fn a_start_is_numbered_before_what_the_stage_emits() {
    struct Twice;
    impl Interceptor for Twice {
        async fn around(&self, _: &Call, next: Next<'_>) -> StageResult<Value> {
            let _first = next.clone().run().await;
            next.run().await
        }
    }
    let child = {
        let mut p = Pipeline::builder("inner");
        let output = p.stage("only", gives(())).inputs(());
        p.build(output).unwrap()
    };
    let links = pipeline(|p| {
        let emits_in = |attempt: u32| {
            stage_fn(move |ctx: StageContext, (): ()| async move {
                if ctx.attempt() == attempt {
                    ctx.emit("spoken", [("x", 1)]);
                }
                Ok(())
            })
        };
        let mut last = p.stage("first", gives(())).inputs(());
        for link in 0..20 {
            last = p.stage(format!("quiet-{link}"), gives(())).after(last).inputs(());
            last = p.stage(format!("loud-{link}"), emits_in(1)).after(last).inputs(());
            last = p.stage(format!("twice-{link}"), emits_in(2)).intercept(Twice).after(last).inputs(());
            last = p.stage(format!("child-{link}"), child.clone()).inputs(last);
        }
        p.stage("sum", gives(1_u32)).after(last).inputs(())
    });
    let (engine, recorder) = recorded();
    engine.run(&links, ()).await.unwrap();
    let lines: Vec<_> =
        recorder.events().iter().filter(|it| it.pipeline() == "test").filter_map(story).collect();
    for link in 0..20 {
        let of = |stage: String| -> Vec<String> {
            let own = lines.iter().filter(|(told, _)| *told == stage);
            own.map(|(_, line)| line.clone()).collect()
        };
        assert_eq!(of(format!("quiet-{link}")), ["stage.started 1", "stage.completed 1"]);
        assert_eq!(of(format!("loud-{link}")), ["stage.started 1", "spoken 1", "stage.completed 1"]);
        let twice = ["stage.started 1", "stage.started 2", "spoken 2", "stage.completed 2"];
        assert_eq!(of(format!("twice-{link}")), twice);
        let child = ["stage.started 1", "pipeline.child_started 1", "stage.completed 1"];
        assert_eq!(of(format!("child-{link}")), child);
    }
    let numbers: Vec<_> =
        recorder.events().iter().filter(|it| it.pipeline() == "test").map(Event::seq).collect();
    assert!(numbers.iter().copied().eq(1..=numbers.len() as u64), "{numbers:?}");
}

/// The stage of an event, and what it says.
fn story(event: &Event) -> Option<(String, String)> {
    Some((event.stage()?.to_owned(), format!("{} {}", event.name(), event.attempt()?)))
}

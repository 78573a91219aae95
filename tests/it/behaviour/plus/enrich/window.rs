//! A context window on a pipeline and on an engine: it counts without code in any stage, and says what has no room.

use std::sync::{Arc, Mutex};

use stageflow::{
    StageKind, code,
    plus::enrich::{
        ContextExt as _, ContextLevel, ContextUtilization, ContextWindow, EstimatedTokens, ItemCut, Measure,
        MeasuredIn as _, OverLimit, TextCut, TokenCounter,
    },
    prelude::*,
};

use super::{Chars, Letters, account, chain, tokens, told, total};
use crate::behaviour::kit::{error_of, gives, pipeline, recorded};

fn window(limit: usize) -> ContextWindow {
    ContextWindow::tokens(limit).counter(Chars)
}

/// SEED3-21: the utilities were not wired into execution.
#[tokio::test(start_paused = true)]
async fn seed3_21_every_enriching_stage_is_counted_without_code_in_it() {
    let (engine, recorder) = recorded();
    let pipeline = chain(window(100).reserve(20), &[10, 30]);
    let report = engine.run(&pipeline, ()).await.expect("it only counts").report();
    let account = account(&report);
    assert_eq!(
        account.to_string(),
        "context window `context`: 40 of 100 tokens used, 20 reserved, below the limit\n\
         \u{20} e0       10   12.5 %\n\
         \u{20} e1       30   37.5 %\n"
    );
    assert_eq!(
        told(&recorder, "context.measured"),
        [
            r#"e0 window="context" tokens=10 used=10 limit=100 counter="chars""#,
            r#"e1 window="context" tokens=30 used=40 limit=100 counter="chars""#
        ]
    );
    assert!(told(&recorder, "context.near_limit").is_empty());
}

#[tokio::test(start_paused = true)]
async fn on_an_engine_it_counts_every_pipeline_each_run_from_nothing() {
    let engine = Engine::builder().interceptor(window(100)).build().expect("an engine");
    let pipeline = chain(None, &[10, 20]);
    for _ in 0..2 {
        let report = engine.run(&pipeline, ()).await.expect("it only counts").report();
        assert_eq!(tokens(&report), [("e0".to_owned(), Some(10)), ("e1".to_owned(), Some(20))]);
    }
}

/// SEED3-8 and ENRICH-005.1: exact at 0, limit − 1, limit and limit + 1, and at lengths as they were tried.
#[tokio::test(start_paused = true)]
async fn seed3_8_levels_are_exact_and_each_crossing_is_told_once() {
    use ContextLevel::{Below, Full, Near, Over};
    for (limit, letters, level, near, over) in [
        (10, 0, Below, 0, 0),
        (10, 7, Below, 0, 0),
        (10, 9, Near, 1, 0),
        (10, 10, Full, 1, 0),
        (10, 11, Over, 1, 1),
        (0, 0, Full, 0, 0),
        (0, 1, Over, 0, 1),
        (100_000, 75_000, Below, 0, 0),
        (100_000, 100_001, Over, 1, 1),
    ] {
        let (engine, recorder) = recorded();
        let pipeline = chain(window(limit), &[letters, 0, 0]);
        let report = engine.run(&pipeline, ()).await.expect("it only records").report();
        let used = account(&report).utilization;
        assert_eq!((used.used(), used.level()), (letters, level), "{letters} of {limit}");
        assert_eq!(told(&recorder, "context.near_limit").len(), near, "{letters} of {limit}");
        // Each further output of a window that is too full is one that does not fit.
        assert_eq!(told(&recorder, "context.over_limit").len(), over * 3, "{letters} of {limit}");
    }
    let (engine, recorder) = recorded();
    let pipeline = chain(window(100).near_at(50), &[49, 1, 10, 20]);
    engine.run(&pipeline, ()).await.expect("it only records");
    assert_eq!(
        told(&recorder, "context.near_limit"),
        [r#"e1 window="context" used=50 limit=100 near_at=50"#]
    );
}

#[tokio::test(start_paused = true)]
async fn a_stage_without_room_fails_with_a_code_and_counts_nothing() {
    let (engine, recorder) = recorded();
    let pipeline = chain(window(50).over_limit(OverLimit::Fail), &[30, 21, 1]);
    let error = error_of(engine.run(&pipeline, ())).await;
    assert_eq!((error.code(), error.recoverable()), (code::CONTEXT_WINDOW_EXCEEDED, false));
    let report = error.report().expect("it ran");
    let message = report.failures()[0].message().clone();
    assert_eq!(
        message,
        "context window `context` of 50: `e1` is 21 tokens, there is room for 20, and it may not be cut"
    );
    assert_eq!(tokens(&report), [("e0".to_owned(), Some(30))]);
    assert_eq!(
        told(&recorder, "context.over_limit"),
        [r#"e1 window="context" tokens=21 used=30 limit=50 policy="fail""#]
    );
}

/// BUG-046 and ENRICH-005.3: a hundred documents for which there is no room are cut, and that is told.
#[tokio::test(start_paused = true)]
async fn enrich_005_what_is_cut_is_told_with_what_why_how_much_where_and_how() {
    #[derive(Clone)]
    struct Doc(String);
    impl Measure for Doc {
        fn measure(&self, counter: &dyn TokenCounter) -> usize {
            self.0.measure(counter)
        }
    }
    let (engine, recorder) = recorded();
    let docs = vec![Doc("secret ".repeat(100) + "end"); 100];
    let mut p = Pipeline::builder("rag");
    p.intercept(window(10_000).shorten::<Vec<Doc>>(ItemCut::newest_first()));
    let found = p.stage("search", gives(docs)).kind(StageKind::Enrich).inputs(());
    let count = stage_fn(|ctx: StageContext, docs: Arc<Vec<Doc>>| async move {
        let account = ctx.context_window().expect("the stage before was counted");
        Ok((docs.len(), account.room(), ctx.truncations().count()))
    });
    let count = p.stage("count", count).inputs(found);
    let pipeline = p.build(count).expect("it is right");

    let done = engine.run(&pipeline, ()).await.expect("it is cut");
    assert_eq!(*done.output(), (14, 158, 1), "14 documents of 703 letters");
    let events = told(&recorder, "context.truncated");
    assert_eq!(
        events,
        ["search what=\"search\" why=\"room for 10000 of 10000 tokens in the context window `context`\" \
          strategy=\"newest_first\" unit=\"items\" before=70300 after=9842 removed=\"14..100\" pieces=86 \
          counter=\"chars\""]
    );
    let cuts = done.report().snapshot().truncations().records();
    assert_eq!((cuts.len(), cuts[0].cut()), (1, 70_300 - 9_842));
    assert!(!format!("{cuts:?} {events:?}").contains("secret"), "no payload is in a record");
    assert_eq!(account(&done.report()).stages[0].cut_from, Some(70_300));
    assert_eq!(told(&recorder, "context.near_limit").len(), 1);
    assert!(told(&recorder, "context.over_limit")[0].ends_with(r#"policy="shorten""#));
}

#[tokio::test(start_paused = true)]
async fn a_type_that_nothing_cuts_fails_and_one_that_nothing_measures_is_told() {
    let (engine, recorder) = recorded();
    let pipeline = chain(window(5).over_limit(OverLimit::Shorten), &[6]);
    let error = error_of(engine.run(&pipeline, ())).await;
    assert_eq!(error.code(), code::CONTEXT_WINDOW_EXCEEDED);
    assert!(error.report().expect("it ran").failures()[0].message().ends_with("no strategy cuts its type"));

    let pipeline = pipeline_of_one(window(5).over_limit(OverLimit::Fail));
    let report = engine.run(&pipeline, ()).await.expect("what is not measured has no limit").report();
    assert_eq!(tokens(&report), [("only".to_owned(), None)]);
    assert!(account(&report).to_string().ends_with("  only  not measured\n"));
    assert_eq!(told(&recorder, "context.unmeasured"), [r#"only window="context""#]);
    let pipeline = pipeline_of_one(window(5).measure_by(|bytes: &Vec<u8>, _| bytes.len()));
    assert_eq!(tokens(&engine.run(&pipeline, ()).await.expect("it is counted").report())[0].1, Some(3));
}

fn pipeline_of_one(window: ContextWindow) -> Pipeline<(), Vec<u8>> {
    pipeline(|p| {
        p.intercept(window);
        p.stage("only", gives(vec![1_u8, 2, 3])).kind(StageKind::Enrich).inputs(())
    })
}

#[tokio::test(start_paused = true)]
async fn which_stages_count_is_what_was_said() {
    let run = async |window: ContextWindow| {
        let pipeline = chain(window.measure_by(|_: &usize, _| 1), &[1, 2]);
        let report = pipeline.run(()).await.expect("it only counts").report();
        report.snapshot().context_window().map(|account| account.report().stages.len())
    };
    assert_eq!(run(window(9)).await, Some(2));
    assert_eq!(run(window(9).stages(["e1", "total"])).await, Some(2));
    assert_eq!(run(window(9).kinds([StageKind::Transform])).await, Some(1));
    assert_eq!(run(window(9).kinds([StageKind::Work])).await, None, "it has met no call");

    // On single stages, whatever their kind; both in one account, and with a strategy that the compiler has checked.
    let shared = window(10).named("prompt").counter(EstimatedTokens::upper_bound());
    let mut p = Pipeline::builder("single");
    let one = p.stage("one", gives("12345678".to_owned())).measured_in(&shared).inputs(());
    let two =
        p.stage("two", gives("abcdef".to_owned())).shortened_in(&shared, TextCut::keep_end()).after(one);
    let two = two.inputs(());
    let all = p.stage("all", total()).inputs([one, two]);
    let report = p.build(all).expect("it is right").run(()).await.expect("it is cut").report();
    assert_eq!(tokens(&report), [("one".to_owned(), Some(8)), ("two".to_owned(), Some(2))]);
    assert_eq!(report.snapshot().context_window().expect("it is there").window(), "prompt");
    assert_eq!(report.output_of::<String>("two").as_deref().map(String::as_str), Some("ef"));
}

/// A stage reads how much room there is, and counts what is no output itself.
#[tokio::test(start_paused = true)]
async fn a_stage_reads_the_account_and_adds_to_it() {
    let (engine, recorder) = recorded();
    let shared = window(100);
    let seen: Arc<Mutex<Vec<ContextUtilization>>> = Arc::default();
    let (window, log) = (shared.clone(), Arc::clone(&seen));
    let prompt = stage_fn(move |ctx: StageContext, found: Arc<String>| {
        let (window, log) = (window.clone(), Arc::clone(&log));
        async move {
            let account = window.account(ctx.snapshot());
            log.lock().expect("no line panics").push(account.utilization());
            window.record(&ctx, "system prompt", 85);
            let after = window.record(&ctx, "system prompt", 65);
            log.lock().expect("no line panics").push(after);
            Ok(found.len())
        }
    });
    let mut p = Pipeline::builder("prompted");
    p.intercept(shared);
    let found = p.stage("search", Letters(20)).inputs(());
    let prompt = p.stage("prompt", prompt).inputs(found);
    let pipeline = p.build(prompt).expect("it is right");
    let report = engine.run(&pipeline, ()).await.expect("it only counts").report();
    let used: Vec<_> = seen.lock().expect("no line panics").iter().map(ContextUtilization::used).collect();
    assert_eq!(used, [20, 85]);
    let lines: Vec<_> = account(&report).stages.into_iter().map(|one| (one.part, one.tokens)).collect();
    assert_eq!(lines, [(None, Some(20)), (Some("system prompt".to_owned()), Some(65))]);
    // Over, and back to near: only the way up is told, and it is one crossing.
    assert_eq!(told(&recorder, "context.near_limit").len(), 1);
    assert_eq!(told(&recorder, "context.over_limit").len(), 1);
}

/// A window gives no output of its own, so it takes nothing from the rule about least times.
#[tokio::test(start_paused = true)]
async fn s_15_a_run_that_cannot_end_in_time_is_refused_behind_a_window_too() {
    let pipeline = pipeline(|p| p.stage("slow", Letters(1)).min_time(2.secs()).inputs(()));
    for engine in [Engine::builder(), Engine::builder().interceptor(window(9))] {
        let engine = engine.build().expect("an engine");
        let error = error_of(engine.run(&pipeline, ()).deadline(1.secs())).await;
        assert_eq!(error.code(), code::DEADLINE_EXCEEDED);
        assert!(error.report().is_none(), "it is refused, and not begun");
    }
}

/// Two windows in one run, one within the other: each has an account, and a clone of one has none of its own.
#[tokio::test(start_paused = true)]
async fn each_window_has_an_account_of_its_own() {
    let (all, one) = (window(100), window(20).named("one").stages(["e1"]));
    let mut p = Pipeline::builder("two");
    p.intercept(all.clone());
    p.intercept(one);
    let ports: Vec<_> =
        (0..3).map(|at| p.stage(format!("e{at}"), Letters(10)).measured_in(&all).inputs(())).collect();
    let total = p.stage("total", total()).inputs(ports);
    let report = p.build(total).expect("it is right").run(()).await.expect("it only counts").report();
    let used = report.snapshot().context_windows().into_iter().map(|account| {
        let used = account.utilization().used();
        (account.window().to_owned(), used, account.report().stages.len())
    });
    assert_eq!(used.collect::<Vec<_>>(), [("context".to_owned(), 30, 3), ("one".to_owned(), 10, 1)]);
}

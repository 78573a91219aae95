//! What could break an account: attempts, fallbacks, child runs, concurrency, counters that lie or panic, cancellation.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use stageflow::{
    Call, Interceptor, Layer, Next, Placement, StageKind, Value, code,
    interceptors::{Fallback, Idempotency, IdempotencyKey, InMemoryStore, Retry},
    plus::enrich::{
        ContextExt as _, ContextLevel, ContextWindow, OverLimit, Shorten, Shortened, TextCut, TokenCounter,
    },
    prelude::*,
    testing::Sim,
};

use super::{Chars, Letters, account, chain, tokens, told, total};
use crate::behaviour::kit::{error_of, pipeline, recorded};

fn window(limit: usize) -> ContextWindow {
    ContextWindow::tokens(limit).counter(Chars)
}

/// A stage that fails so many times, and then gives ten letters.
fn fails(times: usize, retries: bool) -> impl Stage<Input = (), Output = String> {
    let calls = Arc::new(AtomicUsize::new(0));
    stage_fn(move |_, (): ()| {
        let call = calls.fetch_add(1, Ordering::SeqCst);
        async move {
            match call < times {
                true if retries => Err(StageExit::retry("busy")),
                true => Err("busy").transient(),
                false => Ok("x".repeat(10)),
            }
        }
    })
}

fn one(stage: impl Stage<Input = (), Output = String>, window: ContextWindow) -> Pipeline<(), String> {
    pipeline(|p| {
        p.intercept(window);
        p.stage("only", stage)
            .kind(StageKind::Enrich)
            .retry(Retry::constant(1.millis()).max_attempts(5))
            .inputs(())
    })
}

#[tokio::test(start_paused = true)]
async fn attempts_count_once_however_they_are_made() {
    for retries in [false, true] {
        let (engine, recorder) = recorded();
        let report =
            engine.run(&one(fails(3, retries), window(100)), ()).await.expect("the fourth helps").report();
        assert_eq!(report.stage("only").map(|stage| stage.attempts), Some(4), "the fault fired");
        assert_eq!(tokens(&report), [("only".to_owned(), Some(10))]);
        assert_eq!(told(&recorder, "context.measured").len(), 1);
    }
    // Without a policy the engine makes the whole call again.
    let without = pipeline(|p| {
        p.intercept(window(100));
        p.stage("only", fails(2, true)).kind(StageKind::Enrich).inputs(())
    });
    let report = without.run(()).await.expect("the third helps").report();
    assert_eq!(report.stage("only").map(|stage| stage.attempts), Some(3), "the fault fired");
    assert_eq!(tokens(&report), [("only".to_owned(), Some(10))]);
}

/// Makes each call twice, and gives what the second gives.
struct Twice;

impl Interceptor for Twice {
    async fn around(&self, _: &Call, next: Next<'_>) -> StageResult<Value> {
        next.clone().run().await?;
        next.run().await
    }

    fn placement(&self) -> Placement {
        Placement::At(Layer::Retry)
    }
}

#[tokio::test(start_paused = true)]
async fn outputs_that_nobody_gets_do_not_count() {
    let (engine, recorder) = recorded();
    let pipeline = pipeline(|p| {
        p.intercept(window(15).shorten::<String>(TextCut::keep_start()));
        p.intercept(Twice);
        p.stage("only", Letters(10)).inputs(())
    });
    let report = engine.run(&pipeline, ()).await.expect("there is room").report();
    assert_eq!(report.stage("only").map(|stage| stage.attempts), Some(2), "it was made twice");
    assert_eq!(tokens(&report), [("only".to_owned(), Some(10))]);
    assert_eq!(told(&recorder, "context.measured").len(), 1);
}

/// What the readers get is what counts: the answer of a fallback, and one from a store, cut as any other.
#[tokio::test(start_paused = true)]
async fn answers_in_place_of_the_stage_are_counted_and_cut() {
    let fallback = pipeline(|p| {
        p.intercept(window(100));
        let stage = p.stage("only", fails(9, false)).kind(StageKind::Enrich);
        stage.intercept(Fallback::value("ten years".to_owned())).inputs(())
    });
    let report = fallback.run(()).await.expect("the fallback answers").report();
    assert_eq!(tokens(&report), [("only".to_owned(), Some(9))]);

    let stored = pipeline(|p| {
        p.intercept(window(4).shorten::<String>(TextCut::keep_start()));
        p.intercept(Idempotency::new(InMemoryStore::new()));
        p.stage("only", Letters(10)).inputs(())
    });
    for _ in 0..2 {
        let run = stored.run(()).extension(IdempotencyKey::new("once")).await.expect("it is cut");
        assert_eq!((run.output().as_str(), tokens(&run.report())[0].1), ("xxxx", Some(4)));
        assert_eq!(run.report().snapshot().truncations().count(), 1);
    }
}

/// A pipeline in the place of a stage counts with what it gives; what lies in it has an account of its own.
#[tokio::test(start_paused = true)]
async fn a_child_run_has_an_account_of_its_own_and_nothing_counts_twice() {
    let (engine, recorder) = {
        let recorder = stageflow::Recorder::new();
        let engine = Engine::builder().sink(recorder.clone()).interceptor(window(100));
        (engine.build().expect("an engine"), recorder)
    };
    let child: Pipeline<(), String> = pipeline(|p| {
        let first = p.stage("inner", Letters(30)).inputs(());
        let last = stage_fn(|ctx: StageContext, text: Arc<String>| async move {
            let used = ctx.context_window().map(|account| account.utilization().used());
            Ok(format!("{} {used:?}", text.len()))
        });
        p.stage("last", last).inputs(first)
    });
    let parent = pipeline(|p| {
        let unit = p.input();
        p.stage("child", child).kind(StageKind::Enrich).inputs(unit)
    });
    let run = engine.run(&parent, ()).await.expect("it only counts");
    assert_eq!(run.output(), "30 Some(30)");
    assert_eq!(tokens(&run.report()), [("child".to_owned(), Some("30 Some(30)".len()))]);
    assert_eq!(told(&recorder, "context.measured").len(), 2);
}

/// A thousand stages on all threads: sums are exact, and the way up is told once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_concurrent_stages_lose_nothing_and_cross_once() {
    const STAGES: usize = 1_000;
    let fan = |window: ContextWindow| {
        let mut p = Pipeline::builder("fan");
        p.intercept(window);
        let all = p.parallel("e", 0..STAGES, |at| Letters(at % 7)).inputs(());
        let total = p.stage("total", total()).inputs(all);
        p.build(total).expect("it is right")
    };
    let sum: usize = (0..STAGES).map(|at| at % 7).sum();
    let (engine, recorder) = recorded();
    let report = engine.run(&fan(window(sum)), ()).await.expect("it only counts").report();
    engine.flush().await;
    let counted = account(&report);
    assert_eq!((counted.utilization.used(), counted.utilization.level()), (sum, ContextLevel::Full));
    assert_eq!(counted.stages.len(), STAGES);
    let names = report.stages().map(|stage| stage.name).take(STAGES);
    assert!(counted.stages.iter().map(|one| one.stage.clone()).eq(names), "in the order of the pipeline");
    assert_eq!(told(&recorder, "context.near_limit").len(), 1);
    assert_eq!(told(&recorder, "context.over_limit").len(), 0);

    // With less room than there is need for, what is left is exactly the room, whoever gets it.
    for _ in 0..5 {
        let half = sum / 2;
        let run = engine.run(&fan(window(half).shorten::<String>(TextCut::keep_start())), ()).await;
        let run = run.expect("it is cut");
        let counted = account(&run.report());
        assert!(counted.utilization.used() <= half && *run.output() == counted.utilization.used());
        let cut = run.report().snapshot().truncations().cut();
        assert_eq!(counted.utilization.used() + cut, sum, "what is not used was cut, and is recorded");
    }
}

#[tokio::test(start_paused = true)]
async fn a_counter_that_panics_fails_its_stage_and_spoils_nothing() {
    struct Panics;
    impl TokenCounter for Panics {
        fn count(&self, text: &str) -> usize {
            assert!(![50, 60].contains(&text.len()), "fifty or sixty");
            text.len()
        }
    }
    let window = ContextWindow::tokens(60).counter(Panics).shorten::<String>(TextCut::keep_start());
    // It panics when it counts the output, and when it counts a cut of one: the room of that is given back.
    for letters in [50, 100] {
        let pipeline = {
            let mut p = Pipeline::builder("panics");
            p.intercept(window.clone().over_limit(OverLimit::Shorten)).on_failure(FailurePolicy::Continue);
            let bad = p.stage("bad", Letters(letters)).inputs(());
            let good = p.stage("good", Letters(20)).inputs(());
            let good = p.stage("total", total()).inputs([good]);
            let _ = p.stage("reader", total()).inputs([bad]);
            p.build(good).expect("it is right")
        };
        let report = crate::behaviour::kit::report_of(pipeline.run(())).await;
        let panicked: Vec<_> =
            report.failures().iter().map(|one| (one.stage().to_owned(), one.code())).collect();
        assert_eq!(panicked, [("bad".to_owned(), code::PANIC)]);
        let room = report.snapshot().context_window().expect("it is there").room();
        assert_eq!(room, 40, "what was held is given back");
        assert_eq!(report.output_of::<String>("good").map(|text| text.len()), Some(20));
    }
}

#[tokio::test(start_paused = true)]
async fn counters_and_strategies_that_lie_never_exceed_the_limit_in_silence() {
    /// Gives more each time.
    struct Grows(AtomicUsize);
    impl TokenCounter for Grows {
        fn count(&self, _: &str) -> usize {
            self.0.fetch_add(1, Ordering::SeqCst)
        }
    }
    /// Gives enormous numbers.
    struct Huge;
    impl TokenCounter for Huge {
        fn count(&self, text: &str) -> usize {
            if text.is_empty() { 0 } else { usize::MAX }
        }
    }
    /// Leaves all of it.
    struct Leaves;
    impl Shorten<String> for Leaves {
        fn strategy(&self) -> &str {
            "leaves"
        }
        fn shorten(&self, value: &String, _: usize, _: &dyn TokenCounter) -> Option<Shortened<String>> {
            let unit = stageflow::plus::enrich::CutUnit::Bytes;
            Some(Shortened { value: value.clone(), unit, removed: Vec::new() })
        }
    }
    let cuts = |window: ContextWindow| window.shorten::<String>(TextCut::middle_out());
    let grows = chain(cuts(ContextWindow::tokens(3).counter(Grows(AtomicUsize::new(9)))), &[8]);
    assert_eq!(error_of(grows.run(())).await.code(), code::CONTEXT_WINDOW_EXCEEDED);
    let leaves = chain(window(3).shorten::<String>(Leaves), &[8]);
    assert_eq!(error_of(leaves.run(())).await.code(), code::CONTEXT_WINDOW_EXCEEDED);

    let huge = || ContextWindow::tokens(usize::MAX).counter(Huge);
    let report = chain(huge(), &[1, 1]).run(()).await.expect("it only counts").report();
    assert_eq!(account(&report).utilization.used(), usize::MAX, "sums saturate");
    let report = chain(cuts(huge()), &[1, 1]).run(()).await.expect("it is cut").report();
    assert_eq!(tokens(&report), [("e0".to_owned(), Some(usize::MAX)), ("e1".to_owned(), Some(0))]);
}

#[tokio::test(start_paused = true)]
async fn with_a_limit_of_nothing_everything_is_cut_to_nothing() {
    let pipeline = chain(window(0).shorten::<String>(TextCut::keep_end()), &[5, 0, 7]);
    let run = pipeline.run(()).await.expect("it is cut");
    assert_eq!(*run.output(), 0);
    assert_eq!(run.report().snapshot().truncations().count(), 2, "an empty output is not cut");
}

/// Cancelled at any poll, a run leaves nothing behind, and its account counts only what came.
#[test]
fn cancelled_at_every_poll_nothing_is_left() {
    let naps = || {
        stage_fn(|_, (): ()| async move {
            // sleeps: on paused time
            tokio::time::sleep(Duration::from_millis(5)).await;
            Ok("x".repeat(20))
        })
    };
    let pipeline: Pipeline<(), usize> = pipeline(|p| {
        p.intercept(window(30).shorten::<String>(TextCut::middle_out()));
        let one = p.stage("one", naps()).kind(StageKind::Enrich).inputs(());
        let two = p.stage("two", naps()).kind(StageKind::Enrich).inputs(());
        p.stage("total", total()).inputs([one, two])
    });
    Sim::cancel_at_every_poll(&pipeline, ()).assert_clean();
}

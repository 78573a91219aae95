//! What an engine in development writes.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
};

use stageflow_interceptors::{CircuitBreaker, Retry};

use super::{ATTEMPT, console::Console};
use crate::{CustomEvent, EngineBuilder, prelude::*};

/// Keeps what is written.
#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Write for Page {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("nobody panics").write(text)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Page {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("nobody panics").clone()).expect("it is text")
    }

    /// The engine of the preset, which writes here.
    fn engine(&self) -> EngineBuilder {
        let console = Console::new(self.clone());
        let lints = console.clone();
        Engine::development().without_sinks().sink(console).on_lint(move |report| lints.write(report))
    }
}

async fn fails(_ctx: StageContext, _: ()) -> StageResult<u32> {
    Err("no\u{1b}[31m route").transient()
}

async fn talks(ctx: StageContext, _: ()) -> StageResult<u32> {
    ctx.emit("order.placed", [("card", "4111")]);
    Ok(1)
}

fn pipeline<F, S>(stage: F, retry: Option<Retry>) -> Pipeline<(), u32>
where
    F: crate::IntoStage<Stage = S>,
    S: Stage<Input = (), Output = u32>,
{
    let mut p = Pipeline::builder::<()>("orders");
    let call = p.stage("call", stage);
    let call = match retry {
        Some(retry) => call.retry(retry),
        None => call,
    };
    let called = call.inputs(());
    p.build(called).expect("the pipeline is right")
}

#[tokio::test(start_paused = true)]
async fn it_writes_what_went_wrong_and_nothing_else() {
    let page = Page::default();
    let engine = page.engine().build().expect("the engine is right");
    engine.run(&pipeline(stage_fn(talks), None), ()).await.expect("it completes");
    engine.flush().await;
    assert_eq!(page.text(), "");

    engine.run(&pipeline(stage_fn(fails), None), ()).await.unwrap_err();
    engine.flush().await;
    let text = page.text();
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].starts_with("[orders] call: stage.failed: STAGE_FAILED: no\\u{1b}[31m route"), "{text}");
    assert!(lines[1].starts_with("[orders]: pipeline.failed: failed after"), "{text}");
    assert_eq!(lines.len(), 2, "{text}");
}

#[tokio::test(start_paused = true)]
async fn it_writes_what_policies_decide_and_no_payloads() {
    let page = Page::default();
    let breaker = CircuitBreaker::builder("shop").consecutive(2).build().expect("a breaker");
    let engine = page.engine().interceptor(breaker).build().expect("the engine is right");
    let retry = Retry::constant(1.secs()).no_jitter().max_attempts(2);
    engine.run(&pipeline(stage_fn(fails), Some(retry)), ()).await.unwrap_err();
    engine.flush().await;
    let text = page.text();
    for line in [
        "[orders] call: stage.retry_scheduled attempt=\"2\" delay_ms=\"1000\"",
        "breaker.opened key=\"shop\" reason=\"consecutive\"",
        "stage.retry_exhausted attempts=\"2\" because=\"max_attempts\"",
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
    let event = CustomEvent::new("order.placed", [("card", "4111")]);
    assert!(event.field("card").is_some() && !text.contains("4111"));
}

#[tokio::test(start_paused = true)]
async fn it_writes_what_the_lint_finds_once_for_each_pipeline() {
    let page = Page::default();
    let engine = page.engine().retry(Retry::default()).build().expect("the engine is right");
    let pipeline = pipeline(stage_fn(talks), Some(Retry::default()));
    for _ in 0..3 {
        engine.run(&pipeline, ()).await.expect("it completes");
    }
    assert_eq!(page.text().matches("nested-retries").count(), 1, "{}", page.text());
    assert!(ATTEMPT.as_secs() == 30);
}

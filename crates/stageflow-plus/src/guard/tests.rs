//! Guards as plain objects: verdicts by every way, compositions, and texts.

mod approvals;
mod compose;
mod texts;
mod verdicts;

use std::{future::Future, sync::Arc};

use stageflow_core::{StageContext, StageResult};

use super::{AsyncGuard, Guard, GuardStage, Judgement, Verdict, async_guard, guard_fn};

/// Runs to the end, on paused time.
fn run<O>(future: impl Future<Output = O>) -> O {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(future)
}

/// What a stage with this guard makes of a text.
fn judged(guard: impl Guard<String>, text: &str) -> Judgement<String> {
    let judgement = run(async {
        let ctx = StageContext::for_test();
        GuardStage::new(guard).judge(&ctx, Some(Arc::new(text.to_owned()))).await
    });
    judgement.unwrap_or_else(|exit| panic!("it left: {exit}"))
}

/// The text that goes on, or the objections.
fn goes_on(guard: impl Guard<String>, text: &str) -> Result<String, String> {
    match judged(guard, text) {
        Judgement::Passed(guarded) => Ok(guarded.to_string()),
        Judgement::Blocked(blocked) => Err(blocked.to_string()),
    }
}

fn allows() -> impl Guard<String> {
    guard_fn("allows", |_: &String| Verdict::allow())
}

fn blocks(name: &'static str) -> impl Guard<String> {
    guard_fn(name, |_: &String| Verdict::block("no"))
}

fn abstains() -> impl Guard<String> {
    guard_fn("abstains", |_: &String| Verdict::abstain())
}

/// Puts one text in the place of another.
fn turns(name: &'static str, from: &'static str, to: &'static str) -> impl Guard<String> {
    guard_fn(
        name,
        move |text: &String| {
            if text == from { Verdict::transform(to.to_owned(), "other") } else { Verdict::allow() }
        },
    )
}

/// Blocks everything but one text.
fn only(wanted: &'static str) -> impl Guard<String> {
    guard_fn(
        "only",
        move |text: &String| if text == wanted { Verdict::allow() } else { Verdict::block("other") },
    )
}

type Hangs = std::future::Pending<StageResult<Verdict<String>>>;

fn hangs(name: &'static str) -> AsyncGuard<impl Fn(StageContext, Arc<String>) -> Hangs> {
    async_guard(name, |_, _: Arc<String>| std::future::pending())
}

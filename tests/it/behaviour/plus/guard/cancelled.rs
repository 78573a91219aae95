//! Cancelled at every poll: nothing is left of guards and loops, wherever they were.

use std::sync::Arc;

use stageflow::{
    plus::guard::{Guard, GuardExt as _, Guarded, Guards, Refine, Verdict, async_guard},
    prelude::*,
    testing::{Ledger, Sim},
};

use super::{Draft, drafting, topic};

/// Holds something while it looks.
fn holds(millis: u64, wants: u32) -> impl Guard<String, String> {
    async_guard("holds", move |ctx: StageContext, text: Arc<String>| async move {
        let ledger = Ledger::of(&ctx);
        let _lease = ledger.acquire("a connection");
        tokio::task::yield_now().await;
        // sleeps: on paused time
        tokio::time::sleep(millis.millis()).await;
        let fine = *text == format!("v{wants}");
        StageResult::Ok(if fine {
            Verdict::allow()
        } else {
            Verdict::block("not_it").feedback("more".to_owned())
        })
    })
}

fn write() -> impl Stage<Input = Arc<Draft>, Output = String> {
    stage_fn(|ctx: StageContext, attempt: Arc<Draft>| async move {
        let ledger = Ledger::of(&ctx);
        let _lease = ledger.acquire("a model");
        ledger.until_clean_up(&ctx, "a file", async {});
        // sleeps: on paused time
        tokio::time::sleep(2.millis()).await;
        Ok(format!("v{}", attempt.number()))
    })
}

#[test]
fn nothing_is_left_of_guards_at_any_poll() {
    let looks = |millis: u64| {
        async_guard("looks", move |ctx: StageContext, _: Arc<String>| async move {
            let ledger = Ledger::of(&ctx);
            let _lease = ledger.acquire("a connection");
            tokio::task::yield_now().await;
            // sleeps: on paused time
            tokio::time::sleep(millis.millis()).await;
            StageResult::<Verdict<String>>::Ok(Verdict::allow())
        })
    };
    for in_turn in [false, true] {
        let guards = Guards::all().with(looks(1)).with(looks(3).timeout(2.millis())).with(looks(2));
        let either = Guards::any().with(if in_turn { guards.in_turn() } else { guards }).with(looks(5));
        let mut p = Pipeline::builder("guards");
        let text = p.input();
        let safe = p.guard("guard", either).over(text);
        let pipeline: Pipeline<String, Guarded<String>> = p.build(safe).expect("it is right");
        let report = Sim::cancel_at_every_poll(&pipeline, topic()).seeds(0..2).assert_clean();
        assert!(report.polls() > 3 && report.acquired() > 0, "{report}");
    }
}

#[test]
fn nothing_is_left_of_a_loop_of_stages_at_any_poll() {
    let refine = Refine::new(write(), Guards::all().with(holds(1, 3)).with(holds(2, 3))).deadline(1.secs());
    let report = Sim::cancel_at_every_poll(&drafting(refine), topic()).seeds(0..2).assert_clean();
    assert!(report.polls() > 10 && report.acquired() > 0, "{report}");
}

#[test]
fn nothing_is_left_of_a_loop_of_pipelines_at_any_poll() {
    let mut one = Pipeline::builder("one draft");
    let attempt = one.input();
    let text = one.stage("write", write()).inputs(attempt);
    let one = one.build(text).expect("it is right");
    let refine = Refine::new(one, holds(1, 3)).deadline(1.secs());
    let report = Sim::cancel_at_every_poll(&drafting(refine), topic()).seeds(0..2).assert_clean();
    assert!(report.polls() > 5 && report.clean_ups() > 0, "{report}");
}

//! The rules of [`Stage`].

use std::{future::poll_fn, pin::pin};

use stageflow_core::{Stage, StageResult, time::Human};
use tokio::time::timeout;

use super::{
    ContractError, Findings, LIMIT, Rule,
    drive::{Ending, both, drive},
};
use crate::TestContext;

/// At how many polls of a call it is dropped, at most.
const MOST_DROPS: u32 = 256;

const PANICS: Rule = Rule {
    text: "a stage returns an error instead of panicking",
    hint: "give the error back with `?`, or with `StageExit::fail`",
};
const ENDS: Rule = Rule {
    text: "a call ends by itself",
    hint: "wait for nothing that may never come without a timeout of your own",
};
const DROPS: Rule = Rule {
    text: "dropping a call does not panic",
    hint: "look at the `Drop` of what the future holds: it runs at any `.await`, with work half done",
};
const AFTER_DROP: Rule = Rule {
    text: "after a call was dropped, a new call works",
    hint: "keep state of one call in its future, not in the stage; undo what is left in `Drop` or in `on_cleanup`",
};
const AT_ONCE: Rule = Rule {
    text: "two calls at the same time work",
    hint: "keep state of one call in its future; wait for what is shared with a lock of tokio's",
};
const CANCELLED: Rule = Rule {
    text: "a call of a run that is cancelled, or has no time left, does not panic",
    hint: "leave with `ctx.checkpoint()?`; unwrap nothing that a cancellation takes away",
};
const HOLDS: Rule = Rule {
    text: "a hold is released in time after its call",
    hint: "move the hold into the work it stands for, so that it is dropped with it; let long work ask `ctx.checkpoint()`",
};
const CLEAN_UPS: Rule = Rule {
    text: "clean-ups succeed and end in time, however the call ended",
    hint: "let a clean-up succeed where there is nothing to clean up, and wait for nothing that was dropped with the call",
};

/// Checks a stage, called with inputs that `input` makes, in a context of nobody.
///
/// A stage whose first call succeeds is expected to go on succeeding: for one that fails at random, check what is inside.
/// Calls are dropped at each of their first 256 polls.
///
/// # Errors
///
/// Every rule that was broken.
///
/// # Panics
///
/// Without a tokio runtime that has a timer, or where `input` panics.
pub async fn stage<S: Stage>(stage: &S, input: impl Fn() -> S::Input) -> Result<(), ContractError> {
    stage_in(stage, TestContext::new, input).await
}

/// Like [`stage`], for a stage that needs a tenant, an extension or the like: `context` makes its contexts.
///
/// # Errors
///
/// Every rule that was broken.
///
/// # Panics
///
/// Without a tokio runtime that has a timer, or where `context` or `input` panics.
pub async fn stage_in<S: Stage>(
    stage: &S,
    context: impl Fn() -> TestContext,
    input: impl Fn() -> S::Input,
) -> Result<(), ContractError> {
    let mut check = Check { stage, context, input, findings: Findings::of::<S>() };
    if let Some((polls, works)) = check.alone().await {
        // What a dropped call has broken would be seen again by calls at the same time.
        if check.dropped_at_every_poll(polls, works).await {
            check.at_the_same_time(works).await;
        }
        check.cancelled().await;
    }
    check.findings.into_result()
}

struct Check<'a, S, C, I> {
    stage: &'a S,
    context: C,
    input: I,
    findings: Findings,
}

impl<S, C, I> Check<'_, S, C, I>
where
    S: Stage,
    C: Fn() -> TestContext,
    I: Fn() -> S::Input,
{
    /// One call: how many polls it took, and whether it succeeded.
    async fn alone(&mut self) -> Option<(u32, bool)> {
        let test = (self.context)();
        let ending = self.call(&test, u32::MAX).await;
        self.settle(&test, "after a call").await;
        match ending {
            Ending::Ended { output, polls } => return Some((polls, output.is_ok())),
            Ending::Panicked { message, doing } => {
                self.findings.add(PANICS, format!("as a call {doing}: {message}"));
            }
            Ending::Late | Ending::Dropped => self.findings.add(ENDS, late()),
        }
        None
    }

    /// Whether the stage still works after it.
    async fn dropped_at_every_poll(&mut self, polls: u32, works: bool) -> bool {
        for poll in 0..polls.min(MOST_DROPS) {
            let when =
                if poll == 0 { "before its first poll".to_owned() } else { format!("after poll {poll}") };
            let test = (self.context)();
            match self.call(&test, poll).await {
                Ending::Panicked { message, doing: "was dropped" } => {
                    self.findings.add(DROPS, format!("dropped {when}: {message}"));
                }
                Ending::Panicked { message, doing } => {
                    self.findings.add(PANICS, format!("as a call {doing}: {message}"));
                }
                Ending::Ended { .. } | Ending::Dropped | Ending::Late => {}
            }
            self.settle(&test, &format!("after a call was dropped {when}")).await;
            let test = (self.context)();
            let ending = self.call(&test, u32::MAX).await;
            if let Some(problem) = problem(&ending, works) {
                self.findings
                    .add(AFTER_DROP, format!("a call was dropped {when}, and the next one {problem}"));
                return false;
            }
            self.settle(&test, "after a call").await;
        }
        true
    }

    async fn at_the_same_time(&mut self, works: bool) {
        let (test, other) = ((self.context)(), (self.context)());
        let (one, two) = both(self.call(&test, u32::MAX), self.call(&other, u32::MAX)).await;
        if let Some(problem) = problem(&one, works).or_else(|| problem(&two, works)) {
            self.findings.add(AT_ONCE, format!("one of them {problem}"));
        }
        self.settle(&test, "after calls at the same time").await;
        self.settle(&other, "after calls at the same time").await;
    }

    /// Cancelled while it runs, cancelled before, and without time. What does not end then is dropped, as an engine does.
    async fn cancelled(&mut self) {
        let running = (self.context)();
        let mut has_begun = false;
        let ending = {
            let mut call = pin!(self.call(&running, u32::MAX));
            poll_fn(|cx| {
                let polled = call.as_mut().poll(cx);
                if polled.is_pending() && !std::mem::replace(&mut has_begun, true) {
                    running.cancel("checking the contract");
                    cx.waker().wake_by_ref();
                }
                polled
            })
            .await
        };
        self.no_panic(&ending, "cancelled after its first poll");
        self.settle(&running, "after a call was cancelled").await;

        let before = (self.context)();
        before.cancel("checking the contract");
        let ending = self.call(&before, u32::MAX).await;
        self.no_panic(&ending, "cancelled before it began");
        self.settle(&before, "after a call was cancelled").await;

        let late = (self.context)().deadline(std::time::Duration::ZERO);
        let ending = self.call(&late, u32::MAX).await;
        self.no_panic(&ending, "without any time left");
        self.settle(&late, "after a call without any time left").await;
    }

    async fn call(&self, test: &TestContext, polls: u32) -> Ending<StageResult<S::Output>> {
        let (context, input) = (test.context(), (self.input)());
        drive(|| self.stage.run(&context, input), polls).await
    }

    fn no_panic<T>(&mut self, ending: &Ending<T>, when: &str) {
        if let Ending::Panicked { message, .. } = ending {
            self.findings.add(CANCELLED, format!("{when}: {message}"));
        }
    }

    /// Does what an engine does when the stages of a run have stopped.
    async fn settle(&mut self, test: &TestContext, when: &str) {
        if timeout(LIMIT, test.released()).await.is_err() {
            self.findings.add(HOLDS, format!("{when}, {} are held", test.holds()));
        }
        match timeout(LIMIT, test.run_clean_ups()).await {
            Ok(failures) => {
                for failure in failures {
                    self.findings.add(CLEAN_UPS, format!("{when}: {failure}"));
                }
            }
            Err(_) => self.findings.add(CLEAN_UPS, format!("{when}, one {}", late())),
        }
    }
}

/// What is wrong with a call that should be like the first one.
fn problem<O>(ending: &Ending<StageResult<O>>, works: bool) -> Option<String> {
    match ending {
        Ending::Ended { output: Err(exit), .. } if works => Some(exit.to_string()),
        Ending::Ended { .. } => None,
        Ending::Panicked { message, .. } => Some(format!("panicked: {message}")),
        Ending::Late | Ending::Dropped => Some(late()),
    }
}

fn late() -> String {
    format!("did not end within {}", Human(LIMIT))
}

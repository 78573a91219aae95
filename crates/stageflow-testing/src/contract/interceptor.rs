//! The rules of [`Interceptor`].

mod pipelines;
mod watched;

use stageflow_core::{Interceptor, code, time::Human};
use stageflow_dag::Pipeline;
use stageflow_exec::{Completed, Engine, RunBuilder, RunError};

use self::{
    pipelines::{INNER, Leaves, Pipelines},
    watched::Watched,
};
use super::{
    ContractError, Findings, LIMIT, Rule,
    drive::{Ending, both, drive, guarded, message},
};

/// At how many polls of a run it is dropped, at most.
const MOST_DROPS: u32 = 256;

const FITS: Rule = Rule {
    text: "an interceptor can be added to an engine",
    hint: "do nothing that can fail in `name`, `placement` and `applies_to`, and stay inside of `Layer::Authenticate`",
};
const NAMED: Rule = Rule {
    text: "an interceptor has a name of one line",
    hint: "return a non-empty name without control characters from `name`",
};
const PANICS: Rule = Rule {
    text: "an interceptor refuses a call without panicking",
    hint: "return `StageExit::deny`, or give the error back with `?`; unwrap no tenant, user or extension",
};
const ENDS: Rule = Rule {
    text: "a call ends when what is inside has ended",
    hint: "wait for nothing that may never come without a timeout of your own",
};
const SAME_TYPE: Rule = Rule {
    text: "an output that is replaced has the type of the stage's output",
    hint: "return what `next.run()` gave, or a `Value` of the same type; ask `applies_to` for the right stages",
};
const OWNED: Rule = Rule {
    text: "a stage that takes `Owned` works like any other",
    hint: "clone `next` for another attempt; hold no input longer than the call",
};
const FAILURE: Rule = Rule {
    text: "an inner failure, panic or skip comes out as it is, or as a verdict of the interceptor",
    hint: "give the `StageExit` of `next.run()` back as it is where it is not yours; it may skip, cancel or ask for a retry",
};
const AFTER_FAILURE: Rule = Rule {
    text: "after an inner failure that was not its own, an interceptor still works",
    hint: "release what was taken in a guard's `Drop`, so that an inner panic and an early return release it too",
};
const DROPS: Rule = Rule {
    text: "dropping a call does not panic",
    hint: "look at the `Drop` of what the future holds: it runs at any `.await`",
};
const AFTER_DROP: Rule = Rule {
    text: "a call that is dropped leaves nothing behind",
    hint: "release what was taken in a guard's `Drop`: code after `next.run().await` does not run when the call is dropped",
};
const AT_ONCE: Rule = Rule {
    text: "two calls at the same time work",
    hint: "keep state of one call in its future; wait for what is shared with a lock of tokio's",
};

/// Checks an interceptor around the stages of small pipelines, which it has to apply to.
///
/// An interceptor may refuse calls: what is checked then is that it refuses well. One that lets the first call through is
/// expected to let the same call through after others were dropped.
///
/// So give a limit that refuses, such as a rate, room for some fifty calls, and let back-off over all attempts stay below a
/// minute.
///
/// # Errors
///
/// Every rule that was broken.
///
/// # Panics
///
/// Without a tokio runtime that has a timer.
pub async fn interceptor<I: Interceptor>(interceptor: I) -> Result<(), ContractError> {
    let mut findings = Findings::of::<I>();
    match Pipelines::new() {
        Ok(pipelines) => {
            let mut check = Check { watched: Watched::new(interceptor), pipelines, findings };
            if let Some(engine) = check.engine() {
                check.all(&engine).await;
            }
            findings = check.findings;
        }
        Err(error) => findings.add(FITS, error.to_string()),
    }
    findings.into_result()
}

/// How an interceptor decided.
enum Verdict {
    /// It let the call through, or replaced its output.
    Completed,
    /// The run has no output, for this reason.
    Refused(String),
}

struct Check<I> {
    watched: Watched<I>,
    pipelines: Pipelines,
    findings: Findings,
}

type Done<O> = Ending<Result<Completed<O>, RunError>>;

impl<I: Interceptor> Check<I> {
    /// An engine with the interceptor, if it can be had.
    fn engine(&mut self) -> Option<Engine> {
        let watched = self.watched.clone();
        match guarded(|| Engine::builder().seed(0).interceptor(watched).build()) {
            Ok(Ok(engine)) => {
                let order = guarded(|| engine.order(&self.pipelines.works));
                match order.as_ref().map(|order| order.of("stage").and_then(<[String]>::first)) {
                    Ok(Some(name)) if name.trim().is_empty() || name.chars().any(char::is_control) => {
                        self.findings.add(NAMED, format!("its name is {name:?}"));
                    }
                    Ok(_) => {}
                    Err(payload) => {
                        self.findings.add(FITS, format!("`applies_to` panicked: {}", message(payload)));
                        return None;
                    }
                }
                Some(engine)
            }
            Ok(Err(error)) => {
                self.findings.add(FITS, error.to_string());
                None
            }
            Err(payload) => {
                self.findings.add(FITS, format!("it panicked: {}", message(&payload)));
                None
            }
        }
    }

    async fn all(&mut self, engine: &Engine) {
        let works = self.pipelines.works.clone();
        let done = self.run(engine.run(&works, 1), u32::MAX).await;
        let Some(first) = self.judge(&done, "around a stage that works") else { return };
        let polls = if let Ending::Ended { polls, .. } = &done { *polls } else { 0 };

        let owned = engine.run(&self.pipelines.owned, vec![1, 2, 3]);
        let done = self.run(owned, u32::MAX).await;
        if let (Some(Verdict::Refused(why)), Verdict::Completed) =
            (self.judge(&done, "around a stage that takes `Owned`"), &first)
        {
            self.findings.add(OWNED, why);
        }

        self.callers(engine, &works).await;
        self.dropped_at_every_poll(engine, polls, &first).await;
        self.at_the_same_time(engine, &works, &first).await;
        self.inner_failures(engine, &first).await;
    }

    /// Calls of runs with and without identity and time.
    async fn callers(&mut self, engine: &Engine, works: &Pipeline<u32, u32>) {
        let known =
            engine.run(works, 1).tenant("acme").user("ada").session("s").request("r").correlation("c");
        let done = self.run(known.metadata("key", "value"), u32::MAX).await;
        self.judge(&done, "in a run of a tenant");
        let late = engine.run(works, 1).deadline(std::time::Duration::from_millis(1));
        let done = self.run(late, u32::MAX).await;
        self.judge(&done, "in a run with a deadline of 1 ms");
    }

    async fn dropped_at_every_poll(&mut self, engine: &Engine, polls: u32, first: &Verdict) {
        let works = self.pipelines.works.clone();
        for poll in 1..polls.min(MOST_DROPS) {
            let when = format!("dropped after poll {poll}");
            let dropped = self.run(engine.run(&works, 1), poll).await;
            drop(dropped);
            if engine.drain(LIMIT).await > 0 {
                self.findings.add(AFTER_DROP, format!("a run {when} {}", late()));
                return;
            }
            for panic in self.watched.take_panics() {
                self.findings.add(DROPS, format!("{when}: {panic}"));
            }
            let done = self.run(engine.run(&works, 1), u32::MAX).await;
            if let Some(problem) = self.differs(&done, first) {
                self.findings.add(AFTER_DROP, format!("a run was {when}, and the next one {problem}"));
                return;
            }
        }
    }

    async fn at_the_same_time(&mut self, engine: &Engine, works: &Pipeline<u32, u32>, first: &Verdict) {
        let (one, two) =
            both(self.run(engine.run(works, 1), u32::MAX), self.run(engine.run(works, 2), u32::MAX)).await;
        // A limit may refuse the second: what must not happen is that both are refused, or one never ends.
        if let (Some(problem), Some(_)) = (self.differs(&one, first), self.differs(&two, first)) {
            self.findings.add(AT_ONCE, format!("both were refused: one {problem}"));
        }
        for done in [one, two] {
            if matches!(done, Ending::Late) {
                self.findings.add(AT_ONCE, format!("one {}", late()));
            }
            self.judge(&done, "at the same time as another call");
        }
    }

    async fn inner_failures(&mut self, engine: &Engine, first: &Verdict) {
        for (how, pipeline) in self.pipelines.leaving.clone() {
            let around = match how {
                Leaves::Failing => "around a stage that fails",
                Leaves::Panicking => "around a stage that panics",
                Leaves::Skipped => "around a stage that skips",
            };
            let done = self.run(engine.run(&pipeline, 1), u32::MAX).await;
            if how == Leaves::Panicking {
                // The panic is the stage's, and has gone through the interceptor.
                self.watched.take_panics();
            }
            if self.judge(&done, around).is_some() {
                self.comes_out(&done, how, around, first);
            }
        }
        let works = self.pipelines.works.clone();
        let done = self.run(engine.run(&works, 1), u32::MAX).await;
        // It may refuse now, as a breaker does.
        if let Ending::Late = done {
            self.findings.add(AFTER_FAILURE, format!("the next call {}", late()));
        }
        for panic in self.watched.take_panics() {
            self.findings.add(AFTER_FAILURE, format!("the next call panicked: {panic}"));
        }
    }

    /// Whether how the stage left is what came out, where the interceptor lets calls through.
    fn comes_out(&mut self, done: &Done<u32>, how: Leaves, around: &str, first: &Verdict) {
        let (Ending::Ended { output: Err(error), .. }, Verdict::Completed) = (done, first) else { return };
        let unlike = match how {
            Leaves::Failing => [code::STAGE_FAILED, code::PANIC, code::INTERNAL].as_slice(),
            Leaves::Skipped => &[code::STAGE_FAILED, code::INTERNAL],
            Leaves::Panicking => &[code::STAGE_FAILED, code::INTERNAL],
        };
        if unlike.contains(&error.code()) {
            let fails =
                if how == Leaves::Failing { format!(" with the code {INNER}") } else { String::new() };
            self.findings.add(FAILURE, format!("{around}{fails}, what came out is: {error:?}"));
        }
    }

    /// Runs a pipeline, which is dropped after so many polls.
    async fn run<O: Send + Sync + 'static>(&self, run: RunBuilder<O>, polls: u32) -> Done<O> {
        drive(|| run.into_future(), polls).await
    }

    /// What is wrong however the interceptor decides; how it has decided, if it has.
    fn judge<O>(&mut self, done: &Done<O>, around: &str) -> Option<Verdict> {
        let panics = self.watched.take_panics();
        for panic in &panics {
            self.findings.add(PANICS, format!("{around}: {panic}"));
        }
        match done {
            Ending::Ended { output: Ok(_), .. } => Some(Verdict::Completed),
            Ending::Ended { output: Err(error), .. } if error.code() == code::REPLACED_TYPE => {
                self.findings.add(SAME_TYPE, format!("{around}: {error:?}"));
                None
            }
            Ending::Ended { .. } if !panics.is_empty() => None,
            Ending::Ended { output: Err(error), .. } => Some(Verdict::Refused(format!("{error:?}"))),
            Ending::Late | Ending::Dropped => {
                self.findings.add(ENDS, format!("{around}, a call {}", late()));
                None
            }
            Ending::Panicked { message, .. } => {
                self.findings.add(PANICS, format!("{around}: {message}"));
                None
            }
        }
    }

    /// What is wrong with a call that should be like the first one.
    fn differs<O>(&self, done: &Done<O>, first: &Verdict) -> Option<String> {
        match (done, first) {
            (Ending::Ended { output: Err(error), .. }, Verdict::Completed) => Some(format!("{error:?}")),
            (Ending::Ended { .. }, _) => None,
            (Ending::Panicked { message, .. }, _) => Some(format!("panicked: {message}")),
            (Ending::Late | Ending::Dropped, _) => Some(late()),
        }
    }
}

fn late() -> String {
    format!("did not end within {}", Human(LIMIT))
}

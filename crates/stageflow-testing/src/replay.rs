//! Replay: a run that a journal has is executed once more in virtual time, in the same order and with the same answers.

mod board;
mod director;
mod script;
#[cfg(test)]
mod tests;

use std::{
    any::Any,
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};
use stageflow_core::{
    Value,
    durable::{Encoded, Entry, JournaledRun, Pause, RunDiff},
    time::SeededRandom,
};
use stageflow_dag::Pipeline;
use stageflow_exec::{Completed, Engine, EngineBuilder, RunError};
use tokio::runtime::Handle;

use self::{
    board::{Board, Stop, Written},
    director::{ReplayClock, Stage},
    script::{Act, acts},
};
use crate::{sim, trace::TraceHash};

type Furnish = dyn Fn(EngineBuilder) -> EngineBuilder + Send + Sync;

/// A run that a journal has, executed once more in virtual time.
///
/// The run takes the course that it took: its attempts begin and end in the order of the journal and at its times, on one thread,
/// whatever threads did it then. An attempt whose answer is in the journal is not called: a durable stage gives the output that was
/// kept, an attempt that failed fails with the same code, class and message. Everything else is done again, and decided again: stages
/// that are not durable are called, policies and routers decide by themselves, random numbers and ids are those of the run. A run that
/// was resumed in another process is stopped and resumed in the same place.
///
/// So the replay writes the same journal as the run did, or shows where they part: [`Replayed::mismatch`].
///
/// ```
/// use stageflow_core::{durable::JournaledRun, StageKind};
/// use stageflow_dag::Pipeline;
/// use stageflow_testing::{Replay, ReplayError, TraceHash};
///
/// fn look_into(run: &JournaledRun, answer: &Pipeline<String, String>) -> Result<(), ReplayError> {
///     let replayed = Replay::of(run).run(answer)?;
///     replayed.assert_same();
///     assert_eq!(replayed.hash(), TraceHash::of_journal(run));
///
///     let patient = Replay::of(run).what_if().furnish(|engine| engine.limit_kind(StageKind::Work, 1)).run(answer)?;
///     println!("{}", patient.diff());
///     Ok(())
/// }
/// ```
///
/// # What is not in a journal
///
/// - The state that an engine's interceptors share between runs: a breaker that other runs had opened is closed in a replay, and the
///   rejection of the call is a mismatch.
/// - The types of errors: a failure that is answered from the journal has its text.
/// - What a stage does outside of its run. A stage that is called does it again.
/// - The stages of child runs that a stage runs any number of times, such as those of a map: make the stage durable, or it is called.
/// - Fields of decisions that are measured times are not compared.
#[must_use = "nothing is replayed before `run`"]
pub struct Replay<'a> {
    run: &'a JournaledRun,
    furnish: Vec<Arc<Furnish>>,
    rerun: BTreeSet<String>,
    answers: BTreeMap<String, Encoded>,
    input: Option<Value>,
    what_if: bool,
    time_limit: Duration,
}

impl<'a> Replay<'a> {
    /// Of a run as its journal has it: `Engine::journaled` gives it.
    pub fn of(run: &'a JournaledRun) -> Self {
        Self {
            run,
            furnish: Vec::new(),
            rerun: BTreeSet::new(),
            answers: BTreeMap::new(),
            input: None,
            what_if: false,
            time_limit: Duration::from_secs(100 * 86_400),
        }
    }

    /// Adds to the engine what that of the run had: interceptors, limits, timeouts. A run that was in several processes has an engine for
    /// each. Clock, seed and random numbers stay those of the replay.
    pub fn furnish(
        mut self,
        furnish: impl Fn(EngineBuilder) -> EngineBuilder + Send + Sync + 'static,
    ) -> Self {
        self.furnish.push(Arc::new(furnish));
        self
    }

    /// Calls these stages though the journal has their answers: to try a repair, or to find what they do differently. A name without `/`
    /// means the stages of that name in pipelines within pipelines as well.
    pub fn rerun<N: Into<String>>(mut self, stages: impl IntoIterator<Item = N>) -> Self {
        self.rerun.extend(stages.into_iter().map(Into::into));
        self
    }

    /// Answers a pause of a stage that is called.
    ///
    /// # Panics
    ///
    /// When the answer cannot be written.
    #[track_caller]
    pub fn answer<T: Serialize + DeserializeOwned>(mut self, pause: &Pause<T>, answer: &T) -> Self {
        let written = pause.codec().encode(answer);
        let written = written.unwrap_or_else(|error| panic!("the answer of `{}`: {error}", pause.token()));
        self.answers.insert(pause.token().to_owned(), written);
        self
    }

    /// The input of the run, where the journal does not have it: where the pipeline has no `durable_input`.
    pub fn input(mut self, input: impl Any + Send + Sync) -> Self {
        self.input = Some(Value::new(input));
        self
    }

    /// What if the pipeline or the engine had been another? Nothing is held to the order of the journal then: attempts begin when they
    /// can, and those in the journal take as long as they took and give what they gave. Others are called. A run that was in several
    /// processes is replayed as if it had been in one.
    ///
    /// The answer is [`Replayed::diff`].
    pub fn what_if(mut self) -> Self {
        self.what_if = true;
        self
    }

    /// How much virtual time may pass without anything being done; 100 days by default.
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = limit;
        self
    }

    /// Replays the run, and returns when it has ended. In a runtime it does so on a thread of its own, and blocks meanwhile.
    ///
    /// # Errors
    ///
    /// [`ReplayError`], when the run cannot be begun with this pipeline.
    ///
    /// # Panics
    ///
    /// When the engine cannot be made of what [`furnish`](Self::furnish) gave it.
    #[track_caller]
    pub fn run<I, O>(self, pipeline: &Pipeline<I, O>) -> Result<Replayed<O>, ReplayError>
    where
        I: Send + Sync + 'static,
        O: Send + Sync + 'static,
    {
        if Handle::try_current().is_err() {
            return self.replay(pipeline);
        }
        std::thread::scope(|scope| {
            let replay = scope.spawn(|| self.replay(pipeline));
            replay.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn replay<I, O>(self, pipeline: &Pipeline<I, O>) -> Result<Replayed<O>, ReplayError>
    where
        I: Send + Sync + 'static,
        O: Send + Sync + 'static,
    {
        let mut entries: Vec<Entry> = Vec::new();
        let (mut early, mut done, mut mismatch) = (0, 0, None);
        let mut result = None;
        for (index, act) in acts(self.run, self.what_if).into_iter().enumerate() {
            let steps = act.steps.len();
            match index {
                0 => entries.extend_from_slice(&act.before.entries),
                _ => entries.extend(act.resumed.clone()),
            }
            let (ended, written) = self.act(pipeline, act)?;
            entries.extend(written.entries);
            early += written.early;
            if let Some(found) = written.mismatch {
                mismatch = Some(Mismatch { place: found.place + done, ..found });
            }
            done += steps;
            result = ended;
            if mismatch.is_some() {
                break;
            }
        }
        let entries = (1..).zip(entries).map(|(seq, entry)| Entry { seq, ..entry }).collect();
        let journal = JournaledRun { header: self.run.header.clone(), entries };
        let mismatch = mismatch.filter(|_| !self.what_if);
        Ok(Replayed { diff: RunDiff::of(self.run, &journal), journal, mismatch, early, result })
    }

    /// What one process did, in a runtime of its own.
    fn act<I, O>(&self, pipeline: &Pipeline<I, O>, act: Act) -> Result<(Ended<O>, Written), ReplayError>
    where
        I: Send + Sync + 'static,
        O: Send + Sync + 'static,
    {
        let runtime = sim::runtime();
        let inside = runtime.enter();
        let header = &self.run.header;
        let stage = Arc::new(Stage {
            board: Board::new(act.steps, act.is_last, self.what_if),
            rerun: self.rerun.clone(),
            answers: self.answers.clone(),
        });
        let engine = self.furnish.iter().fold(Engine::builder(), |engine, furnish| furnish(engine));
        let engine = engine
            .clock(ReplayClock::new(header.started, act.base))
            .seed(header.seed)
            .randomness(SeededRandom::new(header.seed))
            .build();
        let engine = engine.unwrap_or_else(|error| panic!("the engine of the replay: {error}"));
        let (journal, director) = (Arc::clone(&stage), Arc::clone(&stage));
        let begun = engine.replay(pipeline, &act.before, self.input.clone(), journal, director);
        let begun = begun.map_err(ReplayError)?;
        let ended = runtime.block_on(async {
            let mut run = begun.start();
            let mut watch = std::pin::pin!(stage.board.watch(self.time_limit));
            let mut stop = std::pin::pin!(stage.board.stop());
            let (mut is_stopped, mut is_hung) = (false, false);
            loop {
                tokio::select! {
                    biased;
                    ended = &mut run => return Some(ended),
                    stop = &mut stop, if !is_stopped => match stop {
                        Stop::Process => return None,
                        Stop::Run => {
                            run.cancel("cancelled there");
                            is_stopped = true;
                        }
                    },
                    () = &mut watch, if !is_hung => {
                        stage.board.give_up();
                        is_hung = true;
                    }
                    () = tokio::time::sleep(self.time_limit), if is_hung => return None,
                }
            }
        });
        // What the process has left behind ends with its runtime.
        let written = stage.board.finish();
        drop(inside);
        drop(runtime);
        Ok((ended, written))
    }
}

type Ended<O> = Option<Result<Completed<O>, RunError>>;

impl fmt::Debug for Replay<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replay")
            .field("run", &self.run.header.key)
            .field("rerun", &self.rerun)
            .field("what_if", &self.what_if)
            .finish_non_exhaustive()
    }
}

/// What a replay has done.
#[derive(Debug)]
pub struct Replayed<O> {
    journal: JournaledRun,
    mismatch: Option<Mismatch>,
    diff: RunDiff,
    early: usize,
    result: Ended<O>,
}

impl<O> Replayed<O> {
    /// The number that stands for what the replay did: that of [`TraceHash::of_journal`] for the run, if it was the same.
    pub fn hash(&self) -> TraceHash {
        TraceHash::of_journal(&self.journal)
    }

    /// Where the replay first did something else than the journal says: what did that is not under the control of the engine, or the code
    /// has changed. From there on the replay keeps no order. Always `None` for a [`what_if`](Replay::what_if).
    pub fn mismatch(&self) -> Option<&Mismatch> {
        self.mismatch.as_ref()
    }

    /// Nothing but what the journal says.
    ///
    /// # Panics
    ///
    /// At a mismatch, which it shows together with the [`diff`](Self::diff).
    #[track_caller]
    pub fn assert_same(&self) {
        if let Some(mismatch) = &self.mismatch {
            panic!("the replay is not the run: {mismatch}\n\n{}", self.diff);
        }
    }

    /// What the replay did differently.
    pub fn diff(&self) -> &RunDiff {
        &self.diff
    }

    /// The journal of the replay. An entry stands in its place in the journal of the run, also where it was written earlier: see
    /// [`early`](Self::early).
    pub fn journal(&self) -> &JournaledRun {
        &self.journal
    }

    /// How many entries were written before their turn. Attempts wait for it, and what has no attempt does not: a stage that is skipped,
    /// and what is decided before or after an attempt.
    pub fn early(&self) -> usize {
        self.early
    }

    /// How the run has ended; `None` for one that did not end in the journal either.
    pub fn result(&self) -> Option<&Result<Completed<O>, RunError>> {
        self.result.as_ref()
    }
}

/// The first thing that a replay did differently.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mismatch {
    /// The how many-th of the entries that decide something, from 1.
    pub place: usize,
    /// What the journal has; `None` if it has nothing there.
    pub expected: Option<String>,
    /// What the replay did; `None` if it did nothing.
    pub actual: Option<String>,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nothing = "nothing there";
        writeln!(f, "entry {} is another", self.place)?;
        writeln!(f, "  journal: {}", self.expected.as_deref().unwrap_or(nothing))?;
        write!(f, "  replay:  {}", self.actual.as_deref().unwrap_or(nothing))
    }
}

/// A run cannot be begun once more with this pipeline: its input is not known or not readable, or the pipeline is another.
#[derive(Debug, thiserror::Error)]
#[error("the run cannot be replayed")]
pub struct ReplayError(#[source] RunError);

impl ReplayError {
    /// Why the engine does not begin it.
    pub fn reason(&self) -> &RunError {
        &self.0
    }
}

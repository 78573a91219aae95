//! The simulator: a pipeline runs in virtual time, and one seed decides everything that is left to chance.

mod cancel;
mod clock;
mod failure;
mod seeds;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use stageflow_core::{Randomness, Recorder, time::SeededRandom};
use stageflow_dag::Pipeline;
use stageflow_exec::{Engine, EngineBuilder, RunBuilder, RunHandle};

pub(crate) use self::seeds::runtime;
pub use self::{
    cancel::{CancelAtEveryPoll, CancelProblem, CancelReport},
    failure::SimFailure,
    seeds::{Seeds, SimReport},
};
use self::{clock::SimClock, seeds::SEED_VARIABLE};
use crate::{
    faults::{Fault, FaultInjector, Faults},
    latency::Latency,
    trace::Trace,
};

type Furnish = dyn FnOnce(EngineBuilder) -> EngineBuilder + Send;

/// One simulation: an engine in virtual time whose every choice comes from one seed.
///
/// The seed decides the order in which ready stages are polled, the ids of runs, the random numbers of stages, the latencies and
/// the faults. Time stands still while anything can be done, and jumps to the next timer when nothing can: a back-off of an hour
/// takes no time. The same seed gives the same [`Trace`], as long as stages read no other clock, take no other random numbers,
/// start no threads and do not iterate over a `HashMap`; [`Seeds::twice`] finds those that do.
///
/// Clones are the same simulation.
///
/// ```
/// use std::sync::Arc;
/// use stageflow_core::{DurationExt as _, StageContext, StageResult, stage_fn};
/// use stageflow_dag::Pipeline;
/// use stageflow_testing::{Faults, Sim};
///
/// async fn greet(_ctx: StageContext, name: Arc<String>) -> StageResult<String> {
///     Ok(format!("hello, {name}"))
/// }
///
/// let mut p = Pipeline::builder("greet");
/// let name = p.input();
/// let greeting = p.stage("greet", stage_fn(greet)).timeout(1.secs()).inputs(name);
/// let greet = p.build(greeting)?;
///
/// let report = Sim::seeds(0..100).run(|sim| {
///     let greet = greet.clone();
///     async move {
///         sim.faults(Faults::at("greet").rate(0.3).transient()).latency("greet", 5.millis()..2.secs());
///         match sim.run(&greet, "Ada".to_owned()).await {
///             Ok(done) => assert_eq!(done.output(), "hello, Ada"),
///             Err(error) => assert!(sim.elapsed() <= 1.secs(), "{error}"),
///         }
///     }
/// });
/// assert_eq!(report.seeds(), 100);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Sim(Arc<World>);

struct World {
    seed: u64,
    clock: SimClock,
    random: SeededRandom,
    faults: FaultInjector,
    recorder: Recorder,
    furnish: Mutex<Option<Box<Furnish>>>,
    engine: OnceLock<Engine>,
}

impl Sim {
    /// Simulations for many seeds, one after the other.
    pub fn seeds(seeds: impl IntoIterator<Item = u64> + 'static) -> Seeds {
        Seeds::new(seeds)
    }

    /// The seed that the environment asks for, in `STAGEFLOW_SEED`. [`Sim::seeds`] looks there by itself.
    ///
    /// # Panics
    ///
    /// When it is set and is no number.
    #[track_caller]
    pub fn seed_from_env() -> Option<u64> {
        let text = std::env::var(SEED_VARIABLE).ok()?;
        Some(seeds::parse(&text).unwrap_or_else(|problem| panic!("{problem}")))
    }

    /// Cancels a run of the pipeline at every single poll of its stages; settle the options, then
    /// [`assert_clean`](CancelAtEveryPoll::assert_clean).
    pub fn cancel_at_every_poll<I, O>(pipeline: &Pipeline<I, O>, input: I) -> CancelAtEveryPoll<I, O> {
        CancelAtEveryPoll::new(pipeline.clone(), input)
    }

    /// A simulation in the current runtime, whose time must be paused.
    pub(crate) fn new(seed: u64) -> Self {
        let faults = FaultInjector::new(SeededRandom::new(seed ^ 0xFA17_5EED));
        Self(Arc::new(World {
            seed,
            clock: SimClock::new(faults.skew()),
            random: SeededRandom::new(seed ^ 0x5EED_0F7E_5750),
            faults,
            recorder: Recorder::new(),
            furnish: Mutex::default(),
            engine: OnceLock::new(),
        }))
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.0.seed
    }

    /// Adds to the engine: interceptors, sinks, limits. The clock, the seed and the random numbers stay those of the simulation.
    ///
    /// # Panics
    ///
    /// After the first run, which has made the engine.
    #[track_caller]
    pub fn furnish(&self, furnish: impl FnOnce(EngineBuilder) -> EngineBuilder + Send + 'static) -> &Self {
        assert!(self.0.engine.get().is_none(), "furnish the engine before the first run");
        let mut slot = self.0.furnish.lock().unwrap_or_else(PoisonError::into_inner);
        *slot = Some(match slot.take() {
            Some(first) => Box::new(|engine| furnish(first(engine))),
            None => Box::new(furnish),
        });
        drop(slot);
        self
    }

    /// Adds a fault to all attempts from now on.
    pub fn faults(&self, fault: Fault) -> &Self {
        self.0.faults.add(fault);
        self
    }

    /// Lets every attempt of a stage start later.
    pub fn latency(&self, stage: impl Into<String>, latency: impl Into<Latency>) -> &Self {
        self.faults(Faults::at(stage).delay(latency))
    }

    /// How much memory the faults may hold together.
    pub fn memory_limit(&self, bytes: usize) -> &Self {
        self.0.faults.memory_limit(bytes);
        self
    }

    /// Runs a pipeline; settle the options, then `.await` it.
    ///
    /// # Panics
    ///
    /// When the engine cannot be made of what [`furnish`](Self::furnish) gave it.
    #[track_caller]
    pub fn run<I, O>(&self, pipeline: &Pipeline<I, O>, input: I) -> RunBuilder<O>
    where
        I: Send + Sync + 'static,
        O: Send + Sync + 'static,
    {
        self.engine().run(pipeline, input)
    }

    /// Starts a run on a task of its own.
    ///
    /// # Panics
    ///
    /// As [`run`](Self::run).
    #[track_caller]
    pub fn start<I, O>(&self, pipeline: &Pipeline<I, O>, input: I) -> RunHandle<O>
    where
        I: Send + Sync + 'static,
        O: Send + Sync + 'static,
    {
        self.engine().start(pipeline, input)
    }

    /// The engine of the simulation.
    ///
    /// # Panics
    ///
    /// As [`run`](Self::run).
    #[track_caller]
    pub fn engine(&self) -> &Engine {
        self.0.engine.get_or_init(|| {
            let furnish = self.0.furnish.lock().unwrap_or_else(PoisonError::into_inner).take();
            // Nothing outlives a simulation, unless the test says where.
            let engine = Engine::builder().without_journal();
            let engine = match furnish {
                Some(furnish) => furnish(engine),
                None => engine,
            };
            let engine = engine
                .sink(self.0.recorder.clone())
                .interceptor(self.0.faults.clone())
                .clock(self.0.clock.clone())
                .seed(self.0.seed)
                .randomness(SeededRandom::new(self.0.seed))
                .build();
            engine.unwrap_or_else(|error| panic!("the engine of the simulation: {error}"))
        })
    }

    /// A random number of the simulation, for what the test itself leaves to chance.
    pub fn random_u64(&self) -> u64 {
        self.0.random.next_u64()
    }

    /// How much virtual time has passed.
    pub fn elapsed(&self) -> Duration {
        self.0.clock.elapsed()
    }

    /// How often the faults of this name have struck.
    pub fn fired(&self, name: &str) -> u64 {
        self.0.faults.fired(name)
    }

    /// How often each fault has struck, in the order of their addition.
    pub fn fault_counts(&self) -> Vec<(String, u64)> {
        self.0.faults.counts()
    }

    /// What has happened so far.
    pub fn trace(&self) -> Trace {
        Trace::of(&self.0.recorder.events())
    }

    /// The events so far.
    pub fn recorder(&self) -> &Recorder {
        &self.0.recorder
    }
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sim")
            .field("seed", &self.0.seed)
            .field("elapsed", &self.elapsed())
            .finish_non_exhaustive()
    }
}

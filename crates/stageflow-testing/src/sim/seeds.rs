//! Many simulations, one per seed.

use std::{
    any::Any,
    collections::{BTreeMap, BTreeSet},
    fmt,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use std::fmt::Write as _;

use stageflow_core::time::Human;
use tokio::runtime::{Builder, Handle};

use super::{Sim, SimFailure};
use crate::trace::{Trace, TraceHash};

/// Asks for one seed instead of those in the code.
pub(super) const SEED_VARIABLE: &str = "STAGEFLOW_SEED";

/// Simulations for many seeds: made by [`Sim::seeds`].
#[must_use = "nothing is simulated before `run`"]
pub struct Seeds {
    seeds: Box<dyn Iterator<Item = u64>>,
    only: Option<u64>,
    time_limit: Duration,
    twice: bool,
    may_not_fire: bool,
}

impl Seeds {
    pub(super) fn new(seeds: impl IntoIterator<Item = u64> + 'static) -> Self {
        Self {
            seeds: Box::new(seeds.into_iter()),
            only: Sim::seed_from_env(),
            time_limit: Duration::from_secs(100 * 86_400),
            twice: false,
            may_not_fire: false,
        }
    }

    /// Simulates each seed twice and compares the traces: finds what is not under the control of the simulation.
    pub fn twice(mut self) -> Self {
        self.twice = true;
        self
    }

    /// How much virtual time a simulation may take; 100 days by default. One that waits for what never comes takes it all.
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = limit;
        self
    }

    /// Lets faults pass that never struck, with any seed.
    pub fn faults_may_not_fire(mut self) -> Self {
        self.may_not_fire = true;
        self
    }

    /// Simulates `test` with each seed, or only with that of the environment variable `STAGEFLOW_SEED`.
    ///
    /// # Panics
    ///
    /// With a [`SimFailure`], at the first seed that fails.
    #[track_caller]
    pub fn run<Fut>(self, test: impl Fn(Sim) -> Fut) -> SimReport
    where
        Fut: Future<Output = ()>,
    {
        match self.try_run(test) {
            Ok(report) => report,
            Err(failure) => panic!("{failure}"),
        }
    }

    /// As [`run`](Self::run), without the panic.
    ///
    /// # Errors
    ///
    /// The first seed that failed, or that gave two traces; or the faults that never struck.
    pub fn try_run<Fut>(self, test: impl Fn(Sim) -> Fut) -> Result<SimReport, SimFailure>
    where
        Fut: Future<Output = ()>,
    {
        let mut report = SimReport::default();
        let seeds: &mut dyn Iterator<Item = u64> = match self.only {
            Some(only) => &mut std::iter::once(only),
            None => &mut { self.seeds },
        };
        for seed in seeds {
            let one = simulate(seed, self.time_limit, &test);
            if let Some(message) = one.failed {
                let replayed = simulate(seed, self.time_limit, &test).trace.hash();
                return Err(SimFailure::Seed { seed, message, trace: one.trace, replayed });
            }
            if self.twice {
                let other = simulate(seed, self.time_limit, &test).trace;
                if let Some((_, first, second)) = one.trace.first_difference(&other) {
                    let lines = (first.map(str::to_owned), second.map(str::to_owned));
                    return Err(SimFailure::Differs { seed, lines });
                }
            }
            report.add(&one);
        }
        if report.seeds == 0 {
            return Err(SimFailure::NoSeeds);
        }
        let silent: Vec<_> =
            report.fired.iter().filter(|(_, fired)| **fired == 0).map(|(name, _)| name.clone()).collect();
        // Of a single seed that is replayed nobody expects every fault.
        if !silent.is_empty() && !self.may_not_fire && self.only.is_none() {
            return Err(SimFailure::NeverFired { faults: silent, seeds: report.seeds });
        }
        Ok(report)
    }
}

impl fmt::Debug for Seeds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seeds").field("only", &self.only).field("twice", &self.twice).finish_non_exhaustive()
    }
}

struct Simulated {
    trace: Trace,
    elapsed: Duration,
    fired: Vec<(String, u64)>,
    failed: Option<String>,
}

/// A seed as text.
pub(super) fn parse(text: &str) -> Result<u64, String> {
    let no_number = |_| format!("{SEED_VARIABLE} is `{text}`, which is no number from 0 to {}", u64::MAX);
    text.trim().parse().map_err(no_number)
}

/// A runtime of one thread whose time is virtual.
///
/// # Panics
///
/// Inside of another runtime.
#[track_caller]
pub(crate) fn runtime() -> tokio::runtime::Runtime {
    let inside = Handle::try_current().is_ok();
    assert!(
        !inside,
        "a simulation has a runtime of its own: call it in a `#[test]`, not in a `#[tokio::test]`"
    );
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap_or_else(|error| panic!("a runtime for the simulation: {error}"))
}

fn simulate<Fut>(seed: u64, time_limit: Duration, test: &impl Fn(Sim) -> Fut) -> Simulated
where
    Fut: Future<Output = ()>,
{
    let runtime = runtime();
    // Whoever asks for the time is to be given that of the simulation.
    let inside = runtime.enter();
    let sim = Sim::new(seed);
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(async {
            let running = test(sim.clone());
            tokio::pin!(running);
            tokio::select! {
                biased;
                () = &mut running => None,
                () = tokio::time::sleep(time_limit) => Some(hung(&sim, time_limit)),
            }
        })
    }));
    let failed = outcome.unwrap_or_else(|panic| Some(message(&*panic)));
    let done = Simulated { trace: sim.trace(), elapsed: sim.elapsed(), fired: sim.fault_counts(), failed };
    // What the test has left behind ends with its runtime.
    drop(inside);
    drop(runtime);
    done
}

/// Why nothing happened for the whole time limit.
fn hung(sim: &Sim, time_limit: Duration) -> String {
    let mut text = format!("it did not end in {} of virtual time", Human(time_limit));
    for run in sim.engine().explain() {
        let _infallible = write!(text, "\n{run}");
    }
    text
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&'static str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic that is not a text".to_owned())
}

/// What simulations have shown.
#[derive(Clone, Debug, Default)]
pub struct SimReport {
    seeds: u64,
    virtual_time: Duration,
    events: u64,
    traces: BTreeSet<TraceHash>,
    fired: BTreeMap<String, u64>,
}

impl SimReport {
    fn add(&mut self, one: &Simulated) {
        self.seeds += 1;
        self.virtual_time = self.virtual_time.saturating_add(one.elapsed);
        self.events += one.trace.lines().len() as u64;
        self.traces.insert(one.trace.hash());
        for (name, fired) in &one.fired {
            *self.fired.entry(name.clone()).or_default() += fired;
        }
    }

    /// How many seeds were simulated.
    pub fn seeds(&self) -> u64 {
        self.seeds
    }

    /// The virtual time of all of them together.
    pub fn virtual_time(&self) -> Duration {
        self.virtual_time
    }

    /// How many of the traces differ from all others.
    pub fn distinct_traces(&self) -> usize {
        self.traces.len()
    }

    /// How often the faults of this name have struck, in all simulations together.
    pub fn fired(&self, name: &str) -> u64 {
        self.fired.get(name).copied().unwrap_or_default()
    }
}

impl fmt::Display for SimReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seeds, virtual_time, events, .. } = self;
        write!(
            f,
            "{seeds} seeds, {} different traces, {events} events, {} of virtual time",
            self.traces.len(),
            Human(*virtual_time)
        )?;
        self.fired.iter().try_for_each(|(name, fired)| write!(f, "\n  {name}: {fired} times"))
    }
}

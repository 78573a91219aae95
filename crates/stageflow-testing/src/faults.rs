//! Faults: where they strike, how often, what they do, and how often they did.

use std::{
    borrow::Cow,
    fmt,
    future::pending,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use stageflow_core::{
    BoxError, Call, Code, ErrorClass, Interceptor, Layer, Next, Randomness, StageExit, StageKind,
    StageResult, Value, intercept::Placement, time::nanos,
};

use crate::latency::{Latency, unit};

/// The code of every failure that was injected.
pub const INJECTED: Code = Code::new("INJECTED");

/// The code of an attempt that found no memory left, under [`FaultInjector::memory_limit`].
pub const OUT_OF_MEMORY: Code = Code::new("OUT_OF_MEMORY");

/// Where a fault strikes, and how often: becomes a [`Fault`] with what it does.
///
/// ```
/// use stageflow_core::StageKind;
/// use stageflow_testing::Faults;
///
/// let flaky = Faults::at("llm").rate(0.3).transient();
/// let dead = Faults::of_kind(StageKind::Work).after(10).permanent().named("the disk is full");
/// assert_eq!((flaky.name(), dead.name()), ("transient failure at `llm`", "the disk is full"));
/// ```
#[derive(Clone)]
#[must_use = "it is a fault once it says what it does, such as `.transient()`"]
pub struct Faults {
    target: Target,
    rate: f64,
    skip: u64,
    most: u64,
}

#[derive(Clone)]
enum Target {
    Everywhere,
    Stage(String),
    Kind(StageKind),
    Calls(Arc<dyn Fn(&Call) -> bool + Send + Sync>),
}

impl Faults {
    fn new(target: Target) -> Self {
        Self { target, rate: 1.0, skip: 0, most: u64::MAX }
    }

    /// At the stage of this name, in pipelines within pipelines as well.
    pub fn at(stage: impl Into<String>) -> Self {
        Self::new(Target::Stage(stage.into()))
    }

    /// At every stage of a kind.
    pub fn of_kind(kind: StageKind) -> Self {
        Self::new(Target::Kind(kind))
    }

    /// At every stage.
    pub fn everywhere() -> Self {
        Self::new(Target::Everywhere)
    }

    /// At every attempt for which `strikes` says so.
    pub fn when(strikes: impl Fn(&Call) -> bool + Send + Sync + 'static) -> Self {
        Self::new(Target::Calls(Arc::new(strikes)))
    }

    /// Strikes an attempt with this probability; always, if none is set. Numbers outside of 0 to 1 are cut.
    pub fn rate(mut self, rate: f64) -> Self {
        self.rate = if rate.is_nan() { 0.0 } else { rate.clamp(0.0, 1.0) };
        self
    }

    /// Leaves the first `attempts` alone.
    pub fn after(mut self, attempts: u64) -> Self {
        self.skip = attempts;
        self
    }

    /// Strikes at most so often.
    pub fn times(mut self, most: u64) -> Self {
        self.most = most;
        self
    }

    /// The attempt fails, and another may succeed.
    pub fn transient(self) -> Fault {
        self.error(ErrorClass::Transient)
    }

    /// The attempt fails, and so would every other.
    pub fn permanent(self) -> Fault {
        self.error(ErrorClass::Permanent)
    }

    /// The attempt fails with an error of a class, with the code [`INJECTED`].
    pub fn error(self, class: ErrorClass) -> Fault {
        let exit = move || StageExit::failure(INJECTED, class, BoxError::from("an injected failure"));
        self.named(&format!("{class} failure"), Effect::Exit(Arc::new(exit)))
    }

    /// The attempt leaves with this exit.
    pub fn exit(self, exit: impl Fn() -> StageExit + Send + Sync + 'static) -> Fault {
        self.named("exit", Effect::Exit(Arc::new(exit)))
    }

    /// The attempt panics.
    pub fn panic(self) -> Fault {
        self.named("panic", Effect::Panic)
    }

    /// The attempt starts later.
    pub fn delay(self, latency: impl Into<Latency>) -> Fault {
        self.named("delay", Effect::Delay(latency.into()))
    }

    /// The attempt never ends by itself.
    pub fn hang(self) -> Fault {
        self.named("hang", Effect::Hang)
    }

    /// The attempt cancels the run.
    pub fn cancel(self) -> Fault {
        self.named("cancellation", Effect::Exit(Arc::new(|| StageExit::cancel("an injected cancellation"))))
    }

    /// The stage does its work twice, and the second output is kept: as if a request had been sent again whose answer was lost.
    pub fn duplicate(self) -> Fault {
        self.named("duplicate", Effect::Duplicate)
    }

    /// The wall clock of the simulation jumps ahead. Monotonic time goes on as it was.
    pub fn clock_ahead(self, by: Duration) -> Fault {
        self.named("clock ahead", Effect::Clock(signed(by)))
    }

    /// The wall clock of the simulation jumps back.
    pub fn clock_behind(self, by: Duration) -> Fault {
        self.named("clock behind", Effect::Clock(-signed(by)))
    }

    /// The attempt holds so many bytes more until it ends. With [`FaultInjector::memory_limit`] it fails as transient, with the
    /// code [`OUT_OF_MEMORY`], if there is not so much left.
    pub fn memory(self, bytes: usize) -> Fault {
        self.named("memory pressure", Effect::Memory(bytes))
    }

    fn named(self, what: &str, effect: Effect) -> Fault {
        let place = match &self.target {
            Target::Everywhere => "everywhere".to_owned(),
            Target::Stage(stage) => format!("at `{stage}`"),
            Target::Kind(kind) => format!("at every {kind}"),
            Target::Calls(_) => "where a condition holds".to_owned(),
        };
        Fault { name: format!("{what} {place}").into(), place: self, effect }
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faults").field("rate", &self.rate).finish_non_exhaustive()
    }
}

fn signed(by: Duration) -> i64 {
    i64::try_from(nanos(by)).unwrap_or(i64::MAX)
}

/// What goes wrong, where and how often: made by [`Faults`].
#[derive(Clone)]
#[must_use = "a fault strikes once an injector has it"]
pub struct Fault {
    name: Cow<'static, str>,
    place: Faults,
    effect: Effect,
}

#[derive(Clone)]
enum Effect {
    Exit(Arc<dyn Fn() -> StageExit + Send + Sync>),
    Panic,
    Delay(Latency),
    Hang,
    Duplicate,
    Clock(i64),
    Memory(usize),
}

impl Fault {
    /// Gives it a name of its own, under which it is counted.
    pub fn named(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.name = name.into();
        self
    }

    /// The name under which it is counted.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fault").field("name", &self.name).finish_non_exhaustive()
    }
}

struct Rule {
    fault: Fault,
    /// Attempts it has met.
    met: AtomicU64,
    fired: AtomicU64,
}

impl Rule {
    fn strikes(&self, call: &Call, random: &dyn Randomness) -> bool {
        let place = &self.fault.place;
        let meets = match &place.target {
            Target::Everywhere => true,
            Target::Stage(stage) => call.stage_name() == stage,
            Target::Kind(kind) => call.stage_kind() == *kind,
            Target::Calls(strikes) => strikes(call),
        };
        if !meets || self.met.fetch_add(1, Ordering::Relaxed) < place.skip {
            return false;
        }
        if place.rate < 1.0 && unit(random) > place.rate {
            return false;
        }
        self.fired
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < place.most).then_some(n + 1))
            .is_ok()
    }
}

/// An interceptor that injects faults into every attempt it stands around, and counts them.
///
/// The simulator has one. With an engine of one's own it injects faults into real runs, on real threads and in real time:
///
/// ```
/// use stageflow_core::{Randomness, stage_fn, StageContext, time::SeededRandom};
/// use stageflow_dag::Pipeline;
/// use stageflow_exec::Engine;
/// use stageflow_testing::{FaultInjector, Faults};
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let mut p = Pipeline::builder::<()>("one");
/// let one = p.stage("one", stage_fn(|_ctx: StageContext, (): ()| async { Ok(1_u32) })).inputs(());
/// let pipeline = p.build(one)?;
///
/// let injector = FaultInjector::new(SeededRandom::new(7));
/// injector.add(Faults::at("one").permanent().named("broken"));
/// let engine = Engine::builder().interceptor(injector.clone()).build()?;
/// assert!(engine.run(&pipeline, ()).await.is_err());
/// assert_eq!(injector.fired("broken"), 1);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct FaultInjector(Arc<Injector>);

struct Injector {
    random: Box<dyn Randomness>,
    rules: RwLock<Vec<Arc<Rule>>>,
    /// By how much the wall clock is wrong, in nanoseconds.
    skew: Arc<AtomicI64>,
    memory_limit: AtomicUsize,
    memory: AtomicUsize,
    /// The sum of all delays, in nanoseconds.
    delayed: AtomicU64,
}

impl FaultInjector {
    /// One without faults.
    pub fn new(random: impl Randomness) -> Self {
        Self(Arc::new(Injector {
            random: Box::new(random),
            rules: RwLock::default(),
            skew: Arc::default(),
            memory_limit: AtomicUsize::new(usize::MAX),
            memory: AtomicUsize::new(0),
            delayed: AtomicU64::new(0),
        }))
    }

    /// Adds a fault. Where several strike an attempt they do so in the order of their addition.
    pub fn add(&self, fault: Fault) {
        let rule = Rule { fault, met: AtomicU64::new(0), fired: AtomicU64::new(0) };
        self.0.rules.write().unwrap_or_else(PoisonError::into_inner).push(Arc::new(rule));
    }

    /// How much memory all faults together may hold.
    pub fn memory_limit(&self, bytes: usize) {
        self.0.memory_limit.store(bytes, Ordering::Relaxed);
    }

    /// How often the faults of this name have struck.
    pub fn fired(&self, name: &str) -> u64 {
        self.counts().into_iter().filter(|(known, _)| known == name).map(|(_, fired)| fired).sum()
    }

    /// How often each fault has struck, in the order of their addition.
    pub fn counts(&self) -> Vec<(String, u64)> {
        let rules = self.0.rules.read().unwrap_or_else(PoisonError::into_inner);
        rules.iter().map(|rule| (rule.fault.name.to_string(), rule.fired.load(Ordering::Relaxed))).collect()
    }

    /// The sum of all injected delays.
    pub fn delayed(&self) -> Duration {
        Duration::from_nanos(self.0.delayed.load(Ordering::Relaxed))
    }

    pub(crate) fn skew(&self) -> Arc<AtomicI64> {
        Arc::clone(&self.0.skew)
    }

    fn hold(&self, bytes: usize) -> StageResult<Ballast> {
        let limit = self.0.memory_limit.load(Ordering::Relaxed);
        let fits = |held: usize| held.checked_add(bytes).filter(|sum| *sum <= limit);
        match self.0.memory.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits) {
            Ok(_) => Ok(Ballast { injector: Arc::clone(&self.0), bytes: vec![1; bytes] }),
            Err(held) => {
                let error = format!(
                    "{bytes} bytes more than the {held} that are held would exceed the limit of {limit}"
                );
                Err(StageExit::failure(OUT_OF_MEMORY, ErrorClass::Transient, error.into()))
            }
        }
    }
}

/// Memory that a fault holds.
struct Ballast {
    injector: Arc<Injector>,
    bytes: Vec<u8>,
}

impl Drop for Ballast {
    fn drop(&mut self) {
        self.injector.memory.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

impl Interceptor for FaultInjector {
    async fn around(&self, call: &Call, next: Next<'_>) -> StageResult<Value> {
        let (mut twice, mut ballast) = (false, Vec::new());
        let rules = self.0.rules.read().unwrap_or_else(PoisonError::into_inner).clone();
        for rule in rules {
            if !rule.strikes(call, &*self.0.random) {
                continue;
            }
            match &rule.fault.effect {
                Effect::Exit(exit) => return Err(exit()),
                Effect::Panic => panic!("an injected panic ({})", rule.fault.name),
                Effect::Delay(latency) => {
                    let delay = latency.draw(&*self.0.random);
                    self.0.delayed.fetch_add(nanos(delay), Ordering::Relaxed);
                    tokio::time::sleep(delay).await;
                }
                Effect::Hang => pending().await,
                Effect::Duplicate => twice = true,
                Effect::Clock(by) => {
                    self.0.skew.fetch_add(*by, Ordering::Relaxed);
                }
                Effect::Memory(bytes) => ballast.push(self.hold(*bytes)?),
            }
        }
        if twice {
            // Its answer is lost.
            let _lost = next.clone().run().await;
        }
        next.run().await
    }

    fn name(&self) -> String {
        "faults".to_owned()
    }

    fn placement(&self) -> Placement {
        Placement::Inside(Layer::Inner)
    }
}

impl fmt::Debug for FaultInjector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultInjector").field("counts", &self.counts()).finish_non_exhaustive()
    }
}

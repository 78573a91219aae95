//! One engine with everything that tenants could share, every place where something can be seen, and tenants that use it all at once.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, Once},
};

use stageflow::{
    Call, Engine, EngineBuilder, Event, Interceptor, Layer, Next, Placement, Recorder, RunId, StageResult,
    Value,
    audit::AuditLog,
    durable::{Answered, Durability, Journal, JournaledRun, RunKey},
    events::{AttemptSpans, JsonLines, LogEvents, Metrics, SinkExt as _, sink_fn},
    interceptors::{
        Bulkhead, CircuitBreaker, Idempotency, IdempotencyKey, IdempotencyStore, InMemoryStore, RateLimiter,
        Retry,
    },
    prelude::*,
    store::audit::{AuditSink, verify},
    testing::{Canaries, CanarySweep, CanaryTenant, Place},
};

use super::super::super::telemetry::{Records, logs};

/// A store of runs and audit records: what a back end brings to be swept.
pub(super) trait Store: Journal + AuditLog + Clone {}

impl<S: Journal + AuditLog + Clone> Store for S {}

/// So many tenants have a run that waits for an answer.
const ASKING: usize = 100;

static QUIET: Once = Once::new();

/// Panics that are part of the test write no backtraces: there are thousands.
fn quiet() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !panic.payload_as_str().is_some_and(|text| text.starts_with("canary")) {
            before(panic);
        }
    }));
}

/// What belongs to a tenant, and is seen by it.
type ByTenant = HashMap<String, Vec<String>>;

pub(super) struct World<S> {
    pub(super) canaries: Canaries,
    pub(super) engine: Engine,
    store: S,
    recorder: Recorder,
    records: Records,
    metrics: Metrics,
    displayed: Arc<Mutex<Vec<String>>>,
    file: PathBuf,
    seen: Mutex<Seen>,
}

/// What a caller has in hand when its runs are over.
#[derive(Default)]
struct Seen {
    outputs: ByTenant,
    reports: Vec<String>,
    runs: HashMap<String, Vec<RunId>>,
}

/// Has each stage write a line, and tell an auditor something.
struct Says;

impl Interceptor for Says {
    async fn around(&self, call: &Call, next: Next<'_>) -> StageResult<Value> {
        if let Some(tenant) = CanaryTenant::of(call.context()) {
            tracing::info!("{}", tenant.canary(Place::Line));
            if call.stage_name() == "first" {
                call.context().emit("audit.read", [("what", tenant.canary(Place::Audit))]);
            }
        }
        next.run().await
    }

    fn placement(&self) -> Placement {
        Placement::At(Layer::Inner)
    }
}

/// All policies that keep something between runs, each shared by all tenants.
fn shared(answers: impl IdempotencyStore) -> EngineBuilder {
    let bulkhead =
        Bulkhead::builder("all").max_concurrent(64).max_queue(100_000).per_tenant(true).max_keys(2_000);
    let rate = RateLimiter::builder("all").dimension("calls", 1_000_000, 1.secs(), 1_000_000).max_keys(2_000);
    let breaker = CircuitBreaker::builder("all").failure_rate(0.9).min_calls(1_000).max_keys(20_000);
    Engine::builder()
        .interceptor(Idempotency::new(answers))
        .interceptor(Retry::constant(1.millis()).max_attempts(2))
        .interceptor(breaker.build().expect("the breaker is right"))
        .interceptor(bulkhead.build().expect("the bulkhead is right"))
        .interceptor(rate.build().expect("the limiter is right"))
        .interceptor(AttemptSpans::new())
        .interceptor(Says)
}

impl<S: Store> World<S> {
    pub(super) fn new(tenants: usize, store: S) -> Self {
        let answers = InMemoryStore::new().max_entries(1_000_000);
        Self::with(tenants, store, answers, |engine| engine)
    }

    /// With a store of answers, and with more in the engine.
    pub(super) fn with(
        tenants: usize,
        store: S,
        answers: impl IdempotencyStore,
        furnish: impl FnOnce(EngineBuilder) -> EngineBuilder,
    ) -> Self {
        // Makes sure of the subscriber; this engine has all sinks.
        drop(logs::logging());
        Once::call_once(&QUIET, quiet);
        let canaries = Canaries::new(tenants);
        let (recorder, records, metrics) = (Recorder::new(), Records::default(), Metrics::new());
        let displayed = Arc::new(Mutex::new(Vec::new()));
        let shown = Arc::clone(&displayed);
        let show = move |event: &Event| {
            let line = format!("{} {event}", event.tenant().unwrap_or("nobody"));
            shown.lock().expect("no panic").push(line);
        };
        let file =
            std::env::temp_dir().join(format!("stageflow-isolation-{}.jsonl", canaries.tenant(0).id()));
        let engine = furnish(shared(answers))
            .journal(Durability::new(store.clone()).every_run())
            .sink(recorder.clone())
            .sink(records.sink())
            .sink(metrics.clone())
            .sink(LogEvents::new())
            .sink(JsonLines::create(&file).expect("a file").bounded(1_000_000))
            .sink(sink_fn(show).bounded(1_000_000))
            .sink(AuditSink::new(Arc::new(store.clone())).bounded(1_000_000))
            .build()
            .expect("an engine");
        let seen = Mutex::default();
        Self { canaries, engine, store, recorder, records, metrics, displayed, file, seen }
    }

    /// Runs everything, of all tenants at the same time, each under so many keys, and waits until all of it was told.
    pub(super) async fn run(self: &Arc<Self>, keys: usize) {
        let runs: Vec<_> = (0..self.canaries.count())
            .map(|index| {
                let world = Arc::clone(self);
                tokio::spawn(async move {
                    world.run_one(&world.canaries.tenant(index), keys, index < ASKING).await;
                })
            })
            .collect();
        for run in runs {
            run.await.expect("no run panics");
        }
        self.engine.flush().await;
    }

    async fn run_one(&self, tenant: &CanaryTenant, keys: usize, asks: bool) {
        // Under a key that all tenants have, once more, and under one of its own.
        let all = ["the same".to_owned(), "the same".to_owned(), tenant.canary(Place::Key)];
        for key in all.into_iter().take(keys) {
            let run = self.engine.run(&Canaries::pipeline(), tenant.canary(Place::Input));
            let run = tenant.settle(run).extension(IdempotencyKey::new(key));
            self.keep(tenant, run.await);
        }
        let pipeline = if asks { Canaries::asking_pipeline() } else { Canaries::durable_pipeline() };
        let run = self.engine.run(&pipeline, tenant.canary(Place::Input));
        let run = tenant.settle(run).user(format!("user-of-{}", tenant.id()));
        let run = run.extension(IdempotencyKey::new("the same")).start();
        let id = run.run_id().expect("it was let in");
        let mut events = run.events();
        while asks && let Some(event) = events.next().await {
            if event.name() == "pause.opened" {
                let explained = run.explain().expect("it is on its way");
                self.lock().reports.push(format!("{} {explained} {explained:?}", tenant.id()));
                let answer = tenant.canary(Place::Answer);
                let taken = self.engine.answer(tenant.id(), id, &Canaries::QUESTION, answer).await;
                assert_eq!(taken.expect("the store works"), Answered::Taken);
                break;
            }
        }
        self.keep(tenant, run.await);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().expect("no panic")
    }

    fn keep(&self, tenant: &CanaryTenant, done: Result<stageflow::Completed<String>, RunError>) {
        let done = done.unwrap_or_else(|error| panic!("{error}: {:?}", error.report()));
        let report = done.report();
        let json = serde_json::to_string(&report).expect("JSON");
        let mut seen = self.lock();
        seen.reports.push(format!(
            "{} {report} {report:?} {json} {:?}",
            tenant.id(),
            report.snapshot().identity()
        ));
        seen.runs.entry(tenant.id().to_owned()).or_default().push(done.run_id());
        seen.outputs.entry(tenant.id().to_owned()).or_default().push(done.output().clone());
    }

    /// All events, of all tenants.
    pub(super) fn events(&self) -> Vec<Event> {
        self.recorder.events()
    }

    /// Looks at everything there is to be seen.
    pub(super) async fn sweep(&self) -> CanarySweep<'_> {
        let (journals, audits) = (self.journals().await, self.audits().await);
        let mut events = ByTenant::new();
        let mut lines = Vec::new();
        for event in self.recorder.events() {
            let line = serde_json::to_string(&event).expect("JSON");
            events
                .entry(event.tenant().expect("no run is nobody's").to_owned())
                .or_default()
                .push(line.clone());
            lines.push(line);
        }
        let wide = self
            .records
            .all()
            .into_iter()
            .map(|record| format!("{} {record:?}", serde_json::to_string(&record).expect("JSON")));
        let file = std::fs::read_to_string(&self.file).expect("it was written");
        let metrics = self.metrics.read();
        let prometheus = metrics.to_prometheus();
        let few = self.canaries.tenants().take(10);
        let metrics_of: Vec<_> = few.map(|tenant| metrics.of_tenant(tenant.id()).to_prometheus()).collect();
        let first = self.canaries.tenant(0);
        let stem = &first.id()["tenant".len()..][..12];
        let seen = self.lock();
        let of = |map: &ByTenant, id: &str| map.get(id).cloned().unwrap_or_default();
        self.canaries
            .sweep()
            .visible("outputs", |id| of(&seen.outputs, id))
            .visible("events", |id| of(&events, id))
            .visible("journal", |id| of(&journals, id))
            .visible("audit", |id| of(&audits, id))
            .raw("recorder", &lines)
            .raw("json lines", file.lines())
            .raw("wide events", wide)
            .raw("display", self.displayed.lock().expect("no panic").iter())
            .raw("reports and explanations", &seen.reports)
            .raw("tracing", logs::lines_with(stem))
            .raw("prometheus", prometheus.lines())
            .raw("metrics of a tenant", metrics_of)
    }

    /// What the journal has of each tenant; of any run of another there is nothing.
    async fn journals(&self) -> ByTenant {
        let runs = self.lock().runs.clone();
        let mut all = ByTenant::new();
        for index in 0..self.canaries.count() {
            let tenant = self.canaries.tenant(index);
            let next = self.canaries.tenant((index + 1) % self.canaries.count());
            for run in &runs[tenant.id()] {
                let own = self.engine.journaled(tenant.id(), *run).await.expect("the store works");
                let own = own.expect("it was written");
                all.entry(tenant.id().to_owned()).or_default().extend(texts(&own));
                let stolen = self.engine.journaled(next.id(), *run).await.expect("the store works");
                all.entry(next.id().to_owned()).or_default().extend(stolen.iter().flat_map(texts));
                let answer =
                    self.engine.answer(next.id(), *run, &Canaries::QUESTION, "mine".to_owned()).await;
                assert_eq!(answer.expect("the store works"), Answered::NotWaiting, "of another's run");
                assert!(self.engine.pauses(next.id(), *run).await.expect("the store works").is_empty());
                let key = RunKey::new(next.id(), *run);
                assert!(self.store.claim(&key).await.is_err(), "nobody claims the run of another");
            }
        }
        all
    }

    /// The audit records of each tenant, in unbroken chains.
    async fn audits(&self) -> ByTenant {
        let mut all = ByTenant::new();
        for tenant in self.canaries.tenants() {
            let records = self.store.read(&tenant.id().into(), 0, 10_000).await.expect("the store works");
            verify(None, &records).expect("the chain holds");
            let lines = records.iter().map(|record| serde_json::to_string(record).expect("JSON"));
            all.insert(tenant.id().to_owned(), lines.collect());
        }
        all
    }
}

/// Everything that a journal has of a run, payloads included.
fn texts(run: &JournaledRun) -> Vec<String> {
    let bytes = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut texts = vec![format!("{:?}", run.header.snapshot)];
    texts.extend(run.header.input.iter().map(|input| bytes(&input.bytes)));
    for entry in &run.entries {
        texts.push(serde_json::to_string(&entry.kind).expect("JSON"));
        texts.extend(entry.payload.iter().map(|payload| bytes(&payload.bytes)));
    }
    texts
}

impl<S> Drop for World<S> {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

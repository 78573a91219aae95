//! Tenants at the same time: what one of them can see has nothing of another, and no raw line has a payload.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context as _, Result};
use stageflow::{
    Call, EventKind, Interceptor, Layer, Next, Placement, Recorder, Value,
    events::{Metrics, SinkExt as _, sink_fn},
    interceptors::{Bulkhead, Idempotency, IdempotencyKey, InMemoryStore, Retry},
    prelude::*,
    testing::{Canaries, Place},
};

use super::common::load;
use crate::harness::{
    bench::Bench,
    clock::Moment,
    lock,
    scenario::{Control, Scenario, Step},
};

pub(crate) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "tenant.canaries",
    suites: &["fri"],
    answers: &["SEED2-12", "SEED2-26"],
    about: "Of tenants that run at the same time none sees a text or the id of another, and no log or metric has a payload.",
    parameters: "10, 100 and 1,000 tenants at once, each with three runs of ten stages under one engine with shared retries, bulkhead, answers and sinks; each tenant leaves texts of its own in inputs, outputs, metadata, extensions, errors, causes, panics and events",
    faults: &["failure", "panic"],
    controls: &[
        Control::new("cache without tenant", &["no tenant sees another"]),
        Control::new("log with the first tenant only", &["no raw line is mixed or has a payload"]),
        Control::new("lost run", &["each run gives its output"]),
        Control::new("a tenant that nobody looks at", &["every tenant was looked at"]),
    ],
    body: Step::Run(|bench| Box::pin(isolation(bench))),
}];

/// A cache whose key forgets the tenant.
#[derive(Default)]
struct Forgetful(Mutex<HashMap<String, Value>>);

impl Interceptor for Forgetful {
    async fn around(&self, call: &Call, next: Next<'_>) -> StageResult<Value> {
        let known = lock(&self.0).get(call.stage_name()).cloned();
        match known.filter(|_| call.stage_name().starts_with("part")) {
            Some(known) => Ok(known),
            None => {
                let value = next.run().await?;
                lock(&self.0).entry(call.stage_name().to_owned()).or_insert_with(|| value.clone());
                Ok(value)
            }
        }
    }

    fn placement(&self) -> Placement {
        Placement::Outside(Layer::Idempotency)
    }
}

async fn isolation(bench: Arc<Bench>) -> Result<()> {
    for tenants in bench.sizes(&[10, 100, 1_000]) {
        of(&bench, tenants).await?;
    }
    Ok(())
}

async fn of(bench: &Bench, tenants: usize) -> Result<()> {
    let (canaries, recorder, metrics) = (Canaries::new(tenants), Recorder::new(), Metrics::new());
    let mut lines = Vec::new();
    let written = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&written);
    let mixes = bench.is_broken("log with the first tenant only");
    let first = Mutex::new(None);
    let logs = sink_fn(move |event| {
        let tenant = event.tenant().unwrap_or_default().to_owned();
        let first = lock(&first).get_or_insert_with(|| tenant.clone()).clone();
        lock(&log).push(format!("{} {event}", if mixes { first } else { tenant }));
    });
    let answers = InMemoryStore::new().max_entries(1_000_000);
    let mut engine = Engine::builder()
        .interceptor(Idempotency::new(answers))
        .interceptor(Retry::constant(1.millis()).max_attempts(2))
        .interceptor(
            Bulkhead::builder("all")
                .max_concurrent(64)
                .max_queue(1_000_000)
                .per_tenant(true)
                .max_keys(10_000)
                .build()?,
        );
    if bench.is_broken("cache without tenant") {
        engine = engine.interceptor(Forgetful::default());
    }
    let engine =
        engine.sink(recorder.clone()).sink(metrics.clone()).sink(logs.bounded(10_000_000)).build()?;
    let pipeline = Canaries::pipeline();
    let started = Moment::now();
    let seen = load(3 * tenants, 3 * tenants, |index| {
        let tenant = canaries.tenant(index % tenants);
        let run = tenant.settle(engine.run(&pipeline, tenant.canary(Place::Input)));
        let run = run.extension(IdempotencyKey::new(if index < tenants { "the same" } else { tenant.id() }));
        async move { run.await.map(|done| (tenant.id().to_owned(), done.output().clone())).ok() }
    });
    let seen: Vec<_> = seen.await?.into_iter().flatten().collect();
    engine.flush().await;
    let took = started.elapsed();
    let mut outputs: HashMap<String, Vec<String>> = HashMap::new();
    let runs = seen.len() - usize::from(bench.is_broken("lost run"));
    seen.into_iter().for_each(|(tenant, output)| outputs.entry(tenant).or_default().push(output));
    let mut events: HashMap<String, Vec<String>> = HashMap::new();
    let [failure, panic] = ["failure", "panic"].map(|name| bench.fault(name));
    for event in recorder.events() {
        if let EventKind::StageFailed(failed) = event.kind() {
            failure.fires(failed.stage() == "fails");
            panic.fires(failed.stage() == "panics");
        }
        let line = serde_json::to_string(&event)?;
        events.entry(event.tenant().context("a run of nobody")?.to_owned()).or_default().push(line.clone());
        lines.push(line);
    }
    if bench.is_broken("a tenant that nobody looks at") {
        events.remove(canaries.tenant(0).id());
    }
    let own = |of: &HashMap<String, Vec<String>>, id: &str| of.get(id).cloned().unwrap_or_default();
    let visible =
        canaries.sweep().visible("outputs", |id| own(&outputs, id)).visible("events", |id| own(&events, id));
    let visible = visible.finish();
    let prometheus = metrics.read().to_prometheus();
    let raw = canaries
        .sweep()
        .raw("events", &lines)
        .raw("log", lock(&written).iter())
        .raw("metrics", prometheus.lines());
    let raw = raw.finish();
    let what = format!("{tenants} tenants");
    bench.equal("each run gives its output", what.clone(), 3 * tenants, runs);
    bench.equal("no tenant sees another", what.clone(), 0, visible.leak_count());
    bench.equal("no raw line is mixed or has a payload", what.clone(), 0, raw.leak_count());
    bench.equal(
        "every tenant was looked at",
        what.clone(),
        2 * tenants,
        visible.tenants("events") + raw.tenants("log"),
    );
    bench.figures("time of all runs, told", &what).times(&[took], Duration::from_secs(20));
    Ok(())
}

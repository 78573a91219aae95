//! Whatever mixes tenants up turns the sweep red.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use stageflow::{
    Call, EngineBuilder, Event, EventSink, Interceptor, Layer, Next, Placement, StageResult, Value,
    events::sink_fn,
    interceptors::InMemoryStore,
    store::MemoryStore,
    testing::{CanaryLeak, LeakKind, Place, SweepReport},
};

use super::world::World;

/// A cache whose key forgets the tenant.
#[derive(Default)]
struct LeakyCache(Mutex<HashMap<String, Value>>);

impl Interceptor for LeakyCache {
    async fn around(&self, call: &Call, next: Next<'_>) -> StageResult<Value> {
        if !call.stage_name().starts_with("part") {
            return next.run().await;
        }
        let known = self.0.lock().expect("no panic").get(call.stage_name()).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let value = next.run().await?;
        self.0.lock().expect("no panic").insert(call.stage_name().to_owned(), value.clone());
        Ok(value)
    }

    fn placement(&self) -> Placement {
        Placement::Outside(Layer::Idempotency)
    }
}

async fn report(furnish: impl FnOnce(EngineBuilder) -> EngineBuilder) -> SweepReport {
    let world = World::with(3, MemoryStore::new(), InMemoryStore::new(), furnish);
    let world = Arc::new(world);
    world.run(2).await;
    world.sweep().await.finish()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cache_that_forgets_the_tenant_is_found() {
    let report = report(|engine| engine.interceptor(LeakyCache::default())).await;
    let foreign = |source: &str| {
        report.leaks().iter().any(|leak| {
            leak.source == source
                && matches!(leak.kind, LeakKind::Foreign { place: Place::Input | Place::Output, .. })
        })
    };
    assert!(foreign("outputs") && foreign("journal"), "{report}");
}

/// What a sink with a mutable tenant writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_that_names_the_tenant_before_is_found() {
    let world = Arc::new(World::new(3, MemoryStore::new()));
    let lines = Arc::new(Mutex::new(Vec::new()));
    let (written, before) = (Arc::clone(&lines), Mutex::new(String::new()));
    let sink = sink_fn(move |event: &Event| {
        let tenant = event.tenant().unwrap_or_default().to_owned();
        let before = std::mem::replace(&mut *before.lock().expect("no panic"), tenant);
        written
            .lock()
            .expect("no panic")
            .push(format!("{before} {}", serde_json::to_string(event).expect("JSON")));
    });
    world.run(2).await;
    // Those of three tenants, in turns.
    let mut events: Vec<_> = world.events();
    events.sort_by_key(Event::seq);
    events.iter().for_each(|event| sink.on_event(event));
    let lines = lines.lock().expect("no panic").clone();
    let report = world.canaries.sweep().raw("log", &lines).finish();
    assert!(report.leaks().iter().any(|leak| matches!(leak.kind, LeakKind::TwoTenants { .. })), "{report}");
    world.sweep().await.finish().assert_clean();
}

/// A stage that logs its input.
struct Careless;

impl Interceptor for Careless {
    async fn around(&self, call: &Call, next: Next<'_>) -> StageResult<Value> {
        if let Some(input) = next.input::<String>(0) {
            tracing::info!("given {input}");
            call.context().emit("careless.given", [("input", input.as_str())]);
        }
        next.run().await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payload_in_a_log_is_found() {
    let report = report(|engine| engine.interceptor(Careless)).await;
    let found = |leak: &&CanaryLeak| {
        leak.source == "recorder" && matches!(leak.kind, LeakKind::Payload { place: Place::Input, .. })
    };
    assert!(report.leaks().iter().any(|leak| found(&leak)), "{report}");
    // The list has the first hundred only: of logs and files as well.
    assert!(report.leak_count() > 100);
}

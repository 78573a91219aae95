//! Nothing that is seen of a run has its payloads, and nothing that one tenant sees has the id of another (rules S-32, S-33).

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use stageflow::{
    Event, FailurePolicy, Recorder,
    events::{JsonLines, Metrics, SinkExt, sink_fn},
    interceptors::{Idempotency, IdempotencyKey, InMemoryStore, Retry},
    prelude::*,
};

use super::{
    Records,
    logs::{lines_with, logging},
};

const SECRET: &str = "canary-hunter2";
const CAUSE: &str = "canary-cause";

/// An input and output whose every form is the secret.
#[derive(Clone)]
struct Payload(String);

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An error that keeps the secret as its cause.
#[derive(Debug)]
struct Wrapped(std::io::Error);

impl fmt::Display for Wrapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the provider refused")
    }
}

impl std::error::Error for Wrapped {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

/// A tenant and what was told of it.
type Told = (Option<String>, String);

/// Everything that there is to be seen, of one engine.
struct Seen {
    recorder: Recorder,
    records: Records,
    metrics: Metrics,
    displayed: Arc<Mutex<Vec<Told>>>,
    file: std::path::PathBuf,
    engine: Engine,
}

impl Seen {
    fn new(name: &str) -> Self {
        // `logging` makes sure of the subscriber; this engine has all sinks.
        drop(logging());
        let (recorder, records, metrics) = (Recorder::new(), Records::default(), Metrics::new());
        let displayed = Arc::new(Mutex::new(Vec::new()));
        let shown = Arc::clone(&displayed);
        let show = move |event: &Event| {
            let tenant = event.tenant().map(str::to_owned);
            shown.lock().expect("no panic").push((tenant, event.to_string()));
        };
        let file = std::env::temp_dir().join(format!("stageflow-{name}-{}.jsonl", std::process::id()));
        let engine = Engine::builder()
            .interceptor(stageflow::events::AttemptSpans::new())
            .sink(recorder.clone())
            .sink(records.sink())
            .sink(metrics.clone())
            .sink(stageflow::events::LogEvents::new())
            .sink(JsonLines::create(&file).expect("a file").bounded(10_000))
            .sink(sink_fn(show))
            .build()
            .expect("an engine");
        Self { recorder, records, metrics, displayed, file, engine }
    }

    /// All texts, each with where it is from; of a tenant, if one is named.
    fn texts(&self, tenant: Option<&str>) -> Vec<(&'static str, String)> {
        let is_of = |of: Option<&str>| tenant.is_none_or(|tenant| of == Some(tenant));
        let mut texts = Vec::new();
        for event in self.recorder.events().iter().filter(|event| is_of(event.tenant())) {
            texts.push(("event", serde_json::to_string(event).expect("JSON")));
        }
        for record in self.records.all().iter().filter(|record| is_of(record.run().tenant.as_deref())) {
            texts.push(("wide", format!("{} {record:?}", serde_json::to_string(record).expect("JSON"))));
        }
        let now = self.metrics.read();
        let now = tenant.map_or_else(|| now.clone(), |tenant| now.of_tenant(tenant));
        texts.push(("prometheus", now.to_prometheus()));
        for (_, text) in self.displayed.lock().expect("no panic").iter().filter(|it| is_of(it.0.as_deref())) {
            texts.push(("display", text.clone()));
        }
        for line in std::fs::read_to_string(&self.file).expect("it was written").lines() {
            let of: serde_json::Value = serde_json::from_str(line).expect("JSON");
            if is_of(of["tenant"].as_str()) {
                texts.push(("file", line.to_owned()));
            }
        }
        let lines = lines_with(tenant.unwrap_or("canary-"));
        texts.extend(lines.into_iter().map(|line| ("log", line)));
        texts
    }
}

impl Drop for Seen {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

/// A pipeline whose payloads are secret: it retries, fails, falls back, is asked twice under one key, and has a child.
fn secretive() -> Pipeline<Payload, Payload> {
    let mut child = Pipeline::builder("child");
    let input = child.input();
    let inner = stage_fn(|_, payload: Arc<Payload>| async move { Ok((*payload).clone()) });
    let inner = child.stage("inner", inner).inputs(input);
    let child = child.build(inner).expect("it builds");
    let flaky = stage_fn(|ctx: StageContext, payload: Arc<Payload>| async move {
        if ctx.attempt() < 2 {
            return Err(Wrapped(std::io::Error::other(format!("{CAUSE}-{}", payload.0)))).transient();
        }
        Ok((*payload).clone())
    });
    let fails = || {
        stage_fn(|_, payload: Arc<Payload>| async move {
            Err::<Payload, _>(Wrapped(std::io::Error::other(format!("{CAUSE}-{}", payload.0)))).permanent()
        })
    };
    let answers = || stage_fn(|_, payload: Arc<Payload>| async move { Ok((*payload).clone()) });
    let mut p = Pipeline::builder("secretive");
    p.on_failure(FailurePolicy::Continue);
    let input = p.input();
    let flaky = p.stage("flaky", flaky).retry(Retry::constant(1.millis())).inputs(input);
    let _lost = p.stage("fails", fails()).inputs(flaky);
    let backed = p.stage("backed", fails()).fallback(answers()).inputs(flaky);
    let kid = p.stage("kid", child).inputs(backed);
    let once = Idempotency::new(InMemoryStore::new());
    let last = p.stage("once", answers()).intercept(once).inputs(kid);
    p.build(last).expect("it builds")
}

/// S-33: secrets in inputs, outputs and causes of errors are nowhere; what a stage says itself is where it was said.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s_33_no_payload_is_seen_anywhere() {
    let seen = Seen::new("secret");
    let secretive = secretive();
    for _ in 0..2 {
        let run = seen.engine.run(&secretive, Payload(SECRET.to_owned())).tenant("canary-acme");
        let done = run.extension(IdempotencyKey::new(SECRET)).await;
        assert_eq!(done.expect("the output is there").output().0, SECRET);
    }
    seen.engine.flush().await;
    let texts = seen.texts(None);
    for from in ["event", "wide", "prometheus", "display", "file", "log"] {
        let is_told =
            |text: &(&str, String)| text.0 == from && (from == "display" || text.1.contains("canary-acme"));
        assert!(texts.iter().any(is_told), "{from}");
    }
    for (from, text) in &texts {
        assert!(!text.contains("hunter2") && !text.contains(CAUSE), "{from}: {text}");
    }

    // The control: it is found wherever it is put.
    let tells = super::super::kit::solo(stage_fn(|ctx: StageContext, (): ()| async move {
        ctx.emit("canary.said", [("secret", SECRET)]);
        tracing::info!("{SECRET}");
        Err::<u32, _>(SECRET).permanent()
    }));
    seen.engine.run(&tells, ()).tenant("canary-leak").await.expect_err("it fails");
    seen.engine.flush().await;
    let leaks = seen.texts(Some("canary-leak"));
    for (from, leaked) in [
        ("event", true),
        ("display", true),
        ("file", true),
        ("log", true),
        ("wide", false),
        ("prometheus", false),
    ] {
        let found = leaks.iter().any(|text| text.0 == from && text.1.contains(SECRET));
        assert_eq!(found, leaked, "{from}");
    }
}

/// S-32: ten tenants at a time; what one sees has no id of another, and all that is seen is somebody's.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn s_32_no_tenant_is_seen_by_another() {
    let seen = Seen::new("tenants");
    let secretive = secretive();
    let name = |n: u32| format!("canary-tenant-{n}.");
    let runs: Vec<_> = (0..10)
        .map(|n| {
            let run = seen
                .engine
                .run(&secretive, Payload(name(n)))
                .tenant(name(n))
                .correlation(format!("of-{}", name(n)));
            run.extension(IdempotencyKey::new("the same")).start()
        })
        .collect();
    for run in runs {
        run.await.expect("the output is there");
    }
    seen.engine.flush().await;
    for n in 0..10 {
        let texts = seen.texts(Some(&name(n)));
        for from in ["event", "wide", "prometheus", "display", "file", "log"] {
            let is_told =
                |text: &(&str, String)| text.0 == from && (from == "display" || text.1.contains(&name(n)));
            assert!(texts.iter().any(is_told), "{from}");
        }
        for (from, text) in &texts {
            let other = (0..10).filter(|other| *other != n).find(|other| text.contains(&name(*other)));
            assert_eq!(other, None, "{from}: {text}");
        }
    }
    let nobodys = |of: Option<&str>| of.is_none();
    assert!(!seen.recorder.events().iter().any(|event| nobodys(event.tenant())));
    assert!(!seen.records.all().iter().any(|record| nobodys(record.run().tenant.as_deref())));
    for metric in seen.metrics.read().metrics() {
        for series in &metric.series {
            let of_runs = series.attribute("stageflow.pipeline.name").is_some();
            assert!(!of_runs || series.attribute("stageflow.tenant.id").is_some(), "{}", metric.spec.name);
        }
    }
}

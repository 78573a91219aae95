//! What is exported has no payload, and of a tenant nothing that is another's; and every attribute is in the specification.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use opentelemetry_proto::tonic::{
    common::v1::KeyValue,
    metrics::v1::{Metric, metric::Data},
    trace::v1::Span,
};
use stageflow_core::{
    DurationExt as _, ErrorClass, FailurePolicy, StageContext, StageExit, StageKind, stage_fn,
};
use stageflow_dag::Pipeline;
use stageflow_events::otel::Otel;
use stageflow_interceptors::Retry;

use crate::{
    kit::{SECONDS_5, engine, watched},
    receiver::{Manner, Receiver},
    tree::get,
};

const TENANT: &str = "stageflow.tenant.id";
const SECRET: &str = "canary-hunter2";

/// Whose every form is the secret.
#[derive(Clone)]
struct Payload(String);

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Retries, a failure with the secret in its text, what it blocks, a skip, an agent, a child run and a clean-up that fails.
fn secretive() -> Pipeline<Payload, Payload> {
    let same = || stage_fn(|_: StageContext, payload: Arc<Payload>| async move { Ok((*payload).clone()) });
    let mut child = Pipeline::builder("child");
    let input = child.input();
    let inner = child.stage("inner", same()).inputs(input);
    let child = child.build(inner).unwrap();
    let mut p = Pipeline::builder("secretive");
    p.on_failure(FailurePolicy::Continue);
    let input = p.input();
    let flaky = stage_fn(|ctx: StageContext, payload: Arc<Payload>| async move {
        ctx.on_cleanup(async { Err("left behind".into()) });
        if ctx.attempt() < 2 {
            return Err(StageExit::fail(format!("no {}", payload.0)).class(ErrorClass::Transient));
        }
        Ok((*payload).clone())
    });
    let retry = Retry::constant(1.millis()).max_attempts(2);
    let flaky = p.stage("flaky", flaky).kind(StageKind::Agent).intercept(retry).inputs(input);
    let fails = stage_fn(|_: StageContext, payload: Arc<Payload>| async move {
        Err::<Payload, _>(StageExit::fail(format!("no {}", payload.0)).class(ErrorClass::Permanent))
    });
    let failed = p.stage("fails", fails).inputs(input);
    let _blocked = p.stage("blocked", same()).inputs(failed);
    let skips =
        stage_fn(|_: StageContext, _: Arc<Payload>| async { Err::<Payload, _>(StageExit::skip("no")) });
    let _skipped = p.stage("skips", skips).inputs(input);
    let kid = p.stage("kid", child).inputs(flaky);
    p.build(kid).unwrap()
}

fn attributes(metric: &Metric) -> Vec<&[KeyValue]> {
    match metric.data.as_ref().unwrap() {
        Data::Sum(sum) => sum.data_points.iter().map(|point| &*point.attributes).collect(),
        Data::Gauge(gauge) => gauge.data_points.iter().map(|point| &*point.attributes).collect(),
        Data::Histogram(one) => one.data_points.iter().map(|point| &*point.attributes).collect(),
        other => panic!("{other:?}"),
    }
}

/// S-32, S-33: ten tenants at a time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s_32_nothing_of_a_tenant_is_exported_as_of_another() {
    let (receiver, endpoint) = Receiver::start(Manner::default()).await;
    let (otel, _) = watched(Otel::builder().grpc(&endpoint));
    let engine = engine(&otel);
    let name = |n: u32| format!("canary-tenant-{n}.");
    let secretive = secretive();
    let runs: Vec<_> = (0..10)
        .map(|n| {
            let run = engine.run(&secretive, Payload(format!("{SECRET} {}", name(n)))).tenant(name(n));
            run.correlation(format!("of-{}", name(n))).start()
        })
        .collect();
    for run in runs {
        run.await.unwrap();
    }
    engine.flush().await;
    assert!(otel.last_receipt().unwrap().is_complete());
    let spans = receiver.spans();
    // Of each: two runs; `flaky` with two attempts, `fails`, `skips`, `kid`, `inner`.
    assert_eq!(spans.len(), 10 * (2 + 7));
    let metrics = receiver.metrics();
    let points = metrics.iter().flat_map(|metric| {
        attributes(metric).into_iter().map(|one| (metric.name.clone(), get(one, TENANT), format!("{one:?}")))
    });
    let told =
        spans.iter().map(|span| (span.name.clone(), get(&span.attributes, TENANT), format!("{span:?}")));
    let mut tenants = BTreeSet::new();
    for (what, tenant, text) in told.chain(points) {
        assert!(!text.contains("hunter2"), "{what}: {text}");
        if what.starts_with("stageflow.export.") && tenant.is_none() {
            continue;
        }
        let tenant = tenant.unwrap_or_else(|| panic!("{what} has no tenant: {text}"));
        let others = (0..10).map(name).filter(|other| *other != tenant);
        assert!(others.into_iter().all(|other| !text.contains(&other)), "{what}: {text}");
        tenants.insert(tenant);
    }
    assert_eq!(tenants.len(), 10);

    // The control: it is found where it is put.
    let tells = stage_fn(|ctx: StageContext, payload: Arc<Payload>| async move {
        ctx.emit("canary.said", [("secret", payload.0.as_str())]);
        Ok((*payload).clone())
    });
    let mut p = Pipeline::builder("tells");
    let input = p.input();
    let only = p.stage("only", tells).inputs(input);
    engine.run(&p.build(only).unwrap(), Payload(SECRET.to_owned())).await.unwrap();
    engine.flush().await;
    assert!(otel.shutdown(SECONDS_5).await.is_complete());
    assert!(receiver.spans().iter().any(|span| format!("{span:?}").contains(SECRET)));
}

/// The attributes of spans that the specification has, each with where.
fn specified() -> BTreeMap<String, String> {
    let page = include_str!("../../../../docs/telemetry.md");
    let (_, rest) = page.split_once("<!-- spans").unwrap();
    let table = rest.split("<!-- end").next().unwrap();
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    rows.map(|(key, rest)| (key.to_owned(), rest.split(" |").next().unwrap().to_owned())).collect()
}

fn place(span: &Span) -> &'static str {
    match ["stageflow.attempt", "stageflow.stage.name"].map(|key| get(&span.attributes, key).is_some()) {
        [true, _] => "attempt",
        [_, true] => "stage",
        _ => "run",
    }
}

#[tokio::test]
async fn each_attribute_of_a_span_is_specified_and_each_that_is_specified_is_there() {
    let (receiver, endpoint) = Receiver::start(Manner::default()).await;
    let (otel, _) = watched(Otel::builder().grpc(&endpoint).with_messages());
    let engine = engine(&otel);
    let run = engine.run(&secretive(), Payload(SECRET.to_owned())).tenant("acme").correlation("c-1");
    run.request("r-1").session("s-1").await.unwrap();
    let mut p = Pipeline::builder("late");
    let never =
        stage_fn(|_: StageContext, (): ()| std::future::pending::<stageflow_core::StageResult<u32>>());
    let never = p.stage("never", never).inputs(());
    engine.run(&p.build(never).unwrap(), ()).deadline(5.millis()).await.unwrap_err();
    engine.flush().await;
    assert!(otel.shutdown(SECONDS_5).await.is_complete());
    let specified = specified();
    let mut seen = BTreeSet::new();
    for span in receiver.spans() {
        for key in span.attributes.iter().map(|one| &one.key) {
            let on = specified.get(key).unwrap_or_else(|| panic!("`{key}` is not specified"));
            assert!(
                on == "every span" || on.split(", ").any(|one| one == place(&span)),
                "{key} on {}",
                place(&span)
            );
            seen.insert(key.clone());
        }
        for event in &span.events {
            let on = format!("event `{}`", event.name);
            let own = event.attributes.iter().filter(|one| specified.get(&one.key) == Some(&on));
            seen.extend(own.map(|one| one.key.clone()));
        }
    }
    // Those of lost events have tests of their own, with the spans.
    let lost = ["stageflow.events.lost", "stageflow.incomplete"].map(str::to_owned);
    seen.extend(lost);
    assert_eq!(seen, specified.into_keys().collect());
}

//! Metrics of running pipelines: what they count, that their number is bounded, and that Prometheus can read them.

use std::collections::BTreeMap;

use stageflow::{
    BackpressureMonitor, FailurePolicy,
    events::{METRICS, MetricKind, MetricSource, MetricValue, Metrics, SinkExt, sink_fn},
    interceptors::{CircuitBreaker, Retry},
    prelude::*,
};

use super::super::kit::{Switch, exits, gives, naps, pipeline, report_of, solo, sum};

const TENANT: &str = "stageflow.tenant.id";
const STAGE: &str = "stageflow.stage.name";

fn engine(metrics: &Metrics) -> Engine {
    Engine::builder().sink(metrics.clone()).build().expect("an engine")
}

/// Attempts, delay and outcome of retries, by stage; queue time and duration.
#[tokio::test(start_paused = true)]
async fn retries_are_measured_by_stage() {
    let flaky = |good_at: u32| {
        stage_fn(move |ctx: StageContext, (): ()| async move {
            if ctx.attempt() < good_at { Err("reset").transient() } else { Ok(1_u32) }
        })
    };
    let retried = pipeline(|p| {
        p.on_failure(FailurePolicy::Continue);
        let retry = || Retry::constant(250.millis()).no_jitter().max_attempts(3);
        let up = p.stage("up", flaky(3)).retry(retry()).inputs(());
        let down = p.stage("down", flaky(9)).retry(retry()).inputs(());
        p.stage("sum", sum()).inputs([up, down])
    });
    let metrics = Metrics::new();
    let engine = engine(&metrics);
    report_of(engine.run(&retried, ()).tenant("acme")).await;
    engine.flush().await;
    let now = metrics.read();
    let of = |name: &str, stage: &str| now.sum(name, &[(STAGE, stage), (TENANT, "acme")]);
    assert_eq!((of("stageflow.stage.retries", "up"), of("stageflow.stage.retry_delay", "down")), (2, 2));
    let ended = |stage, how| {
        now.sum("stageflow.stage.retry_outcomes", &[(STAGE, stage), ("stageflow.retry.outcome", how)])
    };
    assert_eq!((ended("up", "recovered"), ended("down", "exhausted"), ended("up", "exhausted")), (1, 1, 0));
    let because = [("stageflow.retry.because", "max_attempts")];
    assert_eq!(now.sum("stageflow.stage.retry_outcomes", &because), 1);
    let attempts = &now.metric("stageflow.stage.attempts").expect("it is there").series;
    let of_up = attempts.iter().find(|one| one.attribute(STAGE) == Some("up")).expect("it is there");
    let MetricValue::Histogram { sum, count, .. } = &of_up.value else { panic!("a histogram") };
    assert_eq!((*sum, *count), (3.0, 1));
    let delays = &now.metric("stageflow.stage.retry_delay").expect("it is there").series[0];
    assert!(matches!(delays.value, MetricValue::Histogram { sum, max, .. } if sum == 0.5 && max == 0.25));
    assert_eq!(of("stageflow.stage.failures", "down"), 1);
    let waited = now.sum("stageflow.stage.wait", &[("stageflow.wait.reason", "back_off")]);
    assert_eq!(
        (waited, now.sum("stageflow.run.active", &[]), now.sum("stageflow.stage.active", &[])),
        (2, 0, 0)
    );
}

/// What goes on can be read while it does.
#[tokio::test(start_paused = true)]
async fn what_is_active_can_be_read_at_any_instant() {
    let metrics = Metrics::new();
    let engine = engine(&metrics);
    let run = engine.start(&solo(naps(2.secs(), 1)), ());
    tokio::time::sleep(1.secs()).await;
    engine.flush().await;
    let active = |name| metrics.read().sum(name, &[]);
    assert_eq!((active("stageflow.run.active"), active("stageflow.stage.active")), (1, 1));
    run.await.expect("it completes");
    engine.flush().await;
    assert_eq!((active("stageflow.run.active"), active("stageflow.stage.active")), (0, 0));
}

/// Breakers, refusals, admission, and accounts of sinks.
#[tokio::test(start_paused = true)]
async fn breakers_admission_and_sinks_are_measured() {
    let metrics = Metrics::new();
    let monitor = BackpressureMonitor::builder().max_active(1).build().expect("a monitor");
    let switch = Switch::default();
    let stuck = switch.clone();
    let stuck = sink_fn(move |_| stuck.spin()).bounded(2);
    let meter = stuck.meter();
    let engine =
        Engine::builder().sink(metrics.clone()).sink(stuck).backpressure(monitor).build().expect("an engine");
    let breaker =
        CircuitBreaker::builder("api").consecutive(1).open_for(1.mins()).build().expect("a breaker");
    let down = pipeline(|p| p.stage("only", exits(|| StageExit::fail("down"))).intercept(breaker).inputs(()));
    let (one, two) = (engine.start(&down, ()), engine.start(&down, ()));
    assert!(one.await.is_err() && two.await.is_err());
    metrics.set_sink("stuck", &meter.account());
    switch.open();
    engine.flush().await;
    let now = metrics.read();
    assert_eq!(now.sum("stageflow.breaker.state", &[("stageflow.breaker.name", "api")]), 2);
    assert_eq!(now.sum("stageflow.limit.rejections", &[("stageflow.limit", "breaker")]), 1);
    assert_eq!(now.sum("stageflow.stage.not_run", &[]), 1);
    let admitted = [("stageflow.admission.decision", "admitted")];
    assert_eq!(
        (now.sum("stageflow.admission.decisions", &admitted), now.sum("stageflow.admission.wait", &[])),
        (1, 1)
    );
    let dropped = now.sum("stageflow.sink.events", &[("stageflow.sink", "stuck")]);
    assert!(dropped > 0 && now.sum("stageflow.sink.in_flight", &[]) > 0, "{dropped}");
}

/// Ten tenants run ten pipelines at a time: each has its own numbers, and they add up.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn ten_tenants_at_a_time_have_their_own_metrics() {
    let metrics = Metrics::new();
    let engine = engine(&metrics);
    let runs = (0..10_u32).flat_map(|tenant| (0..=tenant).map(move |_| tenant)).map(|tenant| {
        let mut p = Pipeline::builder(format!("pipeline-{tenant}"));
        let only = p.stage("only", gives(tenant)).inputs(());
        engine.run(&p.build(only).expect("it builds"), ()).tenant(format!("tenant-{tenant}")).start()
    });
    for run in runs.collect::<Vec<_>>() {
        run.await.expect("it completes");
    }
    engine.flush().await;
    let now = metrics.read();
    for tenant in 0..10_u32 {
        let own = now.of_tenant(&format!("tenant-{tenant}"));
        let completed = own.sum("stageflow.run.duration", &[("stageflow.run.outcome", "completed")]);
        assert_eq!(completed, i64::from(tenant) + 1);
        for series in own.metrics().iter().flat_map(|metric| &metric.series) {
            assert_eq!(series.attribute("stageflow.pipeline.name"), Some(&*format!("pipeline-{tenant}")));
        }
        let text = own.to_prometheus();
        let others = (0..10_u32).filter(|other| *other != tenant).map(|other| format!("-{other}\""));
        assert!(others.into_iter().all(|other| !text.contains(&other)), "{text}");
    }
}

/// However many tenants and stages there are, the number of series is bounded, and what is above is in one that says so.
#[tokio::test(start_paused = true)]
async fn the_number_of_series_is_bounded() {
    let metrics = Metrics::new().max_series(5).max_tenants(2);
    let engine = engine(&metrics);
    let many = pipeline(|p| {
        let all = p.parallel("shard", 0..40, |n| gives(n as u32)).inputs(());
        p.stage("sum", sum()).inputs(all)
    });
    for tenant in 0..6 {
        engine.run(&many, ()).tenant(format!("t{tenant}")).await.expect("it completes");
    }
    engine.flush().await;
    let now = metrics.read();
    for metric in now.metrics() {
        assert!(metric.series.len() <= 6, "{}", metric.spec.name);
    }
    let overflow = [("otel.metric.overflow", "true")];
    assert_eq!(now.sum("stageflow.stage.duration", &overflow), 6 * 41 - 5);
    assert_eq!(now.sum("stageflow.stage.duration", &[]), 6 * 41, "nothing is lost");
    assert_eq!(now.sum("stageflow.run.duration", &[(TENANT, "_other")]), 4);
    assert_eq!(now.sum("stageflow.stage.active", &[]), 0, "what was added is taken from the same series");
}

/// A metric as Prometheus reads it: its type, and its samples by name and labels.
type Parsed = BTreeMap<String, (String, Vec<(String, BTreeMap<String, String>, f64)>)>;

/// Reads the text format: strict about what it allows.
fn parse(text: &str) -> Parsed {
    let mut metrics = Parsed::new();
    let mut current = String::new();
    let is_name = |name: &str| {
        !name.is_empty()
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && !name.starts_with(|c: char| c.is_ascii_digit())
    };
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            current = help.split(' ').next().expect("a name").to_owned();
            assert!(is_name(&current) && !metrics.contains_key(&current), "{line}");
            continue;
        }
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect("a type");
            assert!(name == current && ["counter", "gauge", "histogram"].contains(&kind), "{line}");
            metrics.insert(current.clone(), (kind.to_owned(), Vec::new()));
            continue;
        }
        let at = line.find(['{', ' ']).expect("a name");
        let (name, mut rest) = line.split_at(at);
        assert!(is_name(name) && name.starts_with(&current), "{line}");
        let mut labels = BTreeMap::new();
        if let Some(inside) = rest.strip_prefix('{') {
            let mut letters = inside.char_indices();
            let (mut key, mut value) = (String::new(), None::<String>);
            let end = loop {
                let (at, letter) = letters.next().expect("the labels end");
                match (&mut value, letter) {
                    (None, '=') => {
                        assert_eq!(letters.next().map(|it| it.1), Some('"'), "{line}");
                        value = Some(String::new());
                    }
                    (None, '}') => break at,
                    (None, ',') => {}
                    (None, other) => key.push(other),
                    (Some(text), '\\') => text.push(match letters.next().expect("an escape").1 {
                        'n' => '\n',
                        other => other,
                    }),
                    (Some(_), '"') => {
                        assert!(is_name(&key), "{line}");
                        labels.insert(std::mem::take(&mut key), value.take().expect("a value"));
                    }
                    (Some(text), other) => text.push(other),
                }
            };
            rest = &inside[end + 1..];
        }
        let value = rest.trim().parse().expect("a number");
        metrics.get_mut(&current).expect("a type first").1.push((name.to_owned(), labels, value));
    }
    metrics
}

/// KEEP: the text format holds for names that need escapes, and says what was counted.
#[tokio::test(start_paused = true)]
async fn prometheus_can_read_them() {
    let metrics = Metrics::new();
    let engine = engine(&metrics);
    let odd = "a\"b\\c\u{e9}";
    let mut p = Pipeline::builder("odd \"name\"");
    let only = p.stage(odd, naps(30.millis(), 1)).inputs(());
    let run = engine.run(&p.build(only).expect("it builds"), ()).tenant("x\ny").await.expect("it completes");
    engine.flush().await;
    drop(run);
    let now = metrics.read();
    let parsed = parse(&now.to_prometheus());
    assert_eq!(parsed.len(), now.metrics().len());
    let (kind, samples) = &parsed["stageflow_stage_duration_seconds"];
    assert_eq!(kind, "histogram");
    let labels = &samples[0].1;
    assert_eq!((&*labels["stageflow_stage_name"], &*labels["stageflow_tenant_id"]), (odd, "x\ny"));
    let buckets: Vec<_> = samples.iter().filter(|it| it.0.ends_with("_bucket")).collect();
    assert!(buckets.is_sorted_by_key(|it| it.2), "they add up");
    let of = |bound: &str| buckets.iter().find(|it| it.1["le"] == bound).map(|it| it.2);
    assert_eq!((of("0.025"), of("0.05"), of("+Inf")), (Some(0.0), Some(1.0), Some(1.0)));
    let sum = samples.iter().find(|it| it.0.ends_with("_sum")).expect("a sum");
    assert!((sum.2 - 0.03).abs() < 1e-9);
}

/// Each metric that is about runs has the tenant, and its name and unit are as the conventions want them.
#[test]
fn each_metric_of_runs_has_the_tenant() {
    for metric in METRICS {
        let is_of_runs =
            metric.source == MetricSource::Events || metric.attributes.contains(&"stageflow.pipeline.name");
        assert_eq!(is_of_runs, metric.attributes.contains(&TENANT), "{}", metric.name);
        assert!(
            metric.name.starts_with("stageflow.") && metric.description.ends_with('.'),
            "{}",
            metric.name
        );
        let in_seconds = matches!(metric.kind, MetricKind::Histogram(_)) && metric.unit == "s";
        assert!(in_seconds || metric.unit == "1" || metric.unit.starts_with('{'), "{}", metric.name);
    }
}

/// Without a bound nothing is dropped; what a small queue has dropped is in the metrics.
#[tokio::test(start_paused = true)]
async fn what_metrics_have_not_been_told_is_counted() {
    let metrics = Metrics::new();
    let engine = Engine::builder().sink(metrics.clone().bounded(1)).build().expect("an engine");
    let chatty = stage_fn(|ctx: StageContext, (): ()| async move {
        (0..500_u32).for_each(|n| ctx.emit("said", [("n", n)]));
        Ok(1_u32)
    });
    engine.run(&solo(chatty), ()).await.expect("it completes");
    engine.flush().await;
    drop(engine);
    let now = metrics.read();
    let (ended, dropped) = (now.sum("stageflow.run.duration", &[]), now.sum("stageflow.events.dropped", &[]));
    assert!(ended == 1 && dropped > 0, "{ended}, {dropped}");
}

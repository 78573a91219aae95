//! Identity across async boundaries: correlation ids, and tenants that never see each other.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use anyhow::Result;
use stageflow::{Delivery, Event, EventSink, prelude::*};

use super::common::load;
use crate::harness::{
    bench::Bench,
    clock::Moment,
    lock,
    scenario::{Control, Scenario, Step},
    stats::count,
};

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "trace.correlation",
        suites: &["seeds", "thu"],
        answers: &["SEED2-13", "SEED2-15", "SEED2-26"],
        about: "One correlation id is seen in five stages of a run, spawned, blocking and nested ones among them, and in each of its events.",
        parameters: "1,000 runs of 5 stages, 50 at a time; then 10,000 and 100,000",
        faults: &[],
        controls: &[
            Control::new("lost at spawn", &["each stage sees the id of its run"]),
            Control::new("shared id", &["each stage sees the id of its run"]),
            Control::new(
                "detached child",
                &["each stage sees the id of its run", "each event has the id of its run"],
            ),
        ],
        body: Step::Run(|bench| Box::pin(correlation(bench))),
    },
    Scenario {
        name: "tenant.isolation",
        suites: &["seeds", "daily", "fri"],
        answers: &["SEED2-9", "SEED2-12", "SEED2-26"],
        about: "Runs of many tenants at the same time see, emit and count nothing of each other.",
        parameters: "10 tenants of 100 runs, 100 of 100, and 1,000 of 20; 100 runs at a time",
        faults: &[],
        controls: &[
            Control::new("leaked tenant", &["each stage sees its own tenant"]),
            Control::new("cache without tenant", &["no value of another tenant is seen"]),
            Control::new("wrong label", &["events are counted for their tenant"]),
        ],
        body: Step::Run(|bench| Box::pin(tenants(bench))),
    },
];

/// Counts events by the label that they carry.
#[derive(Clone, Default)]
struct Labels {
    counts: Arc<Mutex<HashMap<String, usize>>>,
    by_tenant: bool,
    /// Takes the label of the event before.
    late: Option<Arc<Mutex<String>>>,
}

impl EventSink for Labels {
    fn on_event(&self, event: &Event) {
        let label = if self.by_tenant { event.tenant() } else { event.correlation_id() };
        let mut label = label.unwrap_or("none").to_owned();
        if let Some(before) = &self.late {
            std::mem::swap(&mut *lock(before), &mut label);
        }
        *lock(&self.counts).entry(label).or_default() += 1;
    }

    fn delivery(&self) -> Delivery {
        Delivery::Inline
    }
}

fn correlation_of(ctx: &StageContext) -> String {
    ctx.identity().correlation_id().map_or("none", stageflow::CorrelationId::as_str).to_owned()
}

type Ids = Vec<String>;

async fn correlation(bench: Arc<Bench>) -> Result<()> {
    // Two stages in the child, five in the parent, and an event of its own.
    const EVENTS: usize = (2 * 2 + 2) + (5 * 2 + 2 + 1 + 1);
    for runs in bench.sizes(&[1_000, 10_000, 100_000]) {
        let labels = Labels::default();
        let engine = Engine::builder().sink(labels.clone()).build()?;
        let pipeline = five_stages(&bench, &engine)?;
        let started = Moment::now();
        let seen = load(runs, 50, |index| {
            let id = format!("c-{index}");
            let run = engine.run(&pipeline, ()).correlation(id.as_str());
            async move {
                let ids = run.await.map(|run| run.output().clone()).unwrap_or_default();
                ids.len() == 6 && ids.iter().all(|seen| *seen == id)
            }
        });
        let right = seen.await?.into_iter().filter(|right| *right).count();
        let rate = count(runs) / started.elapsed().as_secs_f64();
        bench.equal("each stage sees the id of its run", runs, runs, right);
        let counts = lock(&labels.counts);
        let right = (0..runs).filter(|index| counts.get(&format!("c-{index}")) == Some(&EVENTS)).count();
        bench.equal(
            "each event has the id of its run",
            format!("{runs} runs of {EVENTS} events"),
            runs,
            right,
        );
        bench.figures("runs per second", runs).of("runs/s", &[rate]);
    }
    Ok(())
}

/// Stages that note the id they see: plain, spawned, blocking, nested, and one that emits.
fn five_stages(bench: &Bench, engine: &Engine) -> Result<Pipeline<(), Ids>> {
    let note = |ctx: StageContext, ids: Arc<Ids>| async move {
        let mut ids = (*ids).clone();
        ids.push(correlation_of(&ctx));
        Ok(ids)
    };
    let mut p = Pipeline::builder("inner");
    let ids = p.input();
    let first = p.stage("first", stage_fn(note)).inputs(ids);
    let second = p.stage("second", stage_fn(note)).inputs(first);
    let inner = p.build(second)?;

    let (lost, shared, detached) =
        (bench.is_broken("lost at spawn"), bench.is_broken("shared id"), bench.is_broken("detached child"));
    let mut p = Pipeline::builder("outer");
    let input = p.input();
    let plain = stage_fn(|ctx: StageContext, _: Arc<()>| async move { Ok(vec![correlation_of(&ctx)]) });
    let plain = p.stage("plain", plain).inputs(input);
    let spawned = stage_fn(move |ctx: StageContext, ids: Arc<Ids>| async move {
        let mut ids = (*ids).clone();
        let ctx = if lost { StageContext::for_test() } else { ctx };
        ids.push(tokio::spawn(async move { correlation_of(&ctx) }).await?);
        Ok(ids)
    });
    let spawned = p.stage("spawned", spawned).inputs(plain);
    let last = Mutex::new("none".to_owned());
    let on_thread = blocking(move |ctx: StageContext, ids: Arc<Ids>| {
        let before = std::mem::replace(&mut *lock(&last), correlation_of(&ctx));
        let mut ids = (*ids).clone();
        ids.push(if shared { before } else { correlation_of(&ctx) });
        Ok(ids)
    });
    let on_thread = p.stage("blocking", on_thread).inputs(spawned);
    let nested = if detached {
        let engine = engine.clone();
        let alone = stage_fn(move |_ctx, ids: Arc<Ids>| {
            let run = engine.run(&inner, (*ids).clone());
            async move { Ok(run.await?.output().clone()) }
        });
        p.stage("nested", alone).inputs(on_thread)
    } else {
        p.stage("nested", inner).inputs(on_thread)
    };
    let emitting = stage_fn(|ctx: StageContext, ids: Arc<Ids>| async move {
        ctx.emit("noted", [("ids", i64::try_from(ids.len())?)]);
        let mut ids = (*ids).clone();
        ids.push(correlation_of(&ctx));
        Ok(ids)
    });
    let output = p.stage("emitting", emitting).inputs(nested);
    Ok(p.build(output)?)
}

/// What belongs to a tenant and must not be seen by others.
#[derive(Clone)]
struct Secret(String);

fn tenant_of(ctx: &StageContext) -> String {
    ctx.identity().tenant_id().map_or("none", stageflow::TenantId::as_str).to_owned()
}

async fn tenants(bench: Arc<Bench>) -> Result<()> {
    // Started and ended: the run, and three stages.
    const EVENTS: usize = 2 * 4;
    for (tenants, each) in [(10, 100), (100, 100), (1_000, 20)] {
        if bench.is_small() && tenants > 10 {
            break;
        }
        let each = bench.size(each, 20);
        let labels = Labels {
            by_tenant: true,
            late: bench.is_broken("wrong label").then(Arc::default),
            ..Labels::default()
        };
        let engine = Engine::builder().sink(labels.clone()).build()?;
        let pipeline = tenants_pipeline(&bench)?;
        let runs = tenants * each;
        let answers = load(runs, 100, |index| {
            let tenant = format!("tenant-{}", index % tenants);
            let secret = Secret(format!("secret of {tenant}"));
            let run = engine.run(&pipeline, format!("request {}", index / tenants));
            let run = run.tenant(tenant.as_str()).extension(secret.clone());
            async move {
                let seen = run.await.map(|run| run.output().clone()).unwrap_or_default();
                (seen.0.iter().all(|seen| *seen == tenant) && seen.0.len() == 3, seen.1 == secret.0)
            }
        });
        let answers = answers.await?;
        let right = answers.iter().filter(|(own, _)| *own).count();
        bench.equal("each stage sees its own tenant", format!("{tenants} tenants"), runs, right);
        let right = answers.iter().filter(|(_, secret)| *secret).count();
        bench.equal("no value of another tenant is seen", format!("{tenants} tenants"), runs, right);
        let counts = lock(&labels.counts);
        let right =
            (0..tenants).filter(|n| counts.get(&format!("tenant-{n}")) == Some(&(each * EVENTS))).count();
        bench.equal("events are counted for their tenant", format!("{tenants} tenants"), tenants, right);
    }
    Ok(())
}

/// The tenants that the stages saw, and the secret that was loaded.
type Seen = (Vec<String>, String);

fn tenants_pipeline(bench: &Bench) -> Result<Pipeline<String, Seen>> {
    let (leaks, no_key) = (bench.is_broken("leaked tenant"), bench.is_broken("cache without tenant"));
    let last = Arc::new(Mutex::new(String::new()));
    let cache: Arc<Mutex<HashMap<(String, String), String>>> = Arc::default();
    let mut p = Pipeline::builder("tenants");
    let request = p.input();
    let who = stage_fn(move |ctx: StageContext, _request: Arc<String>| {
        let last = Arc::clone(&last);
        async move {
            *lock(&last) = tenant_of(&ctx);
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
            Ok(if leaks { lock(&last).clone() } else { tenant_of(&ctx) })
        }
    });
    let who = p.stage("who", who).inputs(request);
    let load = stage_fn(move |ctx: StageContext, request: Arc<String>| {
        let cache = Arc::clone(&cache);
        async move {
            let tenant = if no_key { String::new() } else { tenant_of(&ctx) };
            let own = ctx.extension::<Secret>().map(|secret| secret.0.clone()).unwrap_or_default();
            tokio::task::yield_now().await;
            let secret = lock(&cache).entry((tenant, (*request).clone())).or_insert(own).clone();
            Ok((tenant_of(&ctx), secret))
        }
    });
    let loaded = p.stage("load", load).inputs(request);
    let join = blocking(|ctx: StageContext, (who, loaded): (Arc<String>, Arc<(String, String)>)| {
        Ok((vec![(*who).clone(), loaded.0.clone(), tenant_of(&ctx)], loaded.1.clone()))
    });
    let seen = p.stage("join", join).inputs((who, loaded));
    Ok(p.build(seen)?)
}

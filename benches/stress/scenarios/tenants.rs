//! Tenants beside each other: limits of their own, and secrets that appear in no error, event or report.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::Result;
use stageflow::{FailurePolicy, Recorder, prelude::*};

use super::common::{Counter, load, report_of};
use crate::harness::{
    bench::Bench,
    clock::Moment,
    lock, panics,
    scenario::{Control, Scenario, Step},
};

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "tenant.limits",
        suites: &["fri"],
        answers: &["SEED2-10", "SEED2-34"],
        about: "No tenant has more stages in flight than its limit, and one that asks for much keeps no other waiting.",
        parameters: "a limit of 4; 9 tenants of 400 runs at once, and one of 20 runs in a row; stages of 2 ms",
        faults: &[],
        controls: &[
            Control::new("no-op limiter", &["no tenant is above its limit"]),
            Control::new("one limit for all", &["a quiet tenant does not wait for others"]),
            Control::new("lost run", &["each run completes"]),
        ],
        body: Step::Run(|bench| Box::pin(limits(bench))),
    },
    Scenario {
        name: "errors.no_secrets",
        suites: &["fri"],
        answers: &["SEED2-31", "SEED2-25"],
        about: "However a run ends, neither its input nor its metadata appears in events, errors or reports.",
        parameters: "1,000 runs that fail, panic, time out, are denied, skip or complete, 50 at a time",
        faults: &["failure", "panic", "timeout"],
        controls: &[Control::new(
            "careless stage",
            &["no secret is in an event", "no secret is in an error or a report"],
        )],
        body: Step::Run(|bench| Box::pin(secrets(bench))),
    },
];

#[derive(Default)]
struct Gauge {
    now: Counter,
    most: Counter,
}

/// One gauge for each tenant.
type Gauges = Arc<Mutex<HashMap<String, Arc<Gauge>>>>;

fn limited(gauges: &Gauges) -> Result<Pipeline<(), ()>> {
    let mut p = Pipeline::builder("limited");
    let input = p.input();
    let stages = p.parallel("stage", 0..4, |_| {
        let gauges = Arc::clone(gauges);
        stage_fn(move |ctx: StageContext, _: Arc<()>| {
            let tenant = ctx.identity().tenant_id().map(|tenant| tenant.as_str().to_owned());
            let gauge = Arc::clone(lock(&gauges).entry(tenant.unwrap_or_default()).or_default());
            async move {
                gauge.most.raise_to(gauge.now.add());
                tokio::time::sleep(Duration::from_millis(2)).await;
                gauge.now.take_off();
                Ok(())
            }
        })
    });
    let stages = stages.inputs(input);
    let done = p.stage("done", stage_fn(|_ctx, _: Vec<Arc<()>>| async { Ok(()) })).inputs(stages);
    Ok(p.build(done)?)
}

async fn limits(bench: Arc<Bench>) -> Result<()> {
    const LIMIT: u32 = 4;
    let engine = match (bench.is_broken("no-op limiter"), bench.is_broken("one limit for all")) {
        (true, _) => Engine::builder(),
        (_, true) => Engine::builder().max_in_flight(LIMIT),
        _ => Engine::builder().tenant_max_in_flight(LIMIT),
    };
    let engine = engine.build()?;
    let gauges = Gauges::default();
    let pipeline = limited(&gauges)?;
    let each = bench.size(400, 100);
    let lost = bench.is_broken("lost run");
    let noisy = {
        let (engine, pipeline) = (engine.clone(), pipeline.clone());
        tokio::spawn(async move {
            load(9 * each, 9 * each, |index| {
                let run = engine.run(&pipeline, ()).tenant(format!("noisy-{}", index % 9));
                async move { !(lost && index == 3) && run.await.is_ok() }
            })
            .await
        })
    };
    // The others have begun once the first gauges are there.
    while lock(&gauges).len() < 3 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut times = Vec::new();
    let mut completed = 0;
    for _ in 0..20 {
        let started = Moment::now();
        completed += usize::from(engine.run(&pipeline, ()).tenant("quiet").await.is_ok());
        times.push(started.elapsed());
    }
    completed += noisy.await??.into_iter().filter(|completed| *completed).count();
    bench.equal("each run completes", "", 9 * each + 20, completed);
    let most = lock(&gauges).values().map(|gauge| gauge.most.get()).max().unwrap_or_default();
    bench.at_most("no tenant is above its limit", "", LIMIT as usize, most);
    let longest = times.iter().max().copied().unwrap_or_default();
    bench.figures("time of a run of the quiet tenant", "").times(&times, Duration::from_millis(2));
    bench.within("a quiet tenant does not wait for others", "", Duration::from_millis(100), longest);
    Ok(())
}

async fn secrets(bench: Arc<Bench>) -> Result<()> {
    let [failure, panic, timeout] = ["failure", "panic", "timeout"].map(|name| bench.fault(name));
    let careless = bench.is_broken("careless stage");
    let mut p = Pipeline::builder("secretive");
    p.on_failure(FailurePolicy::Continue);
    let input = p.input();
    let work = stage_fn(move |ctx: StageContext, input: Arc<(usize, String)>| {
        let (failure, panic, timeout) = (failure.clone(), panic.clone(), timeout.clone());
        async move {
            let (kind, secret) = (input.0 % 6, &input.1);
            if failure.fires(kind == 0) {
                ctx.emit("work.broke", [("kind", i64::try_from(kind)?)]);
                let what = if careless { format!("no user {secret}") } else { "no such user".to_owned() };
                return Err(StageExit::fail(what).hint("ask somebody"));
            }
            if panic.fires(kind == 1) {
                panic!("{} with a payload in hand", panics::INJECTED);
            }
            if timeout.fires(kind == 2) {
                std::future::pending::<()>().await;
            }
            match kind {
                3 => Err(StageExit::deny("not allowed")),
                4 => Err(StageExit::skip("nothing to do")),
                _ => Ok(secret.clone()),
            }
        }
    });
    let worked = p.stage("work", work).timeout(Duration::from_millis(5)).inputs(input);
    let last = stage_fn(|_ctx, worked: Option<Arc<String>>| async move { Ok(worked.is_some()) });
    let done = p.stage("last", last).inputs(worked.optional());
    let pipeline = p.build(done)?;
    let recorder = Recorder::new();
    let engine = Engine::builder().sink(recorder.clone()).build()?;
    let runs = bench.size(1_000, 60);
    let told = load(runs, 50, |index| {
        let secret = format!("hunter2-{index}");
        let run = engine.run(&pipeline, (index, secret.clone())).metadata("token", secret.clone());
        let run = run.extension(secret);
        async move {
            let ended = run.await;
            let report = report_of(&ended);
            let error = ended.as_ref().err().map(|error| format!("{error} {error:?}")).unwrap_or_default();
            let json = report.as_ref().and_then(|report| serde_json::to_string(report).ok());
            let text = report.map(|report| format!("{report} {report:?}"));
            format!("{error} {} {}", json.unwrap_or_default(), text.unwrap_or_default())
        }
    });
    let told = told.await?;
    let found = told.iter().filter(|text| text.contains("hunter2")).count();
    bench.equal("no secret is in an error or a report", format!("{runs} runs"), 0, found);
    let events = recorder.events();
    let has_secret = |event: &&stageflow::Event| {
        serde_json::to_string(event).is_ok_and(|json| json.contains("hunter2"))
            || event.to_string().contains("hunter2")
    };
    let found = events.iter().filter(has_secret).count();
    bench.equal("no secret is in an event", format!("{} events", events.len()), 0, found);
    Ok(())
}

//! Trying again, and not trying: back-off, retries that are granted by default, many clients at once, a breaker.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use stageflow::{
    Backoff, Engine, Jitter, code,
    interceptors::{CircuitBreaker, Retry},
    prelude::*,
};

use super::common::{Counter, load, report_of};
use crate::harness::{
    bench::{Bench, Fault},
    clock::Moment,
    lock,
    scenario::{Control, Scenario, Step},
};

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "retry.backoff",
        suites: &["seeds", "wed"],
        answers: &["SEED4-1", "SEED4-2", "SEED4-3", "SEED4-4", "SEED4-5", "SEED4-15"],
        about: "Delays stay within the bounds of their jitter, have its mean, and take less than 1 µs to calculate.",
        parameters: "none, full, equal and decorrelated jitter; base 100 ms, cap 10 s; 100,000 delays each",
        faults: &[],
        controls: &[
            Control::new(
                "another cap",
                &["delays are within their bounds", "the mean is that of the jitter"],
            ),
            Control::new("a slow calculation", &["a delay is calculated in less than 1 µs"]),
        ],
        body: Step::Run(|bench| Box::pin(backoff(bench))),
    },
    Scenario {
        name: "retry.by_default",
        suites: &["seeds", "wed"],
        answers: &["SEED4-7", "SEED4-8", "SEED4-11", "SEED4-14", "SEED4-16"],
        about: "A stage that asks for a retry gets it by default; permanent failures are not tried again.",
        parameters: "3,000 requests: a third asks twice, a third always, a third fails for good",
        faults: &["request for a retry", "permanent failure"],
        controls: &[
            Control::new(
                "fails instead of asking",
                &["requests are granted", "exhausted requests are reported"],
            ),
            Control::new("asks instead of failing", &["permanent failures are tried once"]),
        ],
        body: Step::Run(|bench| Box::pin(by_default(bench))),
    },
    Scenario {
        name: "retry.clients",
        suites: &["seeds"],
        answers: &["SEED4-6", "SEED4-12"],
        about: "Clients that retry at the same time all succeed, each with its own attempts.",
        parameters: "5, 50 and 1,000 clients, each of which fails twice",
        faults: &["transient failure"],
        controls: &[Control::new(
            "gives up early",
            &["all clients succeed", "attempts are counted per client"],
        )],
        body: Step::Run(|bench| Box::pin(clients(bench))),
    },
    Scenario {
        name: "retry.herd",
        suites: &["seeds"],
        answers: &["SEED4-6", "SEED4-13"],
        about: "Jitter spreads the retries of many clients after a common failure.",
        parameters: "1,000 clients that fail together; full jitter below 1 s; arrivals per 10 ms, of which 10 are expected",
        faults: &["common failure"],
        controls: &[Control::new("no jitter", &["the fullest 10 ms are not crowded"])],
        body: Step::Run(|bench| Box::pin(herd(bench))),
    },
    Scenario {
        name: "breaker.recovery",
        suites: &["seeds", "chaos"],
        answers: &["SEED0-21", "SEED0-28", "SEED4-24"],
        about: "A breaker opens after failures, lets probes through, and closes when they succeed.",
        parameters: "opens after 5 failures for 1,000 ms, closes after 3 successes",
        faults: &["outage"],
        controls: &[
            Control::new(
                "no-op breaker",
                &["five calls reach a service that is down", "the others are rejected"],
            ),
            Control::new(
                "an outage that lasts",
                &["the service is used again", "nothing is rejected any more"],
            ),
        ],
        body: Step::Run(|bench| Box::pin(breaker(bench))),
    },
];

async fn backoff(bench: Arc<Bench>) -> Result<()> {
    let count = bench.size(100_000, 20_000);
    let cap = if bench.is_broken("another cap") { 1.secs() } else { 10.secs() };
    let slow = if bench.is_broken("a slow calculation") { 1_000 } else { 1 };
    // The ceiling of the fifth retry is 3.2 s.
    let (retry, previous) = (5, 400.millis());
    let cases = [
        ("none", Jitter::None, 3.2, 3.2),
        ("full", Jitter::Full, 0.0, 3.2),
        ("equal", Jitter::Equal, 1.6, 3.2),
        ("decorrelated", Jitter::Decorrelated, 0.1, 1.2),
    ];
    let mut rng = bench.rng(0);
    for (case, jitter, low, high) in cases {
        let backoff = Backoff::exponential(100.millis()).cap(cap).jitter(jitter);
        let began = Moment::now();
        let mut delays = Vec::with_capacity(count);
        for _ in 0..count {
            let random = rng.next();
            for _ in 1..slow {
                std::hint::black_box(backoff.delay(retry, std::hint::black_box(previous), random));
            }
            delays.push(backoff.delay(retry, previous, random).as_secs_f64());
        }
        let each = began.elapsed().as_secs_f64() * 1e9 / delays.len() as f64;
        let outside = delays.iter().filter(|delay| !(low - 1e-6..=high + 1e-6).contains(*delay)).count();
        bench.equal("delays are within their bounds", case, 0, outside);
        let mean = delays.iter().sum::<f64>() / delays.len() as f64;
        let expected = f64::midpoint(low, high);
        let far = (mean - expected).abs() / expected;
        bench.check("the mean is that of the jitter", case, expected, format_args!("{mean:.3}"), far < 0.02);
        bench.at_most("a delay is calculated in less than 1 µs", case, 1_000.0, each.round());
        bench.figures("time to calculate a delay", case).of("ns", &[each]);
    }
    Ok(())
}

async fn by_default(bench: Arc<Bench>) -> Result<()> {
    let (asks, permanent) = (bench.fault("request for a retry"), bench.fault("permanent failure"));
    let (fails, begs) =
        (bench.is_broken("fails instead of asking"), bench.is_broken("asks instead of failing"));
    let mut p = Pipeline::builder("by default");
    let input = p.input();
    let call = stage_fn(move |ctx: StageContext, kind: Arc<usize>| {
        let (asks, permanent) = (asks.clone(), permanent.clone());
        let ask = || StageExit::retry("busy").after(1.millis());
        async move {
            if asks.fires(*kind == 1 || (*kind == 0 && ctx.attempt() < 3)) {
                if fails { Err("busy").transient() } else { Err(ask()) }
            } else if permanent.fires(*kind == 2) {
                if begs { Err(ask()) } else { Err("no such key").permanent() }
            } else {
                Ok(ctx.attempt())
            }
        }
    });
    let called = p.stage("call", call).inputs(input);
    let pipeline = p.build(called)?;
    let requests = bench.size(3_000, 60);
    let answers = load(requests, 50, |index| {
        let run = pipeline.run(index % 3);
        async move {
            let ended = run.await;
            let attempts =
                report_of(&ended).and_then(|report| report.stage("call")).map(|stage| stage.attempts);
            (index % 3, attempts, ended.map(|_| ()).map_err(|error| error.code()))
        }
    });
    let answers = answers.await?;
    let number = |kind: usize, attempts: u32, result: std::result::Result<(), stageflow::Code>| {
        answers.iter().filter(|answer| **answer == (kind, Some(attempts), result)).count()
    };
    bench.equal("requests are granted", "at the third attempt", requests / 3, number(0, 3, Ok(())));
    let exhausted = number(1, 3, Err(code::RETRY_EXHAUSTED));
    bench.equal("exhausted requests are reported", "three attempts", requests / 3, exhausted);
    let once = answers.iter().filter(|(kind, attempts, _)| *kind == 2 && *attempts == Some(1)).count();
    bench.equal("permanent failures are tried once", "", requests / 3, once);
    Ok(())
}

/// A stage that fails at its first attempts, and tells when it was called.
fn failing(
    attempts: u32,
    fault: &Fault,
    retry: Retry,
    called: impl Fn(u32) + Clone + Send + Sync + 'static,
) -> Result<Pipeline<(), u32>> {
    let fault = fault.clone();
    let mut p = Pipeline::builder::<()>("client");
    let call = stage_fn(move |ctx: StageContext, (): ()| {
        called(ctx.attempt());
        let fails = fault.fires(ctx.attempt() <= attempts);
        async move { if fails { Err("busy").transient() } else { Ok(ctx.attempt()) } }
    });
    let call = p.stage("call", call).retry(retry).inputs(());
    Ok(p.build(call)?)
}

async fn clients(bench: Arc<Bench>) -> Result<()> {
    let fault = bench.fault("transient failure");
    let attempts = if bench.is_broken("gives up early") { 2 } else { 3 };
    let pipeline = failing(2, &fault, Retry::exponential(10.millis()).max_attempts(attempts), |_| ())?;
    for clients in bench.sizes(&[5, 50, 1_000]) {
        let began = Moment::now();
        let ended = load(clients, clients, |_| {
            let run = pipeline.run(());
            async move {
                let began = Moment::now();
                let ended = run.await;
                let report = report_of(&ended);
                let attempts = report.and_then(|report| report.stage("call")).map(|stage| stage.attempts);
                (ended.is_ok(), attempts, began.elapsed())
            }
        });
        let ended = ended.await?;
        let case = format!("{clients} clients");
        bench.equal("all clients succeed", &case, clients, ended.iter().filter(|(done, ..)| *done).count());
        let three = ended.iter().filter(|(_, attempts, _)| *attempts == Some(3)).count();
        bench.equal("attempts are counted per client", &case, clients, three);
        let times: Vec<_> = ended.iter().map(|(.., time)| *time).collect();
        bench.figures("time of a client, delays included", &case).times(&times, Duration::ZERO);
        bench.figures("time of all clients", &case).times(&[began.elapsed()], Duration::ZERO);
    }
    Ok(())
}

async fn herd(bench: Arc<Bench>) -> Result<()> {
    let fault = bench.fault("common failure");
    let jitter = if bench.is_broken("no jitter") { Jitter::None } else { Jitter::Full };
    let arrivals = Arc::new(Mutex::new(Vec::new()));
    let began = Moment::now();
    let seen = Arc::clone(&arrivals);
    let called = move |attempt: u32| {
        if attempt == 2 {
            lock(&seen).push(began.elapsed());
        }
    };
    let pipeline = failing(1, &fault, Retry::exponential(1.secs()).jitter(jitter), called)?;
    let clients = 1_000;
    let ended = load(clients, clients, |_| {
        let run = pipeline.run(());
        async move { run.await.is_ok() }
    });
    ended.await?;
    let mut buckets = vec![0_u32; 400];
    for arrival in lock(&arrivals).iter() {
        let bucket = usize::try_from(arrival.as_millis() / 10).unwrap_or(usize::MAX).min(399);
        buckets[bucket] += 1;
    }
    let fullest = buckets.iter().copied().max().unwrap_or_default();
    // The tail of the binomial distribution: 40 and more of 1,000 in one of 100 buckets are less likely than one in 10^8. Timers have
    // a resolution of one millisecond, and a worker may be late.
    bench.at_most("the fullest 10 ms are not crowded", "1,000 clients", 40, fullest);
    let counts: Vec<f64> =
        buckets.iter().filter(|count| **count > 0).map(|count| f64::from(*count)).collect();
    bench.figures("arrivals per 10 ms", "1,000 clients").of("arrivals", &counts);
    Ok(())
}

async fn breaker(bench: Arc<Bench>) -> Result<()> {
    let outage = bench.fault("outage");
    let mut breaker =
        CircuitBreaker::builder("service").consecutive(5).open_for(1.secs()).jitter(0.0).probes(3);
    if bench.is_broken("no-op breaker") {
        breaker = breaker.metrics_only();
    }
    let breaker = breaker.build()?;
    let (down, reached) = (Arc::new(AtomicBool::new(true)), Arc::new(Counter::default()));
    let mut p = Pipeline::builder::<()>("service");
    let (is_down, reaches) = (Arc::clone(&down), Arc::clone(&reached));
    let call = stage_fn(move |_: StageContext, (): ()| {
        reaches.add();
        let fails = outage.fires(is_down.load(Ordering::SeqCst));
        async move { if fails { Err("unreachable").transient() } else { Ok(()) } }
    });
    let call = p.stage("call", call).intercept(breaker).inputs(());
    let pipeline = p.build(call)?;
    let engine = Engine::builder().build()?;
    let rejected = async |calls: usize| {
        let mut rejected = 0;
        for _ in 0..calls {
            let ended = engine.run(&pipeline, ()).await;
            rejected += usize::from(ended.is_err_and(|error| error.code() == code::BREAKER_OPEN));
        }
        rejected
    };
    let refused = rejected(20).await;
    bench.equal("five calls reach a service that is down", "20 calls", 5, reached.get());
    bench.equal("the others are rejected", "20 calls", 15, refused);
    down.store(bench.is_broken("an outage that lasts"), Ordering::SeqCst);
    tokio::time::sleep(1_100.millis()).await;
    let before = reached.get();
    let refused = rejected(20).await;
    let case = "20 calls after 1.1 s, one after the other";
    bench.equal("the service is used again", case, 20, reached.get() - before);
    bench.equal("nothing is rejected any more", case, 0, refused);
    Ok(())
}

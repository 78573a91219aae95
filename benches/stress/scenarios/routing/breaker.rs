//! A route that is down: its breaker keeps requests away from it, and lets them back when it is well again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use stageflow::{
    Delivery, Event, EventKind, EventSink, OrPort,
    interceptors::{CircuitBreaker, Forced},
    plus::router::{CircuitBreakerRouter, OnRoute as _},
    prelude::*,
};

use super::{super::common::load, router::Route};
use crate::harness::{
    bench::Bench,
    clock::Moment,
    scenario::{Control, Scenario, Step},
};

const AT_A_TIME: usize = 20;
const THRESHOLD: usize = 5;
const OPEN: Duration = Duration::from_millis(100);
const ROUTES: [Route; 4] = [Route::Fast, Route::Standard, Route::Premium, Route::Escalation];

pub(crate) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "routing.breaker",
    suites: &["seeds"],
    answers: &["SEED0-21", "SEED0-34"],
    about: "A route whose breaker is open is not taken, and is taken again after it has recovered.",
    parameters: "the four routes, the first of them down for 2,000 of 6,000 requests, 20 at a time; 5 failures open for 100 ms",
    faults: &["route down"],
    controls: &[
        Control::new("no breaker", &["few requests reach the route that is down"]),
        Control::new(
            "wrong order",
            &["the first route is taken while it is well", "the first route is taken again"],
        ),
        Control::new(
            "no other route",
            &["only those fail that reached the route", "the next route takes the others"],
        ),
        Control::new("no events", &["each decision for another route says why"]),
        Control::new("never well again", &["the first route is taken again", "it is taken again soon"]),
    ],
    body: Step::Run(|bench| Box::pin(breaker(bench))),
}];

/// Counts decisions that passed over a route.
#[derive(Clone, Default)]
struct PassedOver(Arc<AtomicUsize>);

impl EventSink for PassedOver {
    fn on_event(&self, event: &Event) {
        if let EventKind::Custom(custom) = event.kind()
            && custom.name() == "route.decided"
            && custom.field("skipped").is_some()
        {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn delivery(&self) -> Delivery {
        Delivery::Inline
    }
}

type Models = CircuitBreakerRouter<Route, usize>;

fn router(bench: &Bench) -> Result<Models> {
    let mut routes = Vec::new();
    for route in ROUTES {
        let breaker = CircuitBreaker::builder(route.to_string()).consecutive(u32::try_from(THRESHOLD)?);
        routes.push((
            route,
            breaker.no_failure_rate().open_for(OPEN).max_open(OPEN).jitter(0.0).probes(1).build()?,
        ));
    }
    if bench.is_broken("wrong order") {
        routes.reverse();
    }
    if bench.is_broken("no other route") {
        routes.truncate(1);
    }
    Ok(CircuitBreakerRouter::new(routes))
}

/// The decision, a stage behind each route, and which of them has answered.
fn pipeline(bench: &Bench, router: &Models, down: &Arc<AtomicBool>) -> Result<Pipeline<usize, Route>> {
    let mut p = Pipeline::builder("breakers");
    let request = p.input();
    let decision = p.stage("route", router.clone()).inputs(request);
    let mut answers: Option<OrPort<Route>> = None;
    for route in ROUTES.into_iter().filter(|route| router.breaker(route).is_some()) {
        let (fault, down) = (bench.fault("route down"), Arc::clone(down));
        let answer = stage_fn(move |_ctx, _: Arc<usize>| {
            let fails = fault.fires(route == Route::Fast && down.load(Ordering::SeqCst));
            async move {
                tokio::task::yield_now().await;
                if fails { Err("503").transient() } else { Ok(route) }
            }
        });
        let port = p.stage(route.to_string(), answer).on_route(decision, router, route).inputs(request);
        answers = Some(answers.map_or_else(|| port.into(), |others| others.or(port)));
    }
    let same = stage_fn(|_ctx, route: Arc<Route>| async move { Ok(*route) });
    let answers = answers.ok_or_else(|| anyhow::anyhow!("there is no route"))?;
    let answer = p.stage("answer", same).inputs(answers);
    Ok(p.build(answer)?)
}

async fn breaker(bench: Arc<Bench>) -> Result<()> {
    let router = router(&bench)?;
    let down = Arc::new(AtomicBool::new(false));
    let pipeline = pipeline(&bench, &router, &down)?;
    let passed_over = PassedOver::default();
    let engine = match bench.is_broken("no events") {
        true => Engine::builder().build()?,
        false => Engine::builder().sink(passed_over.clone()).build()?,
    };
    let requests = bench.size(2_000, 200);
    let phase = || {
        load(requests, AT_A_TIME, |index| {
            let run = engine.run(&pipeline, index);
            async move { run.await.ok().map(|run| *run.output()) }
        })
    };
    let by = |answers: &[Option<Route>], route| answers.iter().filter(|by| **by == route).count();

    let well = phase().await?;
    bench.equal("the first route is taken while it is well", "", requests, by(&well, Some(Route::Fast)));

    if bench.is_broken("no breaker") {
        router.force(&Route::Fast, Some(Forced::Closed));
    }
    let reached = bench.fault("route down");
    let before = passed_over.0.load(Ordering::SeqCst);
    down.store(true, Ordering::SeqCst);
    let started = Moment::now();
    let ill = phase().await?;
    let time = started.elapsed();
    down.store(false, Ordering::SeqCst);
    let reached = usize::try_from(reached.count())?;
    let windows = usize::try_from(time.as_millis() / OPEN.as_millis())? + 1;
    // Those that were on their way when it opened, and a probe each time it is open no more.
    let few = THRESHOLD + AT_A_TIME + windows;
    bench.at_most("few requests reach the route that is down", format!("of {requests}"), few, reached);
    bench.equal("only those fail that reached the route", "", reached, by(&ill, None));
    let others = requests - reached;
    bench.equal("the next route takes the others", "", others, by(&ill, Some(Route::Standard)));
    let said = passed_over.0.load(Ordering::SeqCst) - before;
    bench.equal("each decision for another route says why", "", others, said);

    if bench.is_broken("never well again") {
        router.force(&Route::Fast, Some(Forced::Open));
    }
    let started = Moment::now();
    let mut taken = None;
    while taken.is_none() && started.elapsed() < 20 * OPEN {
        let by = engine.run(&pipeline, 0).await.ok().map(|run| *run.output());
        taken = (by == Some(Route::Fast)).then(|| started.elapsed());
        tokio::time::sleep(OPEN / 20).await;
    }
    // Half of it is for machines that are busy.
    bench.within("it is taken again soon", "", 2 * OPEN, taken.unwrap_or(20 * OPEN));
    bench.figures("time until it is taken again", "").times(&taken.into_iter().collect::<Vec<_>>(), OPEN);
    let again = phase().await?;
    bench.equal("the first route is taken again", "", requests, by(&again, Some(Route::Fast)));
    Ok(())
}

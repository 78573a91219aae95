//! What a preset holds is printed, and can be replaced value by value.

use stageflow::{
    BackpressureMonitor, Budget, EngineBuilder, FailureRules, Layer, Recorder,
    interceptors::{Authenticate, CircuitBreaker, Retry},
    prelude::*,
};

use super::{super::kit::pipeline, Keys, all_kinds};

fn production() -> EngineBuilder {
    Engine::production().without_authentication()
}

fn printed(engine: EngineBuilder) -> String {
    engine.build().expect("the engine is right").describe().to_string()
}

#[test]
fn production_prints_every_value() {
    let text = printed(Engine::production().authenticated_tenants(Authenticate::new(Keys)));
    assert_eq!(
        text,
        "\
engine
  in flight: 512, per tenant 256
  nesting: at most 16 deep
  admission: 256 active, 256 waiting for at most 2.0s, refused from 1.5 to 1 of the active
  authentication: of each run, before anything of it is evaluated
  interceptors, outermost first:
    authentication: within 10s (Authenticate)
    tenant guard: tenants: any, organisations: any (Tenant)
    retry: 3 attempts, exponential ×2.0 from 200ms to 30s, full jitter, of transient and timeout, hints up to 1m00s (Retry, default of transform, enrich, route, guard, agent)
    breaker `each stage`: open for 10s to 5m00s ±20%, by the last 30s, at 50% failures of at least 20 calls, 3 probes, per tenant (Breaker, default of enrich, work, agent)
  sinks: 0
  where nothing else is said:
    on failure: fail fast
    stages that ask for a retry: 3 attempts, exponential ×2.0 from 200ms to 30s, full jitter
    timeouts: stage 2m00s, attempt 30s, idle no limit
    deadline: none
    budget: 0.2 retries for each stage and 10, any cost"
    );
    let without = printed(production());
    let line = "  authentication: none, but for what pipelines and stages have of their own\n";
    assert!(without.contains(line) && !text.contains(line), "{without}");
}

#[test]
fn development_prints_every_value() {
    assert_eq!(
        printed(Engine::development()),
        "\
engine
  in flight: no limit, per tenant no limit
  nesting: at most 16 deep
  admission: every run
  authentication: none, but for what pipelines and stages have of their own
  interceptors: none
  sinks: 1
  where nothing else is said:
    on failure: fail fast
    stages that ask for a retry: 3 attempts, exponential ×2.0 from 200ms to 30s, full jitter
    timeouts: stage no limit, attempt 30s, idle no limit
    deadline: none
    budget: 0.2 retries for each stage and 10, any cost"
    );
}

/// How a value is replaced, what is printed then, and what no more.
type Row = (fn(EngineBuilder) -> EngineBuilder, &'static str, &'static str);

fn shop() -> CircuitBreaker {
    CircuitBreaker::builder("shop").build().expect("a breaker")
}

#[test]
fn every_value_of_production_can_be_replaced() {
    let rows: [Row; 15] = [
        (|e| e.attempt_timeout(5.secs()), "attempt 5.0s", "attempt 30s"),
        (|e| e.attempt_timeout(None), "attempt no limit", "attempt 30s"),
        (|e| e.stage_timeout(1.mins()), "stage 1m00s", "stage 2m00s"),
        (|e| e.stage_timeout(None), "stage no limit", "stage 2m00s"),
        (|e| e.idle_timeout(9.secs()), "idle 9.0s", "idle no limit"),
        (|e| e.max_in_flight(7), "in flight: 7,", "in flight: 512"),
        (|e| e.tenant_max_in_flight(7), "per tenant 7", "per tenant 256"),
        (|e| e.without_limits(), "in flight: no limit, per tenant no limit", "admission: 256"),
        (|e| e.max_depth(2), "at most 2 deep", "at most 16 deep"),
        (
            |e| {
                let monitor = BackpressureMonitor::builder().max_active(9).build();
                e.backpressure(monitor.expect("a monitor"))
            },
            "admission: 9 active, 100 waiting\n",
            "admission: 256",
        ),
        (|e| e.budget(Budget::new().retries(0.1, 1)), "0.1 retries for each stage and 1,", "and 10, any"),
        (|e| e.on_failure(FailurePolicy::Continue), "on failure: continue", "on failure: fail fast"),
        (
            |e| e.by_default([StageKind::Agent], Retry::constant(1.secs())),
            "constant 1.0s, full jitter, of transient and timeout, hints up to 1m00s (Retry, default of agent)",
            "(Retry, default of transform, enrich, route, guard, agent)",
        ),
        (
            |e| e.by_default([StageKind::Enrich, StageKind::Work, StageKind::Agent], shop()),
            "    breaker `shop`",
            "    breaker `each stage`",
        ),
        (|e| e.sink(Recorder::new()), "sinks: 1", "sinks: 0"),
    ];
    let before = printed(production());
    let removed: [(Layer, &str); 2] = [(Layer::Retry, "    retry: "), (Layer::Breaker, "    breaker ")];
    for (layer, line) in removed {
        let text = printed(production().without_default(layer));
        assert!(before.contains(line) && !text.contains(line), "{text}");
    }
    for (replace, then, before_that) in rows {
        let text = printed(replace(production()));
        assert!(text.contains(then) && !before.contains(then), "`{then}` in\n{text}");
        assert!(before.contains(before_that) && !text.contains(before_that), "`{before_that}` in\n{text}");
    }
}

/// A policy of one's own takes the place of the one of the preset, as a default or around everything.
#[test]
fn a_policy_of_ones_own_takes_the_place_of_a_default() {
    let all = pipeline(all_kinds);
    let breaker = || CircuitBreaker::builder("own").build().expect("a breaker");
    let own = production().by_default(StageKind::ALL, breaker()).build().expect("the engine is right");
    assert_eq!(own.order(&all).of("work"), Some(&["CircuitBreaker(own)".to_owned()][..]));
    let around = production().interceptor(breaker()).build().expect("the engine is right");
    assert_eq!(around.order(&all).of("route").map(<[_]>::len), Some(2));
    assert_eq!(around.order(&all).of("agent").map(|all| all[1].as_str()), Some("CircuitBreaker(own)"));
    assert_eq!(around.order(&all).of("agent").map(<[_]>::len), Some(2));
}

#[test]
fn which_policies_stand_around_a_stage_depends_on_its_kind() {
    let engine =
        Engine::production().authenticated(Authenticate::new(Keys)).build().expect("the engine is right");
    assert_eq!(
        engine.order(&pipeline(all_kinds)).to_string(),
        "\
Authenticate(Keys) -> retry -> transform
Authenticate(Keys) -> retry -> CircuitBreaker(each stage) -> enrich
Authenticate(Keys) -> retry -> route
Authenticate(Keys) -> retry -> guard
Authenticate(Keys) -> CircuitBreaker(each stage) -> work
Authenticate(Keys) -> retry -> CircuitBreaker(each stage) -> agent
Authenticate(Keys) -> retry -> sum"
    );
}

/// Nothing that a preset puts around stages goes wrong together: stages of all kinds, nested, and with policies of their own.
#[test]
fn the_presets_are_clean() {
    let child = pipeline(all_kinds);
    let whole = pipeline(|p| {
        let unit = p.input();
        let nested = p.stage("nested", child).inputs(unit);
        let own = p
            .stage("own", super::super::kit::gives(1_u32))
            .kind(StageKind::Agent)
            .retry(Retry::exponential(1.secs()).max_attempts(2))
            .inputs(());
        p.stage("sum", super::super::kit::sum()).inputs(vec![nested, own])
    });
    let auth = Authenticate::new(Keys);
    for engine in [production(), Engine::production().authenticated_tenants(auth), Engine::development()] {
        let report = engine.build().expect("the engine is right").lint(&whole);
        assert!(report.is_clean(), "{report}");
    }
    let rules = FailureRules::from(FailurePolicy::BestEffort);
    assert!(production().on_failure(rules).build().is_ok());
}

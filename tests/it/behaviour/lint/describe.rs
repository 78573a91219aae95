//! What an engine consists of can be printed, every value.

use stageflow::{
    interceptors::{Fallback, Idempotency, InMemoryStore, Retry, TenantGuard},
    prelude::*,
};

use super::{auth, breaker, bulkhead, quota};

#[test]
fn an_engine_prints_everything_outermost_first() {
    let engine = Engine::builder()
        .interceptor(quota(500, 50).max_wait(5.secs()).build().expect("a quota"))
        .interceptor(bulkhead(20).queue_timeout(2.secs()).build().expect("a bulkhead"))
        .interceptor(breaker().build().expect("a breaker"))
        .retry(Retry::exponential(200.millis()).max_elapsed(1.mins()))
        .interceptor(Fallback::value(1_u32))
        .interceptor(Idempotency::new(InMemoryStore::new()).required())
        .interceptor(TenantGuard::new(&auth()).allow(["acme", "globex"]))
        .interceptor(auth().require("run"))
        .max_in_flight(100)
        .limit_kind(StageKind::Agent, 5)
        .tenant_max_in_flight(10)
        .build()
        .expect("the engine is right");
    let described = engine.describe();
    assert_eq!(
        described.to_string(),
        "\
engine
  in flight: 100, of kind agent 5, per tenant 10
  nesting: at most 16 deep
  admission: every run
  authentication: of each run, before anything of it is evaluated
  interceptors, outermost first:
    authentication: within 10s, 1 rule (Authenticate)
    tenant guard: tenants: 2, organisations: any (Tenant)
    idempotency: keys required, lease 10m00s, answers kept 1d00h (Idempotency)
    fallback: 1 step, of transient and timeout and unclassified and permanent (outside Retry)
    retry: 3 attempts, exponential ×2.0 from 200ms to 30s, full jitter, of transient and timeout, begun within 1m00s, hints up to 1m00s (Retry)
    breaker `search`: open for 10s to 5m00s, by the last 30s, at 50% failures of at least 20 calls, 3 probes, per tenant (Breaker)
    rate limit `provider`: 500 requests in 1m00s, 50 at once, 1000 wait, less than 5.0s (Limit)
    bulkhead `database`: 20 at a time, 100 wait, at most 2.0s (Limit)
  sinks: 0
  where nothing else is said:
    on failure: fail fast
    stages that ask for a retry: 3 attempts, exponential ×2.0 from 200ms to 30s, full jitter
    timeouts: stage no limit, attempt no limit, idle no limit
    deadline: none
    budget: 0.2 retries for each stage and 10, any cost"
    );
    let json = serde_json::to_value(&described).expect("it is plain data");
    assert_eq!(json["interceptors"][4]["facts"]["max_attempts"], 3);
    assert_eq!(json["interceptors"][7]["facts"]["policy"], "bulkhead");
    assert_eq!(json["limits"]["max_in_flight"], 100);
}

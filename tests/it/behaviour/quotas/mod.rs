//! What a tenant may use: who is let in, who waits, who is refused, and that all is given back (rules S-11, S-31 … S-33).

mod entry;
mod neighbours;
mod released;

use std::time::Duration;

use stageflow::{Engine, EventKind, Recorder, TenantQuotas, TenantUsage, prelude::*};

/// An engine with quotas, its recorder, and the quotas to change.
fn engine(quotas: impl Into<TenantQuotas>) -> (Engine, Recorder, TenantQuotas) {
    let (recorder, quotas) = (Recorder::new(), quotas.into());
    let engine = Engine::builder().tenant_quota(quotas.clone()).sink(recorder.clone()).build();
    (engine.expect("quotas are no problem"), recorder, quotas)
}

fn usage(engine: &Engine, tenant: &str) -> TenantUsage {
    let usage = engine.tenant_usage(tenant).expect("the engine has quotas");
    let all = usage.admitted + usage.refused_in_all() + usage.gave_up + usage.waiting as u64;
    assert_eq!(usage.offered, all, "{usage}");
    usage
}

/// All is over, and everything was given back.
fn at_rest(engine: &Engine, tenant: &str) -> TenantUsage {
    let usage = usage(engine, tenant);
    assert_eq!((usage.runs, usage.waiting, usage.stages_in_flight), (0, 0, 0), "{usage}");
    usage
}

/// The names of the events that tell of quotas, with their fields.
fn told(recorder: &Recorder) -> Vec<String> {
    let events = recorder.events();
    let of_quotas = events.iter().filter(|event| event.name().contains("quota"));
    let line = |event: &stageflow::Event| match event.kind() {
        EventKind::Custom(custom) => {
            let keys = ["quota", "used", "limit", "ahead", "waited_ns", "retry_after_ns"];
            let field = |key: &str| custom.field(key).map(|value| format!(" {key}={value}").replace('"', ""));
            format!("{}{}", custom.name(), keys.into_iter().filter_map(field).collect::<String>())
        }
        _ => event.name().into(),
    };
    of_quotas.map(line).collect()
}

fn after(time: u64) -> Option<Duration> {
    Some(time.millis())
}

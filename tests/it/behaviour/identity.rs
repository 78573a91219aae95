//! Who runs what, for whom: ids and the snapshot (§18.10; rule S-31).

use std::collections::HashSet;

use stageflow::{ContextSnapshot, RunId, TraceContext, prelude::*};

use super::kit::{error_of, exits, gives, solo};

fn snapshot() -> Pipeline<(), ContextSnapshot> {
    solo(stage_fn(|ctx: StageContext, (): ()| async move { Ok(ctx.snapshot().clone()) }))
}

/// KEEP 18.2-85, W23: every run has an id of its own, a UUID of version 7, and ids sort by time.
#[tokio::test(start_paused = true)]
async fn every_run_has_an_id() {
    let only = solo(gives(1_u32));
    let mut ids = Vec::new();
    for _ in 0..100 {
        ids.push(only.run(()).await.unwrap().run_id());
    }
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 100);
    assert!(ids.iter().all(|id| id.as_bytes()[6] >> 4 == 7 && id.as_bytes()[8] >> 6 == 2));
    let millis = |id: &RunId| id.as_bytes()[..6].to_vec();
    assert!(ids.is_sorted_by_key(millis));
    let failed = error_of(solo(exits(|| StageExit::fail("x"))).run(())).await;
    assert!(!ids.contains(&failed.report().unwrap().run_id()));
}

/// KEEP 18.10-222, 230: nothing is mandatory.
#[tokio::test(start_paused = true)]
async fn a_run_without_options_has_an_empty_identity() {
    let done = snapshot().run(()).await.unwrap();
    let (snapshot, id) = (done.output(), done.output().identity());
    assert_eq!((id.run_id(), snapshot.pipeline()), (done.run_id(), "solo"));
    assert!(id.tenant_id().is_none() && id.user_id().is_none() && id.session_id().is_none());
    assert!(id.request_id().is_none() && id.interaction_id().is_none() && id.correlation_id().is_none());
    assert!(snapshot.trace().is_none() && snapshot.deadline().is_none() && snapshot.parent().is_none());
    assert!(snapshot.all_metadata().is_empty() && snapshot.execution_mode().is_none());
    assert_eq!(snapshot.priority(), Priority::Normal);
}

/// S-31: each option in its typed field.
#[tokio::test(start_paused = true)]
async fn the_snapshot_has_every_option_in_its_field() {
    #[derive(Debug, PartialEq)]
    struct Locale(&'static str);
    let trace: TraceContext = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00".parse().unwrap();
    let id = RunId::new();
    let run = snapshot().run(()).run(id).tenant("t").user("u").session("s").request("r").interaction("i");
    let run =
        run.correlation("c").trace(trace).priority(Priority::Critical).deadline(3.secs()).execution_mode("m");
    let done = run.metadata("k", "v").metadata("k", "w").extension(Locale("de")).await.unwrap();
    let snapshot = done.output();
    assert_eq!(snapshot.identity().run_id(), id);
    assert_eq!(snapshot.identity().tenant_id().unwrap().as_str(), "t");
    assert_eq!(snapshot.identity().user_id().unwrap().to_string(), "u");
    assert_eq!((snapshot.trace(), snapshot.priority()), (Some(&trace), Priority::Critical));
    assert_eq!((snapshot.deadline(), snapshot.execution_mode()), (Some(3.secs()), Some("m")));
    assert_eq!((snapshot.metadata("k"), snapshot.metadata("x")), (Some(&"w".into()), None));
    assert_eq!((snapshot.extension::<Locale>(), snapshot.extension::<u32>()), (Some(&Locale("de")), None));
}

/// KEEP 18.10-234, 223: a copy with changes leaves the original as it is, and has an id of its own.
#[tokio::test(start_paused = true)]
async fn a_changed_copy_leaves_the_snapshot_alone() {
    let done = snapshot().run(()).tenant("t").metadata("k", 1).await.unwrap();
    let original = done.output();
    let copy = original.to_builder().tenant("other").metadata("k", 2).build();
    assert_eq!(original.identity().tenant_id().unwrap().as_str(), "t");
    assert_eq!((original.metadata("k"), copy.metadata("k")), (Some(&1.into()), Some(&2.into())));
    assert_ne!(copy.identity().run_id(), original.identity().run_id());
}

/// KEEP 18.10-231: there and back.
#[tokio::test(start_paused = true)]
async fn a_snapshot_survives_serialisation() {
    let trace: TraceContext = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().unwrap();
    let run = snapshot().run(()).tenant("t\n\"x\"").user("u").trace(trace).priority(Priority::Low);
    let done = run.deadline(1_500.millis()).metadata("k", serde_json::json!({"a": [1, null]})).await.unwrap();
    let json = serde_json::to_string(done.output()).unwrap();
    let back: ContextSnapshot = serde_json::from_str(&json).unwrap();
    assert_eq!(back.identity(), done.output().identity());
    assert_eq!(
        (back.trace(), back.priority(), back.deadline()),
        (Some(&trace), Priority::Low, Some(1_500.millis()))
    );
    assert_eq!((back.pipeline(), back.metadata("k")), ("solo", done.output().metadata("k")));
    assert_eq!(serde_json::to_string(&back).unwrap(), json);
}

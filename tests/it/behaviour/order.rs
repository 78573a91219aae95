//! The order of interceptors: layers, scopes, and which stages they wrap (rule S-21).

use stageflow::{EngineBuilder, Layer, Placement, prelude::*};

use super::{
    interceptors::{Note, note},
    kit::{Log, gives, pipeline, same, solo},
};

fn engine_with(interceptors: impl IntoIterator<Item = Note>) -> Engine {
    interceptors
        .into_iter()
        .fold(Engine::builder(), EngineBuilder::interceptor)
        .build()
        .expect("the engine is right")
}

/// S-21: the printed order is the order in which they are called, whatever the order of their addition.
#[tokio::test(start_paused = true)]
async fn the_printed_order_is_the_real_one() {
    let log = Log::default();
    let layers = [
        ("inner", Placement::At(Layer::Inner)),
        ("trace", Placement::At(Layer::Trace)),
        ("in retry", Placement::Inside(Layer::Retry)),
        ("retry", Placement::At(Layer::Retry)),
        ("out retry", Placement::Outside(Layer::Retry)),
        ("tenant", Placement::At(Layer::Tenant)),
        ("breaker", Placement::At(Layer::Breaker)),
        ("auth", Placement::At(Layer::Authenticate)),
        ("limit", Placement::At(Layer::Limit)),
        ("timeout", Placement::At(Layer::Timeout)),
        ("deadline", Placement::At(Layer::Deadline)),
        ("idempotency", Placement::At(Layer::Idempotency)),
    ];
    let engine = engine_with(layers.map(|(name, placement)| note(name, &log).at(placement)));
    let only = solo(gives(1_u32));
    engine.run(&only, ()).await.unwrap();
    let expected = [
        "auth",
        "tenant",
        "idempotency",
        "deadline",
        "out retry",
        "retry",
        "in retry",
        "breaker",
        "limit",
        "timeout",
        "trace",
        "inner",
    ];
    let order = engine.order(&only);
    assert_eq!(order.of("only").unwrap(), expected);
    assert_eq!(order.to_string(), format!("{} -> only", expected.join(" -> ")));
    let entered = expected.map(|name| format!("> {name} only"));
    let mut left = expected.map(|name| format!("< {name} only"));
    left.reverse();
    assert_eq!(log.lines(), [&entered[..], &left[..]].concat());
}

/// S-21: within a layer engine, pipeline, stage; within those the order of addition.
#[tokio::test(start_paused = true)]
async fn scopes_nest_within_a_layer() {
    let log = Log::default();
    let engine = engine_with([note("e1", &log), note("e2", &log)]);
    let scoped = pipeline(|p| {
        p.intercept(note("p1", &log)).intercept(note("p2", &log));
        let a = p.stage("a", gives(1_u32)).intercept(note("s1", &log)).intercept(note("s2", &log)).inputs(());
        p.stage("b", same()).inputs(a)
    });
    let order = engine.order(&scoped);
    assert_eq!(order.of("a").unwrap(), ["e1", "e2", "p1", "p2", "s1", "s2"]);
    assert_eq!(order.of("b").unwrap(), ["e1", "e2", "p1", "p2"]);
    assert!(order.of("typo").is_none());
    engine.run(&scoped, ()).await.unwrap();
    let entered: Vec<_> = log.lines().into_iter().filter(|line| line.starts_with('>')).collect();
    let a = ["e1", "e2", "p1", "p2", "s1", "s2"].map(|name| format!("> {name} a"));
    let b = ["e1", "e2", "p1", "p2"].map(|name| format!("> {name} b"));
    assert_eq!(entered, [&a[..], &b[..]].concat());
}

/// `applies_to` chooses the stages; the others have none.
#[tokio::test(start_paused = true)]
async fn an_interceptor_wraps_the_stages_it_applies_to() {
    let log = Log::default();
    let engine = engine_with([note("n", &log).only("b")]);
    let two = pipeline(|p| {
        let a = p.stage("a", gives(1_u32)).inputs(());
        p.stage("b", same()).inputs(a)
    });
    engine.run(&two, ()).await.unwrap();
    assert_eq!(log.lines(), ["> n b", "< n b"]);
    assert_eq!(engine.order(&two).to_string(), "(none) -> a\nn -> b");
}

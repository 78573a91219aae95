//! Nothing global is set without being asked: in a process of its own, as what is global stays so.

use opentelemetry::{
    Context, global,
    propagation::Injector,
    trace::{Span as _, Tracer as _},
};
use stageflow_core::{DurationExt as _, StageContext};
use stageflow_events::otel::{self, Otel};

#[derive(Default)]
struct Headers(Vec<(String, String)>);

impl Injector for Headers {
    fn set(&mut self, key: &str, value: String) {
        self.0.push((key.to_owned(), value));
    }
}

fn headers(context: &Context) -> Vec<(String, String)> {
    let mut headers = Headers::default();
    global::get_text_map_propagator(|propagator| propagator.inject_context(context, &mut headers));
    headers.0.retain(|(_, value)| !value.is_empty());
    headers.0
}

#[test]
fn nothing_global_is_set_without_being_asked() {
    let otel =
        Otel::builder().grpc("http://127.0.0.1:1").retry_for(0.secs()).on_loss(|_| {}).build().unwrap();
    let ctx = StageContext::for_test();
    drop(otel.tracer_provider());
    assert!(!global::tracer("app").start("before").span_context().is_valid());
    assert!(headers(&otel::context(&ctx)).is_empty());
    otel.install_global();
    let mut span = global::tracer("app").start("after");
    assert!(span.span_context().is_valid());
    span.end();
    // The standard propagator makes of the context what the stage itself says.
    assert_eq!(headers(&otel::context(&ctx)), [("traceparent".to_owned(), ctx.traceparent())]);
    assert_eq!(otel.spans().offered, 1);
    let receipt = otel.shutdown_blocking(2.secs());
    assert_eq!(receipt.spans.lost(), 1, "{receipt}");
}

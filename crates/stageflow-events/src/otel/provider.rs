//! Spans of the application's own: below those of the pipeline, and on the same way with the same accounts.

use std::{sync::Weak, time::Duration};

use opentelemetry::{
    Context,
    trace::{SpanContext, TraceContextExt as _, TraceFlags, TraceState},
};
use opentelemetry_sdk::{
    error::OTelSdkResult,
    propagation::TraceContextPropagator,
    trace::{SdkTracerProvider, Span, SpanData, SpanProcessor},
};
use stageflow_core::StageContext;

use super::{
    Otel,
    export::{Item, Shared},
};

/// The context of an attempt, for spans and headers that are made by the API of OpenTelemetry: what is started in it has the span of
/// the attempt as its parent, without a look-up.
///
/// ```
/// use opentelemetry::trace::{TraceContextExt, Tracer, TracerProvider};
/// use stageflow_core::{StageContext, StageResult};
/// use stageflow_events::otel::{self, Otel};
///
/// async fn answer(ctx: StageContext, prompt: String) -> StageResult<String> {
///     let tracer = opentelemetry::global::tracer("my-app");
///     let span = tracer.start_with_context("ask the model", &otel::context(&ctx));
///     let asking = otel::context(&ctx).with_span(span);
///     let reply = prompt.to_uppercase(); // here a model is asked
///     asking.span().end();
///     Ok(reply)
/// }
///
/// let ctx = StageContext::for_test();
/// let span = otel::context(&ctx).span().span_context().clone();
/// assert_eq!(span.span_id().to_string(), format!("{:016x}", ctx.trace().span_id()));
/// # let _ = answer;
/// ```
pub fn context(ctx: &StageContext) -> Context {
    let trace = ctx.trace();
    let flags = if trace.is_sampled() { TraceFlags::SAMPLED } else { TraceFlags::default() };
    let (trace_id, span_id) = (trace.trace_id().into(), trace.span_id().into());
    // Not remote: the span is of this process.
    Context::new().with_remote_span_context(SpanContext::new(
        trace_id,
        span_id,
        flags,
        false,
        TraceState::default(),
    ))
}

impl Otel {
    /// A provider of tracers for the application's own spans, which go the way of all spans here: one resource, one sampler, one
    /// queue, one account. It changes nothing global.
    pub fn tracer_provider(&self) -> SdkTracerProvider {
        let to = self.shared().map_or_else(Weak::new, std::sync::Arc::downgrade);
        SdkTracerProvider::builder()
            .with_sampler(self.sampler().of_sdk())
            .with_span_processor(Feed(to))
            .build()
    }

    /// Makes [`tracer_provider`](Self::tracer_provider) the global one of the process, and the W3C `traceparent` header the global way
    /// to pass contexts on. Nothing else here touches what is global.
    pub fn install_global(&self) {
        opentelemetry::global::set_tracer_provider(self.tracer_provider());
        opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
    }
}

/// Hands ended spans over. It keeps no exporter alive: a global provider lives for ever.
#[derive(Debug)]
struct Feed(Weak<Shared>);

impl SpanProcessor for Feed {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if let Some(shared) = self.0.upgrade() {
            shared.push([Item::Users(Box::new(span))]);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

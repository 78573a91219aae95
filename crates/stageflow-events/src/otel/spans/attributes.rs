//! Attributes, events and states of spans, as OTLP has them.

use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue, any_value::Value},
    trace::v1::{Status, span, status::StatusCode},
};
use stageflow_core::{CustomEvent, Event, Failure, FieldValue};

use super::SpanLimits;
use crate::otel::conventions as names;

pub(crate) fn text(key: &str, value: impl Into<String>) -> KeyValue {
    pair(key, Value::StringValue(value.into()))
}

pub(crate) fn number(key: &str, value: impl Into<i64>) -> KeyValue {
    pair(key, Value::IntValue(value.into()))
}

pub(crate) fn truth(key: &str, value: bool) -> KeyValue {
    pair(key, Value::BoolValue(value))
}

fn pair(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

/// The attributes that every span of a run has.
pub(super) fn of_run(event: &Event) -> Vec<KeyValue> {
    let run = event.run().snapshot();
    let id = run.identity();
    let texts = [
        (names::TENANT, event.tenant()),
        (names::CORRELATION, event.correlation_id()),
        (names::REQUEST, id.request_id().map(stageflow_core::RequestId::as_str)),
        (names::SESSION, id.session_id().map(stageflow_core::SessionId::as_str)),
    ];
    let fixed = [text(names::RUN_ID, id.run_id().to_string()), text(names::PIPELINE, run.pipeline())];
    let given = texts.into_iter().filter_map(|(key, value)| Some(text(key, value?)));
    fixed.into_iter().chain(given).collect()
}

/// The attributes of a failure: no messages.
pub(super) fn of_failure(failure: &Failure) -> [KeyValue; 3] {
    [
        text(names::ERROR_TYPE, failure.code().as_str()),
        text(names::ERROR_CLASS, failure.class().to_string()),
        truth(names::RECOVERABLE, failure.recoverable()),
    ]
}

/// The state of a span that failed. Its message is the code, unless messages are exported.
pub(super) fn failed(failure: &Failure, limits: SpanLimits) -> Status {
    let message = if limits.messages {
        format!("{}: {}", failure.code(), failure.message())
    } else {
        failure.code().to_string()
    };
    error(cut(message, limits.text))
}

/// The state of a span that failed.
pub(super) fn error(message: String) -> Status {
    Status { code: StatusCode::Error.into(), message }
}

/// The event of a failure.
pub(super) fn exception(time: u64, failure: &Failure, limits: SpanLimits) -> span::Event {
    let message =
        limits.messages.then(|| text(names::EXCEPTION_MESSAGE, cut(failure.message(), limits.text)));
    let kind = text(names::EXCEPTION_TYPE, failure.code().as_str());
    happened(time, names::EXCEPTION, [kind].into_iter().chain(message).collect())
}

/// An event of a span.
pub(super) fn happened(time: u64, name: &str, attributes: Vec<KeyValue>) -> span::Event {
    span::Event { time_unix_nano: time, name: name.to_owned(), attributes, dropped_attributes_count: 0 }
}

/// The event of a stage's or a policy's own. What it says in words of an error is a message; whose credentials a policy has seen
/// is not exported.
pub(super) fn custom(time: u64, event: &CustomEvent, limits: SpanLimits) -> span::Event {
    let (name, shows_messages) = (event.name(), limits.messages);
    let hides = |key: &str| match name {
        "stage.retry_scheduled" | "fallback.used" | "fallback.failed" | "idempotency.not_stored" => {
            key == "reason" && !shows_messages
        }
        "auth.accepted" | "auth.denied" | "tenant.denied" => key == "principal",
        _ => false,
    };
    let shown = event.fields().filter(|(key, _)| !hides(key));
    happened(time, name, shown.map(|(key, value)| field(key, value, limits)).collect())
}

fn field(key: &str, value: &FieldValue, limits: SpanLimits) -> KeyValue {
    match value {
        FieldValue::Text(value) => text(key, cut(value.clone(), limits.text)),
        FieldValue::Int(value) => number(key, *value),
        FieldValue::Float(value) => pair(key, Value::DoubleValue(*value)),
        FieldValue::Bool(value) => truth(key, *value),
        other => text(key, cut(other.to_string(), limits.text)),
    }
}

fn cut(mut text: String, limit: usize) -> String {
    if let Some((end, _)) = text.char_indices().nth(limit) {
        text.truncate(end);
    }
    text
}

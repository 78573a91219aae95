//! Spans as text: who is under whom, and what they say.

use std::{collections::BTreeMap, fmt::Write as _};

use opentelemetry_proto::tonic::{
    common::v1::{KeyValue, any_value::Value},
    trace::v1::Span,
};

/// The value of an attribute as text.
pub(crate) fn get(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|one| one.key == key)?;
    Some(match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        Value::BoolValue(truth) => truth.to_string(),
        Value::DoubleValue(number) => number.to_string(),
        other => format!("{other:?}"),
    })
}

/// One line for each span, indented by its depth, in the order of their names: `name`, then what `about` says of it.
pub(crate) fn tree(spans: &[Span], about: impl Fn(&Span) -> String) -> String {
    let mut below: BTreeMap<&[u8], Vec<&Span>> = BTreeMap::new();
    let is_root = |span: &Span| !spans.iter().any(|other| other.span_id == span.parent_span_id);
    for span in spans {
        below.entry(if is_root(span) { &[] } else { &span.parent_span_id }).or_default().push(span);
    }
    let mut text = String::new();
    write(&below, &[], 0, &about, &mut text);
    text
}

fn write(
    below: &BTreeMap<&[u8], Vec<&Span>>,
    parent: &[u8],
    depth: usize,
    about: &impl Fn(&Span) -> String,
    text: &mut String,
) {
    let mut here = below.get(parent).cloned().unwrap_or_default();
    here.sort_by_key(|span| (span.name.clone(), span.start_time_unix_nano));
    for span in here {
        writeln!(text, "{:depth$}{}{}", "", span.name, about(span), depth = depth * 2).unwrap();
        write(below, &span.span_id, depth + 1, about, text);
    }
}

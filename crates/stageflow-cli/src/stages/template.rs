//! `template`: texts with `{{stage/field}}` in them.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use stageflow::{prelude::*, spec::SpecError};

use super::pointer::{Reference, shown};
use crate::place::step_to;

/// Gives a text, or any value with texts in it, in which `{{stage}}` and `{{stage/field}}` are replaced by what its inputs hold.
///
/// A text that is nothing but one of them becomes the value itself. `{{stage/field?}}` is empty where there is no such field or stage;
/// without the question mark the stage fails. `{{{{` stands for `{{`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TemplateConfig {
    /// The text, or an array of lines, or an object with texts in it.
    give: Value,
    /// Whether `give` is an array of lines that make one text.
    #[serde(default)]
    lines: bool,
}

#[derive(Debug)]
pub(super) struct Template(Shape);

#[derive(Debug)]
enum Shape {
    Plain(Value),
    /// The value itself.
    Whole(Hole),
    Text(Vec<Piece>),
    Array(Vec<Shape>),
    Object(Vec<(String, Shape)>),
}

#[derive(Debug)]
enum Piece {
    Text(String),
    Hole(Hole),
}

#[derive(Debug)]
struct Hole {
    of: Reference,
    is_optional: bool,
}

impl Template {
    pub(super) fn new(config: TemplateConfig) -> Result<Self, SpecError> {
        let give = match (config.lines, config.give) {
            (false, give) => give,
            (true, Value::Array(lines)) if lines.iter().all(Value::is_string) => {
                let lines: Vec<&str> = lines.iter().filter_map(Value::as_str).collect();
                Value::String(lines.join("\n"))
            }
            (true, _) => {
                return Err(SpecError::new("with `lines` it has to be an array of texts").at("/give"));
            }
        };
        shape(give, "/give").map(Self)
    }
}

fn shape(value: Value, at: &str) -> Result<Shape, SpecError> {
    Ok(match value {
        Value::String(text) => {
            let mut pieces = pieces(&text).map_err(|what| SpecError::new(what).at(at))?;
            match (pieces.len(), pieces.pop()) {
                (1, Some(Piece::Hole(hole))) => Shape::Whole(hole),
                (_, last) => {
                    pieces.extend(last);
                    Shape::Text(pieces)
                }
            }
        }
        Value::Array(items) => {
            let items =
                items.into_iter().enumerate().map(|(index, item)| shape(item, &format!("{at}/{index}")));
            Shape::Array(items.collect::<Result<_, _>>()?)
        }
        Value::Object(fields) => {
            let fields = fields.into_iter().map(|(name, field)| {
                let at = format!("{at}/{}", step_to(&name));
                Ok((name, shape(field, &at)?))
            });
            Shape::Object(fields.collect::<Result<_, SpecError>>()?)
        }
        plain => Shape::Plain(plain),
    })
}

fn pieces(text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        plain.push_str(before);
        if let Some(after) = after.strip_prefix("{{") {
            plain.push_str("{{");
            rest = after;
            continue;
        }
        let Some((inside, after)) = after.split_once("}}") else {
            return Err("`{{` is not closed by `}}`; write `{{{{` for braces that stay".to_owned());
        };
        let inside = inside.trim();
        let (inside, is_optional) = inside.strip_suffix('?').map_or((inside, false), |inside| (inside, true));
        let of = Reference::parse(inside.trim_end())?;
        if !plain.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut plain)));
        }
        pieces.push(Piece::Hole(Hole { of, is_optional }));
        rest = after;
    }
    plain.push_str(rest);
    if !plain.is_empty() || pieces.is_empty() {
        pieces.push(Piece::Text(plain));
    }
    Ok(pieces)
}

impl Stage for Template {
    type Input = StageInputs;
    type Output = Value;

    async fn run(&self, _: &StageContext, inputs: StageInputs) -> StageResult<Value> {
        fill(&self.0, &inputs)
    }
}

fn fill(shape: &Shape, inputs: &StageInputs) -> StageResult<Value> {
    Ok(match shape {
        Shape::Plain(value) => value.clone(),
        Shape::Whole(hole) => hole.value(inputs)?,
        Shape::Text(pieces) => {
            let mut text = String::new();
            for piece in pieces {
                match piece {
                    Piece::Text(plain) => text.push_str(plain),
                    Piece::Hole(hole) => text.push_str(&shown(&hole.value(inputs)?)),
                }
            }
            Value::String(text)
        }
        Shape::Array(items) => items.iter().map(|item| fill(item, inputs)).collect::<StageResult<_>>()?,
        Shape::Object(fields) => {
            let fields = fields.iter().map(|(name, field)| Ok((name.clone(), fill(field, inputs)?)));
            Value::Object(fields.collect::<StageResult<Map<_, _>>>()?)
        }
    })
}

impl Hole {
    fn value(&self, inputs: &StageInputs) -> StageResult<Value> {
        lookup(&self.of, self.is_optional, inputs)
    }
}

/// What a reference refers to; `null` for one that is optional and refers to nothing.
fn lookup(of: &Reference, is_optional: bool, inputs: &StageInputs) -> StageResult<Value> {
    let found: Option<Arc<Value>> =
        if is_optional { inputs.get_optional(&of.stage)? } else { Some(inputs.get_from(&of.stage)?) };
    let part = found.as_deref().and_then(|value| of.pointer.get(value).cloned());
    match part {
        Some(part) => Ok(part),
        None if is_optional => Ok(Value::Null),
        None => {
            let what = format!("the output of `{}` has no {}", of.stage, of.pointer.shown());
            Err(StageExit::fail(what)
                .class(stageflow::ErrorClass::Invalid)
                .hint("a question mark makes it optional: `{{stage/field?}}`"))
        }
    }
}

/// What a reference refers to among inputs by name.
pub(super) fn referred(of: &Reference, inputs: &StageInputs) -> StageResult<Value> {
    lookup(of, false, inputs)
}

//! [`Registry::schema`]: which data a registry accepts, as JSON Schema.

use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};
use stageflow_core::{StageKind, input::InputShape};

use super::{
    PipelineSpec, Registry,
    order::INPUT_NAME,
    registry::Entry,
    settings::{self, Setter},
};

impl Registry {
    /// The JSON Schema (draft 2020-12) of the data that this registry builds: the format, with the kinds of stages, policies and
    /// conditions that are registered, and the schemas of their configurations.
    ///
    /// It describes the form. That names refer to stages, that types fit and that there is no circle is checked by
    /// [`build`](Self::build).
    pub fn schema(&self) -> Value {
        let mut generator = SchemaSettings::draft2020_12().into_generator();
        let own = [
            (
                "name",
                json!({ "type": "string", "description": "A stage, or `input` for the pipeline's input." }),
            ),
            (
                "or",
                object(
                    json!({ "or": { "type": "array", "items": reference("name"), "minItems": 1 } }),
                    &["or"],
                ),
            ),
            ("one", alone(&[reference("name"), reference("or")])),
            ("owned", alone(&[reference("name")])),
            ("optional_name", object(json!({ "optional": reference("name") }), &["optional"])),
            (
                "optional",
                alone(&[object(
                    json!({ "optional": { "anyOf": [reference("name"), reference("or")] } }),
                    &["optional"],
                )]),
            ),
            (
                "names",
                json!({ "anyOf": [reference("name"), { "type": "array", "items": reference("name") }] }),
            ),
            ("condition", any_of(&self.conditions(&mut generator))),
            ("stage_policies", self.policies_of(settings::STAGE, &mut generator)),
            ("pipeline_policies", self.policies_of(settings::PIPELINE, &mut generator)),
            ("stage", any_of(&self.kinds_of_stages(&mut generator))),
        ];
        let mut schema = object(
            json!({
                "$schema": { "type": "string" },
                "stageflow": { "const": PipelineSpec::VERSION, "description": "The version of the format." },
                "name": { "type": "string", "minLength": 1 },
                "description": { "type": "string" },
                "policies": reference("pipeline_policies"),
                "stages": {
                    "type": "object",
                    "minProperties": 1,
                    "maxProperties": self.limit(),
                    "propertyNames": { "not": { "const": INPUT_NAME } },
                    "additionalProperties": reference("stage"),
                },
                "output": reference("name"),
            }),
            &["stageflow", "name", "stages", "output"],
        );
        // Names of types of Rust begin with a capital, so that these do not meet.
        let mut defs = generator.take_definitions(true);
        defs.extend(own.into_iter().map(|(name, schema)| (name.to_owned(), schema)));
        schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
        schema["title"] = json!("A pipeline of Stageflow");
        schema["$defs"] = Value::Object(defs);
        schema
    }

    fn kinds_of_stages(&self, generator: &mut SchemaGenerator) -> Vec<Value> {
        let works: Vec<_> = StageKind::ALL.into_iter().map(StageKind::as_str).collect();
        let kind = |(name, kind): (&String, &super::registry::StageEntry)| {
            let mut required = vec!["use"];
            required.extend((!(kind.entry.is_optional)()).then_some("with"));
            required.extend((kind.input != InputShape::Nothing).then_some("inputs"));
            object(
                json!({
                    "use": { "const": name },
                    "description": { "type": "string" },
                    "with": config(&kind.entry, generator),
                    "inputs": inputs(&kind.input),
                    "after": reference("names"),
                    "when": { "anyOf": [reference("condition"), { "type": "array", "items": reference("condition") }] },
                    "kind": { "enum": works },
                    "policies": reference("stage_policies"),
                }),
                &required,
            )
        };
        self.stages.iter().map(kind).collect()
    }

    fn conditions(&self, generator: &mut SchemaGenerator) -> Vec<Value> {
        let mut conditions = Vec::new();
        for (name, predicate) in &self.predicates {
            for field in ["is", "not"] {
                let mut properties =
                    json!({ "of": reference("name"), "with": config(&predicate.entry, generator) });
                properties[field] = json!({ "const": name });
                let mut required = vec!["of", field];
                required.extend((!(predicate.entry.is_optional)()).then_some("with"));
                conditions.push(object(properties, &required));
            }
        }
        conditions
    }

    fn policies_of<T>(&self, setters: &[Setter<T>], generator: &mut SchemaGenerator) -> Value {
        let mut properties = Map::new();
        for setter in setters {
            properties.insert(setter.name.to_owned(), (setter.schema)(generator).to_value());
        }
        for (name, policy) in &self.policies {
            properties.insert(name.clone(), config(policy, generator));
        }
        object(Value::Object(properties), &[])
    }
}

/// The schema of a configuration; without one, an empty object or `null` says so.
fn config<T>(entry: &Entry<T>, generator: &mut SchemaGenerator) -> Value {
    let schema = (entry.schema)(generator).to_value();
    if entry.is_unit {
        json!({ "anyOf": [schema, { "type": "object", "maxProperties": 0 }] })
    } else {
        schema
    }
}

fn inputs(shape: &InputShape) -> Value {
    match shape {
        InputShape::Nothing => json!({ "type": "array", "maxItems": 0 }),
        InputShape::One { owned: false, .. } => reference("one"),
        InputShape::One { owned: true, .. } => reference("owned"),
        InputShape::Optional(_) => reference("optional"),
        InputShape::Many(_) => json!({ "type": "array", "items": reference("name") }),
        InputShape::ManyOptional(_) => json!({ "type": "array", "items": reference("optional_name") }),
        InputShape::Named => json!({ "anyOf": [
            reference("name"),
            { "type": "array", "items": { "anyOf": [reference("name"), reference("optional_name")] } },
        ] }),
        InputShape::Tuple(parts) => {
            let items: Vec<_> = parts.iter().map(inputs).collect();
            let count = items.len();
            json!({ "type": "array", "prefixItems": items, "minItems": count, "maxItems": count })
        }
    }
}

/// One of these, by itself or alone in an array.
fn alone(schemas: &[Value]) -> Value {
    let itself = json!({ "anyOf": schemas });
    json!({ "anyOf": [itself, { "type": "array", "prefixItems": [itself], "minItems": 1, "maxItems": 1 }] })
}

fn any_of(schemas: &[Value]) -> Value {
    // An empty `anyOf` is not allowed: nothing fits.
    if schemas.is_empty() { Value::Bool(false) } else { json!({ "anyOf": schemas }) }
}

#[expect(clippy::needless_pass_by_value, reason = "the properties move into the schema")]
fn object(properties: Value, required: &[&str]) -> Value {
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/$defs/{name}") })
}

//! As much of a validator for JSON Schema as the schemas of registries use, and a refusal of everything else.

use serde_json::{Map, Value};

/// Whether `value` fits `schema`, which may refer to definitions in `root`.
pub(super) fn fits(root: &Value, schema: &Value, value: &Value) -> bool {
    match schema {
        Value::Bool(fits) => *fits,
        Value::Object(schema) => {
            schema.iter().all(|(keyword, said)| rule(root, schema, keyword, said, value))
        }
        other => panic!("{other} is no schema"),
    }
}

fn rule(root: &Value, schema: &Map<String, Value>, keyword: &str, said: &Value, value: &Value) -> bool {
    let fits_in = |schema: &Value, value: &Value| fits(root, schema, value);
    match keyword {
        "$schema" | "$defs" | "title" | "description" | "format" | "default" => true,
        "$ref" => {
            let pointer = said.as_str().and_then(|said| said.strip_prefix('#')).unwrap();
            fits_in(root.pointer(pointer).unwrap_or_else(|| panic!("{said} leads nowhere")), value)
        }
        "type" => match said {
            Value::Array(types) => types.iter().any(|said| is_of(said, value)),
            said => is_of(said, value),
        },
        "const" => said == value,
        "enum" => said.as_array().unwrap().contains(value),
        "not" => !fits_in(said, value),
        "anyOf" => said.as_array().unwrap().iter().any(|schema| fits_in(schema, value)),
        "oneOf" => said.as_array().unwrap().iter().filter(|schema| fits_in(schema, value)).count() == 1,
        "minimum" => value.as_f64().is_none_or(|value| value >= said.as_f64().unwrap()),
        "maximum" => value.as_f64().is_none_or(|value| value <= said.as_f64().unwrap()),
        "minLength" => value.as_str().is_none_or(|value| value.chars().count() >= number(said)),
        // Durations only, which have tests of their own.
        "pattern" => value.as_str().is_none_or(|value| value.parse::<crate::spec::HumanDuration>().is_ok()),
        "required" => value.as_object().is_none_or(|object| {
            said.as_array().unwrap().iter().all(|name| object.contains_key(name.as_str().unwrap()))
        }),
        "minProperties" => value.as_object().is_none_or(|object| object.len() >= number(said)),
        "maxProperties" => value.as_object().is_none_or(|object| object.len() <= number(said)),
        "properties" => value.as_object().is_none_or(|object| {
            let said = said.as_object().unwrap();
            object.iter().all(|(name, value)| said.get(name).is_none_or(|schema| fits_in(schema, value)))
        }),
        "propertyNames" => value
            .as_object()
            .is_none_or(|object| object.keys().all(|name| fits_in(said, &Value::String(name.clone())))),
        "additionalProperties" => value.as_object().is_none_or(|object| {
            let known = schema.get("properties").and_then(Value::as_object);
            let is_known = |name: &str| known.is_some_and(|known| known.contains_key(name));
            object.iter().all(|(name, value)| is_known(name) || fits_in(said, value))
        }),
        "minItems" => value.as_array().is_none_or(|items| items.len() >= number(said)),
        "maxItems" => value.as_array().is_none_or(|items| items.len() <= number(said)),
        "prefixItems" => value.as_array().is_none_or(|items| {
            said.as_array().unwrap().iter().zip(items).all(|(schema, item)| fits_in(schema, item))
        }),
        "items" => value.as_array().is_none_or(|items| {
            let prefix = schema.get("prefixItems").and_then(Value::as_array).map_or(0, Vec::len);
            items.iter().skip(prefix).all(|item| fits_in(said, item))
        }),
        other => panic!("the validator does not know `{other}`"),
    }
}

fn number(said: &Value) -> usize {
    usize::try_from(said.as_u64().unwrap()).unwrap()
}

fn is_of(said: &Value, value: &Value) -> bool {
    match said.as_str().unwrap() {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("the validator does not know the type `{other}`"),
    }
}

//! `kinds NAME`: what a kind is for and what its configuration may be, as the schema has it.

use std::fmt::Write as _;

use serde_json::Value;

/// So wide is a line of text.
const WIDTH: usize = 100;

/// Where the schema has the configuration of a name, as a stage, a policy or a condition.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Stage,
    Policy,
    Condition,
}

/// A page about one name.
pub(crate) fn page(schema: &Value, role: Role, name: &str, heading: &str) -> String {
    let mut out = format!("{heading}\n");
    let Some(config) = find(schema, role, name).map(|config| resolved(schema, config)) else {
        return out;
    };
    if let Some(about) = config["description"].as_str() {
        out.push('\n');
        // Who reads it has no documentation of the code at hand.
        paragraphs(&mut out, &about.replace("[`", "`").replace("`]", "`"), "");
    }
    let rows: Vec<Row<'_>> = config["properties"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|field| row(schema, config, field))
        .collect();
    if rows.is_empty() {
        return out;
    }
    out.push('\n');
    let names = rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0);
    for Row { name, kind, about } in &rows {
        let _ = writeln!(out, "  {name:names$}  {kind}");
        if !about.is_empty() {
            paragraphs(&mut out, about, &" ".repeat(4 + names));
        }
    }
    out
}

struct Row<'s> {
    name: &'s str,
    kind: String,
    about: String,
}

fn row<'s>(schema: &'s Value, config: &'s Value, (name, field): (&'s String, &'s Value)) -> Row<'s> {
    let is_needed = config["required"].as_array().is_some_and(|needed| needed.iter().any(|one| one == name));
    let own = field["description"].as_str().unwrap_or_default();
    let mut about = own.replace('\n', " ");
    let default = &field["default"];
    if is_needed {
        about += " Needed.";
    } else if !default.is_null() && default != &Value::Object(serde_json::Map::new()) {
        let _ = write!(about, " {default} unless set.");
    }
    Row { name, kind: kind(schema, field, 0), about: about.trim_start().to_owned() }
}

/// What a value may be, in few words.
fn kind(schema: &Value, field: &Value, depth: usize) -> String {
    let name = definition(field);
    let field = resolved(schema, field);
    if let Some(name) = name.filter(|_| field["type"] == "string" && field.get("enum").is_none()) {
        return spaced(name);
    }
    let any = || "any value".to_owned();
    if depth > 4 {
        return any();
    }
    if let Some(constant) = field.get("const") {
        return constant.to_string();
    }
    if let Some(items) = field["enum"].as_array() {
        return joined(items.iter().map(Value::to_string));
    }
    if let Some(ways) = field["oneOf"].as_array().or(field["anyOf"].as_array()) {
        let ways = ways.iter().filter(|way| way["type"] != "null");
        return joined(ways.map(|way| kind(schema, way, depth + 1)));
    }
    let types: Vec<&str> = match &field["type"] {
        Value::Array(types) => types.iter().filter_map(Value::as_str).filter(|one| *one != "null").collect(),
        one => one.as_str().into_iter().collect(),
    };
    match types[..] {
        ["array"] => format!("[{}]", kind(schema, &field["items"], depth + 1)),
        ["object"] if field["additionalProperties"].is_object() => {
            format!("{{name: {}}}", kind(schema, &field["additionalProperties"], depth + 1))
        }
        ["object"] => match field["properties"].as_object() {
            Some(fields) => format!("{{{}}}", fields.keys().cloned().collect::<Vec<_>>().join(", ")),
            None => "object".to_owned(),
        },
        [] => any(),
        _ => types.join(" | "),
    }
}

/// `HumanDuration` as `human duration`.
fn spaced(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !out.is_empty() {
            out.push(' ');
        }
        out.extend(c.to_lowercase());
    }
    out
}

fn joined(ways: impl Iterator<Item = String>) -> String {
    ways.collect::<Vec<_>>().join(" | ")
}

fn find<'s>(schema: &'s Value, role: Role, name: &str) -> Option<&'s Value> {
    let defs = &schema["$defs"];
    let (ways, key) = match role {
        Role::Policy => return defs["stage_policies"]["properties"].get(name),
        Role::Stage => (&defs["stage"]["anyOf"], "use"),
        Role::Condition => (&defs["condition"]["anyOf"], "is"),
    };
    let ways = ways.as_array()?.iter();
    ways.map(|way| &way["properties"]).find(|fields| fields[key]["const"] == name)?.get("with")
}

/// Follows references to definitions; those that lead in a circle are not followed for ever.
fn resolved<'s>(schema: &'s Value, mut at: &'s Value) -> &'s Value {
    for _ in 0..8 {
        let Some(name) = definition(at) else { break };
        at = &schema["$defs"][name];
    }
    at
}

fn definition(at: &Value) -> Option<&str> {
    at["$ref"].as_str()?.strip_prefix("#/$defs/")
}

/// Writes a text in lines that fit, each with a lead.
fn paragraphs(out: &mut String, text: &str, lead: &str) {
    for (index, paragraph) in text.split("\n\n").enumerate() {
        if index > 0 {
            out.push('\n');
        }
        let mut line = lead.to_owned();
        for word in paragraph.split_whitespace() {
            if line.trim_start().is_empty() {
                line.push_str(word);
            } else if line.chars().count() + word.chars().count() < WIDTH {
                line.push(' ');
                line.push_str(word);
            } else {
                let _ = writeln!(out, "{line}");
                line = format!("{lead}{word}");
            }
        }
        let _ = writeln!(out, "{line}");
    }
}

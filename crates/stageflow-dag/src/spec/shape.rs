//! What a stage takes, in words.

use stageflow_core::{input::InputShape, value::TypeTag};

/// The name of a type between back-ticks.
pub(super) fn name(of: TypeTag) -> String {
    format!("`{}`", of.short_name())
}

/// Two types that differ, so that their names differ as well.
pub(super) fn names(a: TypeTag, b: TypeTag) -> (String, String) {
    if a.short_name() == b.short_name() {
        (format!("`{}`", a.full_name()), format!("`{}`", b.full_name()))
    } else {
        (name(a), name(b))
    }
}

/// What feeds it: "a `Ticket`", "(`Profile`, a list of `Hit`)".
pub(super) fn describe(shape: &InputShape) -> String {
    match shape {
        InputShape::Nothing => "nothing".to_owned(),
        InputShape::One { of, .. } => name(*of),
        InputShape::Optional(of) => format!("{} or nothing", name(*of)),
        InputShape::Many(of) => format!("a list of {}", name(*of)),
        InputShape::ManyOptional(of) => format!("a list of {} or nothing", name(*of)),
        InputShape::Named => "inputs by name".to_owned(),
        InputShape::Tuple(parts) => {
            let parts: Vec<_> = parts.iter().map(describe).collect();
            format!("({})", parts.join(", "))
        }
    }
}

/// How it is written in data.
pub(super) fn written(shape: &InputShape) -> String {
    match shape {
        InputShape::Nothing => "leave `inputs` out; `after` orders without data".to_owned(),
        InputShape::One { owned: false, .. } => {
            "write the name of a stage, or `{\"or\": [\"a\", \"b\"]}`".to_owned()
        }
        InputShape::One { owned: true, .. } => "write the name of a stage".to_owned(),
        InputShape::Optional(_) => "write `{\"optional\": \"name\"}`".to_owned(),
        InputShape::Many(_) => "write an array of names of stages".to_owned(),
        InputShape::ManyOptional(_) => "write an array of `{\"optional\": \"name\"}`".to_owned(),
        InputShape::Named => {
            "write an array of names of stages, optional ones as `{\"optional\": \"name\"}`".to_owned()
        }
        InputShape::Tuple(parts) => format!("write an array of {} inputs", parts.len()),
    }
}

//! What feeds a stage: what the compiler checks of wires in code.

use stageflow_core::{code, input::InputShape, value::TypeTag};

use super::{
    build::{Build, Joining},
    format::{StageSpec, WhenSpec},
    hint,
    input::{InputSpec, Side},
    order::INPUT_NAME,
    registry::StageEntry,
    shape,
};
use crate::{
    plan::{Condition, Edge, EdgeKind, INPUT},
    problem::Quoted,
};

impl<'s> Build<'s> {
    /// The edges of the stage that joins next, in the order of those of a stage in code.
    pub(super) fn wire(&mut self, joining: &Joining<'_>, said: &'s StageSpec, kind: Option<&StageEntry>) {
        match (&said.inputs, kind) {
            (Some(input), Some(kind)) => {
                self.inputs(joining, &kind.input, input, &mut String::from("/inputs"));
            }
            (Some(input), None) => self.only_order(joining, input, "/inputs"),
            (None, Some(kind)) if !matches!(kind.input, InputShape::Nothing) => {
                let takes = shape::describe(&kind.input);
                let message = format!("stage {} takes {takes}, and nothing feeds it", Quoted(joining.name));
                let hint = Some(format!("add `inputs`: {}", shape::written(&kind.input)));
                self.report(joining, code::TYPE_MISMATCH, "", message, hint);
            }
            (None, _) => {}
        }
        if let Some(after) = &said.after {
            for (index, name) in after.as_slice().iter().enumerate() {
                self.edge(joining, name, EdgeKind::After, None, || format!("/after{}", after.pointer(index)));
            }
        }
        if let Some(when) = &said.when {
            for (index, condition) in when.as_slice().iter().enumerate() {
                self.condition(joining, condition, &format!("/when{}", when.pointer(index)));
            }
        }
    }

    /// Edges without types, so that circles and unknown names are found all the same.
    fn only_order(&mut self, joining: &Joining<'_>, input: &'s InputSpec, at: &str) {
        input.for_each(&mut |name| self.edge(joining, name, EdgeKind::After, None, || at.to_owned()));
    }

    /// `at` is the place of `input` in the stage; it is changed and put back.
    fn inputs(&mut self, joining: &Joining<'_>, takes: &InputShape, input: &'s InputSpec, at: &mut String) {
        match (takes, input) {
            (InputShape::Nothing, InputSpec::Each(items)) if items.is_empty() => {}
            (InputShape::One { of, owned }, InputSpec::Port(name)) => {
                self.edge(joining, name, EdgeKind::One { owned: *owned }, Some(*of), || at.clone());
            }
            (InputShape::One { of, owned: false }, InputSpec::Or(names)) if !names.is_empty() => {
                self.group(joining, names, *of, false, &format!("{at}/or"));
            }
            (InputShape::Optional(of), InputSpec::Optional(Side::Port(name))) => {
                self.edge(joining, name, EdgeKind::Optional, Some(*of), || format!("{at}/optional"));
            }
            (InputShape::Optional(of), InputSpec::Optional(Side::Or(names))) if !names.is_empty() => {
                self.group(joining, names, *of, true, &format!("{at}/optional/or"));
            }
            (InputShape::Many(of) | InputShape::ManyOptional(of), InputSpec::Each(items)) => {
                let each = match takes {
                    InputShape::Many(_) => InputShape::One { of: *of, owned: false },
                    _ => InputShape::Optional(*of),
                };
                self.header(EdgeKind::Many(count(items)));
                for (index, item) in items.iter().enumerate() {
                    match item {
                        InputSpec::Port(_) | InputSpec::Optional(Side::Port(_)) => {
                            self.part(joining, &each, item, at, index);
                        }
                        _ => self.mismatch(joining, takes, item, &format!("{at}/{index}")),
                    }
                }
            }
            (InputShape::Named, InputSpec::Port(name)) => {
                self.header(EdgeKind::Named(1));
                self.named(joining, name, false, at);
            }
            (InputShape::Named, InputSpec::Each(items)) => {
                self.header(EdgeKind::Named(count(items)));
                for (index, item) in items.iter().enumerate() {
                    match item {
                        InputSpec::Port(name) => self.named(joining, name, false, &format!("{at}/{index}")),
                        InputSpec::Optional(Side::Port(name)) => {
                            self.named(joining, name, true, &format!("{at}/{index}/optional"));
                        }
                        _ => self.mismatch(joining, takes, item, &format!("{at}/{index}")),
                    }
                }
            }
            (InputShape::Tuple(parts), InputSpec::Each(items)) if parts.len() == items.len() => {
                for (index, (part, item)) in parts.iter().zip(items).enumerate() {
                    self.part(joining, part, item, at, index);
                }
            }
            (InputShape::One { .. } | InputShape::Optional(_), InputSpec::Each(items))
                if items.len() == 1 =>
            {
                self.part(joining, takes, &items[0], at, 0);
            }
            _ => self.mismatch(joining, takes, input, at),
        }
    }

    fn part(
        &mut self,
        joining: &Joining<'_>,
        takes: &InputShape,
        item: &'s InputSpec,
        at: &mut String,
        index: usize,
    ) {
        let length = at.len();
        at.push_str(&format!("/{index}"));
        self.inputs(joining, takes, item, at);
        at.truncate(length);
    }

    fn group(&mut self, joining: &Joining<'_>, names: &'s [String], of: TypeTag, optional: bool, at: &str) {
        let group = self.draft.groups;
        self.draft.groups += 1;
        let rests = (0..count(names)).rev();
        for (index, (name, rest)) in names.iter().zip(rests).enumerate() {
            let kind = EdgeKind::Or { group, rest, optional };
            self.edge(joining, name, kind, Some(of), || format!("{at}/{index}"));
        }
    }

    fn named(&mut self, joining: &Joining<'_>, name: &'s str, optional: bool, at: &str) {
        if name == INPUT_NAME {
            let message = format!("stage {} reads stages by name, and `input` is none", Quoted(joining.name));
            let hint = "put a stage between that passes the pipeline's input on";
            self.report(joining, code::MISSING_DEP, at, message, Some(hint.to_owned()));
            return;
        }
        self.edge(joining, name, EdgeKind::NamedOne { optional }, None, || at.to_owned());
    }

    fn header(&mut self, kind: EdgeKind) {
        self.draft.push(Edge { source: INPUT, kind });
    }

    /// One edge of the stage that joins next. What is not there, or not yet, is left to the checks of names and circles.
    fn edge(
        &mut self,
        joining: &Joining<'_>,
        name: &'s str,
        kind: EdgeKind,
        wanted: Option<TypeTag>,
        at: impl Fn() -> String,
    ) {
        let known = self.known.get(name).copied();
        let given = if name == INPUT_NAME {
            Some(self.input)
        } else {
            known.and_then(|source| self.outputs[source as usize])
        };
        if let (Some(given), Some(wanted)) = (given, wanted)
            && given != wanted
        {
            self.wrong_type(joining, name, given, wanted, &at());
        }
        match known {
            _ if name == INPUT_NAME => self.draft.push(Edge { source: INPUT, kind }),
            Some(source) if source < self.draft.len() => self.draft.push(Edge { source, kind }),
            _ => {
                let mark = self.pointers.mark(format!("{}{}", joining.at, at()));
                self.draft.wires(joining.place.marked(mark)).by_name(name.to_owned(), kind);
            }
        }
    }

    fn wrong_type(&mut self, joining: &Joining<'_>, name: &str, given: TypeTag, wanted: TypeTag, at: &str) {
        let (gives, takes) = shape::names(given, wanted);
        let what = if name == INPUT_NAME { "the pipeline's input is" } else { "gives" };
        let message = match name {
            INPUT_NAME => {
                format!("stage {} takes a {takes} there, and {what} a {gives}", Quoted(joining.name))
            }
            _ => format!(
                "stage {} takes a {takes} there, and {} {what} a {gives}",
                Quoted(joining.name),
                Quoted(name)
            ),
        };
        let hint = self.who_gives(wanted, joining.name);
        self.report(joining, code::TYPE_MISMATCH, at, message, hint);
    }

    /// A few names that would fit.
    fn who_gives(&mut self, wanted: TypeTag, reader: &str) -> Option<String> {
        const SHOWN: usize = 3;
        let mut fitting = Vec::new();
        if self.input == wanted {
            fitting.push(Quoted(INPUT_NAME).to_string());
        }
        for (output, place) in self.outputs.iter().zip(&self.order) {
            if self.left == 0 || fitting.len() == SHOWN {
                break;
            }
            self.left -= 1;
            if *output == Some(wanted)
                && let Some((name, _)) = self.spec.stages.get(*place as usize)
                && name != reader
            {
                fitting.push(Quoted(name).to_string());
            }
        }
        let verb = if fitting.len() == 1 { "gives" } else { "give" };
        (!fitting.is_empty()).then(|| format!("{} {verb} a {}", fitting.join(" and "), shape::name(wanted)))
    }

    fn mismatch(&mut self, joining: &Joining<'_>, takes: &InputShape, input: &'s InputSpec, at: &str) {
        let message = match (takes, input) {
            (InputShape::Tuple(parts), InputSpec::Each(items)) => format!(
                "stage {} takes {} inputs, {}, and {} feed it",
                Quoted(joining.name),
                parts.len(),
                shape::describe(takes),
                items.len()
            ),
            _ => format!(
                "stage {} takes {} there, and is fed {}",
                Quoted(joining.name),
                shape::describe(takes),
                form(input)
            ),
        };
        self.report(joining, code::TYPE_MISMATCH, at, message, Some(shape::written(takes)));
        self.only_order(joining, input, at);
    }

    fn condition(&mut self, joining: &Joining<'_>, when: &'s WhenSpec, at: &str) {
        let kind = self
            .predicate(joining, when, at)
            .map(|(condition, of)| (EdgeKind::When(self.draft.condition(condition)), Some(of)));
        let (kind, of) = kind.unwrap_or((EdgeKind::After, None));
        self.edge(joining, &when.of, kind, of, || format!("{at}/of"));
    }

    fn predicate(
        &mut self,
        joining: &Joining<'_>,
        when: &WhenSpec,
        at: &str,
    ) -> Option<(Condition, TypeTag)> {
        let (name, negated, field) = match (&when.is, &when.not) {
            (Some(name), None) => (name, false, "is"),
            (None, Some(name)) => (name, true, "not"),
            _ => {
                let message = format!(
                    "a condition of stage {} needs `is` or `not`, and one of them",
                    Quoted(joining.name)
                );
                let hint = "name a condition: `{\"of\": \"stage\", \"is\": \"condition\"}`".to_owned();
                self.report(joining, code::INVALID_SPEC, at, message, Some(hint));
                return None;
            }
        };
        let Some(predicate) = self.registry.predicates.get(name) else {
            let message = format!(
                "stage {} is to run when {} is {}, and no condition has that name",
                Quoted(joining.name),
                Quoted(&when.of),
                Quoted(name)
            );
            let known = self.registry.predicates.keys().map(String::as_str);
            let hint = hint::did_you_mean(name, known, &mut self.left);
            self.report(joining, code::UNKNOWN_KIND, &format!("{at}/{field}"), message, hint);
            return None;
        };
        let condition = match (predicate.entry.make)(when.with.as_ref().map(|config| &config.0)) {
            Ok(condition) if negated => Condition::not(condition),
            Ok(condition) => condition,
            Err(error) => {
                let what = format!("condition {} of stage {}", Quoted(name), Quoted(joining.name));
                let at = if when.with.is_some() { format!("{at}/with") } else { at.to_owned() };
                self.refused(joining, &at, &what, error);
                return None;
            }
        };
        Some((condition, predicate.of))
    }
}

fn count<T>(items: &[T]) -> u32 {
    u32::try_from(items.len()).unwrap_or(u32::MAX)
}

/// How an input is written, in words.
fn form(input: &InputSpec) -> String {
    match input {
        InputSpec::Port(name) => Quoted(name).to_string(),
        InputSpec::Each(items) => format!("an array of {}", items.len()),
        InputSpec::Optional(_) => "an optional input".to_owned(),
        InputSpec::Or(names) if names.is_empty() => "an `or` of nothing".to_owned(),
        InputSpec::Or(_) => "an `or`".to_owned(),
    }
}

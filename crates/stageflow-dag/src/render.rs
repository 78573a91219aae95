//! Pipelines as text: a listing for terminals, Graphviz, Mermaid. Each stage is written once, whatever refers to it.

use std::fmt::{self, Display, Write as _};

use crate::{
    plan::{Edge, EdgeKind, INPUT, Plan},
    view::{InputMark, StageView},
};

pub(crate) fn tree(plan: &Plan) -> String {
    Tree(plan).to_string()
}

pub(crate) fn dot(plan: &Plan) -> String {
    Dot(plan).to_string()
}

pub(crate) fn mermaid(plan: &Plan) -> String {
    Mermaid(plan).to_string()
}

struct Tree<'p>(&'p Plan);

impl Display for Tree<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Longer names push their own line to the right, not all the others.
        const WIDEST: usize = 32;
        let plan = self.0;
        let plural = if plan.len() == 1 { "" } else { "s" };
        let (input, output) = (plan.input().short_name(), output_type(plan));
        writeln!(f, "{}: {input} → {output} ({} stage{plural})", plan.name(), plan.len())?;
        let widths = StageView::all(plan).map(|stage| stage.name().chars().count());
        let width = widths.filter(|width| *width <= WIDEST).max().unwrap_or(0);
        let mut line = String::new();
        for (stage, left) in (0..).zip(StageView::all(plan)).zip((0..plan.len()).rev()) {
            let (index, stage) = stage;
            line.clear();
            let branch = if left == 0 { "╰─" } else { "├─" };
            write!(line, "{branch} {:width$}  {:9}", stage.name(), stage.kind())?;
            inputs(&mut line, plan, plan.edges(index))?;
            if stage.is_output() {
                line.push_str("  → output");
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

pub(crate) fn output_type(plan: &Plan) -> String {
    let tag = if plan.output() == INPUT { plan.input() } else { plan.stage(plan.output()).output() };
    tag.short_name()
}

/// Writes the edges of one stage the way they were wired.
fn inputs(line: &mut String, plan: &Plan, row: &[Edge]) -> fmt::Result {
    let mut rest = row;
    let mut lead = "  ← ";
    while let Some((edge, behind)) = rest.split_first() {
        line.push_str(lead);
        lead = ", ";
        rest = match edge.kind {
            EdgeKind::Many(count) => list(line, plan, behind, count, ["[", "]"])?,
            EdgeKind::Named(count) => list(line, plan, behind, count, ["{", "}"])?,
            EdgeKind::Or { rest: others, optional, .. } => sides(line, plan, rest, others, optional)?,
            EdgeKind::One { .. }
            | EdgeKind::Optional
            | EdgeKind::NamedOne { .. }
            | EdgeKind::After
            | EdgeKind::When(_) => {
                one(line, plan, *edge)?;
                behind
            }
        };
    }
    Ok(())
}

fn one(line: &mut String, plan: &Plan, edge: Edge) -> fmt::Result {
    let name = name(plan, edge.source);
    match edge.kind {
        EdgeKind::One { owned: true } => write!(line, "own {name}"),
        EdgeKind::Optional | EdgeKind::NamedOne { optional: true } => write!(line, "{name}?"),
        EdgeKind::After => write!(line, "after {name}"),
        EdgeKind::When(_) => write!(line, "when {name}"),
        EdgeKind::One { owned: false }
        | EdgeKind::NamedOne { optional: false }
        | EdgeKind::Or { .. }
        | EdgeKind::Many(_)
        | EdgeKind::Named(_) => line.write_str(name),
    }
}

/// Writes a list, and only its ends if it is long; gives what follows it.
fn list<'e>(
    line: &mut String,
    plan: &Plan,
    row: &'e [Edge],
    count: u32,
    brackets: [&str; 2],
) -> Result<&'e [Edge], fmt::Error> {
    const SHOWN: usize = 6;
    let (items, rest) = row.split_at_checked(count as usize).unwrap_or((row, &[]));
    line.push_str(brackets[0]);
    if let [first, .., last] = items
        && items.len() > SHOWN
    {
        one(line, plan, *first)?;
        line.push_str(" … ");
        one(line, plan, *last)?;
        write!(line, ": {count}")?;
    } else {
        for (position, edge) in items.iter().enumerate() {
            line.push_str(if position == 0 { "" } else { ", " });
            one(line, plan, *edge)?;
        }
    }
    line.push_str(brackets[1]);
    Ok(rest)
}

/// Writes the sides of an `or`; gives what follows them.
fn sides<'e>(
    line: &mut String,
    plan: &Plan,
    row: &'e [Edge],
    others: u32,
    optional: bool,
) -> Result<&'e [Edge], fmt::Error> {
    let (sides, rest) = row.split_at_checked(others as usize + 1).unwrap_or((row, &[]));
    line.push_str(if optional { "(" } else { "" });
    for (position, edge) in sides.iter().enumerate() {
        line.push_str(if position == 0 { "" } else { " | " });
        one(line, plan, *edge)?;
    }
    line.push_str(if optional { ")?" } else { "" });
    Ok(rest)
}

fn name(plan: &Plan, source: u32) -> &str {
    if source == INPUT { "input" } else { plan.stage_name(source) }
}

/// A node of a drawing: names of stages are never used as such, only as labels.
struct Node(u32);

impl Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == INPUT { f.write_str("input") } else { write!(f, "s{}", self.0) }
    }
}

/// The edges into a stage, with what they mean.
fn arrows(plan: &Plan, stage: u32) -> impl Iterator<Item = (Node, InputMark)> {
    let edges = plan.edges(stage).iter().filter(|edge| !edge.kind.is_header());
    edges.map(|edge| (Node(edge.source), InputMark::of(edge.kind)))
}

struct Dot<'p>(&'p Plan);

impl Display for Dot<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plan = self.0;
        writeln!(f, "digraph \"{}\" {{", DotText(plan.name()))?;
        writeln!(f, "  rankdir=LR;\n  node [shape=box, style=rounded];")?;
        let [input, output] = [plan.input().short_name(), output_type(plan)];
        writeln!(f, "  input [shape=plain, label=\"{}\"];", DotText(&input))?;
        for (index, stage) in (0..).zip(StageView::all(plan)) {
            writeln!(f, "  {} [label=\"{}\\n{}\"];", Node(index), DotText(stage.name()), stage.kind())?;
            for (source, mark) in arrows(plan, index) {
                let style = match mark {
                    InputMark::Required | InputMark::Named => "",
                    InputMark::Owned => " [label=\"own\"]",
                    InputMark::Optional | InputMark::NamedOptional => " [style=dashed, label=\"optional\"]",
                    InputMark::Or => " [style=dashed, label=\"or\"]",
                    InputMark::After => " [style=dotted, label=\"after\"]",
                    InputMark::When => " [style=dotted, label=\"when\"]",
                };
                writeln!(f, "  {source} -> {}{style};", Node(index))?;
            }
        }
        writeln!(f, "  output [shape=plain, label=\"{}\"];", DotText(&output))?;
        writeln!(f, "  {} -> output;\n}}", Node(plan.output()))
    }
}

/// A text inside a quoted label of Graphviz, which knows `\` escapes and HTML entities.
struct DotText<'a>(&'a str);

impl Display for DotText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '"' => f.write_str("\\\""),
            '\\' => f.write_str("\\\\"),
            '&' => f.write_str("&amp;"),
            c if c.is_control() => f.write_char(' '),
            c => f.write_char(c),
        })
    }
}

struct Mermaid<'p>(&'p Plan);

impl Display for Mermaid<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plan = self.0;
        let [input, output] = [plan.input().short_name(), output_type(plan)];
        writeln!(f, "flowchart LR\n  input([\"{}\"])", MermaidText(&input))?;
        for (index, stage) in (0..).zip(StageView::all(plan)) {
            writeln!(f, "  {}[\"{}<br>{}\"]", Node(index), MermaidText(stage.name()), stage.kind())?;
            for (source, mark) in arrows(plan, index) {
                let arrow = match mark {
                    InputMark::Required | InputMark::Named => "-->",
                    InputMark::Owned => "-->|own|",
                    InputMark::Optional | InputMark::NamedOptional => "-.->|optional|",
                    InputMark::Or => "-.->|or|",
                    InputMark::After => "-.->|after|",
                    InputMark::When => "-.->|when|",
                };
                writeln!(f, "  {source} {arrow} {}", Node(index))?;
            }
        }
        writeln!(f, "  output([\"{}\"])\n  {} --> output", MermaidText(&output), Node(plan.output()))
    }
}

/// A text inside a quoted label of Mermaid: everything that could mean something becomes an entity.
struct MermaidText<'a>(&'a str);

impl Display for MermaidText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            c if c.is_control() => f.write_char(' '),
            c if c.is_ascii_punctuation() && !matches!(c, '-' | '_' | '.' | ',' | '(' | ')' | ' ') => {
                write!(f, "#{};", u32::from(c))
            }
            c => f.write_char(c),
        })
    }
}

//! What a node looks like, and the legend.

use std::{collections::BTreeSet, fmt};

use stageflow_core::StageKind;

use super::{
    graph::{Graph, Node, What},
    place::{Box, MARGIN},
    stroke,
    text::{self, Escaped, NAME, SMALL, cut},
};
use crate::view::InputMark;

/// The length of the head of an arrow.
pub(super) const HEAD: i64 = 8;
/// How far the second sheet of a pipeline stands out.
pub(super) const STACK: i64 = 4;
const PADDING: i64 = 16;
/// How far the sides of a hexagon point.
const POINT: i64 = 12;
const CORNER: i64 = 9;
const LINE: i64 = 20;

/// Fill, and the colour of border and small print: dark enough to be read on the fill.
fn colors(what: What) -> (&'static str, &'static str) {
    match what {
        What::Input | What::Output | What::Bend => ("#ffffff", "#334155"),
        What::Stage { kind, .. } => match kind {
            StageKind::Enrich => ("#ecfdf5", "#047857"),
            StageKind::Route => ("#fffbeb", "#b45309"),
            StageKind::Guard => ("#fef2f2", "#b91c1c"),
            StageKind::Work => ("#f5f3ff", "#6d28d9"),
            StageKind::Agent => ("#eff6ff", "#1d4ed8"),
            StageKind::Transform => ("#f1f5f9", "#475569"),
        },
    }
}

pub(super) fn width(node: &Node) -> i64 {
    match node.what {
        What::Bend => 0,
        What::Input | What::Output | What::Stage { .. } => {
            let widest = text::width(&cut(&node.name), NAME).max(text::width(&cut(&node.detail), SMALL));
            (widest + 2 * PADDING).max(84)
        }
    }
}

/// How far from its left side a shape begins at a height, seen from its middle.
pub(super) fn inset(what: What, from_middle: i64, height: i64) -> i64 {
    match what {
        What::Stage { kind: StageKind::Route, .. } => POINT * from_middle.abs() * 2 / height,
        _ => 0,
    }
}

pub(super) fn draw(f: &mut fmt::Formatter<'_>, node: &Node, place: Box) -> fmt::Result {
    let (fill, border) = colors(node.what);
    writeln!(
        f,
        "<g fill=\"{fill}\" stroke=\"{border}\" stroke-width=\"1.5\"><title>{}</title>",
        Escaped(&node.tip())
    )?;
    if let What::Stage { is_pipeline: true, .. } = node.what {
        outline(f, node.what, Box { left: place.left + STACK, top: place.top + STACK, ..place })?;
    }
    outline(f, node.what, place)?;
    let middle = place.left + place.width / 2;
    writeln!(
        f,
        "<text x=\"{middle}\" y=\"{}\" font-size=\"{NAME}\" font-weight=\"600\" text-anchor=\"middle\" fill=\"#0f172a\" \
         stroke=\"none\">{}</text>",
        place.middle() - 2,
        Escaped(&cut(&node.name))
    )?;
    writeln!(
        f,
        "<text x=\"{middle}\" y=\"{}\" font-size=\"{SMALL}\" text-anchor=\"middle\" fill=\"{border}\" stroke=\"none\">{}</text>",
        place.middle() + 14,
        Escaped(&cut(&node.detail))
    )?;
    writeln!(f, "</g>")
}

fn outline(f: &mut fmt::Formatter<'_>, what: What, place: Box) -> fmt::Result {
    let Box { left, top, width, height } = place;
    let (right, bottom, middle) = (place.right(), place.bottom(), place.middle());
    let rounded = |f: &mut fmt::Formatter<'_>, radius: i64| {
        writeln!(f, "<rect x=\"{left}\" y=\"{top}\" width=\"{width}\" height=\"{height}\" rx=\"{radius}\"/>")
    };
    match what {
        What::Input | What::Output => rounded(f, height / 2),
        What::Stage { kind: StageKind::Route, .. } => writeln!(
            f,
            "<path d=\"M{left} {middle}L{} {top}H{}L{right} {middle}L{} {bottom}H{}z\"/>",
            left + POINT,
            right - POINT,
            right - POINT,
            left + POINT
        ),
        What::Stage { kind: StageKind::Guard, .. } => writeln!(
            f,
            "<path d=\"M{} {top}H{}L{right} {}V{}L{} {bottom}H{}L{left} {}V{}z\"/>",
            left + CORNER,
            right - CORNER,
            top + CORNER,
            bottom - CORNER,
            right - CORNER,
            left + CORNER,
            bottom - CORNER,
            top + CORNER
        ),
        What::Stage { kind: StageKind::Enrich, .. } => rounded(f, 18),
        What::Stage { kind: StageKind::Work, .. } => rounded(f, 0),
        What::Stage { .. } | What::Bend => rounded(f, 8),
    }
}

/// What the colours and strokes mean, as far as the picture has them.
pub(super) struct Legend {
    kinds: Vec<StageKind>,
    marks: Vec<InputMark>,
}

impl Legend {
    pub(super) fn of(graph: &Graph) -> Self {
        let kinds: BTreeSet<&str> =
            graph.nodes.iter().filter_map(|node| Some(kind(node)?.as_str())).collect();
        Self {
            kinds: StageKind::ALL.into_iter().filter(|kind| kinds.contains(kind.as_str())).collect(),
            marks: graph.marks().collect(),
        }
    }

    fn entries(&self) -> impl Iterator<Item = (i64, &'static str)> {
        let kinds = self.kinds.iter().map(|kind| kind.as_str());
        let marks = self.marks.iter().map(|mark| stroke(*mark).meaning);
        kinds.chain(marks).scan(0, |left, word| {
            let at = *left;
            *left += 34 + text::width(word, SMALL) + PADDING;
            Some((at, word))
        })
    }

    pub(super) fn width(&self) -> i64 {
        self.entries().last().map_or(0, |(left, word)| left + 34 + text::width(word, SMALL))
    }

    pub(super) fn height(&self) -> i64 {
        if self.kinds.is_empty() { 0 } else { LINE }
    }

    pub(super) fn draw(&self, f: &mut fmt::Formatter<'_>, top: i64) -> fmt::Result {
        writeln!(f, "<g font-size=\"{SMALL}\" fill=\"#475569\">")?;
        let mut marks = self.marks.iter();
        let mut kinds = self.kinds.iter();
        for (left, word) in self.entries() {
            let left = MARGIN + left;
            let middle = top + LINE / 2;
            if let Some(kind) = kinds.next() {
                let what = What::Stage { kind: *kind, is_pipeline: false };
                let (fill, border) = colors(what);
                write!(f, "<g fill=\"{fill}\" stroke=\"{border}\" stroke-width=\"1.5\">")?;
                sample(f, *kind, Box { left, top: middle - 8, width: 26, height: 16 })?;
                writeln!(f, "</g>")?;
            } else if let Some(mark) = marks.next() {
                let stroke = stroke(*mark);
                write!(f, "<path fill=\"none\" stroke=\"{}\" stroke-width=\"1.5\"", stroke.color)?;
                if !stroke.dashes.is_empty() {
                    write!(f, " stroke-dasharray=\"{}\"", stroke.dashes)?;
                }
                writeln!(f, " d=\"M{left} {middle}h26\"/>")?;
            }
            writeln!(f, "<text x=\"{}\" y=\"{}\">{}</text>", left + 34, middle + 4, Escaped(word))?;
        }
        writeln!(f, "</g>")
    }
}

fn kind(node: &Node) -> Option<StageKind> {
    match node.what {
        What::Stage { kind, .. } => Some(kind),
        What::Input | What::Output | What::Bend => None,
    }
}

/// A small one of the shapes.
fn sample(f: &mut fmt::Formatter<'_>, kind: StageKind, place: Box) -> fmt::Result {
    let Box { left, top, width, height } = place;
    let (right, bottom, middle) = (place.right(), place.bottom(), place.middle());
    match kind {
        StageKind::Route => {
            write!(f, "<path d=\"M{left} {middle}l6 -8h14L{right} {middle}l-6 8h-14z\"/>")
        }
        StageKind::Guard => {
            let (inner_left, inner_right) = (left + 5, right - 5);
            write!(
                f,
                "<path d=\"M{inner_left} {top}H{inner_right}l5 5v6L{inner_right} {bottom}H{inner_left}l-5 -5v-6z\"/>"
            )
        }
        _ => {
            let radius = match kind {
                StageKind::Enrich => 8,
                StageKind::Work => 0,
                _ => 4,
            };
            write!(
                f,
                "<rect x=\"{left}\" y=\"{top}\" width=\"{width}\" height=\"{height}\" rx=\"{radius}\"/>"
            )
        }
    }
}

//! Pipelines as pictures: columns from left to right, a shape and a colour for each kind of stage.
//!
//! It is the method of Sugiyama, Tagawa and Toda (*Methods for Visual Understanding of Hierarchical System Structures*,
//! 1981): layers, then an order within each that crosses few edges, then coordinates.

mod graph;
mod order;
mod place;
mod shape;
mod text;

use std::fmt::{self, Display};

use self::{
    graph::{Graph, Link, Node, What},
    place::{Frame, Places},
    text::Escaped,
};
use crate::{plan::Plan, view::InputMark};

#[cfg(test)]
pub(crate) use self::place::Box as NodeBox;

/// Draws a plan. The same plan is the same text, everywhere.
pub(crate) fn svg(plan: &Plan) -> String {
    let graph = Graph::of(plan);
    let places = place::place(&graph, &order::order(&graph));
    Picture { plan, graph: &graph, places: &places }.to_string()
}

/// Where everything is drawn, bends of edges included; and the edges, from the right of one to the left of another.
#[cfg(test)]
pub(crate) fn boxes(plan: &Plan) -> (Vec<NodeBox>, Vec<(NodeBox, NodeBox)>) {
    let graph = Graph::of(plan);
    let boxes = place::place(&graph, &order::order(&graph)).boxes;
    let edges = graph.links.iter().map(|link| (boxes[link.source], boxes[link.target])).collect();
    (boxes, edges)
}

struct Picture<'a> {
    plan: &'a Plan,
    graph: &'a Graph,
    places: &'a Places,
}

/// How an edge is drawn.
struct Stroke {
    color: &'static str,
    dashes: &'static str,
    meaning: &'static str,
}

/// Edges of one stroke share their way past other stages.
fn stroke(mark: InputMark) -> Stroke {
    let (color, dashes, meaning) = match mark {
        InputMark::Required | InputMark::Named | InputMark::Owned => ("#64748b", "", "needed"),
        InputMark::Optional | InputMark::NamedOptional => ("#64748b", "7 4", "optional"),
        InputMark::Or => ("#0e7490", "10 3 2 3", "or: the first that completed"),
        InputMark::When => ("#b45309", "4 3", "when: decides whether it runs"),
        InputMark::After => ("#64748b", "1.5 4", "after: order without data"),
    };
    Stroke { color, dashes, meaning }
}

impl Display for Picture<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let title = format!("{}: {}", self.plan.name(), self.graph.about);
        let legend = shape::Legend::of(self.graph);
        let wide = text::width(&title, text::TITLE).max(legend.width());
        let frame = self.places.frame(wide, legend.height());
        let Frame { width, height, .. } = frame;
        writeln!(
            f,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
             role=\"img\" font-family=\"Inter, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif\">"
        )?;
        writeln!(f, "<title>{}</title>", Escaped(&title))?;
        writeln!(f, "<rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>")?;
        let (name, about) = (Escaped(self.plan.name()), Escaped(&self.graph.about));
        writeln!(
            f,
            "<text x=\"{x}\" y=\"{y}\" font-size=\"{size}\" fill=\"#0f172a\"><tspan font-weight=\"600\">{name}</tspan>\
             <tspan dx=\"8\" fill=\"#475569\">{about}</tspan></text>",
            x = place::MARGIN,
            y = place::MARGIN + 16,
            size = text::TITLE,
        )?;
        self.edges(f)?;
        for (index, node) in self.graph.nodes.iter().enumerate() {
            if node.what != What::Bend {
                shape::draw(f, node, self.places.boxes[index])?;
            }
        }
        legend.draw(f, frame.legend)?;
        writeln!(f, "</svg>")
    }
}

impl Picture<'_> {
    fn edges(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for mark in self.graph.marks() {
            let Stroke { color, dashes, .. } = stroke(mark);
            write!(f, "<g fill=\"none\" stroke=\"{color}\" stroke-width=\"1.5\"")?;
            if !dashes.is_empty() {
                write!(f, " stroke-dasharray=\"{dashes}\"")?;
            }
            writeln!(f, ">")?;
            for (from, to) in self.graph.trunks(mark) {
                let (start, end) = (self.exit(*from), self.places.boxes[*to]);
                write!(f, "<path d=\"")?;
                self.leave(f, *from)?;
                curve(f, start, (end.left, end.middle()))?;
                writeln!(f, " H{}\"/>", end.right())?;
            }
            for link in self.graph.links.iter().filter(|link| link.is_drawn_as(mark)) {
                self.link(f, link)?;
            }
            writeln!(f, "</g>")?;
            self.heads(f, mark, color)?;
        }
        Ok(())
    }

    fn link(&self, f: &mut fmt::Formatter<'_>, link: &Link) -> fmt::Result {
        let what = self.graph.meaning(link);
        write!(f, "<path d=\"")?;
        let (x, y) = self.places.entry(link);
        self.leave(f, link.last)?;
        curve(f, self.exit(link.last), (x - shape::HEAD, y))?;
        writeln!(f, "\"><title>{}</title></path>", Escaped(&what))
    }

    /// The heads of the arrows, which are never dashed.
    fn heads(&self, f: &mut fmt::Formatter<'_>, mark: InputMark, color: &str) -> fmt::Result {
        write!(f, "<path fill=\"{color}\" d=\"")?;
        for link in self.graph.links.iter().filter(|link| link.is_drawn_as(mark)) {
            let (x, y) = self.places.entry(link);
            let (back, half) = (shape::HEAD + 1, shape::HEAD / 2);
            write!(f, "M{x} {y}l-{back} -{half}v{}z", 2 * half)?;
        }
        writeln!(f, "\"/>")
    }

    fn exit(&self, node: usize) -> (i64, i64) {
        (self.places.exits[node], self.places.boxes[node].middle())
    }

    /// Writes the way out of the layer of a node.
    fn leave(&self, f: &mut fmt::Formatter<'_>, node: usize) -> fmt::Result {
        let place = self.places.boxes[node];
        write!(f, "M{} {}", place.right(), place.middle())?;
        if place.right() < self.places.exits[node] {
            write!(f, "H{}", self.places.exits[node])
        } else {
            Ok(())
        }
    }
}

/// Writes a curve that begins and ends horizontally.
fn curve(f: &mut fmt::Formatter<'_>, (x, y): (i64, i64), (to_x, to_y): (i64, i64)) -> fmt::Result {
    let half = i64::midpoint(x, to_x);
    if y == to_y { write!(f, "H{to_x}") } else { write!(f, "C{half} {y} {half} {to_y} {to_x} {to_y}") }
}

impl Node {
    /// What the reader finds when pointing at it.
    fn tip(&self) -> String {
        if self.detail.is_empty() { self.name.clone() } else { format!("{}: {}", self.name, self.detail) }
    }
}

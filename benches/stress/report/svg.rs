//! Plots as SVG, drawn by hand: lines on logarithmic axes, bars, and stacked bars.

use std::fmt::Write as _;

use super::blocks::figure;
use crate::harness::stats::count;

/// Points that belong together.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 720.0;
const LEFT: f64 = 90.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 40.0;
const PLOT: f64 = 240.0;
const ROW: f64 = 26.0;

/// Lines through points; both axes are logarithmic.
pub(crate) fn lines(title: &str, x_name: &str, y_name: &str, series: &[Series]) -> String {
    let all = || series.iter().flat_map(|series| &series.points);
    let (x, y) = (Axis::of(all().map(|point| point.0)), Axis::of(all().map(|point| point.1)));
    let legend = TOP + PLOT + 60.0;
    let mut out = open(title, legend + ROW * count(series.len()));
    for tick in &x.ticks {
        let at = LEFT + x.at(*tick) * (WIDTH - LEFT - RIGHT);
        let (bottom, label) = (TOP + PLOT, short(*tick));
        let _ = write!(out, "<path class=\"grid\" d=\"M{at:.1} {TOP}V{bottom}\"/>");
        text(&mut out, at, bottom + 18.0, "middle", "soft", &label);
    }
    for tick in &y.ticks {
        let at = TOP + PLOT - y.at(*tick) * PLOT;
        let _ = write!(out, "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{}\"/>", WIDTH - RIGHT);
        text(&mut out, LEFT - 8.0, at + 4.0, "end", "soft", &short(*tick));
    }
    text(&mut out, WIDTH - RIGHT, TOP + PLOT + 36.0, "end", "soft", x_name);
    text(&mut out, LEFT, TOP - 8.0, "start", "soft", y_name);
    for (index, series) in series.iter().enumerate() {
        let place = |point: &(f64, f64)| {
            (LEFT + x.at(point.0) * (WIDTH - LEFT - RIGHT), TOP + PLOT - y.at(point.1) * PLOT)
        };
        let mut points: Vec<_> = series.points.clone();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let path: Vec<String> = points.iter().map(place).map(|(px, py)| format!("{px:.1} {py:.1}")).collect();
        let _ = write!(out, "<path class=\"line s{}\" d=\"M{}\"/>", index % 6, path.join("L"));
        for point in &points {
            let (px, py) = place(point);
            let label = escaped(&format!("{}: {} at {}", series.name, figure(point.1), figure(point.0)));
            let _ = write!(out, "<circle class=\"f{}\" cx=\"{px:.1}\" cy=\"{py:.1}\" r=\"4\">", index % 6);
            let _ = write!(out, "<title>{label}</title></circle>");
        }
        key(&mut out, index, legend + ROW * count(index), &series.name);
    }
    out + "</svg>"
}

/// One bar for each name; their lengths are logarithmic, as a few late timers should not vanish beside many others.
pub(crate) fn bars(title: &str, bars: &[(String, u64)]) -> String {
    let mut out = open(title, TOP + ROW * count(bars.len()) + 30.0);
    let length = |n: u64| (number(n) + 1.0).log10();
    let longest = bars.iter().map(|(_, n)| length(*n)).fold(1.0, f64::max);
    for (index, (name, n)) in bars.iter().enumerate() {
        let (top, long) = (TOP + ROW * count(index), length(*n) / longest * (WIDTH - LEFT - 130.0));
        text(&mut out, LEFT - 8.0, top + 15.0, "end", "", name);
        let _ =
            write!(out, "<rect class=\"f0\" x=\"{LEFT}\" y=\"{top}\" width=\"{long:.1}\" height=\"18\"/>");
        text(&mut out, LEFT + long + 8.0, top + 15.0, "start", "soft", &n.to_string());
    }
    let foot = TOP + ROW * count(bars.len()) + 16.0;
    text(&mut out, LEFT, foot, "start", "soft", "lengths are logarithmic");
    out + "</svg>"
}

/// One bar for each name, made of parts.
pub(crate) fn stacks(title: &str, parts: &[&str], rows: &[(String, Vec<u64>)]) -> String {
    let (left, legend) = (260.0, TOP + ROW * count(rows.len()) + 12.0);
    let mut out = open(title, legend + ROW * count(parts.len()) + 8.0);
    let most = rows.iter().map(|(_, parts)| parts.iter().sum::<u64>()).max().unwrap_or(1).max(1);
    for (index, (name, values)) in rows.iter().enumerate() {
        let top = TOP + ROW * count(index);
        text(&mut out, left - 8.0, top + 15.0, "end", "", name);
        let mut x = left;
        for (part, value) in values.iter().enumerate() {
            let long = number(*value) / number(most) * (WIDTH - left - RIGHT);
            let label = parts.get(part).copied().unwrap_or_default();
            let _ = write!(out, "<rect class=\"f{}\" x=\"{x:.1}\" y=\"{top}\" width=\"{long:.1}\"", part % 6);
            let _ = write!(out, " height=\"18\"><title>{}: {value}</title></rect>", escaped(label));
            x += long;
        }
    }
    for (part, name) in parts.iter().enumerate() {
        key(&mut out, part, legend + ROW * count(part), name);
    }
    out + "</svg>"
}

fn open(title: &str, height: f64) -> String {
    let title = escaped(title);
    let mut out = format!("<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{title}\">");
    let _ = write!(out, "<text class=\"title\" x=\"0\" y=\"16\">{title}</text>");
    out
}

fn text(out: &mut String, x: f64, y: f64, anchor: &str, class: &str, words: &str) {
    let words = escaped(words);
    let _ = write!(
        out,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>"
    );
}

/// An entry of the legend.
fn key(out: &mut String, index: usize, y: f64, name: &str) {
    let _ = write!(out, "<rect class=\"f{}\" x=\"{LEFT}\" y=\"{y}\" width=\"14\" height=\"14\"/>", index % 6);
    text(out, LEFT + 22.0, y + 12.0, "start", "", name);
}

/// A logarithmic axis from a power of ten to another.
struct Axis {
    low: f64,
    high: f64,
    ticks: Vec<f64>,
}

impl Axis {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(|value| *value > 0.0) {
            (low, high) = (low.min(value.log10().floor()), high.max(value.log10().ceil()));
        }
        if !low.is_finite() {
            (low, high) = (0.0, 1.0);
        }
        if high <= low {
            high = low + 1.0;
        }
        let mut ticks = vec![low];
        while ticks.last().is_some_and(|last| *last < high) {
            ticks.extend(ticks.last().map(|last| last + 1.0));
        }
        Self { low, high, ticks: ticks.into_iter().map(|tick| 10_f64.powf(tick)).collect() }
    }

    /// Between 0 and 1.
    fn at(&self, value: f64) -> f64 {
        if value <= 0.0 { 0.0 } else { ((value.log10() - self.low) / (self.high - self.low)).clamp(0.0, 1.0) }
    }
}

/// A power of ten for a tick.
fn short(number: f64) -> String {
    match number {
        n if n >= 0.99e9 => format!("{:.0} G", n / 1e9),
        n if n >= 0.99e6 => format!("{:.0} M", n / 1e6),
        n if n >= 0.99e3 => format!("{:.0} k", n / 1e3),
        n if n >= 0.99 => format!("{n:.0}"),
        n => format!("{n:.3}").trim_end_matches('0').to_owned(),
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of events stay far below 2^52")]
fn number(n: u64) -> f64 {
    n as f64
}

/// Text as it may stand in a page.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

//! The goals of the engine: what each allows, what was measured, and whether that is good enough.

use stageflow_benches::{graph::Shape, work::Body};

use crate::{
    blocking::{Wait, Waits},
    callgrind::Counts,
    campaign::Campaign,
    cells::{self, Key},
    memory::Bytes,
    rows::Row,
};

/// Everything that was measured.
pub(crate) struct Facts {
    pub(crate) campaign: Campaign,
    pub(crate) instructions: Counts,
    pub(crate) memory: Option<Vec<Bytes>>,
    pub(crate) blocking: Option<Waits>,
}

/// One goal.
pub(crate) struct Goal {
    pub(crate) name: String,
    pub(crate) limit: Limit,
    /// The worst value, and on which shape; or why there is none.
    pub(crate) measured: Result<(f64, String), &'static str>,
    pub(crate) unit: &'static str,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Pass,
    Miss,
    NotChecked,
}

impl Goal {
    pub(crate) fn verdict(&self) -> Verdict {
        let Ok((value, _)) = &self.measured else { return Verdict::NotChecked };
        let good = match self.limit {
            Limit::AtMost(limit) => *value <= limit,
            Limit::AtLeast(limit) => *value >= limit,
        };
        if good { Verdict::Pass } else { Verdict::Miss }
    }
}

/// The goals, in the order in which they were set.
pub(crate) fn all(facts: &Facts) -> Vec<Goal> {
    let mut goals = Vec::new();
    against_join_set(facts, &mut goals);
    unheard(facts, &mut goals);
    instructions(facts, &mut goals);
    waiting_and_computing(facts, &mut goals);
    against_peers(facts, &mut goals);
    flat(facts, &mut goals);
    goals
}

fn against_join_set(facts: &Facts, goals: &mut Vec<Goal>) {
    let chains = cells::CHAINS;
    let rows = [
        (Row::Ours, cells::WIDE, "fan-outs of 500 and more", 0.15),
        (Row::Ours, &[cells::LAYERED], "layered", 0.2),
        (Row::Ours, chains, "chains", 0.25),
        (Row::Observed, cells::WIDE, "fan-outs of 500 and more", 0.3),
        (Row::Observed, &[cells::LAYERED], "layered", 0.35),
        (Row::Observed, chains, "chains", 0.5),
    ];
    for (row, shapes, where_, limit) in rows {
        let measured = worst(shapes, f64::max, |shape| facts.ratio(row, Row::JoinSet, shape, Body::Noop));
        let name = format!("time ÷ JoinSet, {row}, {where_}");
        goals.push(Goal { name, limit: Limit::AtMost(limit), measured, unit: "" });
    }
}

/// Logs that nobody collects.
fn unheard(facts: &Facts, goals: &mut Vec<Goal>) {
    let ratio = |shape| facts.ratio(Row::Unheard, Row::Ours, shape, Body::Noop);
    for (shapes, where_) in
        [(cells::WIDE, "fan-outs of 500 and more"), (&[cells::LAYERED], "layered"), (cells::CHAINS, "chains")]
    {
        let name = format!("time, tracing without a subscriber ÷ ours, {where_}");
        goals.push(Goal {
            name,
            limit: Limit::AtMost(1.1),
            measured: worst(shapes, f64::max, ratio),
            unit: "",
        });
    }
}

fn instructions(facts: &Facts, goals: &mut Vec<Goal>) {
    for (row, limit) in [(Row::Ours, 1000.0), (Row::Observed, 1600.0)] {
        let measured = facts.instructions.as_ref().map_err(|why| *why).and_then(|counts| {
            let own = counts.iter().filter(|count| count.row == row);
            let most = own.max_by(|a, b| a.per_stage.total_cmp(&b.per_stage));
            most.map(|count| (count.per_stage, count.shape.to_string())).ok_or("nothing was counted")
        });
        let name = format!("instructions per stage, {row}");
        goals.push(Goal { name, limit: Limit::AtMost(limit), measured, unit: "" });
    }
}

fn waiting_and_computing(facts: &Facts, goals: &mut Vec<Goal>) {
    for (body, shapes) in [(Body::Yield, cells::YIELDING), (Body::Sleep, cells::SLEEPING)] {
        let measured = worst(shapes, f64::max, |shape| facts.ratio(Row::Ours, Row::JoinSet, shape, body));
        let name = format!("time ÷ JoinSet, ours, stages that {body}");
        goals.push(Goal { name, limit: Limit::AtMost(1.1), measured, unit: "" });
    }
    let speed_up = |shape| facts.ratio(Row::OneWorker, Row::Ours, shape, Body::Cpu);
    goals.push(Goal {
        name: "speed-up of two workers over one, stages that compute".to_owned(),
        limit: Limit::AtLeast(1.8),
        measured: worst(&[cells::COMPUTING], f64::min, speed_up),
        unit: "×",
    });
    let waits = |wait: fn(&Waits) -> Wait| {
        let most = facts.blocking.as_ref().map(|waits| wait(waits).most.as_secs_f64() * 1e3);
        most.map(|wait| (wait, "9 of 10 tries".to_owned())).ok_or(crate::NOT_ASKED)
    };
    let rows = [
        ("ready together", waits(|waits| waits.ours.together)),
        ("woken meanwhile", waits(|waits| waits.ours.woken)),
    ];
    for (how, measured) in rows {
        let name = format!("wait beside a blocked worker, {how}");
        goals.push(Goal { name, limit: Limit::AtMost(5.0), measured, unit: " ms" });
    }
}

fn against_peers(facts: &Facts, goals: &mut Vec<Goal>) {
    for peer in [Row::Dagx, Row::Dagrs, Row::GraphFlow] {
        let ahead = |shape| facts.ratio(peer, Row::Ours, shape, Body::Noop);
        goals.push(Goal {
            name: format!("{peer} ÷ ours, every listed shape it can express"),
            limit: Limit::AtLeast(1.3),
            measured: worst(cells::SHAPES, f64::min, ahead),
            unit: "×",
        });
    }
    let level = |shape| facts.ratio(Row::Ours, Row::AsyncDag, shape, Body::Noop);
    let rows: [(&[Shape], &str, f64); 3] = [
        (cells::FAN_OUTS, "fan-outs (level: 1.0, 5 % tolerance)", 1.05),
        (&[cells::LAYERED], "layered (level: 1.0, 5 % tolerance)", 1.05),
        (cells::CHAINS, "chains", 1.3),
    ];
    for (shapes, where_, limit) in rows {
        let measured = worst(shapes, f64::max, level);
        let name = format!("ours ÷ async_dag, {where_}");
        goals.push(Goal { name, limit: Limit::AtMost(limit), measured, unit: "" });
    }
}

fn flat(facts: &Facts, goals: &mut Vec<Goal>) {
    for row in [Row::Ours, Row::Observed] {
        let large = facts.median(row, Shape::FanOut(1_000_000), Body::Noop);
        let small = facts.median(row, Shape::FanOut(500), Body::Noop);
        let measured = large.zip(small).map(|(large, small)| (large / small, String::new()));
        goals.push(Goal {
            name: format!("time per stage at 1,000,000 ÷ at 500, {row}"),
            limit: Limit::AtMost(1.5),
            measured: measured.ok_or("not measured"),
            unit: "",
        });
    }
    let memory = |name: &str, figure: &str, limit| Goal {
        name: name.to_owned(),
        limit: Limit::AtMost(limit),
        measured: facts.bytes(figure).map(|bytes| (bytes, String::new())).ok_or(crate::NOT_ASKED),
        unit: " B",
    };
    for shape in ["fanout-100k", "fanout-1m"] {
        let name = format!("memory of a run per no-op stage, {shape}");
        goals.push(memory(&name, &format!("ours {shape} per stage"), 200.0));
    }
    for shape in ["chain-1000", "chain-100k"] {
        let name = format!("values of 1 KiB alive at once, keep output, {shape}");
        goals.push(memory(&name, &format!("values of 1 KiB on {shape}, keep output"), 16.0 * 1024.0));
    }
    let ours = facts.median(Row::Ours, cells::LATENCY, Body::Noop);
    let floor = facts.median(Row::Awaited, cells::LATENCY, Body::Noop);
    let limit = floor.map_or(f64::NAN, |floor| 3.0 * floor * 10.0 / 1e3 + 2.0);
    goals.push(Goal {
        name: "latency of 10 stages (3 × ten awaited boxed futures + 2 µs)".to_owned(),
        limit: Limit::AtMost(limit),
        measured: ours
            .filter(|_| floor.is_some())
            .map(|ours| (ours * 10.0 / 1e3, String::new()))
            .ok_or("not measured"),
        unit: " µs",
    });
}

impl Facts {
    fn median(&self, row: Row, shape: Shape, body: Body) -> Option<f64> {
        self.campaign.figure(Key { row, shape, body }).map(|figure| figure.median)
    }

    pub(crate) fn ratio(&self, row: Row, to: Row, shape: Shape, body: Body) -> Option<f64> {
        Some(self.median(row, shape, body)? / self.median(to, shape, body)?)
    }

    fn bytes(&self, name: &str) -> Option<f64> {
        self.memory.as_ref()?.iter().find(|figure| figure.name == name).map(|figure| figure.bytes)
    }
}

/// The worst ratio and its shape, among the shapes that were measured.
fn worst(
    shapes: &[Shape],
    worse: fn(f64, f64) -> f64,
    ratio: impl Fn(Shape) -> Option<f64>,
) -> Result<(f64, String), &'static str> {
    let all = shapes.iter().filter_map(|shape| Some((ratio(*shape)?, *shape)));
    let worst = all.reduce(|a, b| if worse(a.0, b.0) > a.0 || worse(a.0, b.0) < a.0 { b } else { a });
    worst.map(|(value, shape)| (value, shape.to_string())).ok_or("not measured")
}

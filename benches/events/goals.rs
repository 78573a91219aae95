//! The goals of telemetry: what each allows, what was measured, and whether that is good enough.

use stageflow_benches::{graph::Shape, report::Goal};

use crate::{
    campaign::{Campaign, EVENTS, SHAPES},
    emit::Way,
    rows::Row,
};

/// What a bounded sink may cost per event, in times of `try_send`.
const BOUNDED: f64 = 1.5;
/// What OpenTelemetry may cost a stage, in times of what a bounded sink may.
const OTEL: f64 = 3.0;
/// What a run whose events become lines may cost a stage, in times of the bare one.
const JSON_LINES: f64 = 2.0;
/// What the bridge to `tracing` may cost without a subscriber, in times of the bare one.
const UNHEARD: f64 = 1.1;

/// The goals of what was measured.
pub(crate) fn all(campaign: &Campaign) -> Vec<Goal> {
    let mut goals = Vec::new();
    let try_send = campaign.emitting(Way::TrySend).map(|figure| figure.median);
    let emit = campaign.emitting(Way::Bounded).map(|figure| figure.median);
    if let (Some(try_send), Some(emit)) = (try_send, emit) {
        goals.push(Goal {
            name: "emit of a bounded sink".to_owned(),
            unit: "× try_send",
            measured: emit / try_send,
            limit: BOUNDED,
        });
    }
    for shape in SHAPES {
        if let Some(try_send) = try_send {
            let of_events = [(Row::Bounded, BOUNDED), (Row::Otel, BOUNDED * OTEL)];
            goals.extend(of_events.into_iter().filter_map(|(row, limit)| {
                let measured = per_event(campaign, row, *shape)? / try_send;
                Some(Goal {
                    name: format!("{}, {shape}", row.name()),
                    unit: "× try_send per event",
                    measured,
                    limit,
                })
            }));
        }
        let of_runs = [(Row::JsonLines, JSON_LINES), (Row::Unheard, UNHEARD)];
        goals.extend(of_runs.into_iter().filter_map(|(row, limit)| {
            let measured = to_bare(campaign, row, *shape)?;
            Some(Goal { name: format!("{}, {shape}", row.name()), unit: "× bare", measured, limit })
        }));
    }
    goals
}

/// What a row costs a stage, in times of the bare one.
pub(crate) fn to_bare(campaign: &Campaign, row: Row, shape: Shape) -> Option<f64> {
    let bare = campaign.cell(Row::Bare, shape)?.worker.median;
    Some(campaign.cell(row, shape)?.worker.median / bare)
}

/// What a row costs per event beyond a sink that does nothing and is told by the worker.
pub(crate) fn per_event(campaign: &Campaign, row: Row, shape: Shape) -> Option<f64> {
    let is_queued = !matches!(row, Row::Bare | Row::Inline | Row::Recorder | Row::Unheard);
    let nothing = campaign.cell(Row::Inline, shape).filter(|_| is_queued)?.worker.median;
    Some((campaign.cell(row, shape)?.worker.median - nothing) / f64::from(EVENTS))
}

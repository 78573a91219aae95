//! The critical path: when the output of a pipeline can be there at the earliest.

use std::time::Duration;

use stageflow_core::intercept::AnyInterceptor;

use crate::{
    draft::Draft,
    plan::{Edge, EdgeKind, INPUT},
};

/// Whether some stage says what it takes at least.
pub(crate) fn is_said(draft: &Draft) -> bool {
    draft.settings.values().any(|settings| !settings.min_time.is_zero())
        || draft.stages.iter().any(|stage| !stage.min_time().is_zero())
}

/// The longest path to `output` over what has to complete before it: of the sides of an `or` the shortest counts, and what is
/// optional does not. The draft must have no circle.
pub(crate) fn to(draft: &Draft, output: u32) -> Duration {
    if output == INPUT {
        return Duration::ZERO;
    }
    let mut ends: Vec<Option<Duration>> = vec![None; draft.stages.len()];
    // A stack of our own: paths are as long as pipelines are deep.
    let mut open = vec![output];
    while let Some(&stage) = open.last() {
        if ends[stage as usize].is_some() {
            open.pop();
            continue;
        }
        let before = open.len();
        let row = draft.edges.row(stage);
        open.extend(needed(row).map(|edge| edge.source).filter(|source| ends[*source as usize].is_none()));
        if open.len() == before {
            let end = |source: u32| ends.get(source as usize).copied().flatten().unwrap_or_default();
            ends[stage as usize] = Some(start(row, end).saturating_add(own(draft, stage)));
            open.pop();
        }
    }
    ends[output as usize].unwrap_or_default()
}

/// The edges over which a stage needs another.
fn needed(row: &[Edge]) -> impl Iterator<Item = &Edge> {
    row.iter().filter(|edge| {
        let needs = matches!(
            edge.kind,
            EdgeKind::One { .. }
                | EdgeKind::After
                | EdgeKind::When(_)
                | EdgeKind::NamedOne { optional: false }
                | EdgeKind::Or { optional: false, .. }
        );
        needs && edge.source != INPUT
    })
}

/// When a stage can start at the earliest, if its sources end as `end` says.
fn start(row: &[Edge], end: impl Fn(u32) -> Duration) -> Duration {
    let mut start = Duration::ZERO;
    let mut edges = row;
    while let [edge, others @ ..] = edges {
        edges = others;
        let ready = match edge.kind {
            EdgeKind::Or { rest, optional, .. } => {
                let (sides, after) = others.split_at((rest as usize).min(others.len()));
                edges = after;
                if optional {
                    continue;
                }
                sides.iter().fold(end(edge.source), |first, side| first.min(end(side.source)))
            }
            EdgeKind::One { .. }
            | EdgeKind::After
            | EdgeKind::When(_)
            | EdgeKind::NamedOne { optional: false } => end(edge.source),
            EdgeKind::Optional
            | EdgeKind::Many(_)
            | EdgeKind::Named(_)
            | EdgeKind::NamedOne { optional: true } => {
                continue;
            }
        };
        start = start.max(ready);
    }
    start
}

/// What an attempt of a stage takes at least.
pub(crate) fn of(draft: &Draft, stage: u32) -> Duration {
    let said = draft.settings.get(&stage).map_or(Duration::ZERO, |settings| settings.min_time);
    said.max(draft.stages[stage as usize].min_time())
}

/// What a stage adds to a path: nothing where an interceptor may answer for it.
fn own(draft: &Draft, stage: u32) -> Duration {
    let settings = draft.settings.get(&stage);
    let mut around = settings.iter().flat_map(|own| &own.interceptors).chain(&draft.policies.interceptors);
    if around.any(AnyInterceptor::may_answer) { Duration::ZERO } else { of(draft, stage) }
}

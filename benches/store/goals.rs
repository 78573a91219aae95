//! What is expected, and what was measured of it.

use stageflow_benches::{graph::Shape, report::Goal};

use crate::{
    attached::Row,
    bare::Way,
    campaign::Campaign,
    stores::Kind,
    what::{ATTACHED, RESUMED, What},
};

/// Durable stages in a second are at least 0.7 of bare commits: a stage takes at most so many times as long.
const DURABLE: f64 = 1.0 / 0.7;
/// A run that is not durable beside a journal.
const ATTACHED_TO: f64 = 1.3;
/// Seconds that it takes to resume a run of 10,000 durable stages.
const RESUMES_IN: f64 = 1.0;
/// So many runs are at the same time where the goal of durable stages holds.
const MOST: u32 = 64;

pub(crate) fn all(campaign: &Campaign) -> Vec<Goal> {
    let mut goals = Vec::new();
    for kind in Kind::ALL.iter().copied() {
        goals.extend(to_bare(campaign, kind, MOST).map(|measured| Goal {
            name: format!("durable stage, {}, {MOST} runs", kind.name()),
            unit: "× bare commit",
            measured,
            limit: DURABLE,
        }));
    }
    for shape in ATTACHED {
        goals.extend(to_unattached(campaign, Row::Attached, *shape).map(|measured| Goal {
            name: format!("journal, no durable stage, {shape}"),
            unit: "× without",
            measured,
            limit: ATTACHED_TO,
        }));
    }
    for kind in Kind::ALL.iter().copied() {
        for shape in RESUMED {
            goals.extend(campaign.median(What::Resume(kind, *shape)).map(|nanos| Goal {
                name: format!("resume, {}, {shape}", kind.name()),
                unit: "s",
                measured: nanos / 1e9,
                limit: RESUMES_IN,
            }));
        }
    }
    goals
}

/// What the faster of the bare ways takes for a commit.
fn better(campaign: &Campaign, kind: Kind, runs: u32) -> Option<f64> {
    let ways = [What::Bare(kind, Way::OneWriter, runs), What::Bare(kind, Way::Each, runs)];
    ways.into_iter().filter_map(|what| campaign.median(what)).min_by(f64::total_cmp)
}

/// What a durable stage takes, in times of the faster bare commit.
pub(crate) fn to_bare(campaign: &Campaign, kind: Kind, runs: u32) -> Option<f64> {
    Some(campaign.median(What::Durable(kind, runs))? / better(campaign, kind, runs)?)
}

/// What a stage takes that is not durable, in times of one without a journal.
pub(crate) fn to_unattached(campaign: &Campaign, row: Row, shape: Shape) -> Option<f64> {
    Some(campaign.median(What::Attached(row, shape))? / campaign.median(What::Attached(Row::Bare, shape))?)
}

//! The goals of the policies: what each allows, what was measured, and whether that is good enough.

use crate::{
    campaign::{Campaign, Measured},
    rows::{Aim, Policy},
};

/// What a policy that does not act may cost, in nanoseconds, where this share of the fastest peer's cost is not more.
const AT_REST: f64 = 150.0;
const SHARE: f64 = 0.15;
/// What the delay before a retry may cost to compute.
const BACKOFF: f64 = 100.0;
/// What the default chain may cost.
const STACK: f64 = 1_000.0;

/// One goal, in nanoseconds.
pub(crate) struct Goal {
    pub(crate) name: String,
    pub(crate) limit: f64,
    pub(crate) measured: f64,
    /// The fastest peer's cost, and whose it is.
    pub(crate) peer: Option<(f64, &'static str)>,
}

impl Goal {
    pub(crate) fn is_met(&self) -> bool {
        self.measured < self.limit
    }
}

/// The goals of the rows that were measured.
pub(crate) fn all(campaign: &Campaign) -> Vec<Goal> {
    campaign.rows.iter().filter_map(|one| goal(campaign, one)).collect()
}

fn goal(campaign: &Campaign, one: &Measured) -> Option<Goal> {
    let row = one.row;
    let peer = campaign.fastest_peer(row.policy).filter(|_| row.is_stage());
    let limit = match row.aim {
        Aim::AtRest => peer.map_or(AT_REST, |(cost, _)| AT_REST.max(SHARE * cost)),
        Aim::Backoff => BACKOFF,
        Aim::Stack => STACK,
        Aim::None => return None,
    };
    let name = match row.policy {
        Policy::Own | Policy::Decision | Policy::Stack => row.name.to_owned(),
        policy => format!("{policy}: {}", row.name),
    };
    Some(Goal { name, limit, measured: one.figure.cost, peer })
}

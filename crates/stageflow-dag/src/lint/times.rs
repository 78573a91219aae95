//! Checks of timeouts and deadlines.

use std::time::Duration;

use stageflow_core::time::Human;

use super::{Found, Lint, report::Numbers, site::Site};
use crate::plan::{INPUT, Plan};

/// An attempt, a stage or a pipeline in it that gets more time than there is.
pub(super) fn timeouts(site: &Site<'_>, found: &mut Found) {
    let own = site.own();
    if let (Some(attempt), Some((time, whose))) = (own.attempt, site.available())
        && attempt >= time
    {
        let message = format!(
            "an attempt gets {} of the {} that {whose} has, and is never ended by its own time",
            Human(attempt),
            Human(time)
        );
        found.push(Lint::AttemptOutlastsStage, message, Numbers::time(time));
    }
    if let (Some(timeout), Some((time, whose))) = (own.timeout, site.run_time())
        && timeout > time
    {
        let message =
            format!("a timeout of {} never ends the stage: {whose} has {}", Human(timeout), Human(time));
        found.push(Lint::StageOutlastsDeadline, message, Numbers::time(time));
    }
}

/// Whether the stages that wait for each other may take longer together than the run, each no longer than the run.
///
/// The longest path through a graph without circles, in the order in which stages can run (Kahn 1962).
pub(super) fn path(plan: &Plan, bounds: &[Option<Duration>]) -> Option<(String, Numbers, Vec<u32>)> {
    let deadline = plan.policies().deadline?;
    let sources = |stage: u32| {
        let edges = plan.edges(stage).iter().filter(|edge| !edge.kind.is_header());
        edges.map(|edge| edge.source).filter(|source| *source != INPUT)
    };
    let count = bounds.len();
    let mut waits = vec![0_u32; count];
    let mut readers = vec![Vec::new(); count];
    for stage in (0..).take(count) {
        for source in sources(stage) {
            waits[stage as usize] += 1;
            readers[source as usize].push(stage);
        }
    }
    // When a stage ends at worst, and the stage it has waited for longest.
    let mut ends: Vec<(Duration, Option<u32>)> = vec![(Duration::ZERO, None); count];
    let mut ready: Vec<u32> = (0..).take(count).filter(|stage| waits[*stage as usize] == 0).collect();
    while let Some(stage) = ready.pop() {
        let last = sources(stage).max_by_key(|source| ends[*source as usize].0);
        let begins = last.map_or(Duration::ZERO, |source| ends[source as usize].0);
        let own = bounds[stage as usize].unwrap_or_default();
        ends[stage as usize] = (begins.saturating_add(own), last);
        for reader in &readers[stage as usize] {
            let left = &mut waits[*reader as usize];
            *left -= 1;
            if *left == 0 {
                ready.push(*reader);
            }
        }
    }
    let last = (0..).take(count).max_by_key(|stage| ends[*stage as usize].0)?;
    let time = ends[last as usize].0;
    let mut path: Vec<u32> = std::iter::successors(Some(last), |stage| ends[*stage as usize].1).collect();
    path.reverse();
    path.retain(|stage| bounds[*stage as usize].is_some());
    // One stage alone that is longer is another finding.
    let alone = path.iter().any(|stage| bounds[*stage as usize].is_some_and(|bound| bound > deadline));
    if time <= deadline || alone {
        return None;
    }
    let message = format!(
        "{} stages that wait for each other may take {} by their own limits, and the pipeline has {}",
        path.len(),
        Human(time),
        Human(deadline)
    );
    Some((message, Numbers::time(time), path))
}

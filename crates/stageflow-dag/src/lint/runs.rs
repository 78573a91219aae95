//! Checks of what is about a run as a whole: how it is let in, and when failures end it.

use stageflow_core::time::Human;

use super::{Around, Found, Lint, report::Numbers};
use crate::plan::Plan;

/// Runs that wait longer to be let in than they have time. Child runs are let in with their parents.
pub(super) fn queue(plan: &Plan, around: &Around<'_>, found: &mut Found) {
    let Some(queue) = around.queue else { return };
    match (queue.timeout, plan.policies().deadline) {
        (Some(timeout), Some(deadline)) if timeout >= deadline => {
            let message = format!(
                "a run may wait for {} to be let in, and its deadline is {}: nothing is left for its stages",
                Human(timeout),
                Human(deadline)
            );
            found.push(Lint::QueueOutlastsDeadline, message, Numbers::time(deadline));
        }
        (None, None) => {
            let message = format!(
                "up to {} runs wait to be let in, for as long as the others run: there is no `queue_timeout`, and no deadline",
                queue.limit
            );
            found.push(Lint::EndlessQueue, message, Numbers::calls(queue.limit as u64).in_all());
        }
        _ => {}
    }
}

/// Rules for failures that never end a run: of the pipeline, or of the engine if it has none.
pub(super) fn failures(plan: &Plan, around: Option<&Around<'_>>, found: &mut Found) {
    let unreachable = match &plan.policies().on_failure {
        Some(own) => own.unreachable(Some(plan.len())),
        // They are for pipelines of any size.
        None => {
            around.and_then(|around| around.on_failure).map_or_else(Vec::new, |rules| rules.unreachable(None))
        }
    };
    for (message, failures) in unreachable {
        let numbers = failures.map_or_else(Numbers::default, |count| Numbers::calls(count as u64).in_all());
        found.push(Lint::UnreachableFailureRule, message, numbers);
    }
}

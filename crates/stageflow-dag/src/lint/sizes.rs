//! How many stages a run has, which is what its budget is reckoned by.

use std::{collections::HashMap, sync::Arc};

use super::walk::PlanRef;
use crate::plan::Plan;

/// How many stages there are in one run of each plan. A stack of our own: pipelines are as deep as they are.
pub(super) fn sizes(plan: &Plan) -> HashMap<u64, u64> {
    let children = |plan: &Plan| -> Vec<Arc<Plan>> {
        let stages = (0..).take(plan.len()).map(|stage| plan.stage(stage).child_plan());
        stages.filter_map(|plan| plan?.downcast::<Plan>().ok()).collect()
    };
    let mut sizes = HashMap::new();
    let mut open = vec![(PlanRef::Lent(plan), false)];
    while let Some((at, is_counted)) = open.pop() {
        let plan = at.plan();
        if sizes.contains_key(&plan.id()) {
            continue;
        }
        let children = children(plan);
        if is_counted || children.is_empty() {
            let inner = children.iter().filter_map(|child| sizes.get(&child.id()));
            let all = inner.fold(plan.len() as u64, |sum, size| sum.saturating_add(*size));
            sizes.insert(plan.id(), all);
        } else {
            open.push((at, true));
            open.extend(children.into_iter().map(|child| (PlanRef::Shared(child), false)));
        }
    }
    sizes
}

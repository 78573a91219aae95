//! Looks at every stage: of a pipeline, and of the pipelines that are its stages. A work list, no recursion.

use std::{collections::HashMap, panic::Location, sync::Arc, time::Duration};

use stageflow_core::{Budget, PolicyId, StageKind, TimeLimit, Timeouts, intercept::AnyInterceptor};

use super::{
    Allowed, Around, CHECKS, Found, Lint, LintReport,
    cost::Bill,
    report::{About, Numbers},
    runs,
    site::{Level, Origin, SetBy, Site},
    sizes::sizes,
    times,
};
use crate::{chains::Chains, plan::Plan};

/// So many places of pipelines in each other are looked at.
const MOST: usize = 20_000;

/// Pipelines are followed so deep where nobody says how deep an engine lets them be.
const DEEPEST: u32 = 64;

/// A pipeline at its place.
struct Place<'p> {
    plan: PlanRef<'p>,
    /// The stages it is nested in, outermost first.
    levels: Vec<Arc<Level>>,
    /// How many pipelines like this one there are in one run of the outermost.
    count: u64,
    /// The retries of the account that a run of it opens; `None` for none, or one without limit.
    retries: Option<u64>,
    /// The bills on which its stages are, those of the pipelines around it included.
    bills: Vec<usize>,
}

/// What is known of all places.
struct Tree<'a> {
    around: &'a Around<'a>,
    /// How many stages there are in one run of each plan, those of its child runs included.
    sizes: HashMap<u64, u64>,
    /// Whether the run has no more retries than it has without a word.
    is_bounded: bool,
    bills: Vec<Open>,
}

/// A bill on which stages are still put.
struct Open {
    bill: Bill,
    /// At which level its pipeline is.
    level: usize,
    about: About,
    reason: Option<Arc<str>>,
}

pub(super) enum PlanRef<'p> {
    Lent(&'p Plan),
    Shared(Arc<Plan>),
}

impl PlanRef<'_> {
    pub(super) fn plan(&self) -> &Plan {
        match self {
            Self::Lent(plan) => plan,
            Self::Shared(plan) => plan,
        }
    }
}

/// What tells stages apart that are not alike.
#[derive(PartialEq, Eq, Hash)]
struct Shape {
    chain: Vec<PolicyId>,
    times: Timeouts,
    cost: Option<u64>,
    least: Duration,
    kind: StageKind,
    child: Option<u64>,
    location: (&'static str, u32, u32),
    allowed: usize,
}

/// Stages that are alike.
struct Alike {
    stages: Vec<u32>,
    count: u64,
    child: Option<Arc<Plan>>,
}

pub(super) fn walk(plan: &Plan, around: &Around<'_>) -> LintReport {
    let mut report = LintReport::new(Arc::clone(plan.name()));
    let sizes = sizes(plan);
    let stages = sizes.get(&plan.id()).copied().unwrap_or(0);
    let budget = plan.policies().budget.unwrap_or_default().or(around.budget.unwrap_or_default());
    let retries = budget.retry_limit(stages);
    let without_a_word = Budget::new().retry_limit(stages);
    let is_bounded = retries.is_some() && retries <= without_a_word;
    let mut tree = Tree { around, sizes, is_bounded, bills: Vec::new() };
    let mut first =
        Place { plan: PlanRef::Lent(plan), levels: Vec::new(), count: 1, retries, bills: Vec::new() };
    first.bills.extend(tree.open(plan, &first, budget.cost_limit(), retries));
    let mut places = vec![first];
    let mut looked_at = 0;
    while let Some(place) = places.pop() {
        looked_at += 1;
        if looked_at > MOST {
            report.is_complete = false;
            break;
        }
        look_at(place.plan.plan(), &place, &mut tree, &mut report, &mut places);
    }
    for Open { bill, about, reason, .. } in tree.bills {
        if let Some((message, numbers)) = bill.judge() {
            report.add((Lint::CostAboveBudget, message, numbers), about, reason);
        }
    }
    report.finish()
}

impl Tree<'_> {
    /// Opens the bill of a pipeline whose runs have a limit of cost.
    fn open(
        &mut self,
        plan: &Plan,
        place: &Place<'_>,
        limit: Option<u64>,
        retries: Option<u64>,
    ) -> Option<usize> {
        let limit = limit?;
        let bill = Bill { limit, retries, items: Vec::new() };
        let about = About { names: Vec::new(), count: 0, location: plan.location(0) };
        let reason = reason(Lint::CostAboveBudget, &place.levels, plan);
        self.bills.push(Open { bill, level: place.levels.len(), about, reason });
        Some(self.bills.len() - 1)
    }
}

fn look_at(
    plan: &Plan,
    place: &Place<'_>,
    tree: &mut Tree<'_>,
    report: &mut LintReport,
    places: &mut Vec<Place<'_>>,
) {
    let around = tree.around;
    let chains = Chains::resolve(around.interceptors, plan, AnyInterceptor::applies_to);
    let mut bounds = vec![None; plan.len()];
    for alike in groups(plan, &chains) {
        let Some(&first) = alike.stages.first() else { continue };
        let mut levels = place.levels.clone();
        levels.push(Arc::new(level(plan, first, &chains, around, (alike.count, place.retries))));
        let child_deadline = alike.child.as_ref().map(|child| child.policies().deadline);
        let site = Site::new(&levels, plan.kind(first), alike.count, child_deadline, around, tree.is_bounded);
        let bound = site.longest();
        for stage in &alike.stages {
            bounds[*stage as usize] = bound;
        }
        let count = place.count.saturating_mul(alike.count);
        if let Some(cost) = plan.settings(first).and_then(|settings| settings.cost) {
            for bill in &place.bills {
                let open = &mut tree.bills[*bill];
                let (once, most) = site.calls_in_run(open.level);
                open.bill.items.push((cost, once, most));
                open.about.add(about(plan, &place.levels, &alike.stages, once));
                let reason = || reason(Lint::CostAboveBudget, &levels, plan);
                open.reason = open.reason.take().or_else(reason);
            }
        }
        let mut found = Found::default();
        for check in CHECKS {
            check(&site, &mut found);
        }
        let depth = u32::try_from(levels.len()).unwrap_or(u32::MAX);
        let too_deep = alike.child.is_some() && around.max_depth.is_some_and(|most| depth > most);
        if too_deep {
            let most = around.max_depth.unwrap_or_default();
            let message = format!(
                "pipelines are nested {depth} deep, and the engine allows {most}: the stage always fails"
            );
            found.push(Lint::TooDeep, message, Numbers::default());
        }
        for one in found.0 {
            let about = about(plan, &place.levels, &alike.stages, count);
            let reason = reason(one.0, &levels, plan);
            report.add(one, about, reason);
        }
        if let Some(child) = alike.child {
            if too_deep || depth > DEEPEST {
                report.is_complete &= too_deep;
                continue;
            }
            places.push(inner(&child, levels, count, place, tree));
        }
    }
    look_at_runs(plan, place, around, &bounds, report);
}

/// The place of a pipeline that is a stage. What its own budget does not say, it does not limit.
fn inner<'p>(
    child: &Arc<Plan>,
    levels: Vec<Arc<Level>>,
    count: u64,
    outer: &Place<'_>,
    tree: &mut Tree<'_>,
) -> Place<'p> {
    let budget = child.policies().budget.map(|own| own.or(Budget::new().unlimited_retries()));
    let stages = tree.sizes.get(&child.id()).copied().unwrap_or(0);
    let retries = budget.and_then(|budget| budget.retry_limit(stages));
    let cost = budget.and_then(|budget| budget.cost_limit());
    let least = levels.iter().filter_map(|level| level.retries).chain(retries).min();
    let mut place = Place {
        plan: PlanRef::Shared(Arc::clone(child)),
        levels,
        count,
        retries,
        bills: outer.bills.clone(),
    };
    let bill = tree.open(child, &place, cost, least);
    place.bills.extend(bill);
    place
}

/// What is about the pipeline as a whole.
fn look_at_runs(
    plan: &Plan,
    place: &Place<'_>,
    around: &Around<'_>,
    bounds: &[Option<Duration>],
    report: &mut LintReport,
) {
    let is_outermost = place.levels.is_empty();
    let mut found = Found::default();
    runs::failures(plan, is_outermost.then_some(around), &mut found);
    if is_outermost {
        runs::queue(plan, around, &mut found);
    }
    let all: Vec<u32> = (0..).take(plan.len()).collect();
    for one in found.0 {
        let about = about(plan, &place.levels, &all, place.count.saturating_mul(all.len() as u64));
        let reason = reason(one.0, &place.levels, plan);
        report.add(one, about, reason);
    }
    if let Some((message, numbers, path)) = times::path(plan, bounds) {
        let lint = Lint::PathOutlastsDeadline;
        let on_path = path.iter().filter_map(|stage| plan.settings(*stage)).flat_map(|set| &set.allowed);
        let own = on_path.filter(|one| one.lint == lint).map(|one| Arc::clone(&one.reason)).next();
        let about = about(plan, &place.levels, &path, path.len() as u64);
        report.add((lint, message, numbers), about, own.or_else(|| reason(lint, &place.levels, plan)));
    }
}

/// Stages that are alike, by declaration.
fn groups(plan: &Plan, chains: &Chains) -> Vec<Alike> {
    let mut known: HashMap<Shape, usize> = HashMap::new();
    let mut groups: Vec<Alike> = Vec::new();
    for stage in (0..).take(plan.len()) {
        let settings = plan.settings(stage);
        let child = plan.stage(stage).child_plan().and_then(|plan| plan.downcast::<Plan>().ok());
        let place: &'static Location<'static> = plan.location(stage);
        let shape = Shape {
            chain: chains
                .of(stage)
                .map_or_else(Vec::new, |chain| chain.iter().map(AnyInterceptor::id).collect()),
            times: settings.map_or_else(Timeouts::default, |settings| settings.timeouts),
            kind: plan.kind(stage),
            child: child.as_ref().map(|plan| plan.id()),
            location: (place.file(), place.line(), place.column()),
            cost: settings.and_then(|settings| settings.cost),
            least: plan.min_time_of(stage),
            // Stages of one call of the builder allow the same.
            allowed: settings.map_or(0, |settings| settings.allowed.len()),
        };
        let group = *known.entry(shape).or_insert_with(|| {
            groups.push(Alike { stages: Vec::new(), count: 0, child });
            groups.len() - 1
        });
        groups[group].stages.push(stage);
        groups[group].count += 1;
    }
    groups
}

fn level(
    plan: &Plan,
    stage: u32,
    chains: &Chains,
    around: &Around<'_>,
    (count, retries): (u64, Option<u64>),
) -> Level {
    let settings = plan.settings(stage);
    let of = |one: &AnyInterceptor| {
        let is_in = |all: &[AnyInterceptor]| all.iter().any(|other| other.id() == one.id());
        if is_in(around.interceptors) {
            Origin::Engine
        } else if is_in(&plan.policies().interceptors) {
            Origin::Pipeline
        } else {
            Origin::Stage
        }
    };
    let chain = chains.of(stage).map_or(&[][..], |chain| chain);
    // The engine's times are for stages, and not for pipelines in their place.
    let of_engine =
        if plan.stage(stage).child_plan().is_some() { Timeouts::default() } else { around.timeouts };
    let times = plan.timeouts(stage).or(of_engine);
    let own = settings.map(|settings| settings.timeouts).unwrap_or_default();
    let from = |time: fn(&Timeouts) -> TimeLimit| {
        if time(&own) != TimeLimit::Inherit {
            Origin::Stage
        } else if time(&plan.policies().timeouts) != TimeLimit::Inherit {
            Origin::Pipeline
        } else {
            Origin::Engine
        }
    };
    // Where something of the engine may answer for the stages in a pipeline, what they take at least does not count for it.
    let may_answer = around.interceptors.iter().any(AnyInterceptor::may_answer);
    let least = match settings {
        _ if !may_answer => plan.min_time_of(stage),
        Some(settings) => settings.min_time,
        None => Duration::ZERO,
    };
    Level {
        chain: chain.iter().map(|one| (one.clone(), of(one))).collect(),
        stage: plan.stage_name(stage).to_owned(),
        count,
        timeout: times.stage.get(),
        attempt: times.attempt.get(),
        idle: times.idle.get(),
        set_by: SetBy {
            timeout: from(|times| times.stage),
            attempt: from(|times| times.attempt),
            idle: from(|times| times.idle),
        },
        least,
        retries,
        deadline: plan.policies().deadline,
        allowed: settings
            .map_or_else(Vec::new, |settings| settings.allowed.clone())
            .into_iter()
            .chain(plan.policies().allowed.iter().cloned())
            .collect(),
    }
}

fn about(plan: &Plan, levels: &[Arc<Level>], stages: &[u32], count: u64) -> About {
    let prefix: String = levels.iter().map(|level| format!("{}/", level.stage)).collect();
    let name = |stage: &u32| format!("{prefix}{}", plan.stage_name(*stage));
    let names = stages.iter().take(LintReport::listed()).map(name).collect();
    About { names, count, location: plan.location(stages.first().copied().unwrap_or(0)) }
}

/// Why a finding is allowed: by its stage, its pipeline, or those around it.
fn reason(lint: Lint, levels: &[Arc<Level>], plan: &Plan) -> Option<Arc<str>> {
    let all = levels.iter().rev().flat_map(|level| &level.allowed);
    let mut all = all.chain(&plan.policies().allowed);
    all.find(|one: &&Allowed| one.lint == lint).map(|one| Arc::clone(&one.reason))
}

//! Looks at every stage: of a pipeline, and of the pipelines that are its stages. A work list, no recursion.

use std::{collections::HashMap, panic::Location, sync::Arc};

use stageflow_core::{PolicyId, StageKind, Timeouts, intercept::AnyInterceptor};

use super::{
    Allowed, CHECKS, Found, Lint, LintReport,
    report::{About, Numbers},
    site::{Level, Origin, Site},
    times,
};
use crate::{chains::Chains, plan::Plan};

/// So many places of pipelines in each other are looked at.
const MOST: usize = 20_000;

/// Pipelines are followed so deep where nobody says how deep an engine lets them be.
const DEEPEST: u32 = 64;

/// What stands around the runs of a pipeline: an engine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Around<'a> {
    /// In the order of addition.
    pub interceptors: &'a [AnyInterceptor],
    /// The limit of the engine.
    pub max_in_flight: Option<u32>,
    /// Its limits per kind.
    pub kinds: &'a [(StageKind, u32)],
    /// Its limit per tenant.
    pub per_tenant: Option<u32>,
    /// How deep pipelines may be nested; `None` if that is not known.
    pub max_depth: Option<u32>,
    /// The times of stages about which neither they nor their pipeline say anything.
    pub timeouts: Timeouts,
}

/// A pipeline at its place.
struct Place<'p> {
    plan: PlanRef<'p>,
    /// The stages it is nested in, outermost first.
    levels: Vec<Arc<Level>>,
    /// How many pipelines like this one there are in one run of the outermost.
    count: u64,
}

enum PlanRef<'p> {
    Lent(&'p Plan),
    Shared(Arc<Plan>),
}

/// What tells stages apart that are not alike.
#[derive(PartialEq, Eq, Hash)]
struct Shape {
    chain: Vec<PolicyId>,
    times: Timeouts,
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
    let mut places = vec![Place { plan: PlanRef::Lent(plan), levels: Vec::new(), count: 1 }];
    let mut looked_at = 0;
    while let Some(place) = places.pop() {
        looked_at += 1;
        if looked_at > MOST {
            report.is_complete = false;
            break;
        }
        let plan = match &place.plan {
            PlanRef::Lent(plan) => plan,
            PlanRef::Shared(plan) => &**plan,
        };
        look_at(plan, &place, around, &mut report, &mut places);
    }
    report.finish()
}

fn look_at(
    plan: &Plan,
    place: &Place<'_>,
    around: &Around<'_>,
    report: &mut LintReport,
    places: &mut Vec<Place<'_>>,
) {
    let chains = Chains::resolve(around.interceptors, plan, AnyInterceptor::applies_to);
    let mut bounds = vec![None; plan.len()];
    for alike in groups(plan, &chains) {
        let Some(&first) = alike.stages.first() else { continue };
        let mut levels = place.levels.clone();
        levels.push(Arc::new(level(plan, first, &chains, around)));
        let child_deadline = alike.child.as_ref().map(|child| child.policies().deadline);
        let site = Site::new(&levels, plan.kind(first), alike.count, child_deadline, around);
        let bound = site.longest();
        for stage in &alike.stages {
            bounds[*stage as usize] = bound;
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
            let about = about(plan, &place.levels, &alike.stages, place.count.saturating_mul(alike.count));
            let reason = reason(one.0, &levels);
            report.add(one, about, reason);
        }
        if let Some(child) = alike.child {
            if too_deep || depth > DEEPEST {
                report.is_complete &= too_deep;
                continue;
            }
            let count = place.count.saturating_mul(alike.count);
            places.push(Place { plan: PlanRef::Shared(child), levels, count });
        }
    }
    if let Some((message, numbers, path)) = times::path(plan, &bounds) {
        let allowing = path.iter().filter_map(|stage| plan.settings(*stage)).flat_map(|set| &set.allowed);
        let mut allowing = plan.policies().allowed.iter().chain(allowing);
        let reason = allowing.find(|one| one.lint == Lint::PathOutlastsDeadline);
        let count = path.len() as u64;
        let about = about(plan, &place.levels, &path, count);
        report.add(
            (Lint::PathOutlastsDeadline, message, numbers),
            about,
            reason.map(|one| Arc::clone(&one.reason)),
        );
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

fn level(plan: &Plan, stage: u32, chains: &Chains, around: &Around<'_>) -> Level {
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
    Level {
        chain: chain.iter().map(|one| (one.clone(), of(one))).collect(),
        stage: plan.stage_name(stage).to_owned(),
        timeout: times.stage.get(),
        attempt: times.attempt.get(),
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
fn reason(lint: Lint, levels: &[Arc<Level>]) -> Option<Arc<str>> {
    let mut all = levels.iter().rev().flat_map(|level| &level.allowed);
    all.find(|one: &&Allowed| one.lint == lint).map(|one| Arc::clone(&one.reason))
}

//! What can be wrong with a pipeline that compiles. Every check runs, whatever the others found (rule S-1).

use std::{collections::HashMap, time::Duration};

use stageflow_core::{
    FailureRules, Layer, StageKind, code,
    intercept::{AnyInterceptor, Placement},
    time::Human,
    value::TypeTag,
};

use crate::{
    cycle,
    draft::{ByName, Draft, Place, Setting},
    least,
    lint::{self, Around},
    plan::{Plan, SettingsMap, StageSettings},
    port::AnyPort,
    problem::{Problem, Quoted},
    suggest::Suggestions,
};

/// Everything wrong with `draft`. Puts the sources of its edges by name in place.
pub(crate) fn problems(draft: &mut Draft, output: AnyPort, place: Place) -> Vec<Problem> {
    let mut found = std::mem::take(&mut draft.found);
    size(draft, place, &mut found);
    pipeline_name(draft, &mut found);
    policies(draft, &mut found);
    let refers_forward = stage_names(draft, &mut found);
    foreign(draft, output, place, &mut found);
    if refers_forward {
        circles(draft, &mut found);
    }
    settings(draft, &mut found);
    if found.is_empty() && least::is_said(draft) {
        least_time(draft, output, &mut found);
    }
    found
}

fn size(draft: &Draft, place: Place, found: &mut Vec<Problem>) {
    if draft.full {
        let message = format!("more than {} stages or edges", draft.limit);
        found.push(
            Problem::new(code::TOO_LARGE, place, message).help("move parts into pipelines of their own"),
        );
    } else if draft.stages.is_empty() {
        found.push(Problem::new(code::EMPTY, place, "the pipeline has no stage"));
    }
}

fn pipeline_name(draft: &Draft, found: &mut Vec<Problem>) {
    if let Some(fault) = fault_of_name(&draft.name) {
        let message = format!("the pipeline's name {} {fault}", Quoted(&draft.name));
        found.push(Problem::new(code::INVALID_NAME, draft.place, message));
    }
}

fn fault_of_name(name: &str) -> Option<&'static str> {
    if name.trim().is_empty() {
        return Some("is blank");
    }
    name.chars().any(char::is_control).then_some("holds a control character")
}

/// Names of stages, and edges by name; gives whether one of these refers forward, so that there may be a circle.
fn stage_names(draft: &mut Draft, found: &mut Vec<Problem>) -> bool {
    let mut known: HashMap<&str, u32> = HashMap::with_capacity(draft.stages.len());
    for (index, name) in (0..).zip(draft.names.iter()) {
        let place = draft.places[index as usize];
        if let Some(fault) = fault_of_name(name) {
            let message = format!("the stage's name {} {fault}", Quoted(name));
            found.push(Problem::new(code::INVALID_NAME, place, message).about([name]));
        }
        let first = *known.entry(name).or_insert(index);
        if first != index {
            let first = draft.places[first as usize];
            let message = format!("two stages are named {} (first at {first})", Quoted(name));
            found.push(Problem::new(code::DUPLICATE, place, message).about([name]));
        }
    }
    let mut refers_forward = false;
    let mut suggestions = Suggestions::new(&draft.names);
    for ByName { stage, edge, name, place } in &draft.by_name {
        if *stage as usize >= draft.stages.len() {
            // There was no room for the stage, which is a problem already.
            continue;
        }
        let Some(&source) = known.get(name.as_str()) else {
            found.push(missing(draft.names.get(*stage), name, *place, suggestions.closest(name)));
            continue;
        };
        if source == *stage {
            let message = format!("stage {} waits for itself", Quoted(name));
            found.push(Problem::new(code::SELF_DEP, *place, message).about([name.as_str()]));
            continue;
        }
        refers_forward |= source > *stage;
        if let Some(edge) = draft.edges.items.get_mut(*edge) {
            edge.source = source;
        }
    }
    refers_forward
}

fn missing(reader: &str, name: &str, place: Place, closest: Option<&str>) -> Problem {
    let message = format!("stage {} needs {}, and no stage has that name", Quoted(reader), Quoted(name));
    let problem = Problem::new(code::MISSING_DEP, place, message).about([reader]);
    match closest {
        Some(closest) => problem.help(format!("did you mean {}?", Quoted(closest))),
        None => problem,
    }
}

fn foreign(draft: &Draft, output: AnyPort, place: Place, found: &mut Vec<Problem>) {
    for foreign in &draft.foreign {
        if foreign.stage >= draft.len() {
            continue;
        }
        let name = draft.names.get(foreign.stage);
        let message = format!("stage {} is wired to a port of another builder", Quoted(name));
        found.push(Problem::new(code::FOREIGN_NODE, foreign.place, message).about([name]));
    }
    if output.plan_id() != draft.id {
        let message = "the pipeline's output is a port of another builder";
        found.push(Problem::new(code::FOREIGN_NODE, place, message));
    }
}

fn circles(draft: &Draft, found: &mut Vec<Problem>) {
    const SHOWN: usize = 20;
    for circle in cycle::find(&draft.edges) {
        let names = || circle.iter().map(|index| draft.names.get(*index));
        let mut path: String = names().take(SHOWN).map(|name| format!("{} → ", Quoted(name))).collect();
        if circle.len() > SHOWN {
            path += &format!("… ({} more) → ", circle.len() - SHOWN);
        }
        let first = circle[0];
        let message = format!("stages wait for each other: {path}{}", Quoted(draft.names.get(first)));
        let place = draft.places[first as usize];
        found.push(Problem::new(code::CYCLE, place, message).about(names()));
    }
}

fn policies(draft: &Draft, found: &mut Vec<Problem>) {
    let mut wrong = |setting, message: String| {
        let set_at = draft.set_at.iter().find(|(known, _)| *known == setting);
        let place = set_at.map_or(draft.place, |(_, place)| *place);
        found.push(Problem::new(code::INVALID_POLICY, place, message));
    };
    let policies = &draft.policies;
    for problem in policies.on_failure.iter().flat_map(FailureRules::problems) {
        wrong(Setting::OnFailure, problem);
    }
    if policies.max_in_flight == Some(0) {
        wrong(Setting::MaxInFlight, "with `max_in_flight(0)` no stage can ever start".to_owned());
    }
    for (kind, _) in policies.kind_limits.iter().filter(|(_, limit)| *limit == 0) {
        wrong(
            Setting::KindLimit(*kind),
            format!("with a limit of 0 no stage of kind `{kind}` can ever start"),
        );
    }
    if policies.deadline == Some(Duration::ZERO) {
        wrong(Setting::Deadline, "with a deadline of zero no stage can ever start".to_owned());
    }
    for (name, time) in policies.timeouts.limits() {
        if time.is_zero() {
            wrong(Setting::Timeout(name), format!("with `{name}` of zero no stage can ever complete"));
        }
    }
    for (interceptor, place) in policies.interceptors.iter().zip(&draft.intercepted_at) {
        found.extend(outside(interceptor, *place));
    }
}

/// What takes longer at least than it may.
fn least_time(draft: &Draft, output: AnyPort, found: &mut Vec<Problem>) {
    for (stage, least) in (0..draft.len()).map(|stage| (stage, least::of(draft, stage))) {
        let own = draft.settings.get(&stage).map(|settings| settings.timeouts).unwrap_or_default();
        let limits = own.or(draft.policies.timeouts);
        for (what, limit) in [("the stage", limits.stage), ("an attempt", limits.attempt)] {
            if let Some(limit) = limit.get().filter(|limit| *limit < least) {
                let (name, place) = (draft.names.get(stage), draft.places[stage as usize]);
                let (least, limit) = (Human(least), Human(limit));
                let message =
                    format!("stage {} takes {least} at least, and {what} gets {limit}", Quoted(name));
                found.push(Problem::new(code::INVALID_POLICY, place, message).about([name]));
            }
        }
    }
    let least = least::to(draft, output.index());
    if let Some(deadline) = draft.policies.deadline.filter(|deadline| *deadline < least) {
        let set_at = draft.set_at.iter().find(|(known, _)| *known == Setting::Deadline);
        let place = set_at.map_or(draft.place, |(_, place)| *place);
        let (least, deadline) = (Human(least), Human(deadline));
        let message = format!("the output takes {least} at least, and the deadline is {deadline}");
        found.push(Problem::new(code::INVALID_POLICY, place, message));
    }
}

fn settings(draft: &Draft, found: &mut Vec<Problem>) {
    for (stage, settings) in in_order(&draft.settings) {
        let (name, place) = (draft.names.get(stage), draft.places[stage as usize]);
        for (what, time) in settings.timeouts.limits() {
            if time.is_zero() {
                let what = if what == "stage_timeout" { "timeout" } else { what };
                let message = format!("with `{what}` of zero stage {} can never complete", Quoted(name));
                found.push(Problem::new(code::INVALID_POLICY, place, message).about([name]));
            }
        }
        if settings.durable && draft.kinds[stage as usize] == StageKind::Guard {
            let message = format!("guard {} cannot be durable: a guard decides anew each time", Quoted(name));
            let help = "take `.durable()` off the guard; what runs behind it may be durable";
            found.push(Problem::new(code::INVALID_POLICY, place, message).help(help).about([name]));
        }
        found.extend(settings.interceptors.iter().filter_map(|it| Some(outside(it, place)?.about([name]))));
    }
}

/// What is set for single stages, in declaration order.
fn in_order(settings: &SettingsMap) -> Vec<(u32, &StageSettings)> {
    let mut settings: Vec<_> = settings.iter().map(|(stage, settings)| (*stage, settings)).collect();
    settings.sort_unstable_by_key(|(stage, _)| *stage);
    settings
}

fn outside(interceptor: &AnyInterceptor, place: Place) -> Option<Problem> {
    (interceptor.placement() == Placement::Outside(Layer::Authenticate)).then(|| {
        let message =
            format!("interceptor {} asks for a place outside authentication", Quoted(interceptor.name()));
        Problem::new(code::OUTSIDE_AUTHENTICATION, place, message)
    })
}

/// Everything suspicious about `plan`, as far as it shows by itself.
pub(crate) fn warnings(plan: &Plan) -> Vec<Problem> {
    let mut found = Vec::new();
    let unit = TypeTag::of::<()>();
    let alone = plan.len() == 1;
    for (stage, name) in (0..).zip(plan.names.iter()) {
        let warn = |code, message| Problem::new(code, plan.location(stage), message).about([name]);
        let output = plan.stage(stage).output();
        let is_read = plan.readers(stage) > 0 || !plan.successors(stage).is_empty();
        let is_fed = plan.edges(stage).iter().any(|edge| !edge.kind.is_header());
        if !is_read && !is_fed && !alone {
            let message = format!("stage {} has no edge at all", Quoted(name));
            found.push(warn(code::ORPHAN, message));
        }
        if plan.readers(stage) == 0 && output != unit {
            let message = format!("nobody reads the `{}` of stage {}", output.short_name(), Quoted(name));
            found.push(warn(code::UNUSED_OUTPUT, message));
        }
    }
    let report = lint::lint(plan, &Around::default());
    found.extend(report.findings().iter().map(|finding| {
        let message = format!("{}: {}", finding.lint(), finding.message());
        let problem = Problem::new(code::POLICY_LINT, finding.location(), message).help(finding.help());
        problem.about(finding.stages().iter().map(String::as_str))
    }));
    found
}

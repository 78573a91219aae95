//! `lint`, `graph`, `schema`, `kinds`: all that looks at pipelines and runs none.

use std::{fmt::Write as _, path::Path};

use serde_json::{Value, json};
use stageflow::{Finding, Severity, code, spec::RegisteredKind};

use crate::{
    Cli,
    args::GraphFormat,
    exit::Exit,
    explain::{Role, page},
    files::{Source, write_whole},
    load::{Loaded, load},
    place::{Places, step_to},
    problem::{Found, MOST_SHOWN},
    run::FORMAT,
    screen,
};

pub(crate) fn lint(cli: &mut Cli, file: &Source, is_json: bool) -> Exit {
    let (found, exit) = match load(&cli.registry, file) {
        Err(broken) if !is_json => return broken.print(file),
        Err(broken) => {
            let object = json!({
                "format": FORMAT,
                "exit_code": broken.exit().number(),
                "message": broken.message(file),
                "problems": broken.problems(),
                "allowed": [],
            });
            return screen::result(&format!("{object:#}\n"), broken.exit());
        }
        Ok(loaded) => match findings(cli, &loaded) {
            Ok(found) => found,
            Err(what) => {
                screen::complain(format_args!("error: {what}"));
                return Exit::Spec;
            }
        },
    };
    let text = if is_json {
        let object = json!({
            "format": FORMAT,
            "exit_code": exit.number(),
            "message": null,
            "problems": found.problems,
            "allowed": found.allowed,
        });
        format!("{object:#}\n")
    } else {
        found.shown(&file.name())
    };
    screen::result(&text, exit)
}

/// What was found about a pipeline that can be built.
struct Findings {
    problems: Vec<Found>,
    /// What was found and is known, with the reasons.
    allowed: Vec<Value>,
    stages: usize,
}

fn findings(cli: &mut Cli, loaded: &Loaded) -> Result<(Findings, Exit), String> {
    let Loaded { pipeline, text } = loaded;
    let places = &mut Places::new(text);
    let engine = cli.engine().build().map_err(|error| error.to_string())?;
    let report = engine.lint(pipeline);
    // The engine knows more about policies than the pipeline alone.
    let warnings = pipeline.warnings().iter().filter(|warning| warning.code() != code::POLICY_LINT);
    let mut problems: Vec<Found> =
        report.findings().iter().map(|finding| of_finding(finding, places)).collect();
    problems.extend(warnings.map(|warning| {
        let found = Found::of_problem("warning", warning, places);
        match (warning.pointer(), warning.stages()) {
            (None, [stage, ..]) => found.at(&format!("/stages/{}", step_to(stage)), places),
            _ => found,
        }
    }));
    let allowed = report.allowed().map(|(finding, reason)| {
        json!({ "code": finding.lint(), "message": finding.message(), "stages": finding.stages(), "reason": reason })
    });
    let found = Findings { allowed: allowed.collect(), problems, stages: pipeline.len() };
    let exit = if found.problems.is_empty() { Exit::Done } else { Exit::Findings };
    Ok((found, exit))
}

fn of_finding(finding: &Finding, places: &mut Places<'_>) -> Found {
    let severity = match finding.severity() {
        Severity::Danger => "danger",
        Severity::Warning => "warning",
    };
    let others = finding.count().saturating_sub(1);
    let message = match others {
        0 => finding.message().to_owned(),
        1 => format!("{} (and one more stage)", finding.message()),
        _ => format!("{} (and {others} more stages)", finding.message()),
    };
    let found = Found::new(severity, finding.lint(), &message, finding.help());
    match finding.stages() {
        // A stage of a pipeline that is a stage has no place of its own.
        [stage, ..] => found.at(&format!("/stages/{}", step_to(stage)), places),
        [] => found,
    }
}

impl Findings {
    fn shown(&self, file: &str) -> String {
        let mut out = String::new();
        for problem in self.problems.iter().take(MOST_SHOWN) {
            let _ = writeln!(out, "{}\n", problem.shown(file));
        }
        if let Some(more) = self.problems.len().checked_sub(MOST_SHOWN).filter(|more| *more > 0) {
            let _ = writeln!(out, "… and {more} more, which `--json` lists\n");
        }
        for allowed in &self.allowed {
            let text = |field: &str| allowed[field].as_str().unwrap_or_default();
            let _ = writeln!(out, "allowed[{}]: {}", text("code"), text("message"));
            if let Some(stage) = allowed["stages"][0].as_str() {
                let _ = writeln!(out, "  = stage: `{}`", stage.escape_debug());
            }
            let _ = writeln!(out, "  = because: {}\n", text("reason"));
        }
        let stages = if self.stages == 1 { "stage" } else { "stages" };
        let _ = match self.problems.len() {
            0 => writeln!(out, "{file}: {} {stages}, nothing found", self.stages),
            1 => writeln!(out, "{file}: {} {stages}, 1 finding", self.stages),
            count => writeln!(out, "{file}: {} {stages}, {count} findings", self.stages),
        };
        out
    }
}

pub(crate) fn graph(cli: &Cli, file: &Source, format: GraphFormat, output: Option<&Path>) -> Exit {
    let pipeline = match load(&cli.registry, file) {
        Ok(loaded) => loaded.pipeline,
        Err(broken) => return broken.print(file),
    };
    let text = match format {
        GraphFormat::Text => pipeline.to_tree(),
        GraphFormat::Dot => pipeline.to_dot(),
        GraphFormat::Mermaid => pipeline.to_mermaid(),
        GraphFormat::Svg => pipeline.to_svg(),
    };
    let Some(path) = output else { return screen::result(&text, Exit::Done) };
    if file.is(path) {
        screen::complain("error: `--output` would replace the pipeline");
        return Exit::Usage;
    }
    match write_whole(path, text.as_bytes()) {
        Ok(()) => Exit::Done,
        Err(error) => {
            screen::complain(format_args!("error: {}: cannot be written: {error}", path.display()));
            Exit::Output
        }
    }
}

pub(crate) fn schema(cli: &Cli) -> Exit {
    screen::result(&format!("{:#}\n", cli.registry.schema()), Exit::Done)
}

pub(crate) fn kinds(cli: &Cli, wanted: Option<&str>, is_json: bool) -> Exit {
    let text = match wanted {
        Some(wanted) => pages(cli, wanted),
        None if is_json => as_json(cli),
        None => as_table(cli),
    };
    if text.is_empty() {
        screen::complain(format_args!(
            "error: nothing is named `{}`\n  = help: `kinds` lists what there is",
            wanted.unwrap_or_default()
        ));
        return Exit::Usage;
    }
    screen::result(&text, Exit::Done)
}

/// What there is to say about a name, as a stage, a policy and a condition.
fn pages(cli: &Cli, wanted: &str) -> String {
    let schema = cli.registry.schema();
    let kinds = cli.registry.kinds().filter(|kind| name(kind) == wanted);
    let pages = kinds.filter_map(|kind| {
        let (role, heading) = match &kind {
            RegisteredKind::Stage { input, output, kind, .. } => {
                (Role::Stage, format!("{wanted}: a stage, {kind}, {input} → {output}"))
            }
            RegisteredKind::Policy { .. } => (Role::Policy, format!("{wanted}: a policy")),
            RegisteredKind::Predicate { of, .. } => {
                (Role::Condition, format!("{wanted}: a condition, of {of}"))
            }
            _ => return None,
        };
        Some(page(&schema, role, wanted, &heading))
    });
    pages.collect::<Vec<_>>().join("\n")
}

fn as_json(cli: &Cli) -> String {
    let (mut stages, mut policies, mut conditions) = (Vec::new(), Vec::new(), Vec::new());
    for kind in cli.registry.kinds() {
        match kind {
            RegisteredKind::Stage { name, input, output, kind } => {
                stages.push(json!({ "name": name, "input": input, "output": output, "kind": kind }));
            }
            RegisteredKind::Policy { name } => policies.push(json!({ "name": name })),
            RegisteredKind::Predicate { name, of } => conditions.push(json!({ "name": name, "of": of })),
            _ => {}
        }
    }
    let object =
        json!({ "format": FORMAT, "stages": stages, "policies": policies, "conditions": conditions });
    format!("{object:#}\n")
}

fn as_table(cli: &Cli) -> String {
    let mut out = String::new();
    let mut heading = "";
    let mut head = |out: &mut String, now: &'static str| {
        if heading != now {
            let blank = if heading.is_empty() { "" } else { "\n" };
            let _ = writeln!(out, "{blank}{now}");
            heading = now;
        }
    };
    let width = cli.registry.kinds().map(|kind| name(&kind).chars().count()).max().unwrap_or(0);
    for kind in cli.registry.kinds() {
        let name = name(&kind);
        let _ = match &kind {
            RegisteredKind::Stage { input, output, kind, .. } => {
                head(&mut out, "stages (`use`)");
                writeln!(out, "  {name:width$}  {kind:9}  {input} → {output}")
            }
            RegisteredKind::Policy { .. } => {
                head(&mut out, "policies (`policies`)");
                writeln!(out, "  {name}")
            }
            RegisteredKind::Predicate { of, .. } => {
                head(&mut out, "conditions (`when`)");
                writeln!(out, "  {name:width$}  of {of}")
            }
            _ => Ok(()),
        };
    }
    out
}

fn name<'r>(kind: &RegisteredKind<'r>) -> &'r str {
    match kind {
        RegisteredKind::Stage { name, .. }
        | RegisteredKind::Policy { name }
        | RegisteredKind::Predicate { name, .. } => name,
        _ => "",
    }
}

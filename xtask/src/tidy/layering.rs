//! Direction: which crate of ours may know which, as written in `docs/architecture.md`.
//!
//! Siblings never see each other; they meet in core. Cargo is asked what a crate depends on with all its features,
//! dev-dependencies aside. A crate without a rule here is a problem, so that a new one gets its place on purpose.

use super::Problem;
use crate::{shell, workspace};
use anyhow::Result;

/// What one crate may depend on.
struct Rule {
    name: &'static str,
    /// Crates of ours, directly or through others.
    ours: &'static [&'static str],
    /// Of those, the ones that it may name itself; `None` for all.
    directly: Option<&'static [&'static str]>,
    /// Of those, the ones that need a feature that is off by default.
    by_feature: &'static [&'static str],
    /// What it may not name in its own `[dependencies]`.
    never: &'static [&'static str],
    /// Which features of tokio it may cause to be compiled; `None` for crates that live on tokio.
    tokio: Option<&'static [&'static str]>,
    /// Whether it may name crates of others at all.
    foreign: bool,
}

/// Runtimes, and graph libraries that tempt one to expose them.
const RUNTIMES: &[&str] = &["tokio", "async-std", "smol", "petgraph"];
const ANYTHING_ASYNC: &[&str] = &[
    "tokio",
    "tokio-util",
    "futures",
    "futures-core",
    "futures-util",
    "async-trait",
    "async-std",
    "smol",
    "petgraph",
];

/// `tokio-util`'s cancellation token needs the part of tokio that has no runtime.
const WITHOUT_RUNTIME: Option<&[&str]> = Some(&["default", "sync"]);

const CORE: &str = "stageflow-core";
const DAG: &str = "stageflow-dag";
const EXEC: &str = "stageflow-exec";
const INTERCEPTORS: &str = "stageflow-interceptors";
const EVENTS: &str = "stageflow-events";
const PLUS: &str = "stageflow-plus";
const STORE: &str = "stageflow-store";
const TESTING: &str = "stageflow-testing";
const FACADE: &str = "stageflow";
const CLI: &str = "stageflow-cli";

/// On core alone, with whatever it needs of others.
const ON_CORE: Rule =
    Rule { name: "", ours: &[CORE], directly: None, by_feature: &[], never: &[], tokio: None, foreign: true };

const RULES: &[Rule] = &[
    Rule { name: CORE, ours: &[], never: RUNTIMES, tokio: WITHOUT_RUNTIME, ..ON_CORE },
    Rule { name: DAG, never: ANYTHING_ASYNC, tokio: WITHOUT_RUNTIME, ..ON_CORE },
    Rule { name: EXEC, ours: &[CORE, DAG], ..ON_CORE },
    Rule { name: INTERCEPTORS, ..ON_CORE },
    Rule { name: EVENTS, ..ON_CORE },
    Rule { name: PLUS, ours: &[CORE, DAG, INTERCEPTORS], by_feature: &[DAG, INTERCEPTORS], ..ON_CORE },
    Rule { name: STORE, ..ON_CORE },
    Rule { name: TESTING, ours: &[CORE, DAG, EXEC, INTERCEPTORS, EVENTS], ..ON_CORE },
    Rule {
        name: FACADE,
        ours: &[CORE, DAG, EXEC, INTERCEPTORS, EVENTS, PLUS, STORE, TESTING],
        foreign: false,
        ..ON_CORE
    },
    Rule {
        name: CLI,
        ours: &[CORE, DAG, EXEC, INTERCEPTORS, EVENTS, PLUS, FACADE],
        directly: Some(&[FACADE]),
        ..ON_CORE
    },
];

/// A line of `cargo tree`.
#[derive(Debug, PartialEq, Eq)]
struct Dependency {
    name: String,
    depth: usize,
    features: Vec<String>,
}

pub(super) fn check() -> Result<Vec<Problem>> {
    let mut problems = Vec::new();
    for library in workspace::libraries()? {
        let name = library.name.as_str();
        let Some(rule) = RULES.iter().find(|rule| rule.name == name) else {
            problems.push(Problem::new(
                name,
                "has no rule in xtask/src/tidy/layering.rs: say what it may depend on",
            ));
            continue;
        };
        problems.extend(violations(rule, &parse(&tree(name, "--all-features")?)));
        if !rule.by_feature.is_empty() {
            problems.extend(uninvited(rule, &parse(&tree(name, "--no-default-features")?)));
        }
    }
    Ok(problems)
}

fn tree(name: &str, features: &str) -> Result<String> {
    let args = [
        "tree",
        "--edges",
        "normal",
        "--prefix",
        "depth",
        "--format",
        " {p}|{f}",
        "--package",
        name,
        features,
    ];
    shell::stdout(&mut shell::cargo(args))
}

/// Reads lines like `1 tokio-util v0.7.16|default,sync (*)`.
fn parse(tree: &str) -> Vec<Dependency> {
    let line = |line: &str| {
        let (package, features) = line.split_once('|')?;
        let mut words = package.split_whitespace();
        let depth = words.next()?.parse().ok()?;
        let name = words.next()?.to_owned();
        let features = features.trim_end_matches(" (*)").split(',').filter(|feature| !feature.is_empty());
        Some(Dependency { name, depth, features: features.map(str::to_owned).collect() })
    };
    tree.lines().filter_map(line).collect()
}

/// What a crate depends on with all features and may not.
fn violations(rule: &Rule, dependencies: &[Dependency]) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut found = |what: String| {
        let problem = Problem::new(rule.name, what);
        if !problems.contains(&problem) {
            problems.push(problem);
        }
    };
    for Dependency { name, depth, features } in dependencies.iter().filter(|dependency| dependency.depth > 0)
    {
        let name = name.as_str();
        if is_ours(name) {
            if !rule.ours.contains(&name) {
                found(format!("may not depend on `{name}`"));
            } else if *depth == 1 && rule.directly.is_some_and(|directly| !directly.contains(&name)) {
                found(format!("may not name `{name}` in its dependencies"));
            }
            continue;
        }
        if *depth == 1 && rule.never.contains(&name) {
            found(format!("may not name `{name}` in its dependencies"));
        } else if *depth == 1 && !rule.foreign {
            found(format!("may not depend on crates of others, and names `{name}`"));
        }
        if let Some(allowed) = rule.tokio.filter(|_| name == "tokio") {
            let forbidden = features.iter().filter(|feature| !allowed.contains(&feature.as_str()));
            forbidden.for_each(|feature| {
                found(format!("may not cause tokio's `{feature}` to be compiled"));
            });
        }
    }
    problems
}

/// What a crate depends on without features and may only with one.
fn uninvited(rule: &Rule, dependencies: &[Dependency]) -> Vec<Problem> {
    let names = dependencies.iter().map(|dependency| dependency.name.as_str());
    let names = names.filter(|name| rule.by_feature.contains(name));
    names.map(|name| Problem::new(rule.name, format!("may depend on `{name}` in a feature only"))).collect()
}

fn is_ours(name: &str) -> bool {
    name == FACADE || name.starts_with("stageflow-")
}

#[cfg(test)]
mod tests;

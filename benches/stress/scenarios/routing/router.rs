//! The router under load: words decide the route, four branches answer, and the branches join again.

use std::{fmt, sync::Arc, time::Duration};

use anyhow::Result;
use stageflow::{Pipeline, prelude::*};

use crate::harness::{bench::Bench, lock};

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Route {
    Fast,
    Standard,
    Premium,
    Escalation,
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fast => "fast",
            Self::Standard => "standard",
            Self::Premium => "premium",
            Self::Escalation => "escalation",
        })
    }
}

/// What the router says.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Decision {
    pub(super) route: Route,
    pub(super) reason: String,
}

/// What the pipeline gives.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Answer {
    pub(super) decision: Decision,
    /// The branch that ran.
    pub(super) by: Route,
}

/// What is broken about the router, for controls.
#[derive(Clone, Debug, Default)]
pub(super) struct Doubles {
    pub(super) substring: bool,
    pub(super) empty_to_standard: bool,
    pub(super) open_branch: bool,
    pub(super) shared_decision: bool,
    pub(super) silent: bool,
    pub(super) moody: bool,
    pub(super) slow: Duration,
    pub(super) no_priority: bool,
}

/// Every word of the text, in small letters.
fn words(text: &str) -> Vec<String> {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect()
}

/// The rules, in order; text without any of the words goes to the fast route, and so does no text at all.
const RULES: &[(Route, &[&str])] = &[
    (Route::Escalation, &["broken", "emergency", "outage"]),
    (Route::Premium, &["enterprise", "upgrade"]),
    (Route::Standard, &["login", "password", "invoice"]),
    (Route::Fast, &["hi", "weather"]),
];

/// Decides by whole words and by priority.
pub(super) fn decide(text: &str, priority: Priority, doubles: &Doubles) -> Decision {
    let decision = |route, reason: String| Decision { route, reason };
    if priority >= Priority::High && !doubles.no_priority {
        return decision(Route::Escalation, format!("priority {priority:?}"));
    }
    if text.is_empty() && doubles.empty_to_standard {
        return decision(Route::Standard, "empty".to_owned());
    }
    let words = words(text);
    if doubles.substring && text.to_lowercase().contains("hi") {
        return decision(Route::Fast, "substring".to_owned());
    }
    for (route, triggers) in RULES {
        if let Some(word) = triggers.iter().find(|word| words.iter().any(|known| known == *word)) {
            return decision(*route, format!("the word {word}"));
        }
    }
    decision(Route::Fast, "no rule".to_owned())
}

/// The pipeline: route, one of four branches, and the answer.
pub(super) fn pipeline(doubles: &Doubles) -> Result<Pipeline<String, Answer>> {
    let mut p = Pipeline::builder("routing");
    let request = p.input();
    let last: Arc<std::sync::Mutex<Option<Decision>>> = Arc::default();
    let nonce = Arc::new(super::super::common::Counter::default());
    let router = {
        let doubles = doubles.clone();
        stage_fn(move |ctx: StageContext, request: Arc<String>| {
            let (doubles, last, nonce) = (doubles.clone(), Arc::clone(&last), Arc::clone(&nonce));
            async move {
                if !doubles.slow.is_zero() {
                    tokio::time::sleep(doubles.slow).await;
                }
                // So that requests at the same time really take turns.
                tokio::task::yield_now().await;
                let mut decision = decide(&request, ctx.snapshot().priority(), &doubles);
                if doubles.shared_decision {
                    *lock(&last) = Some(decision.clone());
                    tokio::time::sleep(Duration::from_millis(2)).await;
                    let taken = lock(&last).clone();
                    decision = taken.unwrap_or(decision);
                }
                if doubles.moody {
                    decision.reason = format!("{} ({})", decision.reason, nonce.add());
                }
                if !doubles.silent {
                    let route = decision.route.to_string();
                    ctx.emit("route.decided", [("route", route), ("reason", decision.reason.clone())]);
                }
                Ok(decision)
            }
        })
    };
    let decision = p.stage("route", router).kind(StageKind::Route).inputs(request);
    let mut branch = |route: Route| {
        let open = doubles.open_branch && route == Route::Fast;
        let answer = stage_fn(move |_ctx, _request: Arc<String>| async move { Ok(route) });
        p.stage(route.to_string(), answer)
            .when(decision, move |d: &Decision| open || d.route == route)
            .inputs(request)
    };
    let (fast, standard) = (branch(Route::Fast), branch(Route::Standard));
    let (premium, escalation) = (branch(Route::Premium), branch(Route::Escalation));
    let join = stage_fn(|_ctx, (decision, by): (Arc<Decision>, Arc<Route>)| async move {
        Ok(Answer { decision: (*decision).clone(), by: *by })
    });
    let answer = p.stage("answer", join).inputs((decision, fast.or(standard).or(premium).or(escalation)));
    Ok(p.build(answer)?)
}

/// The doubles that a control asks for, among those that a scenario declares.
pub(super) fn doubles(bench: &Bench, names: &[&'static str]) -> Doubles {
    let is = |name: &'static str| names.contains(&name) && bench.is_broken(name);
    Doubles {
        substring: is("substring router"),
        empty_to_standard: is("empty to standard"),
        open_branch: is("open branch"),
        shared_decision: is("shared decision"),
        silent: is("silent decision"),
        moody: is("moody explanation"),
        slow: if is("slow router") { Duration::from_millis(250) } else { Duration::ZERO },
        no_priority: is("priority ignored"),
    }
}

/// Requests with the routes they have to take.
pub(super) const GOLDEN: &[(&str, Route)] = &[
    ("I cannot login to my account", Route::Standard),
    ("what is the weather like", Route::Fast),
    ("we want the enterprise upgrade", Route::Premium),
    ("everything is completely broken", Route::Escalation),
    // Has the letters of `hi`, and not the word.
    ("nothing in this invoice is right", Route::Standard),
    ("which upgrade is there", Route::Premium),
];

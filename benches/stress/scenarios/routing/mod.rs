//! Routing: decisions are the same alone, among others, under stress, with failures, and after them.

mod breaker;
mod faults;
mod router;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::Result;
use stageflow::{Delivery, Event, EventKind, EventSink, FieldValue, StageOutcome, prelude::*};

use self::router::{GOLDEN, Route, doubles, pipeline};
use super::common::{completed, load, report_of};
use crate::harness::{
    bench::Bench,
    clock::Moment,
    lock,
    record::Plot,
    scenario::{Control, Scenario, Step},
    stats::count,
};

pub(crate) const BREAKER: &[Scenario] = breaker::SCENARIOS;
pub(crate) const FAULTS: &[Scenario] = faults::SCENARIOS;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "routing.baseline",
        suites: &["seeds"],
        answers: &["SEED0-2", "SEED0-3", "SEED0-4", "SEED0-5", "SEED0-18"],
        about: "Each of the golden requests takes its route, the edge cases too, and no other branch runs.",
        parameters: "4 plain requests, 2 that mislead by their letters, 4 edge cases; an empty request is fast",
        faults: &[],
        controls: &[
            Control::new("substring router", &["the golden route is taken"]),
            Control::new("empty to standard", &["the golden route is taken"]),
            Control::new("open branch", &["the chosen branch answers", "no other branch runs"]),
        ],
        body: Step::Run(|bench| Box::pin(baseline(bench))),
    },
    Scenario {
        name: "routing.concurrent",
        suites: &["seeds"],
        answers: &[
            "SEED0-6", "SEED0-7", "SEED0-8", "SEED0-10", "SEED0-11", "SEED0-12", "SEED0-14", "SEED0-24",
        ],
        about: "At any concurrency the same request takes the same route for the same reason, and says so in one event.",
        parameters: "20, 1, 10, 50, 100, 200 and 1,000 requests at a time, 2,000 of each",
        faults: &[],
        controls: &[
            Control::new("shared decision", &["the golden route is taken", "events and answers agree"]),
            Control::new("moody explanation", &["one explanation for each request"]),
            Control::new("silent decision", &["events and answers agree"]),
            Control::new("slow router", &["20 at a time take less than 200 ms"]),
        ],
        body: Step::Run(|bench| Box::pin(concurrent(bench))),
    },
    Scenario {
        name: "routing.priority",
        suites: &["seeds"],
        answers: &["SEED0-13", "SEED0-15", "SEED0-25", "SEED0-26"],
        about: "Requests of high priority are escalated whatever they say, and no others.",
        parameters: "200 requests over all five priorities, 20 at a time",
        faults: &[],
        controls: &[
            Control::new("priority ignored", &["the priority decides"]),
            Control::new("slow router", &["the time limit of the requests holds"]),
        ],
        body: Step::Run(|bench| Box::pin(priority(bench))),
    },
    Scenario {
        name: "routing.stress",
        suites: &["seeds"],
        answers: &["SEED0-1", "SEED0-9"],
        about: "200 requests at a time for long: all are answered, and 99 of 100 in less than 100 ms.",
        parameters: "20,000 requests, 200 at a time, then as many 2,000 at a time",
        faults: &[],
        controls: &[
            Control::new("slow router", &["99 of 100 requests take less than 100 ms"]),
            Control::new("lost request", &["each request is answered"]),
            Control::new("substring router", &["each request is answered"]),
        ],
        body: Step::Run(|bench| Box::pin(stress(bench))),
    },
];

async fn baseline(bench: Arc<Bench>) -> Result<()> {
    let pipeline = pipeline(&doubles(&bench, &["substring router", "empty to standard", "open branch"]))?;
    let long = "weather ".repeat(1_250);
    let edges = [
        ("empty", "", Route::Fast),
        ("10,000 characters", long.as_str(), Route::Fast),
        ("a NUL byte", "login\0failed", Route::Standard),
        ("mixed scripts", "日本語 émoji 🌦 weather", Route::Fast),
    ];
    let plain = GOLDEN.iter().map(|(text, route)| (*text, *text, *route));
    for (case, text, golden) in plain.chain(edges) {
        let ended = pipeline.run(text.to_owned()).await;
        let seen = ended.as_ref().ok().map(stageflow::Completed::output);
        let decided = seen.map_or("none".to_owned(), |answer| answer.decision.route.to_string());
        bench.equal("the golden route is taken", case, golden.to_string(), decided);
        let by = seen.map_or("none".to_owned(), |answer| answer.by.to_string());
        bench.equal("the chosen branch answers", case, golden.to_string(), by);
        let not_taken = report_of(&ended).map_or(0, |report| {
            report.stages().filter(|stage| matches!(stage.outcome, StageOutcome::Skipped(_))).count()
        });
        bench.equal("no other branch runs", case, 3, not_taken);
    }
    Ok(())
}

/// Counts decisions by route, at once.
#[derive(Clone, Default)]
struct Decisions(Arc<Mutex<HashMap<(String, String), usize>>>);

impl EventSink for Decisions {
    fn on_event(&self, event: &Event) {
        if let EventKind::Custom(custom) = event.kind()
            && custom.name() == "route.decided"
            && let (Some(FieldValue::Text(route)), Some(FieldValue::Text(reason))) =
                (custom.field("route"), custom.field("reason"))
        {
            *lock(&self.0).entry((route.clone(), reason.clone())).or_default() += 1;
        }
    }

    fn delivery(&self) -> Delivery {
        Delivery::Inline
    }
}

async fn concurrent(bench: Arc<Bench>) -> Result<()> {
    let names = ["shared decision", "moody explanation", "silent decision", "slow router"];
    let pipeline = pipeline(&doubles(&bench, &names))?;
    for at_a_time in bench.sizes(&[20, 1, 10, 50, 100, 200, 1_000]) {
        let requests = bench.size(2_000, 60);
        let decisions = Decisions::default();
        let engine = Engine::builder().sink(decisions.clone()).build()?;
        let answers = load(requests, at_a_time, |index| {
            let (text, golden) = GOLDEN[index % GOLDEN.len()];
            let run = engine.run(&pipeline, text.to_owned());
            // Before the task begins, so that waiting for a worker counts.
            let started = Moment::now();
            async move {
                let ended = run.await;
                (text, golden, ended.map(stageflow::Completed::into_output), started.elapsed())
            }
        });
        let answers = answers.await?;

        let right = answers.iter().filter(|(_, golden, answer, _)| {
            answer.as_ref().is_ok_and(|answer| answer.decision.route == *golden && answer.by == *golden)
        });
        bench.equal("the golden route is taken", at_a_time, requests, right.count());
        let explanations: HashSet<(&str, &str)> = answers
            .iter()
            .filter_map(|(text, _, answer, _)| Some((*text, answer.as_ref().ok()?.decision.reason.as_str())))
            .collect();
        bench.equal("one explanation for each request", at_a_time, GOLDEN.len(), explanations.len());
        let mut golden: HashMap<(String, String), usize> = HashMap::new();
        for (text, route, ..) in &answers {
            let reason = router::decide(text, Priority::Normal, &router::Doubles::default()).reason;
            *golden.entry((route.to_string(), reason)).or_default() += 1;
        }
        let agree = golden == *lock(&decisions.0);
        let seen = if agree { "the same" } else { "others" };
        bench.check("events and answers agree", at_a_time, "the same decisions", seen, agree);
        let times: Vec<Duration> = answers.iter().map(|(.., time)| *time).collect();
        let figures = bench.figures("time of a request", at_a_time);
        figures.plot(Plot::Latency, at_a_time).times(&times, Duration::ZERO);
        if at_a_time == 20 {
            let longest = times.into_iter().max().unwrap_or_default();
            bench.within("20 at a time take less than 200 ms", "", Duration::from_millis(200), longest);
        }
    }
    Ok(())
}

async fn priority(bench: Arc<Bench>) -> Result<()> {
    const PRIORITIES: [Priority; 5] =
        [Priority::Background, Priority::Low, Priority::Normal, Priority::High, Priority::Critical];
    let pipeline = pipeline(&doubles(&bench, &["priority ignored", "slow router"]))?;
    let engine = Engine::builder().build()?;
    let requests = bench.size(200, 200);
    let started = Moment::now();
    let answers = load(requests, 20, |index| {
        let (text, by_words) = GOLDEN[index % GOLDEN.len()];
        let priority = PRIORITIES[index % PRIORITIES.len()];
        let golden = if priority >= Priority::High { Route::Escalation } else { by_words };
        let run = engine.run(&pipeline, text.to_owned()).priority(priority);
        async move { (priority, golden, run.await.ok().map(stageflow::Completed::into_output)) }
    });
    let answers = answers.await?;
    let time = started.elapsed();
    for priority in PRIORITIES {
        let of_it = || answers.iter().filter(|(known, ..)| *known == priority);
        let right = of_it().filter(|(_, golden, answer)| answer.as_ref().is_some_and(|a| a.by == *golden));
        bench.equal("the priority decides", format!("{priority:?}"), of_it().count(), right.count());
    }
    let limit = Duration::from_millis(10) * u32::try_from(requests / 20)?;
    bench.within("the time limit of the requests holds", "", limit.max(Duration::from_millis(200)), time);
    Ok(())
}

async fn stress(bench: Arc<Bench>) -> Result<()> {
    let pipeline = pipeline(&doubles(&bench, &["slow router", "substring router"]))?;
    let engine = Engine::builder().build()?;
    let lost = bench.is_broken("lost request");
    for at_a_time in bench.sizes(&[200, 2_000]) {
        let requests = bench.size(20_000, 600);
        let started = Moment::now();
        let answers = load(requests, at_a_time, |index| {
            let (text, golden) = GOLDEN[index % GOLDEN.len()];
            let run = engine.run(&pipeline, text.to_owned());
            let is_lost = lost && index == 17;
            let started = Moment::now();
            async move {
                if is_lost {
                    return (false, started.elapsed());
                }
                let ended = run.await;
                // Route, one branch, answer.
                let is_right = completed(&ended) == 3 && ended.is_ok_and(|run| run.output().by == golden);
                (is_right, started.elapsed())
            }
        });
        let answers = answers.await?;
        let rate = count(requests) / started.elapsed().as_secs_f64();
        let right = answers.iter().filter(|(is_right, _)| *is_right).count();
        bench.equal("each request is answered", at_a_time, requests, right);
        let mut times: Vec<Duration> = answers.iter().map(|(_, time)| *time).collect();
        let figures = bench.figures("time of a request", at_a_time);
        figures.plot(Plot::Latency, at_a_time).times(&times, Duration::ZERO);
        bench.figures("requests per second", at_a_time).of("requests/s", &[rate]);
        times.sort();
        let slow = times.get(times.len() * 99 / 100).copied().unwrap_or_default();
        bench.within("99 of 100 requests take less than 100 ms", at_a_time, Duration::from_millis(100), slow);
    }
    Ok(())
}

//! SEED3-37: one pipeline of 20 stages with all of it together. The categories are those of the seed's table.

use std::sync::Arc;

use stageflow::{
    BackpressureMonitor, FailurePolicy, Recorder, RunOutcome, RunReport, SinkAccount,
    events::{SinkExt as _, sink_fn},
    interceptors::{Bulkhead, Retry},
    plus::{
        enrich::{
            ConflictDetector, ContextExt as _, ContextLevel, ContextWindow, EstimatedTokens, ItemCut, Merged,
            Resolve, Sourced, VersionMetadata,
        },
        factory::Fluent,
        retry_stage::RetryStage,
        router::{Otherwise, Phrases, Router},
    },
    prelude::*,
};

use super::super::{kit::Gauge, telemetry::Records};

/// How many come at once, are let in, and may wait.
const OFFERED: usize = 40;
const ACTIVE: u32 = 8;
const WAITING: u32 = 20;
const LET_IN: usize = (ACTIVE + WAITING) as usize;
const SHARDS: usize = 8;

#[derive(Clone)]
struct Ticket {
    text: String,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Model {
    Large,
    Small,
}

type Facts = Arc<Merged<String>>;

/// A source that says a plan, and on which version of its data that is based.
fn source(
    name: &'static str,
    plan: &'static str,
) -> impl Stage<Input = Arc<Ticket>, Output = Sourced<String>> {
    stage_fn(move |ctx: StageContext, _: Arc<Ticket>| {
        let version = VersionMetadata::capture(&ctx, name, "7").of_content(plan);
        std::future::ready(Ok(Sourced::new(name, [("plan", plan.to_owned())]).version(version)))
    })
}

/// A hundred lines of which only the last have room.
async fn history(_ctx: StageContext, ticket: Arc<Ticket>) -> StageResult<Vec<String>> {
    Ok((0..100).map(|line| format!("line {line}: {}", ticket.text)).collect())
}

/// A shard of an index with two places for all: the third is broken for good, the fifth at first.
struct Shard {
    index: usize,
    inside: Gauge,
}

impl Stage for Shard {
    type Input = Arc<Ticket>;
    type Output = u64;

    async fn run(&self, ctx: &StageContext, _: Arc<Ticket>) -> StageResult<u64> {
        let _inside = self.inside.enter();
        // sleeps: on paused time
        tokio::time::sleep(20.millis()).await;
        match self.index {
            3 => Err("the shard is corrupt").permanent(),
            5 if ctx.attempt() == 1 => Err("connection reset").transient(),
            index => Ok(index as u64),
        }
    }
}

/// Ranks what was found in two steps, as a run of its own.
fn rank() -> Pipeline<Vec<Option<Arc<u64>>>, u64> {
    Fluent::pipeline("rank")
        .then(
            "present",
            stage_fn(|_, found: Arc<Vec<Option<Arc<u64>>>>| async move {
                Ok(found.iter().flatten().map(|one| **one).collect::<Vec<_>>())
            }),
        )
        .then("sum", stage_fn(|_, found: Arc<Vec<u64>>| async move { Ok(found.iter().sum::<u64>()) }))
        .build()
        .expect("two stages in a row")
}

/// A model that is overloaded twice.
async fn large(ctx: StageContext, (facts, rank): (Facts, Arc<u64>)) -> StageResult<String> {
    if ctx.attempt() < 3 {
        return Err("429 from the model").transient();
    }
    Ok(format!("large: plan {}, rank {rank}", facts.values["plan"]))
}

async fn small(_ctx: StageContext, (facts, rank): (Facts, Arc<u64>)) -> StageResult<String> {
    Ok(format!("small: plan {}, rank {rank}", facts.values["plan"]))
}

type Parts = (Arc<String>, Arc<Vec<String>>, Option<Arc<String>>);

async fn polish(ctx: StageContext, (answer, history, articles): Parts) -> StageResult<String> {
    let used = ctx.context_window().map_or(0, |window| window.utilization().used());
    let articles = if articles.is_some() { "articles" } else { "no articles" };
    Ok(format!("{answer}; {} lines, {articles}, {used} tokens", history.len()))
}

fn support(inside: &Gauge) -> Pipeline<Ticket, String> {
    let places = Bulkhead::builder("index").max_concurrent(2).max_queue(1_000).build().expect("two places");
    let retry = || Retry::constant(10.millis()).no_jitter().max_attempts(3);
    let phrases = Phrases::otherwise(Model::Small).rule(Model::Large, ["urgent"]);

    let mut p = Pipeline::builder("support");
    p.on_failure(FailurePolicy::TolerateCount(2));
    p.intercept(
        ContextWindow::tokens(120)
            .counter(EstimatedTokens::default())
            .shorten::<Vec<String>>(ItemCut::oldest_first()),
    );
    let ticket = p.input();
    let clean = p.stage(
        "clean",
        stage_fn(|_, ticket: Arc<Ticket>| async move { Ok(Ticket { text: ticket.text.trim().to_owned() }) }),
    );
    let clean = clean.kind(StageKind::Guard).inputs(ticket);
    let crm = p.stage("crm", source("crm", "gold")).kind(StageKind::Enrich).inputs(clean);
    let billing = p.stage("billing", source("billing", "silver")).kind(StageKind::Enrich).inputs(clean);
    let facts = p.stage("facts", ConflictDetector::new(Resolve::KeepNew)).inputs([crm, billing]);
    let history = p.stage("history", stage_fn(history)).kind(StageKind::Enrich).inputs(clean);
    let articles = p.stage(
        "articles",
        stage_fn(|_, _: Arc<Ticket>| async { Err::<String, _>("the knowledge base is down").permanent() }),
    );
    let articles = articles.kind(StageKind::Enrich).inputs(clean);
    let shard = |index| Shard { index, inside: inside.clone() };
    let found =
        p.parallel("shard", 0..SHARDS, RetryStage::each(retry(), shard)).intercept(places).inputs(clean);
    let found: Vec<_> = found.into_iter().map(Port::optional).collect();
    let found =
        p.stage("found", stage_fn(|_, found: Vec<Option<Arc<u64>>>| async move { Ok(found) })).inputs(found);
    let rank = p.stage("rank", rank()).inputs(found);
    let router =
        Router::new([Model::Large, Model::Small], move |ticket: &Ticket| Some(phrases.decide(&ticket.text)));
    let route =
        p.stage("route", router.on_empty(|it| it.text.is_empty(), Otherwise::To(Model::Small))).inputs(clean);
    let large = p
        .stage("large", RetryStage::new(stage_fn(large), retry()))
        .when(route, |it| it.is(Model::Large))
        .inputs((facts, rank));
    let small = p.stage("small", stage_fn(small)).when(route, |it| it.is(Model::Small)).inputs((facts, rank));
    let reply = p.stage("polish", stage_fn(polish)).inputs((large.or(small), history, articles.optional()));
    p.build(reply).expect("it is sound")
}

/// All that is seen of 40 runs at once.
struct Seen {
    outputs: Vec<(bool, RunReport, String)>,
    shed: usize,
    monitor: BackpressureMonitor,
    recorder: Recorder,
    records: Records,
    accounts: Vec<SinkAccount>,
    most_inside: usize,
}

async fn observed() -> Seen {
    let (recorder, records, inside) = (Recorder::new(), Records::default(), Gauge::default());
    let monitor =
        BackpressureMonitor::builder().max_active(ACTIVE).queue_limit(WAITING).build().expect("limits");
    let engine = Engine::builder()
        .backpressure(monitor.clone())
        .sink(recorder.clone())
        .sink(records.sink())
        .sink(sink_fn(|_| ()).bounded(64))
        .build()
        .expect("it is sound");
    let pipeline = support(&inside);
    assert_eq!(pipeline.len(), 20);
    let start = |n: usize| {
        let text = if n.is_multiple_of(2) { " urgent: it burns " } else { " what is it? " };
        let ticket = Ticket { text: text.to_owned() };
        (
            n.is_multiple_of(2),
            engine.run(&pipeline, ticket).tenant(["acme", "globex", "initech", "hooli"][n % 4]).start(),
        )
    };
    let runs: Vec<_> = (0..OFFERED).map(start).collect();
    let (mut outputs, mut shed) = (Vec::new(), 0);
    for (urgent, run) in runs {
        match run.await {
            Ok(done) => outputs.push((urgent, done.report(), done.output().clone())),
            Err(error) => {
                assert!(error.report().is_none(), "{error}");
                shed += 1;
            }
        }
    }
    engine.flush().await;
    let accounts = engine.sink_accounts();
    Seen { outputs, shed, monitor, recorder, records, accounts, most_inside: inside.most() }
}

fn told(seen: &Seen, name: &str) -> usize {
    seen.recorder.events().iter().filter(|event| event.name() == name).count()
}

/// Failure tolerance: two of twenty stages fail in every run, and every run that was let in gives its output.
#[tokio::test(start_paused = true)]
async fn seed3_37_failures_are_tolerated_and_named() {
    let seen = observed().await;
    assert_eq!(seen.outputs.len(), LET_IN);
    for (_, report, _) in &seen.outputs {
        assert_eq!(report.outcome(), RunOutcome::CompletedWithFailures);
        let failures = report.failures();
        let mut failed: Vec<_> = failures.iter().map(|it| (it.stage(), it.message().clone())).collect();
        failed.sort();
        let articles = ("articles", "the knowledge base is down".to_owned());
        assert_eq!(failed, [articles, ("shard-003", "the shard is corrupt".to_owned())]);
    }
}

/// Backpressure: of forty runs at once eight are let in, twenty wait, and twelve are refused at once; the shards of all of them share two places.
#[tokio::test(start_paused = true)]
async fn seed3_37_load_is_held_back_at_the_entry_and_at_the_dependency() {
    let seen = observed().await;
    let stats = seen.monitor.stats();
    assert_eq!(
        (stats.offered, stats.admitted, stats.shed),
        (OFFERED as u64, LET_IN as u64, seen.shed as u64)
    );
    assert_eq!(
        (seen.shed, stats.peak_active, stats.active, stats.queued),
        (OFFERED - LET_IN, ACTIVE as usize, 0, 0)
    );
    assert_eq!(seen.most_inside, 2);
    assert!(told(&seen, "bulkhead.waited") > LET_IN * SHARDS / 2);
}

/// Builder helpers: shards with a policy of their own, and a pipeline in one expression that is a stage.
#[tokio::test(start_paused = true)]
async fn seed3_37_stages_of_the_builders_run_like_others() {
    let seen = observed().await;
    for (_, report, _) in &seen.outputs {
        let shards = report.stages().filter(|stage| stage.name.starts_with("shard-"));
        let attempts: Vec<_> = shards.map(|stage| stage.attempts).collect();
        assert_eq!(attempts, [1, 1, 1, 1, 1, 2, 1, 1]);
    }
    assert_eq!(told(&seen, "pipeline.child_started"), LET_IN);
}

/// Enriching: the window is counted and never too full, what was cut is recorded, and so is what the sources disagree about.
#[tokio::test(start_paused = true)]
async fn seed3_37_what_was_gathered_is_counted_cut_and_reconciled() {
    let seen = observed().await;
    for (_, report, _) in &seen.outputs {
        let facts = report.snapshot();
        let window = facts.context_window().expect("stages were counted").utilization();
        assert!(window.used() <= 120 && window.level() != ContextLevel::Over, "{window:?}");
        let cuts = facts.truncations().records();
        assert_eq!(cuts.len(), 1);
        assert!(cuts[0].removed.iter().map(std::ops::Range::len).sum::<usize>() > 50, "{:?}", cuts[0]);
        let conflicts = facts.conflicts();
        assert_eq!(
            conflicts.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["`crm` and `billing` disagree about `plan`"]
        );
    }
    for event in ["context.truncated", "context.conflict"] {
        assert_eq!(told(&seen, event), LET_IN, "{event}");
    }
}

/// Retries: attempts, their delays and their ends are in reports, events and wide events, and agree.
#[tokio::test(start_paused = true)]
async fn seed3_37_retries_are_seen_wherever_one_looks() {
    let seen = observed().await;
    let urgent = seen.outputs.iter().filter(|(urgent, ..)| *urgent).count();
    for (urgent, report, _) in &seen.outputs {
        let large = report.stage("large").expect("it is a stage");
        assert_eq!(large.attempts, if *urgent { 3 } else { 0 });
    }
    // Two of the large model, and one of a shard.
    assert_eq!(told(&seen, "stage.retry_scheduled"), urgent * 2 + LET_IN);
    assert_eq!(told(&seen, "stage.retry_recovered"), urgent + LET_IN);
    assert_eq!(told(&seen, "stage.retry_exhausted"), 0);
    let wide: u64 = seen.records.stages().iter().map(|stage| stage.retries).sum();
    assert_eq!(wide, (urgent * 2 + LET_IN) as u64);
}

/// The production scenario: the right answer for each, one wide event for each stage and run, and every sink's account balances.
#[tokio::test(start_paused = true)]
async fn seed3_37_all_of_it_together_gives_the_right_answers_and_nothing_is_lost_unseen() {
    let seen = observed().await;
    for (urgent, report, output) in &seen.outputs {
        let model = if *urgent { "large" } else { "small" };
        let (answer, rest) = output.split_once("; ").expect("two parts");
        // 0 + 1 + 2 + 4 + 5 + 6 + 7, without the third.
        assert_eq!(answer, format!("{model}: plan silver, rank 25"));
        assert!(rest.contains(" lines, no articles, "), "{rest}");
        assert_eq!(report.stages().count(), 20);
    }
    assert_eq!(seen.records.runs().len(), LET_IN * 2, "a run and its child each");
    assert_eq!(seen.records.stages().len(), LET_IN * (20 + 2));
    for account in &seen.accounts {
        assert!(account.is_balanced() && account.in_flight == 0, "{account}");
    }
    let [recorder, wide, few] = &seen.accounts[..] else { panic!("three sinks") };
    assert_eq!((recorder.dropped(), wide.dropped()), (0, 0));
    assert_eq!(few.emitted, recorder.emitted);
    assert!(seen.recorder.events().iter().all(|event| event.tenant().is_some()));
}

//! A sensitive value is in the journal and nowhere else, whatever stages do with it short of exposing it.

use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};
use stageflow::{
    Event, Extensions, FailurePolicy, REDACTED, Recorder, Sensitive,
    audit::AuditLog as _,
    configured,
    durable::Durability,
    events::{AttemptSpans, JsonLines, LogEvents, Metrics, sink_fn},
    interceptors::Retry,
    prelude::*,
    store::{MemoryStore, audit::AuditSink},
};

use super::super::telemetry::{Records, logs};

const SECRET: &str = "hunter2-4111";

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Card {
    holder: String,
    number: Sensitive<String>,
}

fn card() -> Card {
    Card { holder: "Ada".to_owned(), number: Sensitive::new(SECRET.to_owned()) }
}

/// Whose stages put the card wherever they can: errors, events, logs, panics, outputs.
fn careless() -> Pipeline<Card, Card> {
    let mut p = Pipeline::builder("careless");
    p.on_failure(FailurePolicy::Continue);
    let card = p.durable_input();
    let charge = stage_fn(|ctx: StageContext, card: Arc<Card>| async move {
        let token = ctx.snapshot().sensitive_metadata("token").expect("it was given");
        assert_eq!((token.expose().as_str(), card.number.expose().as_str()), (Some(SECRET), SECRET));
        ctx.emit("card.charged", [("card", format!("{card:?}")), ("number", card.number.to_string())]);
        ctx.emit("audit.charged", [("reason", format!("{} {token}", card.number))]);
        tracing::info!("charging {card:?} {}", card.number);
        if ctx.attempt() < 2 {
            return Err(format!("no such card: {} {card:?}", card.number)).transient();
        }
        Ok((*card).clone())
    });
    let charged = p.stage("charge", configured(charge).durable()).inputs(card);
    let fails = stage_fn(|_, card: Arc<Card>| async move {
        Err::<(), _>(format!("refused {}", serde_json::to_string(&*card)?)).permanent()
    });
    let _fails = p.stage("fails", fails).inputs(charged);
    let panics = stage_fn(|_, card: Arc<Card>| async move {
        assert!(card.holder.is_empty(), "canary: the card {card:?} is odd");
        Ok(())
    });
    let _panics = p.stage("panics", panics).inputs(charged);
    p.build(charged).expect("it builds")
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("JSON")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sensitive_value_is_in_the_journal_and_nowhere_else() {
    drop(logs::logging());
    let (store, recorder, records, metrics) =
        (MemoryStore::new(), Recorder::new(), Records::default(), Metrics::new());
    let told = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&told);
    let file = std::env::temp_dir().join(format!("stageflow-redaction-{}.jsonl", std::process::id()));
    let engine = Engine::builder()
        .journal(Durability::new(store.clone()))
        .interceptor(Retry::constant(1.millis()).max_attempts(2))
        .interceptor(AttemptSpans::new())
        .sink(recorder.clone())
        .sink(records.sink())
        .sink(metrics.clone())
        .sink(LogEvents::new())
        .sink(JsonLines::create(&file).expect("a file"))
        .sink(sink_fn(move |event: &Event| {
            heard.lock().expect("no panic").push(format!("{event} {event:?}"));
        }))
        .sink(AuditSink::new(Arc::new(store.clone())).with_runs())
        .build()
        .expect("an engine");
    let mut extensions = Extensions::default();
    extensions.insert_named("card", card()).expect("JSON");
    let run = engine.run(&careless(), card()).tenant("redaction-acme").sensitive_metadata("token", SECRET);
    let run = run.with(|snapshot| snapshot.extensions(extensions)).start();
    let id = run.run_id().expect("it was let in");
    let explained = run.explain().map(|explained| format!("{explained} {explained:?}"));
    let done = run.await.expect("the card is charged");
    assert_eq!(done.output().number.expose(), SECRET);
    engine.flush().await;

    let report = done.report();
    let snapshot = report.snapshot();
    let audit = store.read(&"redaction-acme".into(), 0, 100).await.expect("it is read");
    let texts = [
        ("events", recorder.events().iter().map(json).collect()),
        ("displayed", told.lock().expect("no panic").join("\n")),
        ("json lines", std::fs::read_to_string(&file).expect("it was written")),
        ("wide events", format!("{:?}", records.all())),
        ("prometheus", metrics.read().to_prometheus()),
        ("tracing", logs::lines_with("redaction-acme").join("\n")),
        ("audit", json(&audit)),
        ("report", format!("{report} {report:?} {}", json(&report))),
        ("explanation", explained.unwrap_or_default()),
        ("snapshot", format!("{snapshot:?} {} {:?}", json(snapshot), snapshot.to_builder())),
        ("output", format!("{:?} {}", done.output(), json(done.output()))),
    ];
    let _ = std::fs::remove_file(&file);
    for (what, text) in &texts {
        assert!(!text.contains("hunter2") && !text.contains("4111"), "{what}: {text}");
        let may_be_silent = ["prometheus", "explanation", "wide events"].contains(what);
        assert!(
            may_be_silent || text.contains(REDACTED),
            "{what} was to be looked at with something in it: {text}"
        );
    }

    let journal = engine.journaled("redaction-acme", id).await.expect("it is read").expect("it was written");
    let restored = &journal.header.snapshot;
    assert_eq!(restored.sensitive_metadata("token").map(|token| token.expose().clone()), Some(SECRET.into()));
    let back: Card = restored.extensions().restore("card").expect("a card").expect("it is there");
    assert_eq!(back.number.expose(), SECRET);
    let payloads =
        journal.entries.iter().filter_map(|entry| entry.payload.as_ref()).chain(&journal.header.input);
    assert_eq!(
        payloads.filter(|payload| String::from_utf8_lossy(&payload.bytes).contains(SECRET)).count(),
        2
    );
    let told: String = journal.entries.iter().map(|entry| json(&entry.kind)).collect();
    assert!(!told.contains(SECRET), "a payload is what a stage gave, not what it said: {told}");
}

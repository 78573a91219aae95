//! Logs by `tracing`: each line of a run carries its ids, wherever it is written.

use std::{
    io,
    sync::{Arc, LazyLock, Mutex},
};

use stageflow::{
    TraceContext, blocking,
    events::{AttemptSpans, LogEvents},
    interceptors::Retry,
    prelude::*,
};
use tracing::{Instrument, Level};

use super::super::kit::gives;

/// The lines of the whole process: sinks write on threads of their own, so the subscriber is everybody's.
static LINES: LazyLock<Arc<Mutex<Vec<u8>>>> = LazyLock::new(|| {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(Level::TRACE)
        .with_ansi(false)
        .without_time()
        .with_writer({
            let lines = Arc::clone(&lines);
            move || Writer(Arc::clone(&lines))
        })
        .finish();
    tracing::subscriber::set_global_default(subscriber).expect("nobody else has set one");
    lines
});

struct Writer(Arc<Mutex<Vec<u8>>>);

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// All lines with `word` in them.
pub(crate) fn lines_with(word: &str) -> Vec<String> {
    let text = String::from_utf8(LINES.lock().expect("no panic").clone()).expect("text");
    text.lines().filter(|line| line.contains(word)).map(str::to_owned).collect()
}

/// An engine that logs, installed after the subscriber.
pub(crate) fn logging() -> Engine {
    LazyLock::force(&LINES);
    let engine = Engine::builder().interceptor(AttemptSpans::new()).sink(LogEvents::new());
    engine.build().expect("an engine")
}

/// A stage that says `word`, awaits, says it again, and gives a number.
fn says(word: &'static str) -> impl Stage<Input = Arc<u32>, Output = u32> {
    stage_fn(move |_, n: Arc<u32>| async move {
        tracing::info!("{word} before");
        tokio::task::yield_now().await;
        tracing::info!("{word} after");
        Ok(*n)
    })
}

/// Five stages, one of them with retries, one a child pipeline, one on a thread of its own, one that spawns.
pub(super) fn request(word: &'static str) -> Pipeline<u32, u32> {
    let mut child = Pipeline::builder("child");
    let n = child.input();
    let inner = child.stage("inner", says(word)).inputs(n);
    let child = child.build(inner).expect("it builds");
    let flaky = stage_fn(move |ctx: StageContext, n: Arc<u32>| async move {
        tracing::info!("{word} flaky");
        if ctx.attempt() < 3 { Err("reset").transient() } else { Ok(*n) }
    });
    let threaded = blocking(move |_: StageContext, n: Arc<u32>| {
        tracing::info!("{word} blocking");
        Ok(*n)
    });
    let spawns = stage_fn(move |_, n: Arc<u32>| async move {
        let work = async move { tracing::info!("{word} spawned") };
        tokio::spawn(work.in_current_span()).await?;
        Ok(*n)
    });
    let mut p = Pipeline::builder("request");
    let n = p.input();
    let first = p.stage("first", says(word)).inputs(n);
    let flaky = p.stage("flaky", flaky).retry(Retry::constant(1.millis())).inputs(first);
    let kid = p.stage("kid", child).inputs(flaky);
    let threaded = p.stage("threaded", threaded).inputs(kid);
    let last = p.stage("spawns", spawns).inputs(threaded);
    p.build(last).expect("it builds")
}

fn trace() -> TraceContext {
    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().expect("a trace")
}

/// One request across five stages with retries, a child pipeline, a blocking stage and a task: each line has all ids.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_line_of_a_request_has_its_correlation_id() {
    let engine = logging();
    let run = engine.run(&request("mauve"), 1).tenant("logs-acme").correlation("corr-7").trace(trace());
    let run = run.await.expect("it recovers").run_id().to_string();
    engine.flush().await;
    let said = lines_with("mauve");
    let of = |what: &str| said.iter().filter(|line| line.ends_with(what)).count();
    // Twice in `first` and twice in `inner`, three attempts, one thread, one task.
    let counts =
        [of("mauve before"), of("mauve after"), of("mauve flaky"), of("mauve blocking"), of("mauve spawned")];
    assert_eq!((counts, said.len()), ([2, 2, 3, 1, 1], 9), "{said:#?}");
    for line in &said {
        for id in
            ["tenant=\"logs-acme\"", "correlation_id=\"corr-7\"", "trace_id=4bf92f3577b34da6a3ce929d0e0e4736"]
        {
            assert!(line.contains(id), "{id} in {line}");
        }
        assert!(line.contains("pipeline=\"child\"") || line.contains(&format!("run_id={run}")), "{line}");
    }
    for attempt in 1..=3 {
        let place = format!("stage=\"flaky\" attempt={attempt}");
        assert_eq!(said.iter().filter(|line| line.contains(&place)).count(), 1, "{place}");
    }
    let told: Vec<_> = lines_with("logs-acme").into_iter().filter(|line| line.contains("event=")).collect();
    assert!(told.len() > 20, "{told:#?}");
    for line in &told {
        let ids = ["correlation_id=\"corr-7\"", "trace_id=\"4bf92f3577b34da6a3ce929d0e0e4736\"", "run_id=\""];
        assert!(ids.iter().all(|id| line.contains(id)), "{line}");
        assert!(line.contains(" stageflow: "), "the target: {line}");
    }
    let retries = told.iter().filter(|line| line.contains("event=\"stage.retry_scheduled\"")).count();
    assert_eq!(retries, 2);
}

/// A run that was given no trace has one all the same: the lines of its stages have it, and those of its events.
#[tokio::test]
async fn each_line_of_a_run_that_begins_a_trace_has_its_id() {
    let engine = logging();
    let run = engine.run(&request("teal"), 1).tenant("logs-teal").await.expect("it recovers");
    engine.flush().await;
    let own = run.run_id().to_string();
    let own: Vec<_> =
        lines_with(&own).into_iter().filter(|line| !line.contains("pipeline=\"child\"")).collect();
    let id = |line: &String| {
        let (_, id) = line.split_once("trace_id=").unwrap_or_else(|| panic!("no trace: {line}"));
        id.trim_start_matches('"').chars().take_while(char::is_ascii_hexdigit).collect::<String>()
    };
    let ids: std::collections::BTreeSet<_> = own.iter().map(id).collect();
    assert_eq!((ids.len(), ids.first().map(String::len)), (1, Some(32)), "{ids:?}");
    assert!(
        own.iter().filter(|line| line.contains("teal before")).count() == 1 && own.len() > 10,
        "{own:#?}"
    );
}

/// Levels follow what happened; messages of errors can be left out.
#[tokio::test]
async fn lines_are_as_loud_as_what_they_tell() {
    LazyLock::force(&LINES);
    let fails = super::super::kit::solo(stage_fn(|_, (): ()| async {
        Err::<u32, _>("the disk\nis full").permanent()
    }));
    for (tenant, log) in
        [("logs-loud", LogEvents::new()), ("logs-quiet", LogEvents::new().without_messages())]
    {
        let engine = Engine::builder().sink(log).build().expect("an engine");
        engine.run(&fails, ()).tenant(tenant).await.expect_err("it fails");
        engine.flush().await;
        let lines = lines_with(tenant);
        let level = |event: &str| {
            let line =
                lines.iter().find(|line| line.contains(&format!("event=\"{event}\""))).expect("it is there");
            line.split_whitespace().next().expect("a level").to_owned()
        };
        let levels = ["pipeline.started", "stage.started", "stage.failed", "pipeline.failed"].map(level);
        assert_eq!(levels, ["INFO", "DEBUG", "ERROR", "ERROR"]);
        let told = lines.iter().filter(|line| line.contains("the disk\\nis full")).count();
        assert_eq!(told, if tenant == "logs-loud" { 2 } else { 0 }, "{lines:#?}");
        assert!(lines.iter().any(|line| line.contains("code=\"STAGE_FAILED\" class=\"permanent\"")));
    }
}

/// Ten pipelines of ten tenants at a time: no line has the id of another.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn ten_tenants_at_a_time_have_their_own_lines() {
    let engine = logging();
    let runs: Vec<_> = (0..10_u32)
        .map(|n| {
            let run = engine
                .run(&request("ochre"), n)
                .tenant(format!("logs-t{n}."))
                .correlation(format!("corr-t{n}."));
            run.start()
        })
        .collect();
    for run in runs {
        run.await.expect("it recovers");
    }
    engine.flush().await;
    assert_eq!(lines_with("ochre").len(), 90);
    for n in 0..10 {
        let own = lines_with(&format!("logs-t{n}."));
        assert_eq!(own.iter().filter(|line| line.contains("ochre")).count(), 9);
        for line in &own {
            let others = (0..10).filter(|other| *other != n);
            assert!(others.into_iter().all(|other| !line.contains(&format!("-t{other}."))), "{line}");
            assert!(line.contains(&format!("correlation_id=\"corr-t{n}.\"")), "{line}");
        }
    }
}

/// Each line that a stage writes outside of its span has no ids: the control of the tests above.
#[tokio::test]
async fn control_without_spans_there_are_no_ids() {
    LazyLock::force(&LINES);
    let engine = Engine::builder().sink(LogEvents::new()).build().expect("an engine");
    let quiet = super::super::kit::solo(stage_fn(|_, (): ()| async {
        tracing::info!("umber");
        Ok(1_u32)
    }));
    engine.run(&quiet, ()).tenant("logs-umber").await.expect("it completes");
    let said = lines_with("umber");
    assert!(said.iter().any(|line| line.ends_with("umber") && !line.contains("tenant")), "{said:#?}");
    let spanless = super::super::kit::solo(gives(1_u32));
    let order = logging().order(&spanless).to_string();
    assert!(order.contains("attempt spans"), "{order}");
}

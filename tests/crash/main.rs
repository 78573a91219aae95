//! A process that is killed again and again: it goes on with the runs of those before it, begins some of its own, and notes each effect
//! of each stage in a file, in one write.
//!
//! ```text
//! stageflow-crash sqlite FILE EFFECTS RUNS
//! stageflow-crash postgres CONFIG EFFECTS RUNS
//! ```

use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    sync::Arc,
    time::Duration,
};

use stageflow::{
    BuildError, Engine, ErrorClass, RunError, StageInput, code,
    durable::{Durability, Journal},
    interceptors::Retry,
    prelude::*,
    store::{PostgresStore, SqliteStore, postgres::PostgresOptions},
};

type Failed = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failed> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [kind, at, effects, runs] = &args[..] else { return Err("usage: KIND AT EFFECTS RUNS".into()) };
    let effects = Effects(Arc::new(OpenOptions::new().create(true).append(true).open(effects)?));
    let runs = runs.parse()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let journal: Arc<dyn Journal> = match &**kind {
            "sqlite" => Arc::new(SqliteStore::open(at)?),
            "postgres" => {
                let options = PostgresOptions::new().connections(2).lease(Duration::from_millis(300));
                Arc::new(PostgresStore::connect_with(at.parse()?, tokio_postgres::NoTls, options).await?)
            }
            other => return Err(format!("there is no store `{other}`").into()),
        };
        live(journal, &effects, runs).await
    })
}

/// Goes on with what is unfinished, and begins so many runs.
async fn live(journal: Arc<dyn Journal>, effects: &Effects, runs: u32) -> Result<(), Failed> {
    let engine = Engine::builder().journal(Durability::shared(journal)).build()?;
    let pipeline = pipeline(effects)?;
    let mut going = Vec::new();
    for run in engine.unfinished("crash", None, 1_000).await? {
        match engine.resume(&pipeline, "crash", run.key.run()).await {
            Ok(run) => going.push(run.start()),
            // Of a process whose death is not known yet.
            Err(error) if error.code() == code::LEASE_HELD => {}
            Err(error) => return Err(error.into()),
        }
    }
    going.extend((0..runs).map(|n| engine.run(&pipeline, n).tenant("crash").start()));
    for run in going {
        match run.await {
            Ok(_) => {}
            Err(error) => return Err(lost(&error)),
        }
    }
    Ok(())
}

fn lost(error: &RunError) -> Failed {
    let hint = error.hint().unwrap_or_default();
    format!("{error:?}\n  help: {hint}").into()
}

#[derive(Clone)]
struct Effects(Arc<File>);

impl Effects {
    /// Notes what a stage has done: one write, so that a line is there as a whole or not at all.
    fn note(&self, ctx: &StageContext, value: u32) -> std::io::Result<()> {
        let line = format!("{} {} {value}\n", ctx.identity().run_id(), ctx.stage_name());
        (&*self.0).write_all(line.as_bytes())
    }

    /// A stage that notes its effect, with a little time before and after it.
    fn stage<I: StageInput, F>(&self, give: F) -> impl Stage<Input = I, Output = u32> + use<I, F>
    where
        F: Fn(I) -> u32 + Copy + Send + Sync + 'static,
    {
        let effects = self.clone();
        stage_fn(move |ctx: StageContext, input: I| {
            let effects = effects.clone();
            async move {
                // sleeps: so that kills come between an effect and its record.
                tokio::time::sleep(Duration::from_micros(ctx.random_u64() % 1_500)).await;
                let value = give(input);
                effects.note(&ctx, value)?;
                tokio::task::yield_now().await;
                Ok(value)
            }
        })
    }
}

/// Six stages: a chain, two beside each other of which one fails at first, one that is not durable, and a join.
fn pipeline(effects: &Effects) -> Result<Pipeline<u32, u32>, BuildError> {
    let mut p = Pipeline::builder("orders");
    let n = p.durable_input();
    let a = p.stage("a", effects.stage(|n: Arc<u32>| *n + 1)).durable().inputs(n);
    let flaky = {
        let effects = effects.clone();
        stage_fn(move |ctx: StageContext, n: Arc<u32>| {
            let effects = effects.clone();
            async move {
                if ctx.attempt() == 1 {
                    return Err(StageExit::fail("not yet").class(ErrorClass::Transient));
                }
                effects.note(&ctx, *n * 2)?;
                Ok(*n * 2)
            }
        })
    };
    let retry = Retry::exponential(Duration::from_millis(1)).max_attempts(1_000);
    let b = p.stage("b", flaky).retry(retry).durable().inputs(a);
    let c = p.stage("c", effects.stage(|n: Arc<u32>| *n + 10)).durable().inputs(a);
    let d = p.stage("d", effects.stage(|n: Arc<u32>| *n + 100)).inputs(a);
    let sum = |(b, c, d): (Arc<u32>, Arc<u32>, Arc<u32>)| *b + *c + *d;
    let e = p.stage("e", effects.stage(sum)).durable().inputs((b, c, d));
    let f = p.stage("f", effects.stage(|n: Arc<u32>| *n)).durable().inputs(e);
    p.build(f)
}

//! Answers that are kept, and given again.

use std::sync::Arc;

use anyhow::{Result, bail, ensure};
use stageflow::{
    RunId,
    durable::Encoded,
    interceptors::{Answer, Begin, Fingerprint, IdempotencyKey, IdempotencyStore, StoreKey},
};
use stageflow_benches::stopwatch::Stopwatch;

use crate::{
    lab::{Lab, TENANT},
    pipelines,
    stores::Kind,
};

/// How many ask at the same time.
pub(crate) const ASKERS: u32 = 64;

/// What it takes to be told that a call is the first, and to keep its answer.
pub(crate) fn kept(lab: &Lab, kind: Kind) -> Result<f64> {
    let time = ask(lab, kind, &RunId::new().to_string(), false);
    lab.settle(kind)?;
    time
}

/// What it takes to be given an answer that was kept.
pub(crate) fn replayed(lab: &Lab, kind: Kind) -> Result<f64> {
    let keys = RunId::new().to_string();
    ask(lab, kind, &keys, false)?;
    let time = ask(lab, kind, &keys, true);
    lab.settle(kind)?;
    time
}

fn ask(lab: &Lab, kind: Kind, keys: &str, is_known: bool) -> Result<f64> {
    let each = (lab.commits() / ASKERS).max(5);
    let answers = Arc::clone(&lab.store(kind)?.answers);
    let time = lab.runtime.block_on(async {
        let watch = Stopwatch::start();
        let tasks: Vec<_> = (0..ASKERS)
            .map(|asker| {
                let (answers, keys) = (Arc::clone(&answers), format!("{keys}-{asker}"));
                tokio::spawn(async move {
                    for nth in 0..each {
                        one(&*answers, &format!("{keys}-{nth}"), is_known).await?;
                    }
                    anyhow::Ok(())
                })
            })
            .collect();
        for task in tasks {
            task.await??;
        }
        anyhow::Ok(watch.elapsed())
    })?;
    Ok(time.as_secs_f64() * 1e9 / f64::from(ASKERS * each))
}

/// Asks for the answer of a key; gives one where there is none.
pub(crate) async fn one(answers: &dyn IdempotencyStore, key: &str, is_known: bool) -> Result<()> {
    let key = StoreKey::for_stage(Some(TENANT.into()), "answers", "charge", IdempotencyKey::new(key));
    let payload = Encoded::new(1, pipelines::payload());
    match answers.begin(&key, &Fingerprint::of("the same inputs")).await.map_err(anyhow::Error::from_boxed)? {
        Begin::First(lease) if !is_known => {
            let kept = answers.complete(&key, lease, Answer::Encoded(payload)).await;
            ensure!(kept.map_err(anyhow::Error::from_boxed)?, "the lease holds");
        }
        Begin::Done(Answer::Encoded(answer)) if is_known => ensure!(answer == payload, "another answer"),
        other => bail!("{other:?}"),
    }
    Ok(())
}

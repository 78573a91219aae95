//! A tenant that floods, and those beside it.

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use stageflow::{Quota, code, prelude::*};

use super::common::{Counter, load};
use crate::harness::{
    bench::Bench,
    clock::Moment,
    scenario::{Control, Scenario, Step},
};

pub(crate) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "tenant.noisy_neighbour",
    suites: &["fri"],
    answers: &["SEED2-10", "SEED2-34"],
    about: "A tenant that floods an engine is kept to its quota, and the runs of nine others do not wait for it.",
    parameters: "16 stages of 2 ms at a time; 10,000 runs of one tenant at once under a quota of 4; 9 tenants of 40 runs in a row",
    faults: &[],
    controls: &[
        Control::new("no quota", &["the flood is within its quota", "the others do not wait for the flood"]),
        Control::new("lost run", &["each run of the others completes"]),
        Control::new("lost refusal", &["each run of the flood is let in or refused"]),
        Control::new("a run that stays", &["nothing is left of the flood"]),
    ],
    body: Step::Run(|bench| Box::pin(flood(bench))),
}];

const PLACES: u32 = 16;
const LIMIT: u32 = 4;
const WORK: Duration = Duration::from_millis(2);

/// How many runs of the flood are in, and how many were at most.
#[derive(Default)]
struct Inside {
    now: Counter,
    most: Counter,
}

fn work(inside: &Arc<Inside>) -> Result<Pipeline<(), ()>> {
    let inside = Arc::clone(inside);
    let mut p = Pipeline::builder("work");
    let stage = stage_fn(move |ctx: StageContext, (): ()| {
        let is_noisy = ctx.identity().tenant_id().is_some_and(|tenant| tenant.as_str() == "noisy");
        let inside = is_noisy.then(|| Arc::clone(&inside));
        async move {
            inside.iter().for_each(|inside| inside.most.raise_to(inside.now.add()));
            tokio::time::sleep(WORK).await;
            inside.iter().for_each(|inside| inside.now.take_off());
            Ok(())
        }
    });
    let worked = p.stage("work", stage).inputs(());
    Ok(p.build(worked)?)
}

async fn flood(bench: Arc<Bench>) -> Result<()> {
    let engine = Engine::builder().max_in_flight(PLACES);
    let engine = match bench.is_broken("no quota") {
        true => engine,
        false => engine.tenant_quota(Quota::concurrent_runs(LIMIT)),
    };
    let engine = engine.build()?;
    let inside = Arc::<Inside>::default();
    let pipeline = work(&inside)?;
    let runs = bench.size(10_000, 4_000);
    let lost = bench.is_broken("lost refusal");
    let noisy = {
        let (engine, pipeline) = (engine.clone(), pipeline.clone());
        tokio::spawn(async move {
            load(runs, runs, |index| {
                let run = engine.run(&pipeline, ()).tenant("noisy");
                async move {
                    match run.await {
                        Ok(_) => true,
                        Err(error) => error.code() == code::QUOTA_EXCEEDED && !(lost && index % 2 == 1),
                    }
                }
            })
            .await
        })
    };
    // The flood has begun once a stage of it has.
    while inside.most.get() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let others = load(9, 9, |index| {
        let (engine, pipeline) = (engine.clone(), pipeline.clone());
        let lost = bench.is_broken("lost run") && index == 3;
        async move {
            let mut times = Vec::new();
            for _ in usize::from(lost)..40 {
                let started = Moment::now();
                if engine.run(&pipeline, ()).tenant(format!("quiet-{index}")).await.is_ok() {
                    times.push(started.elapsed());
                }
            }
            times
        }
    });
    let times: Vec<_> = others.await?.into_iter().flatten().collect();
    let known = noisy.await??.into_iter().filter(|known| *known).count();
    bench.equal("each run of the others completes", "", 9 * 40, times.len());
    bench.equal("each run of the flood is let in or refused", "", runs, known);
    bench.at_most("the flood is within its quota", "", LIMIT as usize, inside.most.get());
    let longest = times.iter().max().copied().unwrap_or_default();
    bench.figures("time of a run of the others", "").times(&times, WORK);
    bench.within("the others do not wait for the flood", "", Duration::from_millis(150), longest);
    let _stays = match bench.is_broken("a run that stays") {
        true => {
            let mut p = Pipeline::builder("stays");
            let stays =
                p.stage("stays", stage_fn(|_, (): ()| std::future::pending::<StageResult<()>>())).inputs(());
            Some(engine.run(&p.build(stays)?, ()).tenant("noisy").start())
        }
        false => None,
    };
    let left = engine.tenant_usage("noisy").map_or(0, |usage| usage.runs as usize + usage.waiting);
    bench.equal("nothing is left of the flood", "", 0, left);
    Ok(())
}

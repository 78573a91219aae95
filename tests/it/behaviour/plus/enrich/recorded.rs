//! Cuts by hand, and versions by the clock of the run.

use std::{sync::Arc, time::Duration};

use stageflow::{
    code,
    plus::enrich::{ContextExt as _, Fit, ItemCut, TextCut, VersionMetadata},
    prelude::*,
    testing::Sim,
};

use super::{Chars, told};
use crate::behaviour::kit::{error_of, pipeline, recorded, solo};

/// SEED3-9: upstream's tracker emitted in a way that no sink took.
#[tokio::test(start_paused = true)]
async fn seed3_9_a_cut_by_hand_is_recorded_and_reaches_the_sink() {
    let (engine, recorder) = recorded();
    let prompt = stage_fn(|ctx: StageContext, (): ()| async move {
        let fit = Fit::into(10).counter(Chars).because("the small model reads no more");
        let history = fit.apply(&ctx, "history", &TextCut::keep_end(), "0123456789abcde".to_owned())?;
        let notes = vec!["note one".to_owned(), "note two".to_owned()];
        let notes = fit.apply(&ctx, "notes", &ItemCut::oldest_first(), notes)?;
        let fits = fit.apply(&ctx, "short", &TextCut::keep_end(), "short".to_owned())?;
        Ok(format!("{history} {} {fits}", notes.join(" ")))
    });
    let run = engine.run(&solo(prompt), ()).await.expect("all of it can be cut");
    assert_eq!(run.output(), "56789abcde note two short");
    assert_eq!(
        told(&recorder, "context.truncated"),
        [
            "only what=\"history\" why=\"the small model reads no more\" strategy=\"keep_end\" unit=\"bytes\" \
             before=15 after=10 removed=\"0..5\" pieces=5 counter=\"chars\"",
            "only what=\"notes\" why=\"the small model reads no more\" strategy=\"oldest_first\" unit=\"items\" \
             before=16 after=8 removed=\"0..1\" pieces=1 counter=\"chars\""
        ]
    );
    let cuts = run.report().snapshot().truncations();
    assert_eq!((cuts.count(), cuts.cut(), cuts.records()[0].what.as_str()), (2, 13, "history"));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_made_to_fit_fails_with_a_code() {
    let never = stage_fn(|ctx: StageContext, (): ()| async move {
        struct One;
        impl stageflow::plus::enrich::TokenCounter for One {
            fn count(&self, _: &str) -> usize {
                1
            }
        }
        Fit::into(0).counter(One).apply(&ctx, "draft", &TextCut::keep_start(), "text".to_owned())
    });
    let error = error_of(solo(never).run(())).await;
    assert_eq!((error.code(), error.recoverable()), (code::CONTEXT_WINDOW_EXCEEDED, false));
}

/// Many cuts in one run: the first thousand are kept, and all are counted.
#[tokio::test(start_paused = true)]
async fn the_record_of_a_run_is_bounded_and_loses_no_count() {
    let cuts = stage_fn(|ctx: StageContext, (): ()| async move {
        for _ in 0..1_500 {
            let fit = Fit::into(1).counter(Chars);
            fit.apply(&ctx, "text", &TextCut::keep_start(), "xyz".to_owned())?;
        }
        Ok(())
    });
    let report = solo(cuts).run(()).await.expect("all of it can be cut").report();
    let cuts = report.snapshot().truncations();
    assert_eq!((cuts.records().len(), cuts.count(), cuts.cut()), (1_000, 1_500, 3_000));
}

/// The clock of the run, and not that of the machine: in a simulation it is the same each time.
#[test]
fn versions_are_captured_and_judged_by_the_clock_of_the_run() {
    let pipeline: Pipeline<(), (VersionMetadata, bool, bool)> = pipeline(|p| {
        let fetch = stage_fn(|ctx: StageContext, (): ()| async move {
            Ok(VersionMetadata::capture(&ctx, "crm", "v7").of_content("Ada").ttl(Duration::from_secs(60)))
        });
        let fetched = p.stage("fetch", fetch).inputs(());
        let later = stage_fn(|ctx: StageContext, version: Arc<VersionMetadata>| async move {
            let fresh = version.is_stale(&ctx);
            // sleeps: on virtual time
            tokio::time::sleep(Duration::from_secs(61)).await;
            Ok(((*version).clone(), fresh, version.is_stale(&ctx)))
        });
        p.stage("later", later).inputs(fetched)
    });
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    for _ in 0..2 {
        let (pipeline, seen) = (pipeline.clone(), Arc::clone(&seen));
        let report = Sim::seeds([7]).run(move |sim| {
            let (pipeline, seen) = (pipeline.clone(), Arc::clone(&seen));
            async move {
                let done = sim.run(&pipeline, ()).await.expect("nothing fails");
                let (version, fresh, stale) = done.output().clone();
                assert_eq!((fresh, stale), (false, true));
                let told = told(sim.recorder(), "context.stale");
                let expected = r#"later source="crm" version="v7" age_ms=61000 ttl_ms=60000"#;
                assert_eq!(told, [expected]);
                seen.lock().expect("no line panics").push(version);
            }
        });
        assert_eq!(report.seeds(), 1);
    }
    let seen = seen.lock().expect("no line panics");
    assert_eq!(seen[0].captured_at(), seen[1].captured_at(), "a simulation has a clock of its own");
}

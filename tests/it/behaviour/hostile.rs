//! Names and reasons that mean harm: they stay in their place in every listing (rules S-3, S-33).

use std::sync::Arc;

use stageflow::{FailurePolicy, code, prelude::*};

use super::kit::{exits, gives, idle, never, pipeline, recorded, report_of, solo, within};

/// Names that are allowed, whatever they look like.
fn odd_names() -> Vec<String> {
    [
        "\"; evil [label=\"x\"]; \"",
        "a\"]; s1 --> s0; click s0 call alert()",
        "<script>alert(1)</script>",
        "end",
        "\\",
        "{{%s}} {} {0}",
        "` $(reboot) `",
        "\u{202e}txt.exe\u{202c}",
        "שלום עולם",
        "👩‍👩‍👧‍👦",
        "line\u{2028}separator",
        " leading and trailing ",
        "&quot;&#34;",
        "#quot;",
    ]
    .map(str::to_owned)
    .into()
}

fn named(name: &str) -> Pipeline<(), u32> {
    let mut p = Pipeline::builder(name);
    let a = p.stage(name, gives(1_u32)).inputs(());
    let b = p.stage("b", super::kit::same()).inputs(a);
    p.build(b).unwrap_or_else(|error| panic!("{error}"))
}

/// The drawings have as many lines for an odd name as for a plain one, and every quote is closed.
#[tokio::test(start_paused = true)]
async fn odd_names_break_no_drawing() {
    let plain = named("a");
    for name in odd_names() {
        let odd = named(&name);
        for (drawing, of_plain) in [
            (odd.to_dot(), plain.to_dot()),
            (odd.to_mermaid(), plain.to_mermaid()),
            (odd.to_tree(), plain.to_tree()),
        ] {
            assert_eq!(drawing.lines().count(), of_plain.lines().count(), "{name}: {drawing}");
        }
        for line in odd.to_dot().lines() {
            let quotes = line.replace("\\\\", "").replace("\\\"", "").matches('"').count();
            assert!(quotes.is_multiple_of(2), "{name}: {line}");
        }
        for line in odd.to_mermaid().lines() {
            assert!(
                line.matches('"').count() <= 2 && !line.contains('<') | line.contains("<br>"),
                "{name}: {line}"
            );
        }
    }
}

/// Reports, events and errors carry odd names unchanged, each on its own line.
#[tokio::test(start_paused = true)]
async fn odd_names_stay_on_their_line() {
    for name in odd_names() {
        let (engine, recorder) = recorded();
        let done = engine.run(&named(&name), ()).tenant(name.as_str()).await.unwrap();
        assert_eq!(done.report().to_string().lines().count(), 4, "{}", done.report());
        assert_eq!(done.report().stage(&name).unwrap().name, name);
        for event in recorder.events() {
            let json = serde_json::to_string(&event).unwrap();
            let back: serde_json::Value = serde_json::from_str(&json).unwrap();
            assert_eq!((json.lines().count(), back["tenant"].as_str()), (1, Some(name.as_str())));
            assert_eq!(event.to_string().lines().count(), 1);
        }
    }
}

/// A name of a million characters is allowed, and every listing stays readable.
#[tokio::test(start_paused = true)]
async fn an_endless_name_blows_up_no_listing() {
    let name = "n".repeat(1_000_000);
    let long = pipeline(|p| {
        p.on_failure(FailurePolicy::Continue);
        let waits = p.stage(&*name, never()).inputs(());
        p.parallel("s", 0..50, |_| stage_fn(|_, (): ()| std::future::pending::<StageResult<u32>>()))
            .inputs(());
        waits
    });
    let run = long.start(());
    idle().await;
    let explained = run.explain().unwrap();
    assert!(explained.to_string().len() < 10_000, "{}", explained.to_string().len());
    assert!(explained.reason(&name).is_some());
    run.cancel("x");
    let report = within(super::kit::error_of(run)).await.report().unwrap();
    assert!(report.to_string().len() < 10_000);
    assert!(long.to_tree().len() < 1_100_000);
}

/// What a stage gives as a reason forges no line, no colour, no column.
#[tokio::test(start_paused = true)]
async fn a_reason_forges_no_line() {
    let reasons: [fn() -> StageExit; 4] = [
        || StageExit::skip("x\n  forged  transform  completed\u{1b}[31m"),
        || StageExit::cancel("x\r\n  forged"),
        || StageExit::fail("x\n  forged\u{7}").hint("y\n  forged"),
        || StageExit::deny("x\n\n  forged"),
    ];
    for exit in reasons {
        let (engine, recorder) = recorded();
        let report = report_of(engine.run(&solo(exits(exit)), ())).await;
        let text = report.to_string();
        assert!(!text.contains("\n  forged") && !text.contains(['\u{1b}', '\r', '\u{7}']), "{text}");
        for event in recorder.events() {
            assert!(!event.to_string().contains(char::is_control), "{event}");
        }
    }
    let (engine, recorder) = recorded();
    let emits = stage_fn(|ctx: StageContext, (): ()| async move {
        ctx.emit("a\nb", [("k\n", "v\n")]);
        ctx.on_cleanup(async { Err::<(), stageflow::BoxError>("x\n  forged".into()) });
        Ok(1_u32)
    });
    let report = report_of(engine.run(&solo(emits), ())).await;
    assert!(!report.to_string().contains("\n  forged"));
    for event in recorder.events() {
        assert!(!event.to_string().contains(char::is_control), "{event}");
    }
}

/// The same for the reason of a live run that is being cancelled.
#[tokio::test(start_paused = true)]
async fn a_reason_forges_no_line_in_an_explanation() {
    let stubborn = pipeline(|p| p.stage("only", never()).grace(1.secs()).inputs(()));
    let run = stubborn.start(());
    idle().await;
    run.cancel("x\n  forged  is running");
    let text = run.explain().unwrap().to_string();
    assert_eq!(text.lines().count(), 2, "{text}");
}

/// S-3: blank names and control characters are refused, in pipelines and stages, and shown without them.
#[test]
fn names_that_cannot_be_shown_are_refused() {
    for name in ["", " ", "a\nb", "a\tb", "\u{1b}[31m", "\0", "a\u{85}b", "\u{7f}"] {
        let mut p = Pipeline::builder(name);
        let a = p.stage(name, gives(1_u32)).inputs(());
        let error = p.build::<u32>(a).map(|pipeline: Pipeline<(), u32>| drop(pipeline)).unwrap_err();
        let codes: Vec<_> = error.problems().iter().map(stageflow::Problem::code).collect();
        assert_eq!(codes, [code::INVALID_NAME; 2], "{name:?}");
        let text = error.to_string();
        assert!(!text.replace('\n', "").contains(char::is_control), "{text}");
        assert_eq!(text.lines().count(), 7, "{text}");
    }
}

/// Ids are opaque: whatever they are, they arrive.
#[tokio::test(start_paused = true)]
async fn ids_arrive_as_they_are() {
    let tenant = solo(stage_fn(|ctx: StageContext, (): ()| async move {
        Ok(ctx.identity().tenant_id().map(|tenant| Arc::<str>::from(tenant.as_str())))
    }));
    for id in ["", "a\nb", "\u{202e}", "\"", &"x".repeat(100_000)] {
        let done = tenant.run(()).tenant(id).await.unwrap();
        assert_eq!(done.output().as_deref(), Some(id));
    }
}

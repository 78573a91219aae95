//! Compositions: their tables, their transformations, and what is misconfigured.

use stageflow_core::DurationExt;

use super::{
    super::{Guard, Guards, OnError, Verdict, guard_fn},
    abstains, allows, blocks, goes_on, hangs, judged, only, turns,
};

type Made = fn() -> Guards<String>;

fn scores(score: f64) -> impl Guard<String> {
    guard_fn("scores", move |_: &String| Verdict::allow().score(score))
}

fn passes(guards: impl Guard<String>) -> bool {
    goes_on(guards, "text").is_ok()
}

#[test]
fn what_each_composition_lets_pass() {
    let table: [(Made, [bool; 6]); 4] = [
        //             allow  block  abstain  allow+block  allow+abstain  block+abstain
        (Guards::all, [true, false, false, false, false, false]),
        (Guards::any, [true, false, false, true, true, false]),
        (|| Guards::weighted(0.75), [true, false, false, false, true, false]),
        (Guards::deny_overrides, [true, false, false, false, true, false]),
    ];
    for (made, expected) in table {
        for in_turn in [false, true] {
            let made = || if in_turn { made().in_turn() } else { made() };
            let got = [
                passes(made().with(allows())),
                passes(made().with(blocks("b"))),
                passes(made().with(abstains())),
                passes(made().with(allows()).with(blocks("b"))),
                passes(made().with(abstains()).with(allows())),
                passes(made().with(blocks("b")).with(abstains())),
            ];
            assert_eq!(got, expected, "{:?}", made());
        }
    }
}

#[test]
fn without_guards_nothing_passes() {
    for guards in [Guards::all(), Guards::any(), Guards::weighted(0.1), Guards::deny_overrides()] {
        assert!(goes_on(guards.on_error(OnError::Open), "text").is_err_and(|why| why.ends_with("no_guards")));
    }
}

#[test]
fn thresholds_and_weights_that_mean_nothing_block() {
    for threshold in [f64::NAN, 0.0, -1.0, 1.01, f64::INFINITY] {
        let guards = Guards::weighted(threshold).with(allows()).on_error(OnError::Open);
        assert_eq!(
            goes_on(guards, "text"),
            Err("guard `weighted`: invalid_threshold".to_owned()),
            "{threshold}"
        );
    }
    let nobody = Guards::weighted(0.5).weighing(0, allows()).weighing(0, allows());
    assert_eq!(goes_on(nobody, "text"), Err("guard `weighted`: undecided".to_owned()));
    assert!(passes(Guards::weighted(1.0).weighing(u32::MAX, allows()).weighing(u32::MAX, allows())));
}

#[test]
fn the_mean_is_by_weight_and_the_threshold_passes() {
    let guards = |threshold| Guards::weighted(threshold).weighing(3, scores(0.5)).weighing(1, scores(1.0));
    assert!(passes(guards(0.625)));
    let judged = judged(guards(0.626), "text");
    let blocked = judged.blocked().expect("it is below");
    assert_eq!((blocked.reason(), blocked.score()), ("below_threshold", Some(0.625)));
    assert!(
        !passes(Guards::weighted(0.6).with(allows()).with(hangs("late").timeout(1.secs()))),
        "an error scores 0"
    );
    assert!(
        !passes(Guards::weighted(0.6).with(allows()).with(turns("t", "text", "other"))),
        "so does who transforms"
    );
}

#[test]
fn all_objections_are_told_in_order_and_in_turn_only_the_first() {
    let both = || Guards::all().with(blocks("a")).with(allows()).with(blocks("b"));
    assert_eq!(goes_on(both(), "text"), Err("guard `a`: no; guard `b`: no".to_owned()));
    assert_eq!(goes_on(both().in_turn(), "text"), Err("guard `a`: no".to_owned()));
    let nested = Guards::all().with(both().named("inner")).with(blocks("c"));
    assert_eq!(goes_on(nested, "text"), Err("guard `a`: no; guard `b`: no; guard `c`: no".to_owned()));
}

#[test]
fn any_takes_the_first_that_approves_and_does_not_wait_for_those_behind_it() {
    let any =
        Guards::any().with(blocks("a")).with(turns("b", "text", "by b")).with(turns("c", "text", "by c"));
    assert_eq!(goes_on(any.with(hangs("hangs")), "text"), Ok("by b".to_owned()));
    let waits = Guards::any().with(hangs("first").timeout(1.secs())).with(turns("b", "text", "by b"));
    assert_eq!(goes_on(waits, "text"), Ok("by b".to_owned()));
    let none = Guards::any().with(abstains()).with(blocks("b"));
    assert_eq!(goes_on(none, "text"), Err("guard `abstains`: undecided; guard `b`: no".to_owned()));
}

#[test]
fn whoever_approved_the_content_before_it_was_transformed_is_asked_again() {
    for in_turn in [false, true] {
        let made = |guards: Guards<String>| if in_turn { guards.in_turn() } else { guards };
        let stale = made(Guards::all().with(only("text")).with(turns("t", "text", "other")));
        assert_eq!(goes_on(stale, "text"), Err("guard `only`: other".to_owned()));
        let fine = made(Guards::all().with(turns("t", "text", "other")).with(only("other")).in_turn());
        assert_eq!(goes_on(fine, "text"), Ok("other".to_owned()));
    }
}

#[test]
fn several_that_transform_do_so_one_after_the_other() {
    let guards =
        Guards::all().with(turns("a", "1", "2")).with(turns("b", "1", "3")).with(turns("c", "2", "4"));
    assert_eq!(goes_on(guards.clone(), "1"), Ok("4".to_owned()));
    assert_eq!(goes_on(guards.in_turn(), "1"), Ok("4".to_owned()));
}

#[test]
fn guards_that_undo_each_other_are_stopped() {
    for guards in [Guards::all(), Guards::deny_overrides()] {
        let fight = guards.with(turns("a", "1", "2")).with(turns("b", "2", "1"));
        assert!(goes_on(fight, "1").is_err_and(|why| why.ends_with("unstable")));
    }
    let grows = guard_fn("grows", |text: &String| Verdict::transform(format!("{text}!"), "more"));
    assert_eq!(goes_on(Guards::all().with(grows), "1"), Ok("1!".to_owned()), "its own work it has approved");
}

#[test]
fn the_names_in_a_composition_are_those_of_its_guards() {
    let guards = Guards::all()
        .with(turns("masks", "text", "other"))
        .with(hangs("late").timeout(1.secs()).on_error(OnError::Open));
    let guarded = judged(guards.named("outer"), "text").passed().expect("it passes");
    let names: Vec<_> = guarded.remarks().iter().map(|remark| (remark.guard(), remark.is_opened())).collect();
    assert!(names.contains(&("masks", false)) && names.contains(&("late", true)), "{names:?}");
    assert!(guarded.is_transformed() && guarded.is_opened());
}

#[test]
fn a_hundred_guards_at_a_time_take_as_long_as_the_slowest() {
    super::run(async {
        let mut guards = Guards::<String>::all();
        for at in 1..=100_u64 {
            let slow = move |_, _: std::sync::Arc<String>| async move {
                // sleeps: on paused time
                tokio::time::sleep(at.millis()).await;
                stageflow_core::StageResult::Ok(Verdict::allow())
            };
            guards = guards.with(super::async_guard(format!("{at}"), slow));
        }
        let (ctx, text) = (stageflow_core::StageContext::for_test(), std::sync::Arc::new("text".to_owned()));
        let begun = tokio::time::Instant::now();
        assert!(guards.check(&ctx, &text).await.is_ok_and(|verdict| verdict.objections().is_empty()));
        assert_eq!(begun.elapsed(), 100.millis());
    });
}

#[test]
fn the_time_of_an_open_composition_passes_over_nobody_who_has_blocked() {
    for made in [Guards::all as Made, Guards::deny_overrides] {
        let open = |guards: Guards<String>| guards.timeout(1.secs()).on_error(OnError::Open);
        let blocked = open(made().with(hangs("hangs")).with(blocks("b")));
        assert_eq!(goes_on(blocked, "text"), Err("guard `b`: no".to_owned()));
        assert!(passes(open(made().with(hangs("hangs")).with(allows()))), "the fault fires");
    }
}

//! Decisions by functions and phrases.

use proptest::prelude::*;

use crate::router::{Otherwise, Phrases, Route, RouteReason, Router, route::label};

fn phrases() -> Phrases<&'static str> {
    Phrases::otherwise("standard")
        .rule("escalation", ["completely broken", "emergency"])
        .rule("fast", ["weather"])
}

#[test]
fn n13_words_are_found_and_parts_of_words_are_not() {
    let phrases = phrases();
    for text in ["weatherproof", "an emergencyexit", "broken completely", "completely un broken", ""] {
        assert!(phrases.decide(text).is("standard"), "{text}");
    }
    for text in ["EMERGENCY!", "it is completely\n\tBroken.", "completely\u{0}broken", "¡emergency!"] {
        assert!(phrases.decide(text).is("escalation"), "{text}");
    }
}

#[test]
fn several_rules_make_it_less_sure_and_are_listed() {
    let route = phrases().decide("an emergency because of the weather");
    assert_eq!(
        route.to_string(),
        "escalation (phrase: emergency, confidence 0.50), not fast: a later rule (weather)"
    );
}

#[test]
fn what_the_function_does_not_know_goes_where_the_policy_says() {
    let router = Router::new(["known"], |text: &String| match text.as_str() {
        "none" => None,
        "other" => Some(Route::to("other").confidence(0.7)),
        "unsure" => Some(Route::to("known").confidence(0.2)),
        _ => Some(Route::to("known").confidence(f64::NAN)),
    })
    .on_unsure(0.0, Otherwise::Fail);
    let decide = |router: &Router<_, _>, text: &str| router.decide(&text.to_owned());
    assert_eq!(decide(&router, "none"), Err(RouteReason::Unknown));
    assert_eq!(decide(&router, "other"), Err(RouteReason::Unknown));
    assert!(decide(&router, "nan").is_ok_and(|route| route.sureness() == 0.0));

    let router = router.on_unknown(Otherwise::To("known")).on_unsure(0.5, Otherwise::To("person"));
    let found = decide(&router, "other").expect("there is a route");
    assert_eq!(found.to_string(), "known (unknown, confidence 0.70), not other: not declared");
    let found = decide(&router, "unsure").expect("there is a route");
    assert_eq!(found.to_string(), "person (unsure, confidence 0.20), not known: not sure enough");
    let router = router.on_empty(String::is_empty, Otherwise::Skip);
    assert_eq!(decide(&router, ""), Err(RouteReason::Empty));
}

#[test]
fn routes_are_spelled_in_one_line_and_not_at_length() {
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Model {
        Large,
    }
    assert_eq!(label(&Model::Large), "Large");
    assert_eq!(label(&"fast"), "fast");
    assert_eq!(label(&"a\nb\u{1b}[31m".to_owned()).lines().count(), 1);
    assert_eq!(label(&"x".repeat(1_000)).len(), 120);
}

proptest! {
    #[test]
    fn any_text_has_one_route_and_always_the_same(text in "\\PC{0,200}") {
        let route = phrases().decide(&text);
        prop_assert!(route.is_any(["standard", "escalation", "fast"]));
        prop_assert_eq!(route.to_string(), phrases().decide(&text).to_string());
    }
}

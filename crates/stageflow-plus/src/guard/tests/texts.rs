//! Ready-made guards of texts.

use super::{
    super::{Denylist, Explained, Length, NotBlank, Part, Reason, Redact},
    goes_on, run,
};
use crate::guard::{Guard, Guards, Verdict};

#[test]
fn lengths_are_of_characters_and_both_ends_are_in() {
    let length = || Length::at_most(4).at_least(2);
    for (text, expected) in
        [("a", Err("too_short")), ("ab", Ok(())), ("äöü€", Ok(())), ("abcde", Err("too_long"))]
    {
        let got = goes_on(length(), text).map(|_| ());
        assert_eq!(got, expected.map_err(|why| format!("guard `Length`: {why}")), "{text}");
    }
    assert!(goes_on(Length::at_most(4), &"🦀".repeat(4)).is_ok(), "four bytes each");
}

#[test]
fn phrases_are_found_as_whole_words_in_any_case_and_spelling() {
    let list = Denylist::new(["Launch Codes", "bomb", "", " - "]);
    for found in [
        "bomb",
        "A BOMB!",
        "the launch-codes, please",
        "launch\n\tcodes",
        "b\u{200b}o\u{ad}mb",
        "LAUNCH   CODES",
    ] {
        assert!(list.finds(found), "{found:?}");
    }
    for fine in ["", "bombs", "launch the codes", "launch", "codes launch", "a bo mb"] {
        assert!(!list.finds(fine), "{fine:?}");
    }
    assert!(!format!("{list:?}").contains("bomb"));
}

#[test]
fn a_megabyte_in_which_phrases_begin_everywhere_is_checked() {
    let list = Denylist::new(["launch codes", "launch the codes", "bomb"]);
    let text = "launch launch the code ".repeat(45_000);
    assert!(!list.finds(&text));
}

#[test]
fn a_part_is_checked_and_put_back() {
    let masks = Part::new(
        |words: &Vec<String>| words.first().cloned().unwrap_or_default(),
        |words: &Vec<String>, first: String| {
            std::iter::once(first).chain(words.iter().skip(1).cloned()).collect()
        },
        Guards::all()
            .in_turn()
            .with(NotBlank::new())
            .with(Redact::new("pii", |_: &String| Some("***".to_owned()))),
    );
    let ctx = stageflow_core::StageContext::for_test();
    let words = std::sync::Arc::new(vec!["Ada".to_owned(), "writes".to_owned()]);
    let verdict: Verdict<_> = run(masks.check(&ctx, &words)).unwrap_or_else(|exit| panic!("{exit}"));
    assert_eq!(verdict.replacement().map(|words| words.join(" ")), Some("*** writes".to_owned()));
    let blank = std::sync::Arc::new(vec![" ".to_owned()]);
    let verdict: Verdict<_> = run(masks.check(&ctx, &blank)).unwrap_or_else(|exit| panic!("{exit}"));
    assert_eq!(verdict.reason().map(Reason::as_str), Some("blank"));
}

#[test]
fn objections_are_explained() {
    let short =
        Explained::new(Length::at_most(3), |text: &String, why: &Reason| format!("{why}: {}", text.len()));
    let ctx = stageflow_core::StageContext::for_test();
    let verdict = run(short.check(&ctx, &std::sync::Arc::new("12345".to_owned())));
    let verdict: Verdict<String, String> = verdict.unwrap_or_else(|exit| panic!("{exit}"));
    assert_eq!(verdict.objections()[0].feedback().map(String::as_str), Some("too_long: 5"));
}

#[test]
fn reasons_are_one_short_line() {
    assert_eq!(Reason::of_rule("a\nb").as_str(), "a\\nb");
    assert_eq!(Reason::of_rule("x".repeat(1_000)).as_str().len(), 64);
}

//! What is cut fits by the same counter, is part of the original, and is said to be so.

use std::{ops::Range, time::SystemTime};

use proptest::prelude::*;

use super::{Chars, Runs};
use crate::enrich::{
    CutUnit, EstimatedTokens, Fit, ItemCut, Measure as _, Shorten, Shortened, TextCut, TokenCounter,
};

fn texts() -> impl Strategy<Value = String> {
    prop_oneof![".{0,80}", "[a-c\n]{0,200}", "(你|é|👩‍👩‍👧|e\u{301}|x){0,60}"]
}

fn cuts() -> impl Strategy<Value = TextCut> {
    let keeps = prop_oneof![
        Just(TextCut::keep_start as fn() -> TextCut),
        Just(TextCut::keep_end as fn() -> TextCut),
        Just(TextCut::middle_out as fn() -> TextCut),
    ];
    (keeps, any::<bool>(), prop_oneof![Just(""), Just("…"), Just("[cut]")]).prop_map(
        |(keeps, chars, marker)| {
            let cut = keeps().marker(marker);
            if chars { cut.at_chars() } else { cut }
        },
    )
}

/// A text without a range of it.
fn without(text: &str, removed: &Range<usize>) -> (String, String) {
    (text[..removed.start].to_owned(), text[removed.end..].to_owned())
}

fn holds(cut: &TextCut, text: &String, limit: usize, counter: &dyn TokenCounter) {
    let Some(Shortened { value, unit, removed }) = cut.shorten(text, limit, counter) else {
        assert!(counter.count("") > limit, "an empty text fits");
        return;
    };
    assert!(counter.count(&value) <= limit, "{value:?} is above {limit}");
    assert_eq!(unit, CutUnit::Bytes);
    if counter.count(text) <= limit {
        assert_eq!((&value, removed.len()), (text, 0), "what fits stays as it is");
        return;
    }
    let [removed] = &removed[..] else { panic!("one piece is cut: {removed:?}") };
    let (start, end) = without(text, removed);
    assert!(value.starts_with(&start) && value.ends_with(&end), "{value:?} is {start:?} and {end:?}");
    let marker = &value[start.len()..value.len() - end.len()];
    assert!(["", "…", "[cut]"].contains(&marker), "{marker:?}");
    match Shorten::<String>::strategy(cut) {
        "keep_start" => assert_eq!(removed.end, text.len()),
        "keep_end" => assert_eq!(removed.start, 0),
        _ => {}
    }
}

/// The longer, the more it matters.
fn priority(item: &str) -> i64 {
    i64::try_from(item.len()).unwrap_or(i64::MAX)
}

/// One piece.
fn one(range: Range<usize>) -> Vec<Range<usize>> {
    std::iter::once(range).collect()
}

proptest! {
    #[test]
    fn a_cut_text_fits_by_any_counter_and_is_part_of_the_original(
        text in texts(), cut in cuts(), limit in 0_usize..120
    ) {
        holds(&cut, &text, limit, &Chars);
        holds(&cut, &text, limit, &Runs);
        holds(&cut, &text, limit, &EstimatedTokens::default());
        holds(&cut, &text, limit, &EstimatedTokens::upper_bound());
    }

    /// By a counter that only grows, as much is kept as can be.
    #[test]
    fn nothing_more_would_fit(text in texts(), limit in 0_usize..120) {
        let counter = EstimatedTokens::upper_bound();
        let start = TextCut::keep_start().shorten(&text, limit, &counter).expect("an empty text fits").value;
        let more = text[start.len()..].chars().next().map_or(0, char::len_utf8);
        prop_assert!(start == text || start.len() + more > limit);
        let end = TextCut::keep_end().shorten(&text, limit, &counter).expect("an empty text fits").value;
        let more = text[..text.len() - end.len()].chars().next_back().map_or(0, char::len_utf8);
        prop_assert!(end == text || end.len() + more > limit);
    }

    #[test]
    fn a_cut_list_fits_keeps_its_order_and_says_what_is_gone(
        items in prop::collection::vec("[a-z]{0,9}", 0..20), which in 0_usize..4, limit in 0_usize..60
    ) {
        let cut = [
            ItemCut::oldest_first,
            ItemCut::newest_first,
            ItemCut::middle_out,
            || ItemCut::lowest_priority_first(|item: &String| priority(item)),
        ][which]();
        let short = cut.shorten(&items, limit, &Chars).expect("an empty list fits");
        prop_assert!(short.value.measure(&Chars) <= limit);
        let is_gone = |at: usize| short.removed.iter().any(|range| range.contains(&at));
        let left: Vec<_> = items.iter().enumerate().filter(|(at, _)| !is_gone(*at)).map(|(_, item)| item.clone()).collect();
        prop_assert_eq!(&short.value, &left);
        prop_assert!(short.removed.windows(2).all(|pair| pair[0].end < pair[1].start));
        prop_assert_eq!(short.value.len() == items.len(), items.measure(&Chars) <= limit);
    }
}

#[test]
fn a_limit_of_nothing_leaves_nothing() {
    for cut in [TextCut::keep_start(), TextCut::keep_end(), TextCut::middle_out().marker("…")] {
        let short = cut.shorten(&"text".to_owned(), 0, &Chars).expect("an empty text fits");
        assert_eq!((short.value.as_str(), short.removed), ("", one(0..4)));
    }
    let short =
        ItemCut::oldest_first().shorten(&vec!["text".to_owned()], 0, &Chars).expect("an empty list fits");
    assert_eq!((short.value.len(), short.removed), (0, one(0..1)));
}

/// Two characters for people, five of Unicode: no character is split, and a family may be.
#[test]
fn characters_stay_whole_and_graphemes_may_not() {
    let family = "x👩‍👩‍👧".to_owned();
    let bytes = EstimatedTokens::upper_bound();
    for limit in 0..family.len() {
        let kept = TextCut::keep_start().shorten(&family, limit, &bytes).expect("an empty text fits").value;
        assert!(family.starts_with(&kept));
    }
    let kept = TextCut::keep_start().shorten(&family, 5, &bytes).expect("it fits").value;
    assert_eq!(kept, "x👩");
}

#[test]
fn where_the_counter_knows_tokens_they_stay_whole() {
    /// A token is a word with the space before it.
    struct Words;
    impl TokenCounter for Words {
        fn count(&self, text: &str) -> usize {
            text.split(' ').filter(|word| !word.is_empty()).count()
        }
        fn boundaries(&self, text: &str) -> Option<Vec<usize>> {
            Some(text.match_indices(' ').map(|(at, _)| at).chain([text.len()]).collect())
        }
    }
    let text = "one two three four".to_owned();
    let cut = |cut: TextCut| cut.shorten(&text, 2, &Words).expect("it fits").value;
    assert_eq!(cut(TextCut::keep_start()), "one two");
    assert_eq!(cut(TextCut::keep_end()), " three four");
    // Half a word is a word, by this counter.
    assert_eq!(cut(TextCut::keep_start().at_chars()), "one two ");
}

#[test]
fn which_items_go_is_what_the_strategy_says() {
    let items: Vec<_> = ["a", "bb", "ccc", "dddd"].map(str::to_owned).into();
    let cut =
        |cut: ItemCut<String>, limit| cut.shorten(&items, limit, &Chars).expect("it fits").value.join(" ");
    assert_eq!(cut(ItemCut::oldest_first(), 7), "ccc dddd");
    assert_eq!(cut(ItemCut::newest_first(), 7), "a bb ccc");
    assert_eq!(cut(ItemCut::middle_out(), 7), "a bb dddd");
    let shortest = || ItemCut::lowest_priority_first(|item: &String| -priority(item));
    assert_eq!(cut(shortest(), 6), "a bb ccc");
    // What does not fit is passed over, whatever its priority.
    assert_eq!(cut(ItemCut::lowest_priority_first(|item: &String| priority(item)), 3), "ccc");
    assert_eq!(cut(ItemCut::lowest_priority_first(|_: &String| 0), 7), "a bb dddd".replace(" dddd", " ccc"));
    assert_eq!(cut(ItemCut::oldest_first(), 3), "", "none is left out of turn");
}

/// What a strategy gives is counted again: one that lies fails.
#[test]
fn a_strategy_that_does_not_keep_to_the_limit_is_an_error() {
    struct Lies(Option<&'static str>);
    impl Shorten<String> for Lies {
        fn strategy(&self) -> &str {
            "lies"
        }
        fn shorten(&self, _: &String, _: usize, _: &dyn TokenCounter) -> Option<Shortened<String>> {
            let value = self.0?.to_owned();
            Some(Shortened { value, unit: CutUnit::Bytes, removed: vec![] })
        }
    }
    let fit = Fit::into(3).counter(Chars);
    let now = SystemTime::UNIX_EPOCH;
    for lie in [Some("four"), None] {
        let error = fit.cut("draft", &Lies(lie), "long text".to_owned(), now).expect_err("it does not fit");
        assert_eq!((error.tokens(), error.room()), (9, 3));
        assert_eq!(error.to_string(), "`draft` is 9 tokens, there is room for 3, and no part of it fits");
    }
    let (value, cut) = fit.cut("draft", &Lies(None), "abc".to_owned(), now).expect("it fits as it is");
    assert_eq!((value.as_str(), cut), ("abc", None));
}

#[test]
fn a_record_says_what_why_how_much_where_and_how() {
    let fit = Fit::into(4).counter(Chars).because("the small model");
    let now = SystemTime::UNIX_EPOCH;
    let (value, cut) =
        fit.cut("history", &TextCut::middle_out(), "0123456789".to_owned(), now).expect("it fits");
    let cut = cut.expect("it was cut");
    assert_eq!(value, "0189");
    assert_eq!((cut.before, cut.after, cut.cut(), cut.removed.clone()), (10, 4, 6, one(2..8)));
    assert!((cut.kept_share() - 0.4).abs() < 1e-9);
    assert_eq!(cut.to_string(), "history cut from 10 to 4 tokens by middle_out: the small model");
    assert_eq!((cut.counter.as_str(), cut.at), ("custom", now));
    assert!(!format!("{cut:?}").contains("0123"), "no payload is in a record");
}

/// Counts how often it is asked.
struct Asked(EstimatedTokens, std::sync::atomic::AtomicUsize);

impl TokenCounter for Asked {
    fn count(&self, text: &str) -> usize {
        self.1.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.0.count(text)
    }
}

/// A text whose tokens are spread evenly takes a few questions, and no text more than three times the logarithm of its length.
#[test]
fn a_cut_asks_its_counter_seldom() {
    let asked = |text: &str, limit| {
        let counter = Asked(EstimatedTokens::default(), 0.into());
        for cut in [TextCut::keep_start(), TextCut::keep_end(), TextCut::middle_out()] {
            cut.shorten(&text.to_owned(), limit, &counter).expect("an empty text fits");
        }
        counter.1.into_inner() / 3
    };
    for limit in [1, 1_000, 200_000, 249_999] {
        assert!(asked(&"a".repeat(1_000_000), limit) <= 12, "{limit}");
        assert!(asked(&("你".repeat(100_000) + &"a".repeat(700_000)), limit) <= 60, "{limit}");
    }
}

//! Real tokens: counts that are published, and texts that break tokenizers.

use std::sync::LazyLock;

use crate::enrich::{BpeTokens, Shorten as _, TextCut, TokenCounter as _, Vocabulary};

static CL100K: LazyLock<BpeTokens> =
    LazyLock::new(|| BpeTokens::new(Vocabulary::Cl100k).expect("the vocabulary is part of the program"));
static O200K: LazyLock<BpeTokens> =
    LazyLock::new(|| BpeTokens::new(Vocabulary::O200k).expect("the vocabulary is part of the program"));

/// The table of OpenAI's cookbook, "How to count tokens with tiktoken", and the README of tiktoken.
#[test]
fn counts_are_those_that_openai_publishes() {
    let published = [
        ("tiktoken is great!", 6, 6),
        ("antidisestablishmentarianism", 6, 6),
        ("2 + 2 = 4", 7, 7),
        ("お誕生日おめでとう", 9, 8),
        ("", 0, 0),
    ];
    for (text, cl100k, o200k) in published {
        assert_eq!((CL100K.count(text), O200K.count(text)), (cl100k, o200k), "{text}");
    }
    // The README: `enc.decode(enc.encode("hello world")) == "hello world"`, with two tokens.
    assert_eq!(CL100K.count("hello world"), 2);
    assert_eq!(CL100K.boundaries("hello world"), Some(vec![5, 11]));
}

#[test]
fn tokens_that_end_within_a_character_are_no_place_to_cut() {
    let text = "お誕生日おめでとう".to_owned();
    let ends = CL100K.boundaries(&text).expect("it knows");
    assert!(ends.len() < 9 && ends.iter().all(|at| text.is_char_boundary(*at)), "{ends:?}");
    for limit in 0..10 {
        for cut in [
            TextCut::keep_start(),
            TextCut::keep_end(),
            TextCut::middle_out(),
            TextCut::keep_start().at_chars(),
        ] {
            let short = cut.shorten(&text, limit, &*CL100K).expect("an empty text fits");
            assert!(CL100K.count(&short.value) <= limit);
        }
    }
}

#[test]
fn what_looks_like_a_special_token_is_the_text_it_is() {
    assert!(CL100K.count("<|endoftext|>") > 1);
}

/// Without parts the tokenizer panics with the first of these.
#[test]
fn long_texts_of_one_kind_are_counted() {
    let spaces = format!("{}x", " ".repeat(1_050_000));
    assert!((1_000..100_000).contains(&CL100K.count(&spaces)));
    assert_eq!(CL100K.boundaries(&spaces).and_then(|ends| ends.last().copied()), Some(spaces.len()));
    for text in ["\n ".repeat(70_000), "é".repeat(70_000), "1".repeat(140_000)] {
        assert!(O200K.count(&text) > 0);
    }
}

/// In parts that end before a word the count is that of the whole, and words of one letter say what the whole is.
#[test]
fn parts_count_as_the_whole() {
    let words = 200_000;
    let text = format!("a{}", " a".repeat(words - 1));
    assert_eq!(CL100K.count(&text), words);
    let prose = "The quick brown fox jumps over the lazy dog. ";
    assert_eq!(CL100K.count(&prose.repeat(10_000)), 10 * 10_000 + 1);
}

//! Words and phrases in texts.

use std::fmt;

/// The words of a text, in lower case: rows of letters and digits of any script.
pub(super) fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase)
}

/// Words in a row, in whatever case, with whatever stands between them.
#[derive(Clone, Debug)]
pub(super) struct Phrase {
    text: String,
    words: Vec<String>,
}

impl Phrase {
    pub(super) fn new(text: &str) -> Self {
        Self { text: text.to_owned(), words: words(text).collect() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    pub(super) fn is_in(&self, text: &str) -> bool {
        let all: Vec<String> = words(text).collect();
        !self.is_empty() && all.windows(self.words.len()).any(|window| window == self.words)
    }
}

impl fmt::Display for Phrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

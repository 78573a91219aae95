//! [`BpeTokens`]: tokens as the models count them, by byte-pair encoding.

use std::{fmt, sync::Arc};

use stageflow_core::BoxError;
use tiktoken_rs::{CoreBPE, cl100k_base, o200k_base};

use super::counter::TokenCounter;

/// Which models' tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Vocabulary {
    /// `cl100k_base`: GPT-4, GPT-3.5 and `text-embedding-3`.
    Cl100k,
    /// `o200k_base`: GPT-4o and later.
    O200k,
}

/// Counts tokens by byte-pair encoding, with the published vocabularies of OpenAI's models, which are part of the program: nothing is
/// fetched when it runs. What stands for a special token in a text counts as the text it is.
///
/// Making one reads the vocabulary, which takes far longer than counting: make one, and clone it, which costs nothing.
///
/// # Limits
///
/// A text of more than 128 KiB is counted in parts, which end before a word. Where there is no word for 64 KiB they end anywhere, and the
/// count can be off by a token or two for each such place.
///
/// ```
/// use stageflow_plus::enrich::{BpeTokens, TokenCounter as _, Vocabulary};
///
/// let tokens = BpeTokens::new(Vocabulary::Cl100k)?;
/// assert_eq!(tokens.count("tiktoken is great!"), 6);
/// # Ok::<_, stageflow_core::BoxError>(())
/// ```
#[derive(Clone)]
pub struct BpeTokens {
    vocabulary: Vocabulary,
    bpe: Arc<CoreBPE>,
}

impl BpeTokens {
    /// Counts by a vocabulary.
    ///
    /// # Errors
    ///
    /// The vocabulary cannot be read, though it is part of the program.
    pub fn new(vocabulary: Vocabulary) -> Result<Self, BoxError> {
        let bpe = match vocabulary {
            Vocabulary::Cl100k => cl100k_base(),
            Vocabulary::O200k => o200k_base(),
        };
        Ok(Self { vocabulary, bpe: Arc::new(bpe?) })
    }

    /// Whose tokens it counts.
    pub fn vocabulary(&self) -> Vocabulary {
        self.vocabulary
    }
}

impl TokenCounter for BpeTokens {
    fn count(&self, text: &str) -> usize {
        parts(text).map(|part| self.bpe.encode_ordinary(part).len()).sum()
    }

    fn name(&self) -> &str {
        match self.vocabulary {
            Vocabulary::Cl100k => "cl100k_base",
            Vocabulary::O200k => "o200k_base",
        }
    }

    fn boundaries(&self, text: &str) -> Option<Vec<usize>> {
        let (mut ends, mut at) = (Vec::new(), 0);
        for token in parts(text).flat_map(|part| self.bpe.encode_ordinary(part)) {
            at += self.bpe.decode_bytes(&[token]).ok()?.len();
            if text.is_char_boundary(at) {
                ends.push(at);
            }
        }
        Some(ends)
    }
}

impl fmt::Debug for BpeTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BpeTokens").field("vocabulary", &self.vocabulary).finish_non_exhaustive()
    }
}

/// The matcher of the pattern keeps a place to go back to for each space of a row, and panics where they are too many.
const PART: usize = 128 * 1024;

/// A text in parts of at most [`PART`] bytes.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (part, behind) = rest.split_at(end_of_part(rest));
        rest = behind;
        Some(part)
    })
}

fn end_of_part(text: &str) -> usize {
    if text.len() <= PART {
        return text.len();
    }
    let bytes = text.as_bytes();
    // The patterns of all vocabularies end a token between a word and the space before the next one.
    let is_end = |at: &usize| {
        bytes[*at] == b' ' && bytes[at - 1].is_ascii_alphanumeric() && bytes[at + 1].is_ascii_alphabetic()
    };
    (PART / 2..PART).rev().find(is_end).unwrap_or_else(|| text.floor_char_boundary(PART))
}

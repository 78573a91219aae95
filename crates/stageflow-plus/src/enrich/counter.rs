//! [`TokenCounter`]: how many tokens a text is, by estimate or by a tokenizer.

use std::fmt;

/// Counts the tokens of texts.
///
/// It is asked on the worker that runs the stage, and must not block. It is asked often while something is cut, and has to give the
/// same number for the same text each time: a cut is only as right as its counter. A panic of it fails the stage.
///
/// ```
/// use stageflow_plus::enrich::TokenCounter;
///
/// struct Words;
///
/// impl TokenCounter for Words {
///     fn count(&self, text: &str) -> usize {
///         text.split_whitespace().count()
///     }
///
///     fn name(&self) -> &str {
///         "words"
///     }
/// }
///
/// assert_eq!(Words.count("two words"), 2);
/// ```
pub trait TokenCounter: Send + Sync + 'static {
    /// How many tokens `text` is.
    fn count(&self, text: &str) -> usize;

    /// Its name in records.
    fn name(&self) -> &str {
        "custom"
    }

    /// Where tokens of `text` end, in bytes and ascending: only places at which no character is split. `None` if it does not know.
    fn boundaries(&self, _text: &str) -> Option<Vec<usize>> {
        None
    }
}

impl<C: TokenCounter + ?Sized> TokenCounter for std::sync::Arc<C> {
    fn count(&self, text: &str) -> usize {
        (**self).count(text)
    }

    fn name(&self) -> &str {
        (**self).name()
    }

    fn boundaries(&self, text: &str) -> Option<Vec<usize>> {
        (**self).boundaries(text)
    }
}

/// An estimate without a tokenizer: one token for so many bytes of UTF-8, rounded up. Without a word, four.
///
/// It knows nothing of the text, so it is an *estimate*: English prose comes close to four bytes a token, and text in other scripts,
/// code and numbers have fewer bytes a token, so that their tokens are more than the estimate. What is certain is a bound. Each token of
/// a byte-level tokenizer covers at least one byte, so there are never more tokens than bytes: never more than `n` times what `n` bytes
/// a token gives. [`upper_bound`](Self::upper_bound) counts one for each byte, and is never too low for such a tokenizer.
///
/// ```
/// use stageflow_plus::enrich::{EstimatedTokens, TokenCounter as _};
///
/// let estimate = EstimatedTokens::default();
/// assert_eq!(estimate.count(""), 0);
/// assert_eq!(estimate.count("hello"), 2);
/// assert_eq!(EstimatedTokens::upper_bound().count("hello"), 5);
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct EstimatedTokens {
    bytes: usize,
}

impl EstimatedTokens {
    /// One token for so many bytes; 0 counts as 1.
    pub fn bytes_per_token(bytes: usize) -> Self {
        Self { bytes: bytes.max(1) }
    }

    /// One token for each byte: never fewer than a byte-level tokenizer gives.
    pub fn upper_bound() -> Self {
        Self::bytes_per_token(1)
    }
}

impl Default for EstimatedTokens {
    fn default() -> Self {
        Self::bytes_per_token(4)
    }
}

impl TokenCounter for EstimatedTokens {
    fn count(&self, text: &str) -> usize {
        text.len().div_ceil(self.bytes)
    }

    fn name(&self) -> &str {
        if self.bytes == 1 { "bytes" } else { "estimate" }
    }
}

impl fmt::Debug for EstimatedTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EstimatedTokens({} bytes a token)", self.bytes)
    }
}

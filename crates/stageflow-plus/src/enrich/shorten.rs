//! [`Shorten`]: making a value fit, and [`TextCut`], which does it with texts.

use std::{fmt, ops::Range, sync::Arc};

use serde::Serialize;

use super::counter::TokenCounter;

/// What the ranges of a cut count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CutUnit {
    /// Bytes of a text.
    Bytes,
    /// Items of a list.
    Items,
}

impl fmt::Display for CutUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Bytes => "bytes",
            Self::Items => "items",
        })
    }
}

/// A value that was made to fit, and what was taken out of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortened<T> {
    /// What is left.
    pub value: T,
    /// What the ranges count.
    pub unit: CutUnit,
    /// What was taken out of the original, ascending; empty if all of it fits.
    pub removed: Vec<Range<usize>>,
}

/// A strategy that makes values of type `T` fit.
pub trait Shorten<T>: Send + Sync + 'static {
    /// Its name in records: one word.
    fn strategy(&self) -> &str;

    /// Makes `value` fit into `limit` tokens by `counter`; `None` if nothing of it does. A value that fits is given back as it is.
    ///
    /// Whoever asks counts the result, and takes none that is above the limit.
    fn shorten(&self, value: &T, limit: usize, counter: &dyn TokenCounter) -> Option<Shortened<T>>;
}

impl<T, S: Shorten<T> + ?Sized> Shorten<T> for Arc<S> {
    fn strategy(&self) -> &str {
        (**self).strategy()
    }

    fn shorten(&self, value: &T, limit: usize, counter: &dyn TokenCounter) -> Option<Shortened<T>> {
        (**self).shorten(value, limit, counter)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keeps {
    Start,
    End,
    Both,
}

/// Looks for the longest length that fits: in turn where the limit should be if tokens were spread evenly, and in the middle. Once the
/// limit is used up, a little further each time.
struct Search {
    /// A length that fits, and its tokens.
    fits: (usize, usize),
    /// One that does not.
    too_long: (usize, usize),
    tries: u32,
    /// How far beyond the length that uses the limit up.
    beyond: usize,
    has_overshot: bool,
}

impl Search {
    fn new(fits: (usize, usize), too_long: (usize, usize)) -> Self {
        Self { fits, too_long, tries: 0, beyond: 0, has_overshot: false }
    }

    /// The length to be tried next.
    fn next(&mut self, limit: usize) -> Option<usize> {
        let ((fits, fewer), (too_long, more)) = (self.fits, self.too_long);
        let width = too_long - fits;
        if width <= 1 {
            return None;
        }
        self.tries += 1;
        let offset = if self.has_overshot {
            width / 2
        } else if fewer == limit {
            self.beyond = self.beyond.saturating_mul(2).max(1);
            self.beyond
        } else if self.tries % 2 == 1 && more > fewer {
            let even = limit.saturating_sub(fewer) as u128 * width as u128 / (more - fewer) as u128;
            usize::try_from(even).unwrap_or(width)
        } else {
            width / 2
        };
        Some(fits + offset.clamp(1, width - 1))
    }

    fn found(&mut self, tried: usize, tokens: usize, limit: usize) {
        if tokens <= limit {
            self.fits = (tried, tokens);
        } else {
            self.too_long = (tried, tokens);
            self.has_overshot = self.beyond > 0;
        }
    }
}

/// Cuts a text where it is too long: a `String`, or whatever is made from one.
///
/// The result is never above the limit by the same counter: each length that is tried is counted, with the marker. It is the longest
/// that fits for a counter by which a longer part of a text is never fewer tokens; for others it may be shorter than possible. A few
/// lengths are tried if the tokens of a text are spread evenly, and a small multiple of the logarithm of its length if they are not.
///
/// It cuts where a token ends, if the counter knows that, and else between characters; no character of UTF-8 is ever split. What people
/// take for one letter can be several characters (a letter and its accent, a family of emoji): those may be parted.
///
/// ```
/// use stageflow_plus::enrich::{EstimatedTokens, Shorten as _, TextCut};
///
/// let text = "0123456789".to_owned();
/// let bytes = EstimatedTokens::upper_bound();
/// let cut = |cut: TextCut| cut.shorten(&text, 5, &bytes).expect("something fits").value;
///
/// assert_eq!(cut(TextCut::keep_start()), "01234");
/// assert_eq!(cut(TextCut::keep_end()), "56789");
/// assert_eq!(cut(TextCut::middle_out()), "01289");
/// assert_eq!(cut(TextCut::middle_out().marker("~")), "01~89");
/// ```
#[derive(Clone, Debug)]
#[must_use = "a cut does nothing until it is asked to shorten something"]
pub struct TextCut {
    keeps: Keeps,
    at_tokens: bool,
    marker: Arc<str>,
}

impl TextCut {
    fn new(keeps: Keeps) -> Self {
        Self { keeps, at_tokens: true, marker: Arc::from("") }
    }

    /// Keeps the start.
    pub fn keep_start() -> Self {
        Self::new(Keeps::Start)
    }

    /// Keeps the end.
    pub fn keep_end() -> Self {
        Self::new(Keeps::End)
    }

    /// Keeps the start and the end, as many bytes of both, and takes out what is between.
    pub fn middle_out() -> Self {
        Self::new(Keeps::Both)
    }

    /// Cuts between any two characters, though the counter knows where tokens end: keeps more of the text.
    pub fn at_chars(mut self) -> Self {
        self.at_tokens = false;
        self
    }

    /// Puts this text where something was taken out. It counts as well; where there is no room for it alone, it is left out.
    pub fn marker(mut self, marker: impl Into<Arc<str>>) -> Self {
        self.marker = marker.into();
        self
    }

    /// The longest part of `text` that fits, and what was taken out of it.
    fn cut(
        &self,
        text: &str,
        before: usize,
        limit: usize,
        counter: &dyn TokenCounter,
    ) -> Option<(String, Range<usize>)> {
        let ends = self.at_tokens.then(|| counter.boundaries(text)).flatten();
        let mut best = ["", &*self.marker].into_iter().rev().find_map(|marker| {
            let (kept, removed) = (marker.to_owned(), 0..text.len());
            (counter.count(marker) <= limit).then_some((kept, removed))
        })?;
        let marker = best.0.clone();
        let mut search = Search::new((0, counter.count(&marker)), (text.len(), before));
        while let Some(tried) = search.next(limit) {
            let removed = self.removed(text, tried, ends.as_deref());
            let kept = [&text[..removed.start], &marker, &text[removed.end..]].concat();
            let tokens = counter.count(&kept);
            if tokens <= limit {
                best = (kept, removed);
            }
            search.found(tried, tokens, limit);
        }
        Some(best)
    }

    /// What is taken out so that at most `kept` bytes are left.
    fn removed(&self, text: &str, kept: usize, ends: Option<&[usize]>) -> Range<usize> {
        let (start, end) = match self.keeps {
            Keeps::Start => (kept, text.len()),
            Keeps::End => (0, text.len() - kept),
            Keeps::Both => (kept.div_ceil(2), text.len() - kept / 2),
        };
        let start = match ends {
            Some(ends) => ends[..ends.partition_point(|at| *at <= start)].last().copied().unwrap_or(0),
            None => start,
        };
        let end = match ends {
            Some(ends) => ends.get(ends.partition_point(|at| *at < end)).copied().unwrap_or(text.len()),
            None => end,
        };
        // A counter may be wrong about where characters are.
        let start = text.floor_char_boundary(start);
        start..text.ceil_char_boundary(end).max(start)
    }
}

impl<T: AsRef<str> + From<String> + Clone> Shorten<T> for TextCut {
    fn strategy(&self) -> &str {
        match self.keeps {
            Keeps::Start => "keep_start",
            Keeps::End => "keep_end",
            Keeps::Both => "middle_out",
        }
    }

    fn shorten(&self, value: &T, limit: usize, counter: &dyn TokenCounter) -> Option<Shortened<T>> {
        let text = value.as_ref();
        let before = counter.count(text);
        if before <= limit {
            return Some(Shortened { value: value.clone(), unit: CutUnit::Bytes, removed: Vec::new() });
        }
        let (kept, removed) = self.cut(text, before, limit, counter)?;
        Some(Shortened { value: T::from(kept), unit: CutUnit::Bytes, removed: vec![removed] })
    }
}

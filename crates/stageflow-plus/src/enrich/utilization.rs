//! [`ContextUtilization`]: how full a context window is, as a plain value.

use std::fmt;

use serde::Serialize;

/// How full a context window is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ContextLevel {
    /// There is room.
    Below,
    /// There is room, and not much.
    Near,
    /// There is room for nothing more.
    Full,
    /// More is used than there is.
    Over,
}

impl fmt::Display for ContextLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Below => "below the limit",
            Self::Near => "near the limit",
            Self::Full => "full",
            Self::Over => "over the limit",
        })
    }
}

/// How much of a context window is used: a limit, what is reserved of it for the reply, and what is used. All in tokens, all exact.
///
/// | used, of a limit of 100 with 20 reserved, near at 80 % | level |
/// |---|---|
/// | 0 … 63 | [`Below`](ContextLevel::Below) |
/// | 64 … 79: 80 % of 80, and up | [`Near`](ContextLevel::Near) |
/// | 80 | [`Full`](ContextLevel::Full) |
/// | 81 … | [`Over`](ContextLevel::Over) |
///
/// ```
/// use stageflow_plus::enrich::{ContextLevel, ContextUtilization};
///
/// let mut window = ContextUtilization::new(100).reserve(20);
/// assert_eq!((window.level(), window.room()), (ContextLevel::Below, 80));
/// assert_eq!(window.add(64), ContextLevel::Near);
/// assert_eq!(window.try_add(17), Err(16)); // that is how much room there is
/// assert_eq!(window.try_add(16), Ok(ContextLevel::Full));
/// assert_eq!(window.add(1), ContextLevel::Over);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ContextUtilization {
    limit: usize,
    reserved: usize,
    near_at: u8,
    used: usize,
}

impl ContextUtilization {
    /// A window of so many tokens, of which none is used, and which is nearly full at 80 %.
    pub fn new(limit: usize) -> Self {
        Self { limit, reserved: 0, near_at: 80, used: 0 }
    }

    /// Keeps so many tokens of the limit free, as for the reply. More than the limit is all of it.
    #[must_use]
    pub fn reserve(mut self, tokens: usize) -> Self {
        self.reserved = tokens.min(self.limit);
        self
    }

    /// From how many per cent of the [`usable`](Self::usable) tokens on it is nearly full. More than 100 is 100, which is no level of its
    /// own: it is full then.
    #[must_use]
    pub fn near_at(mut self, percent: u8) -> Self {
        self.near_at = percent.min(100);
        self
    }

    /// Uses so many tokens more, whether there is room or not, and gives the level then.
    pub fn add(&mut self, tokens: usize) -> ContextLevel {
        self.used = self.used.saturating_add(tokens);
        self.level()
    }

    /// Uses so many tokens more, if there is room.
    ///
    /// # Errors
    ///
    /// How much room there is; nothing has changed.
    pub fn try_add(&mut self, tokens: usize) -> Result<ContextLevel, usize> {
        if tokens > self.room() { Err(self.room()) } else { Ok(self.add(tokens)) }
    }

    /// Gives so many tokens back; more than are used are all of them.
    pub fn give_back(&mut self, tokens: usize) -> ContextLevel {
        self.used = self.used.saturating_sub(tokens);
        self.level()
    }

    /// The limit.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// What is reserved of it.
    pub fn reserved(&self) -> usize {
        self.reserved
    }

    /// The limit without what is reserved.
    pub fn usable(&self) -> usize {
        self.limit - self.reserved
    }

    /// From how many per cent on it is nearly full.
    pub fn near_percent(&self) -> u8 {
        self.near_at
    }

    /// What is used: more than the limit, if that was let happen.
    pub fn used(&self) -> usize {
        self.used
    }

    /// How much may still be used; 0 if too much is.
    pub fn room(&self) -> usize {
        self.usable().saturating_sub(self.used)
    }

    /// What is used as a share of what is usable: above 1 if it is too much. Of a window in which nothing is usable it is 1.
    pub fn share(&self) -> f64 {
        self.share_of(self.used)
    }

    /// So many tokens as a share of what is usable; 1 if nothing is.
    pub fn share_of(&self, tokens: usize) -> f64 {
        if self.usable() == 0 { 1.0 } else { tokens as f64 / self.usable() as f64 }
    }

    /// How full it is. A window in which nothing is usable is full from the beginning.
    pub fn level(&self) -> ContextLevel {
        let usable = self.usable();
        match self.used.cmp(&usable) {
            std::cmp::Ordering::Greater => ContextLevel::Over,
            std::cmp::Ordering::Equal => ContextLevel::Full,
            std::cmp::Ordering::Less => {
                let near = self.used as u128 * 100 >= usable as u128 * u128::from(self.near_at);
                if near { ContextLevel::Near } else { ContextLevel::Below }
            }
        }
    }
}

impl fmt::Display for ContextUtilization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} tokens used", self.used, self.limit)?;
        if self.reserved > 0 {
            write!(f, ", {} reserved", self.reserved)?;
        }
        write!(f, ", {}", self.level())
    }
}

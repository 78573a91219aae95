//! What a router gives: a route, and why it is that one.

use std::{borrow::Cow, fmt};

use stageflow_core::text::OneLine;

/// What can name a route: an enum of yours, a `&'static str`, a `String`, a number.
///
/// In events a route is what its `Debug` prints, without the quotes of a text, and at most 120 characters of it.
pub trait RouteKey: Clone + PartialEq + fmt::Debug + Send + Sync + 'static {}

impl<R: Clone + PartialEq + fmt::Debug + Send + Sync + 'static> RouteKey for R {}

/// As it is spelled in events and messages.
pub(crate) fn label<R: RouteKey>(route: &R) -> String {
    let text = format!("{route:?}");
    let bare = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(&text);
    OneLine(bare).to_string().chars().take(120).collect()
}

/// A decision: the output of every router.
///
/// ```
/// use stageflow_plus::router::{Route, RouteReason};
///
/// let route = Route::to("fast").because("a question about the weather").confidence(0.9);
/// assert!(route.is("fast"));
/// assert_eq!(route.reason(), RouteReason::Function);
/// assert_eq!(route.to_string(), "fast (function: a question about the weather, confidence 0.90)");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Route<R> {
    route: R,
    reason: RouteReason,
    because: Cow<'static, str>,
    confidence: f64,
    skipped: Vec<SkippedRoute<R>>,
}

/// A route that was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SkippedRoute<R> {
    /// Which.
    pub route: R,
    /// Why not.
    pub why: Cow<'static, str>,
}

impl<R> SkippedRoute<R> {
    /// A route, and why it was not taken.
    pub fn new(route: R, why: impl Into<Cow<'static, str>>) -> Self {
        Self { route, why: why.into() }
    }
}

/// Why a route was chosen: the reason code of the decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum RouteReason {
    /// A function of yours has chosen it.
    Function,
    /// A phrase was found.
    Phrase,
    /// The input is empty.
    Empty,
    /// The function knew no route, or one that was not declared.
    Unknown,
    /// The function was not sure enough.
    Unsure,
    /// It was its turn by its weight.
    Weight,
    /// Chance, by its weight.
    Random,
    /// The key belongs to it.
    Sticky,
    /// It has less to do than another.
    LeastLoaded,
    /// Too few routes are well, so that health was ignored.
    Panic,
    /// The variant of a split.
    Split,
    /// It comes first.
    Primary,
    /// Those before it were skipped.
    Fallback,
    /// All breakers are open, and this one will be the first to try again.
    LeastBad,
    /// All breakers were open until this one let a call through.
    Queued,
    /// The priority of the run.
    Priority,
    /// The priority of the run, raised because time runs out.
    Escalated,
}

impl RouteReason {
    /// As it is spelled in events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Function => "function",
            Self::Phrase => "phrase",
            Self::Empty => "empty",
            Self::Unknown => "unknown",
            Self::Unsure => "unsure",
            Self::Weight => "weight",
            Self::Random => "random",
            Self::Sticky => "sticky",
            Self::LeastLoaded => "least_loaded",
            Self::Panic => "panic",
            Self::Split => "split",
            Self::Primary => "primary",
            Self::Fallback => "fallback",
            Self::LeastBad => "least_bad",
            Self::Queued => "queued",
            Self::Priority => "priority",
            Self::Escalated => "escalated",
        }
    }
}

impl fmt::Display for RouteReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl<R> Route<R> {
    /// A decision for a route, of which nothing else is said: confidence 1, no words.
    pub fn to(route: R) -> Self {
        Self {
            route,
            reason: RouteReason::Function,
            because: Cow::Borrowed(""),
            confidence: 1.0,
            skipped: Vec::new(),
        }
    }

    /// The same with another reason code.
    #[must_use]
    pub fn reason_code(mut self, reason: RouteReason) -> Self {
        self.reason = reason;
        self
    }

    /// Says why in words. They go into events: put no payloads into them.
    #[must_use]
    pub fn because(mut self, because: impl Into<Cow<'static, str>>) -> Self {
        self.because = because.into();
        self
    }

    /// Says how sure the decision is, from 0 to 1; what is outside is cut to that, and what is no number is 0.
    #[must_use]
    pub fn confidence(mut self, confidence: f64) -> Self {
        self.confidence = if confidence.is_nan() { 0.0 } else { confidence.clamp(0.0, 1.0) };
        self
    }

    /// Adds a route that was not taken, and why.
    #[must_use]
    pub fn skip(mut self, route: R, why: impl Into<Cow<'static, str>>) -> Self {
        self.skipped.push(SkippedRoute::new(route, why));
        self
    }

    pub(crate) fn skipping(mut self, skipped: impl IntoIterator<Item = SkippedRoute<R>>) -> Self {
        self.skipped.extend(skipped);
        self
    }

    /// Whether it is this route: for `.when(decision, |d| d.is(…))`.
    #[expect(clippy::needless_pass_by_value, reason = "`d.is(Model::A)` reads better than `d.is(&Model::A)`")]
    pub fn is<Q>(&self, route: Q) -> bool
    where
        R: PartialEq<Q>,
    {
        self.route == route
    }

    /// Whether it is one of these.
    pub fn is_any<Q>(&self, routes: impl IntoIterator<Item = Q>) -> bool
    where
        R: PartialEq<Q>,
    {
        routes.into_iter().any(|route| self.route == route)
    }

    /// The route.
    pub fn route(&self) -> &R {
        &self.route
    }

    /// The reason code.
    pub fn reason(&self) -> RouteReason {
        self.reason
    }

    /// The reason in words; empty if there are none.
    pub fn words(&self) -> &str {
        &self.because
    }

    /// How sure it is, from 0 to 1.
    pub fn sureness(&self) -> f64 {
        self.confidence
    }

    /// The routes that were passed over, in the order in which they were looked at, and why.
    pub fn skipped(&self) -> &[SkippedRoute<R>] {
        &self.skipped
    }
}

/// Routes that were passed over, in one line.
pub(crate) fn list<R: RouteKey>(skipped: &[SkippedRoute<R>]) -> String {
    let each = |skipped: &SkippedRoute<R>| format!("{}: {}", label(&skipped.route), OneLine(&skipped.why));
    skipped.iter().map(each).collect::<Vec<_>>().join("; ")
}

impl<R: RouteKey> fmt::Display for Route<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}", label(&self.route), self.reason)?;
        if !self.because.is_empty() {
            write!(f, ": {}", OneLine(&self.because))?;
        }
        write!(f, ", confidence {:.2})", self.confidence)?;
        if !self.skipped.is_empty() {
            write!(f, ", not {}", list(&self.skipped))?;
        }
        Ok(())
    }
}

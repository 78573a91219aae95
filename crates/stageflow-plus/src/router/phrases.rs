//! [`Phrases`]: a route by the words of a text.

use std::{fmt, sync::Arc};

use super::route::{Route, RouteKey, RouteReason};

/// Finds phrases in a text: whole words in a row, in whatever case, with whatever stands between them.
///
/// Rules are asked in the order in which they were added; the first of which a phrase is found decides. The others of which one is found
/// are listed as skipped, and the decision is the less sure the more there are: confidence is 1 divided by how many rules were found.
/// Words are compared, not parts of words: "breakfast" has no "fast" in it.
///
/// Whoever writes the text can write any phrase into it. Where that must not choose the route, decide by something else.
///
/// ```
/// use stageflow_plus::router::Phrases;
///
/// let phrases = Phrases::otherwise("standard")
///     .rule("escalation", ["completely broken", "emergency"])
///     .rule("fast", ["weather"]);
///
/// let route = phrases.decide("It is COMPLETELY -- broken!");
/// assert_eq!(route.to_string(), "escalation (phrase: completely broken, confidence 1.00)");
/// assert!(phrases.decide("A weatherproof coat").is("standard"));
/// ```
#[derive(Clone, Debug)]
pub struct Phrases<R> {
    rules: Vec<Rule<R>>,
    otherwise: R,
}

#[derive(Clone, Debug)]
struct Rule<R> {
    route: R,
    phrases: Vec<Phrase>,
}

impl<R: RouteKey> Phrases<R> {
    /// No rules so far, and the route of a text in which no phrase is found.
    pub fn otherwise(route: R) -> Self {
        Self { rules: Vec::new(), otherwise: route }
    }

    /// A route, and the phrases of which one is enough; those without a word are never found.
    #[must_use]
    pub fn rule<P: Into<Arc<str>>>(mut self, route: R, phrases: impl IntoIterator<Item = P>) -> Self {
        let phrases = phrases.into_iter().map(Phrase::new).filter(|phrase| !phrase.is_empty());
        self.rules.push(Rule { route, phrases: phrases.collect() });
        self
    }

    /// The decision for a text. It takes time linear in the text for each phrase.
    pub fn decide(&self, text: &str) -> Route<R> {
        let words: Vec<String> = Phrase::words_of(text).collect();
        let mut found = self
            .rules
            .iter()
            .filter_map(|rule| Some((rule, rule.phrases.iter().find(|phrase| phrase.is_among(&words))?)));
        let Some((rule, phrase)) = found.next() else {
            return Route::to(self.otherwise.clone())
                .reason_code(RouteReason::Phrase)
                .because("no phrase found");
        };
        let mut route =
            Route::to(rule.route.clone()).reason_code(RouteReason::Phrase).because(phrase.to_string());
        let mut rules = 1_u32;
        for (other, phrase) in found {
            rules += 1;
            route = route.skip(other.route.clone(), format!("a later rule ({phrase})"));
        }
        route.confidence(1.0 / f64::from(rules))
    }

    /// All routes, each once.
    pub(crate) fn routes(&self) -> Vec<R> {
        let mut all = vec![self.otherwise.clone()];
        for rule in &self.rules {
            if !all.contains(&rule.route) {
                all.push(rule.route.clone());
            }
        }
        all
    }
}

/// Words in a row, in whatever case, with whatever stands between them.
///
/// ```
/// use stageflow_plus::router::Phrase;
///
/// let phrase = Phrase::new("completely broken");
/// assert!(phrase.is_in("It is COMPLETELY -- broken!"));
/// assert!(!phrase.is_in("It is incompletely broken"));
/// assert!(Phrase::new("!?").is_empty() && !Phrase::new("!?").is_in("!?"));
/// ```
#[derive(Clone, Debug)]
pub struct Phrase {
    text: Arc<str>,
    words: Vec<String>,
}

impl Phrase {
    /// The phrase as it is written.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        let text = text.into();
        Self { words: Self::words_of(&text).collect(), text }
    }

    /// The words of any text, in lower case: rows of letters and digits of any script.
    pub fn words_of(text: &str) -> impl Iterator<Item = String> {
        text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase)
    }

    /// Whether it has no word, so that it is found nowhere.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Whether a text has its words in a row.
    pub fn is_in(&self, text: &str) -> bool {
        self.is_among(&Self::words_of(text).collect::<Vec<_>>())
    }

    fn is_among(&self, words: &[String]) -> bool {
        !self.is_empty() && words.windows(self.words.len()).any(|window| window == self.words)
    }
}

/// As it is written.
impl fmt::Display for Phrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

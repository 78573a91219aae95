//! [`Phrases`]: a route by the words of a text.

use std::sync::Arc;

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
    /// Each with its words.
    phrases: Vec<(Arc<str>, Vec<String>)>,
}

impl<R: RouteKey> Phrases<R> {
    /// No rules so far, and the route of a text in which no phrase is found.
    pub fn otherwise(route: R) -> Self {
        Self { rules: Vec::new(), otherwise: route }
    }

    /// A route, and the phrases of which one is enough; those without a word are never found.
    #[must_use]
    pub fn rule<P: Into<Arc<str>>>(mut self, route: R, phrases: impl IntoIterator<Item = P>) -> Self {
        let phrases = phrases.into_iter().map(Into::into).map(|phrase: Arc<str>| {
            let words = words(&phrase);
            (phrase, words)
        });
        self.rules.push(Rule { route, phrases: phrases.filter(|(_, words)| !words.is_empty()).collect() });
        self
    }

    /// The decision for a text. It takes time linear in the text for each phrase.
    pub fn decide(&self, text: &str) -> Route<R> {
        let words = words(text);
        let mut found = self.rules.iter().filter_map(|rule| {
            let phrase = rule.phrases.iter().find(|(_, phrase)| contains(&words, phrase))?;
            Some((rule, &phrase.0))
        });
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

/// The words of a text, in lower case: rows of letters and digits of any script.
fn words(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect()
}

fn contains(words: &[String], phrase: &[String]) -> bool {
    words.windows(phrase.len()).any(|window| window == phrase)
}

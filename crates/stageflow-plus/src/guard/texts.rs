//! Ready-made guards: of length, of what is blank, of phrases, and redaction by a function.

use std::{collections::HashMap, fmt, sync::Arc};

use stageflow_core::{StageContext, StageResult};

use super::{
    content::{is_blank, is_invisible},
    contract::Guard,
    reason::Reason,
    rules::{GuardRules, rule_setters},
    verdict::Verdict,
};

/// Blocks texts that are too long or too short, in characters: `too_long`, `too_short`.
///
/// A text with more than four bytes for each character that it may have is not counted through, however long it is.
#[derive(Clone, Debug)]
#[must_use = "a guard is given to a stage"]
pub struct Length {
    least: usize,
    most: usize,
    rules: GuardRules,
}

impl Length {
    /// At most so many characters.
    pub fn at_most(characters: usize) -> Self {
        Self { least: 0, most: characters, rules: GuardRules::named("Length") }
    }

    /// At least so many characters as well.
    pub fn at_least(mut self, characters: usize) -> Self {
        self.least = characters;
        self
    }

    rule_setters!();

    fn verdict<T, F>(&self, text: &str) -> Verdict<T, F> {
        if text.len() / 4 > self.most {
            return Verdict::block("too_long");
        }
        match text.chars().count() {
            count if count > self.most => Verdict::block("too_long"),
            count if count < self.least => Verdict::block("too_short"),
            _ => Verdict::allow(),
        }
    }
}

/// Blocks texts in which nothing is seen: `blank`. Stages that are guards do so anyway; it is for parts of content.
#[derive(Clone, Debug)]
#[must_use = "a guard is given to a stage"]
pub struct NotBlank {
    rules: GuardRules,
}

impl NotBlank {
    /// Blocks texts of white space, control characters and characters without a width alone.
    pub fn new() -> Self {
        Self { rules: GuardRules::named("NotBlank") }
    }

    rule_setters!();
}

impl Default for NotBlank {
    fn default() -> Self {
        Self::new()
    }
}

/// Blocks texts with one of some words or phrases: `denylist`.
///
/// Words are compared whole, in lower case, whatever stands between them; characters that are not seen count for nothing. It takes time
/// in proportion to the text and to the phrases that begin alike.
///
/// # Limits
///
/// Whoever wants to can spell any word so that no list has it: letters of other alphabets, digits for letters, other languages. It
/// keeps honest people from accidents, and is no defence on its own.
#[derive(Clone)]
#[must_use = "a guard is given to a stage"]
pub struct Denylist {
    /// By the first word, what follows it.
    phrases: Arc<HashMap<String, Vec<Vec<String>>>>,
    reason: Reason,
    rules: GuardRules,
}

impl Denylist {
    /// Blocks texts with one of `phrases`. Phrases without a letter or digit match nothing.
    pub fn new<P: AsRef<str>>(phrases: impl IntoIterator<Item = P>) -> Self {
        let mut by_first: HashMap<String, Vec<Vec<String>>> = HashMap::new();
        for phrase in phrases {
            let mut words = words(phrase.as_ref());
            if let Some(first) = words.next() {
                by_first.entry(first).or_default().push(words.collect());
            }
        }
        let rules = GuardRules::named("Denylist");
        Self { phrases: Arc::new(by_first), reason: Reason::from("denylist"), rules }
    }

    /// The reason of its objections.
    pub fn reason(mut self, reason: impl Into<Reason>) -> Self {
        self.reason = reason.into();
        self
    }

    rule_setters!();

    /// Whether the text has one of the phrases.
    pub fn finds(&self, text: &str) -> bool {
        let words: Vec<_> = words(text).collect();
        words.iter().enumerate().any(|(at, first)| {
            let follows = words.get(at + 1..).unwrap_or_default();
            self.phrases.get(first).is_some_and(|rests| rests.iter().any(|rest| follows.starts_with(rest)))
        })
    }
}

/// Its words, in lower case, without what is not seen.
fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    let seen = |word: &str| -> String {
        word.chars().filter(|c| !is_invisible(*c)).flat_map(char::to_lowercase).collect()
    };
    text.split(|c: char| !c.is_alphanumeric() && !is_invisible(c)).map(seen).filter(|word| !word.is_empty())
}

/// Transforms content by a function, such as one that masks personal data.
///
/// ```
/// use stageflow_plus::guard::{GuardStage, Redact};
///
/// let digits = Redact::new("pii.digits", |text: &String| {
///     let masked: String = text.chars().map(|c| if c.is_ascii_digit() { '#' } else { c }).collect();
///     (masked != *text).then_some(masked)
/// });
/// let stage = GuardStage::new(digits);
/// # let _ = stage;
/// ```
#[derive(Clone)]
#[must_use = "a guard is given to a stage"]
pub struct Redact<R> {
    redact: R,
    reason: Reason,
    rules: GuardRules,
}

impl<R> Redact<R> {
    /// Puts what `redact` gives in the place of the content; `None` leaves it as it is. A function that changes its own results each
    /// time it is asked never comes to an end among other guards: see [`Guards`](super::Guards).
    pub fn new<T>(reason: impl Into<Reason>, redact: R) -> Self
    where
        R: Fn(&T) -> Option<T>,
    {
        Self { redact, reason: reason.into(), rules: GuardRules::named("Redact") }
    }

    rule_setters!();
}

macro_rules! of_texts {
    ($($guard:ident: |$own:ident, $text:ident| $verdict:expr;)*) => {$(
        impl<T: AsRef<str> + Send + Sync + 'static, F: Send> Guard<T, F> for $guard {
            async fn check(&self, _: &StageContext, content: &Arc<T>) -> StageResult<Verdict<T, F>> {
                let ($own, $text) = (self, (**content).as_ref());
                Ok($verdict)
            }

            fn rules(&self) -> GuardRules {
                self.rules.clone()
            }
        }
    )*};
}

of_texts! {
    Length: |length, text| length.verdict(text);
    NotBlank: |_own, text| if is_blank(text) { Verdict::block("blank") } else { Verdict::allow() };
    Denylist: |list, text| if list.finds(text) { Verdict::block(list.reason.clone()) } else { Verdict::allow() };
}

impl<T, F, R> Guard<T, F> for Redact<R>
where
    T: Send + Sync + 'static,
    F: Send,
    R: Fn(&T) -> Option<T> + Send + Sync + 'static,
{
    async fn check(&self, _: &StageContext, content: &Arc<T>) -> StageResult<Verdict<T, F>> {
        Ok(match (self.redact)(content) {
            Some(redacted) => Verdict::transform(redacted, self.reason.clone()),
            None => Verdict::allow(),
        })
    }

    fn rules(&self) -> GuardRules {
        self.rules.clone()
    }
}

impl fmt::Debug for Denylist {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What is listed may be what nobody should read.
        f.debug_struct("Denylist").field("reason", &self.reason).finish_non_exhaustive()
    }
}

impl<R> fmt::Debug for Redact<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redact").field("reason", &self.reason).finish_non_exhaustive()
    }
}

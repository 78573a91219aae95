//! A scripted language model: for tests of stages and agents that talk to one.

use std::{
    fmt,
    panic::Location,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use stageflow_core::{Code, ErrorClass, Stage, StageContext, StageExit, StageKind, StageResult};

mod reply;
#[cfg(test)]
mod tests;

pub use reply::{ModelError, Reply};

/// A language model that answers by rules: the first rule that matches the prompt gives its next reply, and its last reply
/// again once all are used up. A prompt that no rule matches is an error that lists the rules.
///
/// Clones are the same model: they share what it has heard and said. It can be called as it is, and it is a stage from
/// `Arc<String>` to `String`, of kind [`Agent`](StageKind::Agent).
///
/// # Cancel safety
///
/// A call that is dropped has used its reply up, and its prompt is recorded.
///
/// ```
/// use stageflow_testing::{Reply, ScriptedModel};
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let model = ScriptedModel::new()
///     .on("weather", Reply::rate_limited())
///     .then("It is sunny.")
///     .when(|prompt| prompt.len() > 1_000, Reply::context_length())
///     .otherwise("I do not know.");
///
/// assert!(model.complete("How is the weather?").await.is_err());
/// assert_eq!(model.complete("And the weather now?").await.ok().as_deref(), Some("It is sunny."));
/// assert_eq!(model.complete("Who are you?").await.ok().as_deref(), Some("I do not know."));
/// assert_eq!(model.prompts().len(), 3);
/// assert_eq!(model.usage().completion_tokens, 7);
/// # });
/// # Ok::<_, std::io::Error>(())
/// ```
#[derive(Clone)]
#[must_use = "a model does nothing until it is asked"]
pub struct ScriptedModel {
    rules: Vec<Rule>,
    delay: Duration,
    record: Arc<Mutex<Record>>,
}

#[derive(Clone)]
struct Rule {
    matches: Matches,
    replies: Vec<Reply>,
    /// How often it has matched.
    matched: Arc<AtomicUsize>,
}

#[derive(Clone)]
enum Matches {
    Contains(String),
    Predicate(Arc<dyn Fn(&str) -> bool + Send + Sync>, &'static Location<'static>),
    Anything,
}

#[derive(Default)]
struct Record {
    prompts: Vec<String>,
    usage: Usage,
}

/// What a [`ScriptedModel`] was used for. A token is a word here: what stands between white space. Real models count otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// How many prompts it was given, those it did not answer included.
    pub calls: usize,
    /// The words of those prompts.
    pub prompt_tokens: usize,
    /// The words of its replies; errors have none.
    pub completion_tokens: usize,
}

impl ScriptedModel {
    /// A model without rules: every prompt is an error.
    pub fn new() -> Self {
        Self { rules: Vec::new(), delay: Duration::ZERO, record: Arc::default() }
    }

    /// Adds a rule for prompts that contain a text, with its first reply.
    pub fn on(self, text: impl Into<String>, reply: impl Into<Reply>) -> Self {
        self.rule(Matches::Contains(text.into()), reply.into())
    }

    /// Adds a rule for prompts that satisfy a predicate, with its first reply.
    #[track_caller]
    pub fn when(
        self,
        predicate: impl Fn(&str) -> bool + Send + Sync + 'static,
        reply: impl Into<Reply>,
    ) -> Self {
        self.rule(Matches::Predicate(Arc::new(predicate), Location::caller()), reply.into())
    }

    /// Adds a rule for every prompt, with its first reply. Rules after it are never asked.
    pub fn otherwise(self, reply: impl Into<Reply>) -> Self {
        self.rule(Matches::Anything, reply.into())
    }

    /// Adds a reply to the last rule; without a rule it answers every prompt.
    pub fn then(mut self, reply: impl Into<Reply>) -> Self {
        match self.rules.last_mut() {
            Some(rule) => {
                rule.replies.push(reply.into());
                self
            }
            None => self.otherwise(reply),
        }
    }

    /// How long every reply takes, errors included, besides its own delay. The time is tokio's: pause it in tests.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Answers a prompt.
    ///
    /// # Errors
    ///
    /// A failure with the class and the code of the rule's [`Reply`], and [`ModelError`] as its cause; `?` in a stage keeps
    /// all of it. [`NO_RULE`](Self::NO_RULE) where no rule matches.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the prompt recorded and the reply used up.
    pub async fn complete(&self, prompt: impl AsRef<str>) -> StageResult<String> {
        let prompt = prompt.as_ref();
        {
            let mut record = self.lock();
            record.usage.calls += 1;
            record.usage.prompt_tokens += words(prompt);
            record.prompts.push(prompt.to_owned());
        }
        let reply = self.rules.iter().find(|rule| rule.matches.matches(prompt)).and_then(Rule::next);
        let Some(reply) = reply else { return Err(self.no_rule(prompt)) };
        let delay = self.delay.saturating_add(reply.delay);
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let text = reply.result.clone().map_err(ModelError::into_exit)?;
        self.lock().usage.completion_tokens += words(&text);
        Ok(text)
    }

    /// The code of the error for a prompt that no rule matches.
    pub const NO_RULE: Code = Code::new("MODEL_NO_RULE");

    /// The prompts so far, in the order of the calls.
    pub fn prompts(&self) -> Vec<String> {
        self.lock().prompts.clone()
    }

    /// What it was used for so far.
    pub fn usage(&self) -> Usage {
        self.lock().usage
    }

    fn rule(mut self, matches: Matches, reply: Reply) -> Self {
        self.rules.push(Rule { matches, replies: vec![reply], matched: Arc::default() });
        self
    }

    fn no_rule(&self, prompt: &str) -> StageExit {
        let rules: Vec<_> = self.rules.iter().map(|rule| rule.matches.to_string()).collect();
        let rules = if rules.is_empty() { "no rule".to_owned() } else { rules.join(", ") };
        let message = format!("the scripted model has no rule for `{}`: it has {rules}", clip(prompt));
        let error = ModelError::new(ErrorClass::Permanent, Self::NO_RULE, message);
        error.into_exit().hint("add a rule, or `otherwise`")
    }

    fn lock(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rule {
    /// The reply to the next prompt that matches.
    fn next(&self) -> Option<&Reply> {
        let number = self.matched.fetch_add(1, Ordering::Relaxed);
        self.replies.get(number).or_else(|| self.replies.last())
    }
}

impl Matches {
    fn matches(&self, prompt: &str) -> bool {
        match self {
            Self::Contains(text) => prompt.contains(text),
            Self::Predicate(predicate, _) => predicate(prompt),
            Self::Anything => true,
        }
    }
}

impl fmt::Display for Matches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Contains(text) => write!(f, "on `{}`", clip(text)),
            Self::Predicate(_, place) => write!(f, "when (line {})", place.line()),
            Self::Anything => f.write_str("otherwise"),
        }
    }
}

impl Stage for ScriptedModel {
    type Input = Arc<String>;
    type Output = String;
    const KIND: StageKind = StageKind::Agent;

    async fn run(&self, _ctx: &StageContext, prompt: Arc<String>) -> StageResult<String> {
        self.complete(&*prompt).await
    }
}

impl Default for ScriptedModel {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ScriptedModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rules: Vec<_> = self.rules.iter().map(|rule| rule.matches.to_string()).collect();
        f.debug_struct("ScriptedModel").field("rules", &rules).field("usage", &self.usage()).finish()
    }
}

fn words(text: &str) -> usize {
    text.split_whitespace().count()
}

/// The beginning of a text, on one line.
fn clip(text: &str) -> String {
    const WIDTH: usize = 60;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= WIDTH {
        return line;
    }
    let kept: String = line.chars().take(WIDTH).collect();
    format!("{kept}…")
}

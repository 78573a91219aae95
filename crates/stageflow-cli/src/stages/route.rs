//! `route.phrases`: which way a text takes, by what is said in it.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use stageflow::{
    plus::router::{self, Phrases},
    prelude::*,
    spec::SpecError,
};

use super::pointer::{Pointer, text_at};

/// Chooses a route by phrases in a text: the first rule of which a phrase is found decides.
///
/// It gives `{"route": …, "because": …, "confidence": …}`; the condition `equals` with `"at": "/route"` reads it. Words are compared, in
/// whatever case, and not parts of words.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RouteConfig {
    /// Where the text is.
    #[serde(default)]
    at: Pointer,
    /// The rules, the most important first.
    rules: Vec<Rule>,
    /// The route of a text in which no phrase is found.
    otherwise: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Rule {
    route: String,
    phrases: Vec<String>,
}

#[derive(Debug)]
pub(super) struct Router {
    at: Pointer,
    router: router::Router<String, String>,
}

impl Router {
    pub(super) fn new(config: RouteConfig) -> Result<Self, SpecError> {
        let mut phrases = Phrases::otherwise(config.otherwise);
        for (index, rule) in config.rules.into_iter().enumerate() {
            let wordless = rule.phrases.iter().position(|phrase| !phrase.contains(char::is_alphanumeric));
            if let Some(phrase) = wordless {
                let wrong = SpecError::new("a phrase without a word is never found");
                return Err(wrong.at(format!("/rules/{index}/phrases/{phrase}")));
            }
            phrases = phrases.rule(rule.route, rule.phrases);
        }
        Ok(Self { at: config.at, router: router::Router::by_phrases(phrases) })
    }
}

impl Stage for Router {
    type Input = Arc<Value>;
    type Output = Value;
    const KIND: StageKind = StageKind::Route;

    async fn run(&self, ctx: &StageContext, input: Arc<Value>) -> StageResult<Value> {
        let text = text_at(&input, &self.at).invalid()?;
        let route = self.router.run(ctx, Arc::new(text.to_owned())).await?;
        Ok(json!({ "route": route.route(), "because": route.words(), "confidence": route.sureness() }))
    }
}

//! `redact`: takes out of texts what does not belong into them.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use stageflow::prelude::*;

/// Replaces addresses of mail and long numbers in all texts of its input by `[email]` and `[number]`.
///
/// It finds what looks like one, and is no proof that nothing is left.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Redact {
    /// Whether addresses of mail are replaced.
    #[serde(default = "yes")]
    emails: bool,
    /// Numbers with so many digits are replaced, such as those of cards and accounts; spaces and dashes between them do not count. 0 for none.
    #[serde(default = "twelve")]
    digits: usize,
}

fn yes() -> bool {
    true
}

fn twelve() -> usize {
    12
}

impl Stage for Redact {
    type Input = Arc<Value>;
    type Output = Value;

    async fn run(&self, _: &StageContext, input: Arc<Value>) -> StageResult<Value> {
        let mut value = Arc::unwrap_or_clone(input);
        self.value(&mut value);
        Ok(value)
    }
}

impl Redact {
    fn value(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.text(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.value(item)),
            Value::Object(fields) => fields.values_mut().for_each(|field| self.value(field)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn text(&self, text: &str) -> String {
        let without = if self.emails { emails(text) } else { text.to_owned() };
        if self.digits == 0 { without } else { numbers(&without, self.digits) }
    }
}

/// Word by word: what has an `@` with a host behind it is an address.
fn emails(text: &str) -> String {
    let is_part = |c: char| c.is_alphanumeric() || "._%+-@".contains(c);
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(is_part) {
        let end = rest[start..].find(|c| !is_part(c)).map_or(rest.len(), |end| start + end);
        let (word, after) = (&rest[start..end], &rest[end..]);
        out.push_str(&rest[..start]);
        // A full stop ends the sentence, and not the address.
        let kept = word.trim_end_matches(['.', '-']);
        let is_address = kept.split_once('@').is_some_and(|(name, host)| {
            !name.is_empty() && host.split('.').count() > 1 && host.split('.').all(|part| !part.is_empty())
        });
        if is_address {
            out.push_str("[email]");
            out.push_str(&word[kept.len()..]);
        } else {
            out.push_str(word);
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Rows of digits, with single spaces or dashes between them.
fn numbers(text: &str, least: usize) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        out.push_str(&rest[..start]);
        let (mut end, mut digits) = (start, 0);
        let mut gap = 0;
        for (at, c) in rest[start..].char_indices() {
            match c {
                '0'..='9' => {
                    digits += 1;
                    gap = 0;
                    end = start + at + 1;
                }
                ' ' | '-' if gap == 0 => gap = 1,
                _ => break,
            }
        }
        out.push_str(if digits >= least { "[number]" } else { &rest[start..end] });
        rest = &rest[end..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::{emails, numbers};

    #[test]
    fn addresses_are_found_and_sentences_stay() {
        assert_eq!(
            emails("Write to a.b+c@mail.example.org. Or @me, a@b, x@.de!"),
            "Write to [email]. Or @me, a@b, x@.de!"
        );
        assert_eq!(emails("<ann@example.com>;bob@example.com"), "<[email]>;[email]");
        assert_eq!(emails("größe@bücher.example"), "[email]");
        assert_eq!(emails(""), "");
    }

    #[test]
    fn long_numbers_are_found_with_what_stands_between() {
        assert_eq!(numbers("card 4111 1111-1111 1111, order 12345.", 12), "card [number], order 12345.");
        assert_eq!(numbers("1 2  3", 3), "1 2  3");
        assert_eq!(numbers("1 2 3", 3), "[number]");
        assert_eq!(numbers("ends 123 ", 3), "ends [number] ");
    }
}

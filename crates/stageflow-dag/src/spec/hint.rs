//! Messages of deserialisers: without the values they quote, and with a guess at what was meant.

use crate::{
    problem::Quoted,
    suggest::{self, COMPARISONS},
};

/// Replaces text that a message quotes from the data, which may be a secret, by a word for it.
pub(super) fn without_values(message: &str) -> String {
    let prefixes = ["invalid type: string \"", "invalid value: string \"", "invalid length: string \""];
    for prefix in prefixes {
        if let Some(start) = message.find(prefix) {
            let kept = start + prefix.len() - "string \"".len();
            let expected = message.rfind("\", expected ").map_or(message.len(), |end| end + 1);
            return format!("{}a text{}", &message[..kept], &message[expected..]);
        }
    }
    message.to_owned()
}

/// A name in a message may be as long as the data.
pub(super) fn shortened(mut message: String) -> String {
    const LONGEST: usize = 600;
    if let Some((end, _)) = message.char_indices().nth(LONGEST) {
        message.truncate(end);
        message.push('…');
    }
    message
}

/// "Did you mean" for unknown fields and variants, whose messages list what is known.
pub(super) fn of_serde(message: &str) -> Option<String> {
    let rest =
        message.strip_prefix("unknown field `").or_else(|| message.strip_prefix("unknown variant `"))?;
    let (unknown, known) = rest.split_once("`, expected ")?;
    let known = known.split('`').skip(1).step_by(2);
    did_you_mean(unknown, known, &mut COMPARISONS.clone())
}

pub(super) fn did_you_mean<'n>(
    unknown: &str,
    known: impl Iterator<Item = &'n str>,
    left: &mut usize,
) -> Option<String> {
    let closest = suggest::closest(unknown, known, left)?;
    Some(format!("did you mean {}?", Quoted(closest)))
}

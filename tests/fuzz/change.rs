//! Changes of data at random: of its bytes, and of its tree.

use serde_json::{Value, json};
use stageflow::{Randomness, SeededRandom};

/// The choices of one case.
pub(crate) struct Random(pub(crate) SeededRandom);

impl Random {
    pub(crate) fn below(&self, limit: usize) -> usize {
        let limit = u64::try_from(limit.max(1)).unwrap_or(u64::MAX);
        usize::try_from(self.0.next_u64() % limit).unwrap_or(0)
    }

    fn of<'a, T>(&self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

/// Texts that mean something to a reader, or did to one once.
const TOKENS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\",
    "null",
    "true",
    "1e999",
    "-0",
    "18446744073709551616",
    "\\u0000",
    "\\ud800",
    "\u{feff}",
    "\u{202e}",
    "\0",
    "input",
    "\"use\":",
    "\"with\":",
    "\"inputs\":",
    "\"after\":",
    "\"when\":",
    "\"of\":",
    "\"is\":",
    "\"policies\":",
    "\"optional\":",
    "\"or\":",
    "\"stageflow\":2",
    "/*",
    "//",
    "[[[[[[[[",
    "{\"a\":{\"a\":{\"a\":",
    "9999999999999999999d",
];

/// Cuts, copies, moves and replaces some bytes.
pub(crate) fn bytes(random: &Random, text: &str, corpus: &[&str]) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..1 + random.below(2) {
        let from = random.below(bytes.len());
        let to = (from + random.below(40)).min(bytes.len());
        let at = random.below(bytes.len() + 1);
        match random.below(16) {
            0 => drop(bytes.drain(from..to)),
            1 => {
                let copy = bytes[from..to].to_vec();
                drop(bytes.splice(at..at, copy));
            }
            2 => drop(bytes.splice(at..at, random.of(TOKENS).bytes())),
            3 => {
                let other = random.of(corpus).as_bytes();
                let cut = random.below(other.len());
                drop(bytes.splice(from..to, other[cut..(cut + 60).min(other.len())].iter().copied()));
            }
            4 => bytes.truncate(at),
            5 => {
                let many = random.below(400);
                let token = random.of(TOKENS).repeat(many);
                drop(bytes.splice(at..at, token.into_bytes()));
            }
            6 if from < bytes.len() => bytes[from] ^= 1 << random.below(8),
            // One letter or digit by another: it often stays well formed.
            _ => {
                let letters: Vec<_> =
                    (0..bytes.len()).filter(|at| bytes[*at].is_ascii_alphanumeric()).collect();
                if !letters.is_empty() {
                    bytes[*random.of(&letters)] = bytes[*random.of(&letters)];
                }
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Replaces, removes, renames and moves some values.
pub(crate) fn tree(random: &Random, text: &str) -> String {
    let mut root: Value = serde_json::from_str(text).expect("the corpus is JSON");
    for _ in 0..1 + random.below(2) {
        let mut places = Vec::new();
        collect(&root, String::new(), &mut places);
        let value = match random.below(3) {
            0 | 1 => root.pointer(random.of::<String>(&places)).cloned().unwrap_or_default(),
            _ => any(random, 3),
        };
        let place = random.of(&places).clone();
        let Some((parent, key)) = place.rsplit_once('/') else { continue };
        let key = key.replace("~1", "/").replace("~0", "~");
        match root.pointer_mut(parent) {
            Some(Value::Object(object)) => match random.below(12) {
                0 => drop(object.remove(&key)),
                1 => {
                    let moved = object.remove(&key).unwrap_or_default();
                    object.insert(word(random), moved);
                }
                2 => drop(object.insert(word(random), value)),
                _ => drop(object.insert(key, value)),
            },
            Some(Value::Array(items)) => match random.below(3) {
                0 => items.clear(),
                1 => items.push(value),
                _ => {
                    let index = random.below(items.len());
                    if let Some(item) = items.get_mut(index) {
                        *item = value;
                    }
                }
            },
            _ => {}
        }
    }
    root.to_string()
}

/// The place of each value but the whole, as a JSON pointer.
fn collect(value: &Value, at: String, places: &mut Vec<String>) {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(object) => {
            object.iter().map(|(key, value)| (key.replace('~', "~0").replace('/', "~1"), value)).collect()
        }
        Value::Array(items) => {
            items.iter().enumerate().map(|(index, item)| (index.to_string(), item)).collect()
        }
        _ => Vec::new(),
    };
    for (key, value) in children {
        collect(value, format!("{at}/{key}"), places);
    }
    places.push(at);
}

/// A word that stands in the format, in the registry, or nowhere.
fn word(random: &Random) -> String {
    let words = [
        "a",
        "b",
        "zero",
        "one",
        "own",
        "text",
        "input",
        "use",
        "with",
        "inputs",
        "after",
        "when",
        "policies",
        "kind",
        "optional",
        "or",
        "of",
        "is",
        "not",
        "even",
        "above",
        "retry",
        "breaker",
        "timeout",
        "deadline",
        "stageflow",
        "output",
        "",
        "a/b~c",
        "a\0b",
        "\u{1b}[0m",
        "deadlin",
        "max_attempts",
        "name",
    ];
    (*random.of(&words)).to_owned()
}

/// Any value, nested so deep at most.
fn any(random: &Random, depth: usize) -> Value {
    match random.below(if depth == 0 { 8 } else { 11 }) {
        0 => Value::Null,
        1 => json!(random.below(2) == 0),
        2 => json!(random.0.next_u64()),
        3 => json!(i64::MIN),
        4 => json!(*random.of(&[0.0, -1.0, 0.5, 1e300, -1e-300, 101.0])),
        5 => json!(random.below(4)),
        6 => json!(*random.of(&[
            "1s",
            "250ms",
            "0s",
            "none",
            "1h30m",
            "-1s",
            "99999999999999d",
            "1.0000000001s",
            "soon"
        ])),
        7 => json!(word(random)),
        8 => json!({ "optional": any(random, depth - 1) }),
        9 => (0..random.below(4)).map(|_| any(random, depth - 1)).collect(),
        _ => (0..random.below(4)).map(|_| (word(random), any(random, depth - 1))).collect(),
    }
}

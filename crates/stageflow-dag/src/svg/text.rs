//! Texts in a picture: what they may hold, and how wide they are.

use std::fmt::{self, Display, Write as _};

/// Sizes of type, in pixels.
pub(super) const TITLE: u32 = 16;
pub(super) const NAME: u32 = 13;
pub(super) const SMALL: u32 = 11;

/// Longer names are cut; the whole name is what a reader finds when pointing at it.
const LONGEST: usize = 32;

/// A text between tags or in quotes. What XML 1.0 has no way to write becomes a space.
pub(super) struct Escaped<'a>(pub(super) &'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&#39;"),
            c if c.is_control() || matches!(c, '\u{FFFE}' | '\u{FFFF}') => f.write_char(' '),
            c => f.write_char(c),
        })
    }
}

/// How wide a text is at most in the usual sans-serif types, in pixels. Nobody measures with the font of the reader.
pub(super) fn width(text: &str, size: u32) -> i64 {
    let thousandths: i64 = text.chars().map(advance).sum();
    thousandths * i64::from(size) / 1_000 + 1
}

fn advance(c: char) -> i64 {
    match c {
        'i' | 'j' | 'l' | 'I' | '.' | ',' | ':' | ';' | '!' | '|' | '\'' | '`' | ' ' => 360,
        'f' | 'r' | 't' | '(' | ')' | '[' | ']' | '-' | '/' => 440,
        'm' | 'w' | 'M' | 'W' | '@' | '%' => 1_000,
        'A'..='Z' | '_' | '→' | '…' => 780,
        c if c.is_ascii() => 650,
        // Letters of other alphabets that are not wide: Latin, Greek, Cyrillic, Hebrew, Arabic and their like.
        c if u32::from(c) < 0x1100 => 700,
        _ => 1_150,
    }
}

pub(super) fn cut(name: &str) -> String {
    if name.chars().count() <= LONGEST {
        return name.to_owned();
    }
    let kept: String = name.chars().take(LONGEST - 1).collect();
    format!("{kept}…")
}

//! Where something is in a text in JSON: from a pointer to line and column.

use std::collections::{HashMap, hash_map::Entry};

/// A place in a text, and how much of it is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// From 1.
    pub(crate) line: usize,
    /// From 1, in characters.
    pub(crate) column: usize,
    /// In characters, at least 1.
    pub(crate) length: usize,
}

/// A text in JSON, and what has been found out about it: asking for many places takes time linear in text and places.
pub(crate) struct Places<'t> {
    text: &'t str,
    /// Where lines begin.
    lines: Vec<usize>,
    /// The items of the objects and arrays that were looked into, by where these begin.
    known: HashMap<usize, HashMap<String, Item>>,
}

/// From where to where, in bytes.
type Range = (usize, usize);

/// An item of an object or array.
#[derive(Clone, Copy)]
struct Item {
    key: Option<Range>,
    /// Where its value begins.
    at: usize,
}

/// A name as a step of a JSON pointer.
pub(crate) fn step_to(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

impl<'t> Places<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { text, lines, known: HashMap::new() }
    }

    /// Finds what a JSON pointer points at, or the last thing on the way to it that is there. Of an object or array it is the key, if it
    /// has one, and else the bracket. `None` if the text is no JSON so far.
    pub(crate) fn locate(&mut self, pointer: &str) -> Option<Place> {
        let mut item = Item { key: None, at: 0 };
        for step in pointer.split('/').skip(1) {
            let step = step.replace("~1", "/").replace("~0", "~");
            match self.items(item.at)?.get(&step) {
                Some(next) => item = *next,
                None => break,
            }
        }
        let (start, end) = Scan { text: self.text, at: item.at }.meant(item.key)?;
        Some(self.place(start, end))
    }

    /// The place that a parser tells, which counts bytes, both from 1.
    pub(crate) fn of_parser(&self, (line, column): (usize, usize)) -> Place {
        let before = self.line(line).char_indices().take_while(|(at, _)| *at + 1 < column).count();
        Place { line, column: before + 1, length: 1 }
    }

    /// A line, from 1.
    pub(crate) fn line(&self, number: usize) -> &'t str {
        let start = number.checked_sub(1).and_then(|line| self.lines.get(line));
        let rest = start.and_then(|start| self.text.get(*start..)).unwrap_or("");
        rest.lines().next().unwrap_or("")
    }

    fn place(&self, start: usize, end: usize) -> Place {
        let line = self.lines.partition_point(|begin| *begin <= start);
        let begin = line.checked_sub(1).and_then(|line| self.lines.get(line)).copied().unwrap_or(0);
        let column = self.text.get(begin..start).unwrap_or("").chars().count() + 1;
        let meant = self.text.get(start..end).unwrap_or("").lines().next().unwrap_or("");
        Place { line, column, length: meant.chars().count().max(1) }
    }

    /// The items of the value at a place; nothing for a plain one.
    fn items(&mut self, at: usize) -> Option<&HashMap<String, Item>> {
        match self.known.entry(at) {
            Entry::Occupied(known) => Some(known.into_mut()),
            Entry::Vacant(unknown) => Some(unknown.insert(Scan { text: self.text, at }.items()?)),
        }
    }
}

/// A look at a text that is taken for JSON, without recursion.
struct Scan<'t> {
    text: &'t str,
    /// In front of a value.
    at: usize,
}

impl Scan<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    /// What is shown of the value here: all of a plain one, else its key or its bracket.
    fn meant(&mut self, key: Option<Range>) -> Option<Range> {
        self.space();
        match (self.peek()?, key) {
            (b'{' | b'[', Some(key)) => Some(key),
            (b'{' | b'[', None) => Some((self.at, self.at + 1)),
            _ => {
                let start = self.at;
                self.skip()?;
                Some((start, self.at))
            }
        }
    }

    /// The items of the value here, as far as they can be read; of a key that comes twice the first.
    fn items(mut self) -> Option<HashMap<String, Item>> {
        let mut items = HashMap::new();
        self.space();
        let is_object = match self.peek()? {
            b'{' => true,
            b'[' => false,
            _ => return Some(items),
        };
        self.at += 1;
        for index in 0_usize.. {
            self.space();
            if self.peek().is_none_or(|byte| matches!(byte, b'}' | b']')) {
                break;
            }
            let mut key = None;
            let name = if is_object {
                let start = self.at;
                self.skip()?;
                key = Some((start, self.at));
                let name = serde_json::from_str::<String>(self.text.get(start..self.at)?).ok()?;
                self.space();
                self.at += 1; // the colon
                name
            } else {
                index.to_string()
            };
            items.entry(name).or_insert(Item { key, at: self.at });
            if self.skip().is_none() {
                break;
            }
            self.space();
            if self.peek() == Some(b',') {
                self.at += 1;
            }
        }
        Some(items)
    }

    /// Goes behind the value here.
    fn skip(&mut self) -> Option<()> {
        self.space();
        let mut depth = 0_usize;
        loop {
            match self.peek()? {
                b'"' => self.string()?,
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' => {
                    depth = depth.checked_sub(1)?;
                    self.at += 1;
                }
                b',' | b':' => self.at += 1,
                byte if byte.is_ascii_whitespace() => self.at += 1,
                _ => {
                    let is_end = |byte: u8| byte.is_ascii_whitespace() || b",]}".contains(&byte);
                    while self.peek().is_some_and(|byte| !is_end(byte)) {
                        self.at += 1;
                    }
                }
            }
            if depth == 0 {
                return Some(());
            }
        }
    }

    fn string(&mut self) -> Option<()> {
        self.at += 1;
        loop {
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    return Some(());
                }
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Place, Places};

    const TEXT: &str = "{\n  \"a\": [1, {\"b/c\": \"ü\\\"]\", \"d\": -2.5e3}],\n  \"é\": {\"f\": null}\n}";

    fn at(pointer: &str) -> (usize, usize, usize) {
        let Place { line, column, length } = Places::new(TEXT).locate(pointer).unwrap();
        (line, column, length)
    }

    #[test]
    fn a_pointer_leads_to_its_place() {
        assert_eq!(at(""), (1, 1, 1));
        assert_eq!(at("/a"), (2, 3, 3));
        assert_eq!(at("/a/0"), (2, 9, 1));
        assert_eq!(at("/a/1"), (2, 12, 1));
        assert_eq!(at("/a/1/b~1c"), (2, 20, 6));
        assert_eq!(at("/a/1/d"), (2, 33, 6));
        assert_eq!(at("/é"), (3, 3, 3));
        assert_eq!(at("/é/f"), (3, 14, 4));
    }

    #[test]
    fn what_is_not_there_is_as_near_as_it_gets() {
        assert_eq!(at("/a/7"), at("/a"));
        assert_eq!(at("/é/g/h"), at("/é"));
        assert_eq!(at("/a/0/x"), at("/a/0"));
        assert_eq!(Places::new("{\"a\": [").locate("/a/0").map(|place| place.column), Some(2));
        assert_eq!(Places::new("{,:]").locate("/a/0"), None);
        assert_eq!(Places::new("").locate("/a"), None);
    }

    #[test]
    fn any_beginning_of_a_text_can_be_looked_into() {
        for (end, _) in TEXT.char_indices() {
            let mut places = Places::new(&TEXT[..end]);
            for pointer in ["", "/a/1/b~1c", "/a/1/d", "/é/f"] {
                if let Some(place) = places.locate(pointer) {
                    assert!(place.line <= 4 && place.column <= 50, "{end} {pointer}: {place:?}");
                }
            }
        }
    }

    #[test]
    fn a_parser_counts_bytes_and_people_count_letters() {
        let place = Places::new("x\nüü!").of_parser((2, 5));
        assert_eq!((place.line, place.column), (2, 3));
    }
}

//! Where something is in a text in JSON: from a pointer to line and column.

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

impl Place {
    /// Of a place that a parser tells, which counts bytes.
    pub(crate) fn of_parser(text: &str, (line, column): (usize, usize)) -> Self {
        let row = text.lines().nth(line.saturating_sub(1)).unwrap_or("");
        let before = row.char_indices().take_while(|(at, _)| *at + 1 < column).count();
        Self { line, column: before + 1, length: 1 }
    }

    fn of_bytes(text: &str, start: usize, end: usize) -> Self {
        let before = text.get(..start).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        let meant = text.get(start..end).unwrap_or("").lines().next().unwrap_or("");
        Self { line, column, length: meant.chars().count().max(1) }
    }
}

/// Finds what a JSON pointer points at, or the last thing on the way to it that is there. Of an object or array it is the key, if it has one,
/// and else the bracket. `None` if the text is no JSON.
pub(crate) fn locate(text: &str, pointer: &str) -> Option<Place> {
    let mut scan = Scan { text, at: 0 };
    let mut found = scan.meant(None)?;
    for step in pointer.split('/').skip(1) {
        let step = step.replace("~1", "/").replace("~0", "~");
        match scan.enter(&step)? {
            Some(key) => found = scan.meant(key)?,
            None => break,
        }
    }
    Some(Place::of_bytes(text, found.0, found.1))
}

/// A look at a text that is known to be JSON, without recursion.
struct Scan<'t> {
    text: &'t str,
    /// In front of a value.
    at: usize,
}

/// From where to where, in bytes.
type Range = (usize, usize);

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
                let mut end = Scan { text: self.text, at: self.at };
                end.skip()?;
                Some((self.at, end.at))
            }
        }
    }

    /// Goes to an item of the value here, and gives its key if it has one; `None` inside if it has no such item.
    fn enter(&mut self, step: &str) -> Option<Option<Option<Range>>> {
        self.space();
        let is_object = match self.peek()? {
            b'{' => true,
            b'[' => false,
            _ => return Some(None),
        };
        self.at += 1;
        for index in 0_usize.. {
            self.space();
            if matches!(self.peek()?, b'}' | b']') {
                return Some(None);
            }
            let mut key = None;
            let is_it = if is_object {
                let start = self.at;
                self.skip()?;
                key = Some((start, self.at));
                self.space();
                self.at += 1; // the colon
                serde_json::from_str::<String>(self.text.get(start..key?.1)?).ok()? == step
            } else {
                index.to_string() == step
            };
            if is_it {
                return Some(Some(key));
            }
            self.skip()?;
            self.space();
            if self.peek()? == b',' {
                self.at += 1;
            }
        }
        None
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
    use super::{Place, locate};

    const TEXT: &str = "{\n  \"a\": [1, {\"b/c\": \"ü\\\"]\", \"d\": -2.5e3}],\n  \"é\": {\"f\": null}\n}";

    fn at(pointer: &str) -> (usize, usize, usize) {
        let Place { line, column, length } = locate(TEXT, pointer).unwrap();
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
        assert_eq!(locate("{\"a\": [", "/a/0"), None);
        assert_eq!(locate("", "/a"), None);
    }

    #[test]
    fn a_parser_counts_bytes_and_people_count_letters() {
        let place = Place::of_parser("x\nüü!", (2, 5));
        assert_eq!((place.line, place.column), (2, 3));
    }
}

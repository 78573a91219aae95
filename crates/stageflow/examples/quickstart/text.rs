//! What is known of a text: its facts, its passages, its words.

/// The content of a file that was let in.
pub(crate) struct Text {
    pub(crate) file: String,
    pub(crate) content: String,
}

/// What can be seen without understanding it.
pub(crate) struct Facts {
    pub(crate) title: String,
    pub(crate) words: usize,
    pub(crate) headings: usize,
}

/// Which way a text takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// Found as a whole.
    Short,
    /// Found by its sections.
    Long,
}

/// What a question can find.
pub(crate) struct Passage {
    pub(crate) heading: String,
    pub(crate) prose: String,
}

/// A file in the index.
pub(crate) struct Entry {
    pub(crate) file: String,
    pub(crate) title: String,
    pub(crate) words: usize,
    pub(crate) passages: Vec<Passage>,
}

/// The text of a line that is a Markdown heading.
fn heading(line: &str) -> Option<&str> {
    let marks = line.bytes().take_while(|byte| *byte == b'#').count();
    let text = line.get(marks..)?.strip_prefix(' ')?.trim();
    ((1..=6).contains(&marks) && !text.is_empty()).then_some(text)
}

pub(crate) fn facts(text: &Text) -> Facts {
    let prose = || prose_lines(&text.content);
    let first = || prose().find(|line| !line.trim().is_empty()).map(str::trim);
    let title = prose().find_map(heading).or_else(first).unwrap_or(&text.file);
    Facts {
        title: excerpt(title, 12),
        words: text.content.split_whitespace().count(),
        headings: prose().filter(|line| heading(line).is_some()).count(),
    }
}

/// The lines outside of blocks of code.
fn prose_lines(content: &str) -> impl Iterator<Item = &str> {
    let mut in_code = false;
    content.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        in_code ^= is_fence;
        !in_code && !is_fence
    })
}

/// All of a text as one passage.
pub(crate) fn as_one(text: &Text) -> Vec<Passage> {
    let prose = prose_lines(&text.content).filter(|line| heading(line).is_none());
    vec![Passage { heading: String::new(), prose: prose.collect::<Vec<_>>().join("\n") }]
}

/// One passage for each heading; what has no headings is cut between paragraphs.
pub(crate) fn by_sections(text: &Text) -> Vec<Passage> {
    const LONG: usize = 250;
    let mut passages = vec![Passage { heading: String::new(), prose: String::new() }];
    let mut words = 0;
    for line in prose_lines(&text.content) {
        let title = heading(line);
        let is_cut = words > LONG && line.trim().is_empty();
        if title.is_some() || is_cut {
            let heading =
                title.map(str::to_owned).or_else(|| passages.last().map(|last| last.heading.clone()));
            passages.push(Passage { heading: heading.unwrap_or_default(), prose: String::new() });
            words = 0;
        }
        if let (None, Some(passage)) = (title, passages.last_mut()) {
            words += line.split_whitespace().count();
            passage.prose.push_str(line);
            passage.prose.push('\n');
        }
    }
    passages.retain(|passage| !passage.prose.trim().is_empty());
    passages
}

/// The words of a text that say something, in lower case.
pub(crate) fn terms(text: &str) -> impl Iterator<Item = String> {
    const EMPTY: &[&str] = &[
        "and", "are", "but", "can", "does", "for", "from", "has", "have", "how", "its", "not", "that", "the",
        "then", "there", "this", "was", "what", "when", "where", "which", "who", "why", "will", "with",
        "you", "happen", "happens",
    ];
    let words = text.split(|c: char| !c.is_alphanumeric() && c != '_').map(str::to_lowercase);
    words.filter(|word| word.chars().count() > 2 && !EMPTY.contains(&word.as_str()))
}

/// Prose without tables, and without the marks of lists and quotations.
pub(crate) fn plain(prose: &str) -> String {
    let lines = prose.lines().map(|line| line.trim().trim_start_matches(['-', '*', '>', ' ']));
    lines.filter(|line| !line.starts_with('|')).collect::<Vec<_>>().join("\n").replace("**", "")
}

/// The first words of a text, in one line.
pub(crate) fn excerpt(text: &str, most: usize) -> String {
    let mut words = text.split_whitespace();
    let mut line = words.by_ref().take(most).collect::<Vec<_>>().join(" ");
    if words.next().is_some() {
        line.push_str(" …");
    }
    line
}

//! The index: which passages hold which words, as a file of tab-separated lines.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    path::{Path, PathBuf},
};

use crate::text::{Entry, excerpt, plain, terms};

/// The first line of the file.
const HEAD: &str = "stageflow quickstart index 1";
/// How many passages make an answer.
const SHOWN: usize = 3;

#[derive(Debug, Default)]
pub(crate) struct Index {
    passages: Vec<Found>,
    /// For each word, how often it stands in which passages.
    words: BTreeMap<String, BTreeMap<usize, usize>>,
    pub(crate) files: usize,
}

/// A passage as an answer shows it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Found {
    pub(crate) file: String,
    pub(crate) title: String,
    pub(crate) heading: String,
    pub(crate) excerpt: String,
    words: usize,
}

/// What was found, best first.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) question: String,
    pub(crate) found: Vec<Found>,
    pub(crate) files: usize,
    pub(crate) index_file: PathBuf,
}

impl Index {
    pub(crate) fn add(&mut self, entry: &Entry) {
        self.files += 1;
        for passage in &entry.passages {
            let number = self.passages.len();
            // What stands in a heading counts as if it were said three times.
            let headings =
                [entry.title.as_str(), &passage.heading].map(|text| terms(text).collect::<Vec<_>>());
            let weighty = headings.iter().flatten().cycle().take(3 * headings.iter().flatten().count());
            for term in weighty.cloned().chain(terms(&passage.prose)) {
                *self.words.entry(term).or_default().entry(number).or_default() += 1;
            }
            self.passages.push(Found {
                file: entry.file.clone(),
                title: entry.title.clone(),
                heading: excerpt(&passage.heading, 12),
                excerpt: excerpt(&plain(&passage.prose), 45),
                words: passage.prose.split_whitespace().count(),
            });
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.passages.len()
    }

    pub(crate) fn lines(&self) -> impl Iterator<Item = String> {
        let passages = self.passages.iter().map(|one| {
            let fields = [&one.file, &one.title, &one.heading, &one.excerpt];
            let fields = fields.map(|field| field.replace(['\t', '\n', '\r'], " "));
            format!("P\t{}\t{}", fields.join("\t"), one.words)
        });
        let words = self.words.iter().map(|(word, places)| {
            let places = places.iter().map(|(passage, count)| format!("\t{passage}:{count}"));
            format!("W\t{word}{}", places.collect::<String>())
        });
        [format!("{HEAD}\t{}", self.files)].into_iter().chain(passages).chain(words)
    }

    pub(crate) fn write(&self, mut to: impl Write) -> io::Result<()> {
        self.lines().try_for_each(|line| writeln!(to, "{line}"))?;
        to.flush()
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let (head, files) = lines.next()?.split_once('\t')?;
        let mut index = Self { files: files.parse().ok().filter(|_| head == HEAD)?, ..Self::default() };
        for line in lines {
            let mut fields = line.split('\t');
            match fields.next()? {
                "P" => {
                    let mut next = || fields.next().map(str::to_owned);
                    let [file, title, heading, excerpt] = [next()?, next()?, next()?, next()?];
                    let words = next()?.parse().ok()?;
                    index.passages.push(Found { file, title, heading, excerpt, words });
                }
                "W" => {
                    let places = index.words.entry(fields.next()?.to_owned()).or_default();
                    for place in fields {
                        let (passage, count) = place.split_once(':')?;
                        places.insert(passage.parse().ok()?, count.parse().ok()?);
                    }
                }
                _ => return None,
            }
        }
        Some(index)
    }

    /// The best passages for a question: words that few passages hold weigh more, repetitions less and less, and most
    /// of all in long passages (Robertson and Zaragoza: *The Probabilistic Relevance Framework: BM25 and Beyond*, 2009).
    #[expect(clippy::cast_precision_loss, reason = "a score is a rough thing")]
    pub(crate) fn ask(&self, question: &str, index_file: &Path) -> Answer {
        let count = self.passages.len().max(1) as f64;
        let usual = self.passages.iter().map(|passage| passage.words).sum::<usize>() as f64 / count;
        let mut scores = BTreeMap::<usize, f64>::new();
        for term in terms(question) {
            let counts = self.counts(&term);
            let rarity = (1.0 + count / counts.len().max(1) as f64).ln();
            for (number, times) in counts {
                let Some(passage) = self.passages.get(number) else { continue };
                let length = passage.words as f64 / usual.max(1.0);
                let times = times as f64;
                *scores.entry(number).or_default() += rarity * times / (times + 0.3 + 0.9 * length);
            }
        }
        let mut best: Vec<_> = scores.into_iter().collect();
        best.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let found = best.into_iter().filter_map(|(passage, _)| self.passages.get(passage).cloned());
        Answer {
            question: question.to_owned(),
            found: found.take(SHOWN).collect(),
            files: self.files,
            index_file: index_file.to_owned(),
        }
    }

    /// In which passages a word stands, in any of its forms: longer words are cut to their stem.
    fn counts(&self, term: &str) -> BTreeMap<usize, usize> {
        let letters = term.chars().count();
        let stem: String =
            term.chars().take(if letters > 4 { (letters - 2).max(4) } else { letters }).collect();
        let forms = self.words.range(stem.clone()..).take_while(|(word, _)| word.starts_with(&stem));
        let mut counts = BTreeMap::new();
        let forms = forms.filter(|(word, _)| letters > 3 || *word == term);
        for (passage, count) in forms.flat_map(|(_, places)| places) {
            *counts.entry(*passage).or_default() += count;
        }
        counts
    }
}

//! What the stages do: plain functions, which know nothing of the pipeline they are part of.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Read},
    path::PathBuf,
    sync::Arc,
};

use stageflow::prelude::*;

use crate::{
    folder::SourceFile,
    index::{Answer, Index},
    text::{Entry, Facts, Length, Passage, Text, as_one, by_sections, facts},
};

/// From this many words on a text is long.
const LONG: usize = 300;

/// What the pipeline is given.
pub(crate) struct Job {
    question: String,
    max_bytes: u64,
}

impl Job {
    pub(crate) fn new(question: String) -> Self {
        Self { question, max_bytes: 1 << 20 }
    }
}

/// The guard: lets a file in if it is one, not too large, and text.
pub(crate) fn admit(file: &SourceFile, job: &Job) -> StageResult<Text> {
    let data = fs::metadata(&file.path).permanent()?;
    if !data.is_file() {
        Err("it is no ordinary file").invalid()?;
    }
    let mut bytes = Vec::new();
    // One byte more than allowed, in case it grows.
    File::open(&file.path).permanent()?.take(job.max_bytes + 1).read_to_end(&mut bytes).transient()?;
    if data.len().max(bytes.len() as u64) > job.max_bytes {
        Err(format!("it has {} KiB, and {} are allowed", data.len() >> 10, job.max_bytes >> 10)).invalid()?;
    }
    let content = String::from_utf8(bytes).map_err(|error| {
        format!("it is no UTF-8 text: byte {} is wrong", error.utf8_error().valid_up_to() + 1)
    });
    Ok(Text { file: file.name.clone(), content: content.invalid()? })
}

/// Finds out what can be seen of a text.
pub(crate) async fn study(_ctx: StageContext, text: Arc<Text>) -> StageResult<Facts> {
    if text.content.trim().is_empty() {
        return Err(StageExit::skip("it is empty"));
    }
    Ok(facts(&text))
}

/// The route: long texts with headings go another way than short ones.
pub(crate) async fn weigh(_ctx: StageContext, facts: Arc<Facts>) -> StageResult<Length> {
    let is_long = facts.words > LONG || facts.headings > 5;
    Ok(if is_long { Length::Long } else { Length::Short })
}

/// The branch of short texts.
pub(crate) async fn whole(_ctx: StageContext, text: Arc<Text>) -> StageResult<Vec<Passage>> {
    Ok(as_one(&text))
}

/// The branch of long texts.
pub(crate) async fn sections(_ctx: StageContext, text: Arc<Text>) -> StageResult<Vec<Passage>> {
    Ok(by_sections(&text))
}

/// Where the branches join again.
pub(crate) async fn entry(
    _ctx: StageContext,
    (text, facts, passages): (Arc<Text>, Arc<Facts>, Arc<Vec<Passage>>),
) -> StageResult<Entry> {
    let passages =
        passages.iter().map(|one| Passage { heading: one.heading.clone(), prose: one.prose.clone() });
    Ok(Entry {
        file: text.file.clone(),
        title: facts.title.clone(),
        words: facts.words,
        passages: passages.collect(),
    })
}

/// Puts the entries of all files that could be read together.
pub(crate) fn index(ctx: &StageContext, files: &StageInputs) -> StageResult<Index> {
    let (mut index, mut words) = (Index::default(), 0);
    for name in files.names() {
        ctx.checkpoint()?; // leaves here once the run is cancelled
        if let Some(entry) = files.get_optional::<Entry>(name)? {
            index.add(&entry);
            words += entry.words;
        }
    }
    if index.files == 0 {
        return Err(StageExit::skip("no file could be read"));
    }
    ctx.emit("index.made", [("files", index.files), ("passages", index.len()), ("words", words)]);
    Ok(index)
}

/// Writes the index: under a name of its own first, which is removed however the run ends.
pub(crate) fn write(ctx: &StageContext, index: &Index) -> StageResult<PathBuf> {
    let file = index_file()?;
    let partial = file.with_extension(format!("{}.partial", ctx.identity().run_id()));
    let leftover = partial.clone();
    ctx.on_cleanup(async move {
        match fs::remove_file(leftover) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    });
    let written = File::create_new(&partial).and_then(|to| index.write(BufWriter::new(to)));
    written.map_err(|error| format!("`{}` cannot be written: {error}", partial.display()))?;
    ctx.checkpoint()?; // a cancelled run leaves the old index alone
    fs::rename(partial, &file)?;
    Ok(file)
}

/// A place beside this program, which cargo has put into `target/`.
fn index_file() -> io::Result<PathBuf> {
    Ok(std::env::current_exe()?.with_file_name("quickstart-index.tsv"))
}

/// Reads the index back and asks it.
pub(crate) fn answer(job: &Job, index_file: &PathBuf) -> StageResult<Answer> {
    let text = fs::read_to_string(index_file)?;
    let index = Index::parse(&text).ok_or("the index file was changed by somebody else")?;
    Ok(index.ask(&job.question, index_file))
}

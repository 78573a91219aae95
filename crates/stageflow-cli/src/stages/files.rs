//! Files beside the pipeline: `read_file`, `write_file`, and the folder that they do not leave.

use std::{
    borrow::Cow,
    fs,
    io::Read,
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::{Value, json};
use stageflow::prelude::*;

use super::pointer::shown;
use crate::files::{not_text, write_whole};

/// So many bytes are read at most, unless a stage says otherwise.
pub(super) const MOST: u64 = 16 << 20;

/// The folder whose files stages may read and write: that of the pipeline's file. An extension of the run.
#[derive(Clone, Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    pub(crate) fn of(ctx: &StageContext) -> StageResult<&Self> {
        let missing = "this run has no folder: start it with `stageflow run`";
        ctx.extension::<Self>().ok_or(missing).permanent()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Where a path leads, if that is in the folder, links followed. Whoever can make links in the folder while this is asked can
    /// lead it out of there.
    fn find(&self, path: &RelativePath, is_new: bool) -> Result<PathBuf, String> {
        let full = self.0.join(&path.0);
        let refuse = |error: std::io::Error, what: &Path| format!("`{}`: {error}", what.display());
        let root = self.0.canonicalize().map_err(|error| refuse(error, &self.0))?;
        let real = if is_new && fs::symlink_metadata(&full).is_err() {
            let (parent, name) = (full.parent().unwrap_or(&full), full.file_name().unwrap_or_default());
            parent
                .canonicalize()
                .map_err(|error| refuse(error, path.0.parent().unwrap_or(&path.0)))?
                .join(name)
        } else {
            full.canonicalize().map_err(|error| refuse(error, &path.0))?
        };
        if real.starts_with(&root) {
            Ok(real)
        } else {
            Err(format!("`{}` leads out of the folder of the pipeline by a link", path.0.display()))
        }
    }
}

/// A path in the folder of the pipeline.
#[derive(Clone, Debug)]
pub(crate) struct RelativePath(PathBuf);

impl RelativePath {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let path = PathBuf::from(text);
        let stays = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        let names_file = path.file_name().is_some() && !text.ends_with(['/', '\\']);
        match () {
            () if text.is_empty() => Err("the path is empty".to_owned()),
            () if text.contains('\0') => Err("a path has no NUL in it".to_owned()),
            () if !stays => Err("a path leads from the folder of the pipeline to a file in it: without `..`, and not from the root".to_owned()),
            () if !names_file => Err("the path leads to no file".to_owned()),
            () => Ok(Self(path)),
        }
    }
}

impl<'de> Deserialize<'de> for RelativePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&Cow::<str>::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

impl JsonSchema for RelativePath {
    fn schema_name() -> Cow<'static, str> {
        "RelativePath".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "minLength": 1,
            "description": "A path to a file in the folder of the pipeline or below it: relative, and without `..`.",
        })
    }
}

/// What a file holds.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum Format {
    /// One JSON value.
    #[default]
    Json,
    /// A text.
    Text,
    /// An array of texts, one for each line.
    Lines,
}

/// Gives what a file holds.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReadFile {
    /// The file, relative to the folder of the pipeline.
    path: RelativePath,
    /// What it holds.
    #[serde(default)]
    format: Format,
    /// A larger file is a failure.
    #[serde(default = "most")]
    max_bytes: u64,
}

fn most() -> u64 {
    MOST
}

impl Stage for ReadFile {
    type Input = ();
    type Output = Value;
    const KIND: StageKind = StageKind::Enrich;

    async fn run(&self, ctx: &StageContext, (): ()) -> StageResult<Value> {
        read(Folder::of(ctx)?, self.path.clone(), self.format, self.max_bytes).await
    }
}

/// Reads a file beside the runtime.
pub(super) async fn read(
    folder: &Folder,
    path: RelativePath,
    format: Format,
    most: u64,
) -> StageResult<Value> {
    let folder = folder.clone();
    let reading = move || {
        let real = folder.find(&path, false)?;
        content(&real, format, most).map_err(|what| format!("`{}` {what}", path.0.display()))
    };
    aside(reading).await
}

async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> StageResult<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.permanent(),
        Err(gone) => Err(gone.to_string()).transient(),
    }
}

fn content(path: &Path, format: Format, most: u64) -> Result<Value, String> {
    let unread = |error: std::io::Error| format!("cannot be read: {error}");
    // Asked before it is opened: opening a pipe waits until somebody writes to it.
    if !fs::metadata(path).map_err(unread)?.is_file() {
        return Err("is no ordinary file".to_owned());
    }
    let file = fs::File::open(path).map_err(unread)?;
    let mut bytes = Vec::new();
    // One byte more than allowed, in case it grows.
    file.take(most.saturating_add(1)).read_to_end(&mut bytes).map_err(unread)?;
    if bytes.len() as u64 > most {
        return Err(format!("has more than {most} bytes"));
    }
    let text = std::str::from_utf8(&bytes).map_err(|error| not_text(&bytes, error))?;
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    match format {
        Format::Json => serde_json::from_str(text).map_err(|error| format!("is no JSON: {error}")),
        Format::Text => Ok(text.into()),
        Format::Lines => Ok(text.lines().map(Value::from).collect()),
    }
}

/// Writes its input to a file, whole or not at all, and gives the path and the number of bytes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WriteFile {
    /// The file, relative to the folder of the pipeline; what was there is replaced.
    path: RelativePath,
    /// How to write it. Lines are those of an array.
    #[serde(default)]
    format: Format,
}

impl Stage for WriteFile {
    type Input = Arc<Value>;
    type Output = Value;
    const KIND: StageKind = StageKind::Work;

    async fn run(&self, ctx: &StageContext, input: Arc<Value>) -> StageResult<Value> {
        let (folder, path, format) = (Folder::of(ctx)?.clone(), self.path.clone(), self.format);
        aside(move || {
            let text = match (format, &*input) {
                (Format::Json, value) => format!("{value:#}\n"),
                (Format::Text, value) => shown(value).into_owned(),
                (Format::Lines, Value::Array(lines)) => {
                    lines.iter().map(|line| format!("{}\n", shown(line))).collect()
                }
                (Format::Lines, _) => {
                    return Err("lines are those of an array, and the input is none".to_owned());
                }
            };
            let real = folder.find(&path, true)?;
            if fs::metadata(&real).is_ok_and(|data| !data.is_file()) {
                return Err(format!("`{}` is no ordinary file", path.0.display()));
            }
            let name = path.0.display().to_string();
            write_whole(&real, text.as_bytes())
                .map_err(|error| format!("`{name}` cannot be written: {error}"))?;
            Ok(json!({ "path": name, "bytes": text.len() }))
        })
        .await
    }
}

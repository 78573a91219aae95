//! Reading what a person names, and writing it whole or not at all.

use std::{
    ffi::OsString,
    fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process,
    str::Utf8Error,
};

/// Larger files are no pipelines and no inputs of one.
pub(crate) const MOST: u64 = 64 << 20;

/// A file or the standard input, as it was named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    File(PathBuf),
    Stdin,
}

impl Source {
    pub(crate) fn new(name: OsString) -> Self {
        if name == "-" { Self::Stdin } else { Self::File(name.into()) }
    }

    /// What it is called in messages.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Stdin => "<stdin>".to_owned(),
        }
    }

    /// The folder it is in; the current one for the standard input.
    pub(crate) fn folder(&self) -> PathBuf {
        let parent = match self {
            Self::File(path) => path.parent().filter(|parent| !parent.as_os_str().is_empty()),
            Self::Stdin => None,
        };
        parent.unwrap_or(Path::new(".")).to_owned()
    }

    /// Whether a path leads to this file, which nobody wants to be replaced.
    pub(crate) fn is(&self, path: &Path) -> bool {
        match (self, path.canonicalize()) {
            (Self::File(own), Ok(path)) => own.canonicalize().is_ok_and(|own| own == path),
            _ => false,
        }
    }

    /// The whole text, without a byte order mark.
    pub(crate) fn read(&self) -> Result<String, String> {
        let bytes = match self {
            Self::File(path) => bytes_of(path)?,
            Self::Stdin => limited(io::stdin().lock())?,
        };
        let mut text =
            String::from_utf8(bytes).map_err(|error| not_text(error.as_bytes(), error.utf8_error()))?;
        if text.starts_with('\u{FEFF}') {
            text.drain(..'\u{FEFF}'.len_utf8());
        }
        Ok(text)
    }
}

fn bytes_of(path: &Path) -> Result<Vec<u8>, String> {
    let data = fs::metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => "does not exist".to_owned(),
        _ => format!("cannot be read: {error}"),
    })?;
    if data.is_dir() {
        return Err("is a folder, and a file is needed".to_owned());
    }
    limited(fs::File::open(path).map_err(|error| format!("cannot be read: {error}"))?)
}

fn limited(from: impl Read) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    from.take(MOST + 1).read_to_end(&mut bytes).map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() as u64 > MOST {
        return Err(format!("has more than {} MiB", MOST >> 20));
    }
    Ok(bytes)
}

/// Where bytes stop being text, and what they look like instead.
pub(crate) fn not_text(bytes: &[u8], error: Utf8Error) -> String {
    let at = error.valid_up_to();
    let line = 1 + bytes.iter().take(at).filter(|byte| **byte == b'\n').count();
    let guess = match bytes {
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => ": it looks like UTF-16",
        [0x1F, 0x8B, ..] => ": it looks like gzip",
        _ => "",
    };
    format!("is no UTF-8 text: byte {} (line {line}) is wrong{guess}", at + 1)
}

/// Writes a file whole or not at all: beside it first, then in its place. What is no ordinary file, such as `/dev/stdout`, is written
/// into as it is.
pub(crate) fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let known = fs::metadata(&real);
    if known.as_ref().is_ok_and(|data| !data.is_file()) {
        return fs::OpenOptions::new().write(true).open(&real)?.write_all(content);
    }
    let (mut file, beside) = beside(&real)?;
    let written = (|| {
        if let Ok(data) = &known {
            file.set_permissions(data.permissions())?;
        }
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&beside, &real)
    })();
    if written.is_err() {
        // What is half written is of use to nobody; that it cannot be removed either changes nothing about the error.
        let _ = fs::remove_file(&beside);
    }
    written
}

/// A new file beside another, which nobody else writes to.
fn beside(real: &Path) -> io::Result<(fs::File, PathBuf)> {
    let name = real.file_name().ok_or_else(|| io::Error::other("it names no file"))?;
    let mut number = 0;
    loop {
        let mut own = OsString::from(".");
        own.push(name);
        own.push(format!(".{}-{number}.part", process::id()));
        let path = real.with_file_name(own);
        match fs::OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => return Ok((file, path)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < 1_000 => number += 1,
            Err(error) => return Err(error),
        }
    }
}

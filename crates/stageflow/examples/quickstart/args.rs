//! `[FOLDER [QUESTION]]`: the command line.

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use crate::{
    screen::{complain, say},
    text::terms,
};

const USAGE: &str = "\
Usage: cargo run --example quickstart [-- FOLDER [QUESTION]]

Reads every text and Markdown file in FOLDER and below, makes an index of them,
and answers QUESTION from it.

  FOLDER    a folder; this repository's docs/ if none is given
  QUESTION  one or more words; \"What happens when a stage fails?\" if none is given

Exit codes: 0 answered, 1 no answer, 2 wrong arguments or folder, 130 cancelled.";

const QUESTION: &str = "What happens when a stage fails?";

/// What the user asked for.
pub(crate) struct Args {
    pub(crate) folder: PathBuf,
    pub(crate) question: String,
}

/// Why there is nothing to do.
pub(crate) enum Stop {
    Help,
    Wrong(String),
}

impl Stop {
    pub(crate) fn print(&self) -> ExitCode {
        match self {
            Self::Help => {
                say(format_args!("{USAGE}\n"));
                ExitCode::SUCCESS
            }
            Self::Wrong(what) => {
                complain(format_args!("{what}\n\n{USAGE}"));
                ExitCode::from(2)
            }
        }
    }
}

pub(crate) fn parse(args: impl Iterator<Item = OsString>) -> Result<Args, Stop> {
    let mut args = args.peekable();
    let first = args.peek().map(|arg| arg.to_string_lossy().into_owned());
    match first.as_deref() {
        Some("-h" | "--help") => return Err(Stop::Help),
        Some("--") => drop(args.next()),
        Some(option) if option.starts_with('-') => {
            return Err(Stop::Wrong(format!("unknown option `{option}`")));
        }
        Some("") => return Err(Stop::Wrong("the name of the folder is empty".to_owned())),
        _ => {}
    }
    let folder = match args.next() {
        Some(folder) => PathBuf::from(folder),
        None => our_docs().ok_or_else(|| Stop::Wrong("found no folder `docs`: name one".to_owned()))?,
    };
    let words: Vec<_> = args.map(|word| word.to_string_lossy().into_owned()).collect();
    let question = if words.is_empty() { QUESTION.to_owned() } else { words.join(" ") };
    if terms(&question).next().is_none() {
        return Err(Stop::Wrong(format!("there is no word to look for in the question `{question}`")));
    }
    Ok(Args { folder, question })
}

/// The documentation of this repository, seen from the current folder or from that of this package.
fn our_docs() -> Option<PathBuf> {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").map(|dir| PathBuf::from(dir).join("../../docs"));
    let found = [Some(PathBuf::from("docs")), package].into_iter().flatten().find(|dir| dir.is_dir())?;
    found.canonicalize().ok()
}

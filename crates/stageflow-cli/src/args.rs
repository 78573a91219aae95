//! The command line.

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    time::Duration,
};

use lexopt::{Arg, Parser, ValueExt as _};
use stageflow::spec::HumanDuration;

use crate::files::Source;

/// What is to be done.
#[derive(Debug, PartialEq)]
pub(crate) enum Command {
    Run(RunArgs),
    Lint { file: Source, json: bool },
    Graph { file: Source, format: GraphFormat, output: Option<PathBuf> },
    Schema,
    Kinds { name: Option<String>, json: bool },
    Help(Topic),
    Version,
}

#[derive(Debug, PartialEq)]
pub(crate) struct RunArgs {
    pub(crate) file: Source,
    pub(crate) input: Option<InputArg>,
    pub(crate) deadline: Option<Duration>,
    pub(crate) tenant: Option<String>,
    pub(crate) events: Option<PathBuf>,
    pub(crate) json: bool,
    pub(crate) quiet: bool,
}

#[derive(Debug, PartialEq)]
pub(crate) enum InputArg {
    Json(String),
    From(Source),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum GraphFormat {
    #[default]
    Text,
    Dot,
    Mermaid,
    Svg,
}

impl GraphFormat {
    const ALL: [(&str, Self); 4] =
        [("text", Self::Text), ("dot", Self::Dot), ("mermaid", Self::Mermaid), ("svg", Self::Svg)];

    fn of_ending(ending: &OsStr) -> Result<Self, String> {
        match ending.to_str() {
            Some("svg") => Ok(Self::Svg),
            Some("dot" | "gv") => Ok(Self::Dot),
            Some("mmd" | "mermaid") => Ok(Self::Mermaid),
            Some("txt") => Ok(Self::Text),
            _ => Err(format!(
                "no picture ends in `.{}`: end in `.svg`, `.dot`, `.mmd` or `.txt`, or say `--format`",
                ending.display()
            )),
        }
    }
}

/// What help is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Topic {
    All,
    Run,
    Lint,
    Graph,
    Schema,
    Kinds,
}

/// A command line that makes no sense: why, and which help would tell.
#[derive(Debug, PartialEq)]
pub(crate) struct Misuse {
    pub(crate) what: String,
    pub(crate) topic: Topic,
}

const COMMANDS: [(&str, Topic); 5] = [
    ("run", Topic::Run),
    ("lint", Topic::Lint),
    ("graph", Topic::Graph),
    ("schema", Topic::Schema),
    ("kinds", Topic::Kinds),
];

pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, Misuse> {
    let mut parser = Parser::from_args(args);
    let wrong = |what: String| Misuse { what, topic: Topic::All };
    let topic = match parser.next().map_err(|error| wrong(error.to_string()))? {
        None => return Err(wrong("say what to do: `run`, `lint`, `graph`, `schema` or `kinds`".to_owned())),
        Some(Arg::Short('h') | Arg::Long("help")) => return Ok(Command::Help(Topic::All)),
        Some(Arg::Short('V') | Arg::Long("version")) => return Ok(Command::Version),
        Some(Arg::Value(word)) if word == "help" => {
            let about = parser.next().map_err(|error| wrong(error.to_string()))?;
            return match about {
                None => Ok(Command::Help(Topic::All)),
                Some(Arg::Value(word)) => command(&word).map(Command::Help).map_err(wrong),
                Some(other) => Err(wrong(other.unexpected().to_string())),
            };
        }
        Some(Arg::Value(word)) => command(&word).map_err(wrong)?,
        Some(other) => return Err(wrong(other.unexpected().to_string())),
    };
    Options::read(&mut parser, topic)
        .and_then(|options| options.into_command(topic))
        .map_err(|what| Misuse { what, topic })
}

fn command(word: &OsString) -> Result<Topic, String> {
    let found = COMMANDS.into_iter().find(|(name, _)| word == name);
    found.map(|(_, topic)| topic).ok_or_else(|| {
        let word = word.to_string_lossy();
        let hint =
            if word.ends_with(".json") { format!("; did you mean `run {word}`?") } else { String::new() };
        format!("`{word}` is no command: there are `run`, `lint`, `graph`, `schema` and `kinds`{hint}")
    })
}

/// What a command is called.
pub(crate) fn name(topic: Topic) -> &'static str {
    COMMANDS.into_iter().find(|(_, known)| *known == topic).map_or("", |(name, _)| name)
}

/// Everything that may be said behind a command.
#[derive(Default)]
struct Options {
    help: bool,
    file: Option<Source>,
    name: Option<String>,
    input: Option<InputArg>,
    deadline: Option<Duration>,
    tenant: Option<String>,
    events: Option<PathBuf>,
    json: bool,
    quiet: bool,
    format: Option<GraphFormat>,
    output: Option<PathBuf>,
}

impl Options {
    fn read(parser: &mut Parser, topic: Topic) -> Result<Self, String> {
        let mut options = Self::default();
        let mut flags: Vec<&str> = Vec::new();
        while let Some(arg) = parser.next().map_err(|error| error.to_string())? {
            let flag = match (&arg, topic) {
                (Arg::Short('h') | Arg::Long("help"), _) => "--help",
                (Arg::Short('i') | Arg::Long("input"), Topic::Run) => "--input",
                (Arg::Short('d') | Arg::Long("deadline"), Topic::Run) => "--deadline",
                (Arg::Short('t') | Arg::Long("tenant"), Topic::Run) => "--tenant",
                (Arg::Short('e') | Arg::Long("events"), Topic::Run) => "--events",
                (Arg::Short('q') | Arg::Long("quiet"), Topic::Run) => "--quiet",
                (Arg::Long("json"), Topic::Run | Topic::Lint | Topic::Kinds) => "--json",
                (Arg::Short('f') | Arg::Long("format"), Topic::Graph) => "--format",
                (Arg::Short('o') | Arg::Long("output"), Topic::Graph) => "--output",
                (Arg::Value(_), Topic::Run | Topic::Lint | Topic::Graph) => "FILE",
                (Arg::Value(_), Topic::Kinds) => "NAME",
                _ => return Err(arg.unexpected().to_string()),
            };
            if flags.contains(&flag) && flag != "--help" {
                return Err(if matches!(flag, "FILE" | "NAME") {
                    format!("one {flag} is enough")
                } else {
                    format!("`{flag}` is there twice")
                });
            }
            flags.push(flag);
            if let Arg::Value(file) = arg {
                match flag {
                    "NAME" => options.name = Some(text(file, flag)?),
                    _ => options.file = Some(source(file, flag)?),
                }
                continue;
            }
            options.take(flag, parser)?;
        }
        Ok(options)
    }

    fn take(&mut self, flag: &str, parser: &mut Parser) -> Result<(), String> {
        let mut value = || parser.value().map_err(|_| format!("`{flag}` needs a value"));
        match flag {
            "--help" => self.help = true,
            "--json" => self.json = true,
            "--quiet" => self.quiet = true,
            "--input" => self.input = Some(input(value()?)?),
            "--events" => self.events = Some(path(value()?, flag)?),
            "--output" => self.output = Some(path(value()?, flag)?),
            "--tenant" => self.tenant = Some(text(value()?, flag)?).filter(|tenant| !tenant.is_empty()),
            "--deadline" => {
                let time: HumanDuration =
                    text(value()?, flag)?.parse().map_err(|error| format!("`{flag}`: {error}"))?;
                self.deadline = Some(time.into());
            }
            "--format" => {
                let word = text(value()?, flag)?;
                let known = GraphFormat::ALL.into_iter().find(|(name, _)| *name == word);
                self.format = Some(known.map(|(_, format)| format).ok_or_else(|| {
                    format!("`{word}` is no format: there are `text`, `dot`, `mermaid` and `svg`")
                })?);
            }
            _ => {}
        }
        Ok(())
    }

    fn into_command(self, topic: Topic) -> Result<Command, String> {
        if self.help {
            return Ok(Command::Help(topic));
        }
        let file = || self.file.clone().ok_or_else(|| "which FILE? `-` is the standard input".to_owned());
        Ok(match topic {
            Topic::All => Command::Help(topic),
            Topic::Schema => Command::Schema,
            Topic::Kinds if self.json && self.name.is_some() => {
                return Err("`--json` lists all kinds: `schema` has their configurations".to_owned());
            }
            Topic::Kinds => Command::Kinds { name: self.name, json: self.json },
            Topic::Lint => Command::Lint { file: file()?, json: self.json },
            Topic::Graph => {
                let ending = self.output.as_deref().and_then(Path::extension);
                let format = match (self.format, ending) {
                    (Some(format), _) => format,
                    (None, Some(ending)) => GraphFormat::of_ending(ending)?,
                    (None, None) => GraphFormat::default(),
                };
                Command::Graph { file: file()?, format, output: self.output }
            }
            Topic::Run => {
                let file = file()?;
                if file == Source::Stdin && self.input == Some(InputArg::From(Source::Stdin)) {
                    return Err("FILE and `--input` cannot both be the standard input".to_owned());
                }
                Command::Run(RunArgs {
                    file,
                    input: self.input,
                    deadline: self.deadline,
                    tenant: self.tenant,
                    events: self.events,
                    json: self.json,
                    quiet: self.quiet,
                })
            }
        })
    }
}

fn input(value: OsString) -> Result<InputArg, String> {
    if value == "-" {
        return Ok(InputArg::From(Source::Stdin));
    }
    match value.to_str().map(|text| text.strip_prefix('@')) {
        Some(Some(file)) => source(file.into(), "--input").map(InputArg::From),
        Some(None) => text(value, "--input").map(InputArg::Json),
        None => Err("`--input` is no UTF-8: give a file by `@FILE`".to_owned()),
    }
}

fn source(name: OsString, of: &str) -> Result<Source, String> {
    if name.is_empty() {
        Err(format!("the name of the file of `{of}` is empty"))
    } else {
        Ok(Source::new(name))
    }
}

fn path(value: OsString, flag: &str) -> Result<PathBuf, String> {
    if value.is_empty() { Err(format!("`{flag}` names no file")) } else { Ok(value.into()) }
}

fn text(value: OsString, flag: &str) -> Result<String, String> {
    value.string().map_err(|_| format!("`{flag}` is no UTF-8"))
}

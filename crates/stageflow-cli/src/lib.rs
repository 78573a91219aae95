//! `stageflow run pipeline.json`: pipelines that are files, run, checked and drawn from the command line.
//!
//! The binary `stageflow` has [stages](stages()) over JSON values, so that a file is all that is needed. A program with stages of its own
//! is three lines:
//!
//! ```no_run
//! use std::process::ExitCode;
//! use stageflow::prelude::*;
//! use stageflow::spec::SpecError;
//! use stageflow_cli::Cli;
//! # use std::sync::Arc;
//! # use serde_json::Value;
//!
//! fn main() -> ExitCode {
//!     let mut registry = stageflow_cli::stages();
//!     registry.stage("shout", |(): ()| {
//!         Ok::<_, SpecError>(stage_fn(|_ctx, text: Arc<Value>| async move {
//!             Ok(Value::from(text.as_str().unwrap_or_default().to_uppercase()))
//!         }))
//!     });
//!     Cli::new(registry).main()
//! }
//! ```
//!
//! A pipeline of the command line takes a `serde_json::Value` and gives one; the stages between may pass on whatever they like.

mod args;
mod exit;
mod explain;
mod files;
mod help;
mod load;
mod look;
mod place;
mod problem;
mod progress;
mod run;
mod screen;
mod signals;
mod stages;

use std::{ffi::OsString, fmt, process::ExitCode};

use stageflow::{Engine, EngineBuilder, spec::Registry};

pub use crate::stages::stages;
use crate::{
    args::{Command, Misuse},
    exit::Exit,
};

type Furnish = Box<dyn FnMut(EngineBuilder) -> EngineBuilder>;

/// A command line over what a registry offers.
pub struct Cli {
    name: String,
    version: String,
    registry: Registry,
    furnish: Option<Furnish>,
}

impl Cli {
    /// A command line named `stageflow`.
    pub fn new(registry: Registry) -> Self {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Self { name: "stageflow".to_owned(), version, registry, furnish: None }
    }

    /// What `--help` and `--version` call the program.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>, version: impl Into<String>) -> Self {
        self.name = name.into();
        self.version = version.into();
        self
    }

    /// Furnishes the engine of `run` and `lint`: interceptors, limits, sinks. Called once for each command.
    #[must_use]
    pub fn engine_with(mut self, furnish: impl FnMut(EngineBuilder) -> EngineBuilder + 'static) -> Self {
        self.furnish = Some(Box::new(furnish));
        self
    }

    /// Does what the arguments of the process say. It starts a tokio runtime if it runs something, so it is called outside of one.
    pub fn main(self) -> ExitCode {
        self.run(std::env::args_os().skip(1))
    }

    /// Does what these arguments say; the name of the program is not one of them.
    ///
    /// Results are printed on stdout, all else on stderr. The exit codes are those of `--help`.
    pub fn run(mut self, args: impl IntoIterator<Item = OsString>) -> ExitCode {
        let exit = match args::parse(args) {
            Err(Misuse { what, topic }) => {
                let help = match topic {
                    args::Topic::All => format!("{} --help", self.name),
                    topic => format!("{} {} --help", self.name, args::name(topic)),
                };
                screen::complain(format_args!("error: {what}\n  = help: `{help}` says more"));
                Exit::Usage
            }
            Ok(Command::Help(topic)) => {
                screen::result(&format!("{}\n", help::help(topic, &self.name)), Exit::Done)
            }
            Ok(Command::Version) => screen::result(&format!("{} {}\n", self.name, self.version), Exit::Done),
            Ok(Command::Run(args)) => run::run(&mut self, &args),
            Ok(Command::Lint { file, json }) => look::lint(&mut self, &file, json),
            Ok(Command::Graph { file, format, output }) => {
                look::graph(&self, &file, format, output.as_deref())
            }
            Ok(Command::Schema) => look::schema(&self),
            Ok(Command::Kinds { name, json }) => look::kinds(&self, name.as_deref(), json),
        };
        exit.into()
    }

    fn engine(&mut self) -> EngineBuilder {
        let builder = Engine::builder();
        match &mut self.furnish {
            Some(furnish) => furnish(builder),
            None => builder,
        }
    }
}

impl fmt::Debug for Cli {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cli")
            .field("name", &self.name)
            .field("registry", &self.registry)
            .finish_non_exhaustive()
    }
}

/// A page that `tests/support.rs` leaves to this crate.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide/29-command-line.md")]
mod command_line_page {}

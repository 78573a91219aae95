//! `cargo xtask <command>`: what this repository automates, written in Rust; one file per command.
//!
//! `ci` is the gate, the other commands are its parts. A gate ends as PASS, FAIL or NOT CHECKED with a reason
//! ([`report`]), so nothing is silently green. Child processes go through [`shell`], facts about the workspace
//! come from [`workspace`].
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool talks on its streams")]

mod bench;
mod ci;
mod deny;
mod docs;
mod features;
mod fuzz;
mod provision;
mod report;
mod shell;
mod stress;
mod test;
mod tidy;
mod workspace;

use anyhow::{Result, bail};
use std::process::ExitCode;

/// A command of this tool: how it is called, what `help` says of it, and the function behind it.
struct Command {
    name: &'static str,
    about: &'static str,
    help: &'static str,
    /// Takes the arguments after the name; `Ok(false)` means that a gate failed and has been reported.
    run: fn(&[String]) -> Result<bool>,
}

const COMMANDS: &[Command] = &[
    Command { name: "ci", about: "every gate, with a table at the end", help: ci::HELP, run: ci::run },
    Command { name: "test", about: "tests, doctests and examples", help: test::HELP, run: test::run },
    Command {
        name: "tidy",
        about: "rules of the house that no compiler checks",
        help: tidy::HELP,
        run: tidy::run,
    },
    Command {
        name: "features",
        about: "each feature of each crate alone",
        help: features::HELP,
        run: features::run,
    },
    Command {
        name: "deny",
        about: "licences, sources and bans of dependencies",
        help: deny::HELP,
        run: deny::run,
    },
    Command {
        name: "provision",
        about: "the collector and the database that tests and examples need",
        help: provision::HELP,
        run: provision::run,
    },
    Command {
        name: "docs",
        about: "tables and the dashboard of the documentation",
        help: docs::HELP,
        run: docs::run,
    },
    Command { name: "bench", about: "the benches, beside other crates", help: bench::HELP, run: bench::run },
    Command { name: "fuzz", about: "random data against what reads data", help: fuzz::HELP, run: fuzz::run },
    Command { name: "stress", about: "load tests with verdicts", help: stress::HELP, run: stress::run },
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn dispatch(args: &[String]) -> Result<bool> {
    let Some((name, rest)) = args.split_first() else {
        print!("{}", overview());
        return Ok(false);
    };
    if is_help(name) || name == "help" {
        print!("{}", overview());
        return Ok(true);
    }
    let Some(command) = COMMANDS.iter().find(|command| command.name == name) else {
        bail!("there is no command `{name}`\n\n{}", overview());
    };
    if rest.first().is_some_and(|arg| is_help(arg)) {
        println!("{}", command.help.trim());
        return Ok(true);
    }
    workspace::enter_root()?;
    (command.run)(rest)
}

fn is_help(arg: &str) -> bool {
    matches!(arg, "--help" | "-h")
}

fn overview() -> String {
    let mut text = String::from("Usage: cargo xtask <command> [arguments]\n\nCommands:\n");
    for command in COMMANDS {
        text.push_str(&format!("  {:<10} {}\n", command.name, command.about));
    }
    text.push_str(
        "\n`cargo xtask <command> --help` says more. Exit code: 0 green, 1 a gate failed, 2 could not run.\n",
    );
    text
}

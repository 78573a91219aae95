//! `cargo xtask provision`: the collector of others that the tests and the example `observed` send to.
//!
//! It is `rotel`, an OpenTelemetry collector written in Rust, whose wheel on PyPI contains the binary: there is nothing to install
//! and nothing of Python to run. pip is asked for it because it knows the mirrors and proxies of this machine; what it brings is
//! one file of one version with one hash, or nothing.

use crate::report::Outcome;
use crate::{shell, workspace};
use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) const HELP: &str = "
Usage: cargo xtask provision

Puts the collector that the tests of OpenTelemetry and the example `observed`
send to into target/tools: rotel, from PyPI, 10 MB, by one version and one
SHA-256. Needs Python with pip and network access to a PyPI mirror, once.
`cargo xtask test` and `cargo xtask ci` do this by themselves.";

const VERSION: &str = "0.0.1a15";

/// A machine that there is a wheel for.
struct Wheel {
    os: &'static str,
    arch: &'static str,
    platform: &'static str,
    sha256: &'static str,
}

const WHEELS: &[Wheel] = &[
    Wheel {
        os: "linux",
        arch: "x86_64",
        platform: "manylinux_2_34_x86_64",
        sha256: "2f4117e58410c933e0dc042a268ef738dab2e3a5d63b5831209acdac2a6ddcb7",
    },
    Wheel {
        os: "linux",
        arch: "aarch64",
        platform: "manylinux_2_34_aarch64",
        sha256: "4eb01f9e5d228e4086f63e16cf1d0fa6e92b724bde51f120932a742acec5b0ba",
    },
    Wheel {
        os: "macos",
        arch: "aarch64",
        platform: "macosx_12_3_arm64",
        sha256: "bcb27da321920ef4ba36367f6c51b22f0d69535e43bdf22f9a593384be87a55f",
    },
];

pub(crate) fn run(args: &[String]) -> Result<bool> {
    if !args.is_empty() {
        bail!("`provision` takes no arguments, got `{}`", args.join(" "));
    }
    println!("{}", collector()?.display());
    Ok(true)
}

/// As a gate: without the collector the tests that need it fail, and say what to do.
pub(crate) fn gate() -> Result<Outcome> {
    Ok(match collector() {
        Ok(_) => Outcome::Pass,
        Err(error) => Outcome::Missing(format!("{error:#}")),
    })
}

/// Where the binary is, put there if it is not.
fn collector() -> Result<PathBuf> {
    let here = workspace::target_dir()?.join("tools").join(format!("rotel-{VERSION}"));
    let binary = here.join("rotel").join("rotel-agent");
    if binary.is_file() {
        return Ok(binary);
    }
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    let Some(wheel) = WHEELS.iter().find(|wheel| (wheel.os, wheel.arch) == (os, arch)) else {
        bail!("rotel {VERSION} is there for Linux and for macOS on ARM only, and this is {os} on {arch}");
    };
    println!(
        "rotel {VERSION} is the real collector of the tests and of the example `observed`; it is not there, so it is"
    );
    println!("fetched from PyPI into {}, once", here.display());
    let python = python()?;
    std::fs::create_dir_all(&here)?;
    let file = fetch(&python, wheel, &here).context(
        "rotel could not be fetched from PyPI: give this machine access to a mirror (PIP_INDEX_URL), or run `cargo xtask provision` where there is one and copy target/tools",
    )?;
    // On the way it has another name, so that a binary that is there is whole.
    let unpacked = here.join("unpacked");
    let mut unpack = Command::new(&python);
    unpack.args(["-m", "zipfile", "-e"]).arg(&file).arg(&unpacked);
    shell::stdout(&mut unpack)?;
    make_executable(&unpacked.join("rotel").join("rotel-agent"))?;
    let _there_already = std::fs::rename(unpacked.join("rotel"), here.join("rotel"));
    std::fs::remove_dir_all(&unpacked)?;
    std::fs::remove_file(&file)?;
    if !binary.is_file() {
        bail!("the wheel of rotel {VERSION} has no rotel/rotel-agent");
    }
    Ok(binary)
}

fn python() -> Result<String> {
    let known = ["python3", "python"]
        .into_iter()
        .find(|python| shell::responds(Command::new(python).args(["-m", "pip", "--version"])));
    known.map(str::to_owned).context("rotel is fetched by pip: install Python 3 with pip")
}

/// One file, by its hash: pip refuses any other.
fn fetch(python: &str, wheel: &Wheel, to: &Path) -> Result<PathBuf> {
    let list = to.join("requirements.txt");
    std::fs::write(&list, format!("rotel=={VERSION} --hash=sha256:{}\n", wheel.sha256))?;
    let mut command = Command::new(python);
    command.args([
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--require-hashes",
        "--only-binary=:all:",
    ]);
    // The tag of the wheel, whatever Python this is: none runs it.
    command.args([
        "--python-version",
        "3.11",
        "--implementation",
        "cp",
        "--abi",
        "cp311",
        "--platform",
        wheel.platform,
    ]);
    command.arg("--dest").arg(to).arg("--requirement").arg(&list);
    println!("$ {}", shell::line(&command));
    shell::stdout(&mut command)?;
    std::fs::remove_file(list)?;
    let all = std::fs::read_dir(to)?.filter_map(|entry| Some(entry.ok()?.path()));
    let mut wheels = all.filter(|path| path.extension().is_some_and(|kind| kind == "whl"));
    wheels.next().context("pip has brought no wheel")
}

#[cfg(unix)]
fn make_executable(file: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    Ok(std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o755))?)
}

#[cfg(not(unix))]
fn make_executable(_: &Path) -> Result<()> {
    Ok(())
}

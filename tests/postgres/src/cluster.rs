//! A server in a folder of its own, and the watcher that ends it.

use std::{
    fs::{DirBuilder, File},
    io::Write as _,
    os::unix::{fs::DirBuilderExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use crate::{Error, Programs, user, user::User};

/// The role that owns the tables.
pub const OWNER: &str = "stageflow_owner";

/// The role that an application has.
pub const APP: &str = "stageflow_app";

/// Waits for the end of a pipe, which the kernel closes with the process that has the other end, or of a process. Then it ends the
/// server, and its folder with it, more than once where the server is just being made. Signals of the terminal are for the tests.
/// `kill -0` would not do: the process may be root's.
const WATCHER: &str = r#"
trap '' INT HUP TERM
alive() {
    if command -v ps >/dev/null; then state=$(ps -o stat= -p "$1"); else state=$(cut -d ' ' -f 3 "/proc/$1/stat" 2>/dev/null); fi
    case $state in '' | Z*) return 1 ;; esac
}
if [ "$3" = 0 ]; then cat >/dev/null; else while alive "$3"; do sleep 0.2; done; fi
rounds=0
while [ -e "$2" ] && [ $rounds -lt 200 ]; do
    "$1/pg_ctl" -D "$2/data" -m immediate -s stop >/dev/null 2>&1
    rm -rf "$2" 2>/dev/null || sleep 0.2
    rounds=$((rounds + 1))
done
"#;

/// A running server. When this is dropped, or its process ends in any way, the server ends and its folder goes.
#[derive(Debug)]
pub struct Cluster {
    programs: Programs,
    folder: PathBuf,
    user: Option<User>,
    fsync: bool,
    /// `None` where another process is waited for.
    watcher: Option<(Child, ChildStdin)>,
}

impl Cluster {
    /// A server of its own. It writes to the disk as in production.
    ///
    /// # Errors
    ///
    /// There is no PostgreSQL, or it does not start; the text says what to do.
    pub fn start() -> Result<Self, Error> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let mut cluster = Self::new(&format!("{}-{number}", std::process::id()), true)?;
        let mut watcher = cluster.watcher(0)?;
        let stdin = watcher.stdin.take().ok_or_else(|| Error::new("the watcher has no pipe"))?;
        cluster.watcher = Some((watcher, stdin));
        cluster.init()?;
        Ok(cluster)
    }

    /// The server of this run of `cargo nextest`, whose tests are a process each: started by the first test that asks, and ended with the
    /// run. Elsewhere the server of this process. It does not wait for the disk; no test stops it.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn shared() -> Result<&'static Self, Error> {
        static SHARED: OnceLock<Result<Cluster, Error>> = OnceLock::new();
        let shared = SHARED.get_or_init(|| match std::env::var("NEXTEST_RUN_ID") {
            Ok(run) => Self::of_run(run.get(..8).unwrap_or(&run)),
            Err(_) => Self::start(),
        });
        shared.as_ref().map_err(Clone::clone)
    }

    fn of_run(run: &str) -> Result<Self, Error> {
        let runner = std::os::unix::process::parent_id();
        let cluster = Self::new(&format!("{run}-{runner}"), false)?;
        let lock = cluster.folder.join("lock");
        let failed = |error: std::io::Error| Error::new(format!("{}: {error}", lock.display()));
        let lock = File::options().create(true).append(true).open(&lock).map_err(failed)?;
        lock.lock().map_err(failed)?;
        let ready = cluster.folder.join("ready");
        if !ready.exists() {
            drop(cluster.watcher(runner)?);
            let made = cluster.init();
            // The watcher of a runner that has gone meanwhile may have looked before there was a server to end.
            if std::os::unix::process::parent_id() != runner {
                let _stopped = cluster.stop();
                let _gone = std::fs::remove_dir_all(&cluster.folder);
                return Err(Error::new("whoever runs the tests has gone"));
            }
            made?;
            File::create(ready).map_err(failed)?;
        }
        Ok(cluster)
    }

    fn new(name: &str, fsync: bool) -> Result<Self, Error> {
        let programs = Programs::find()?;
        // The path of a socket has some 100 bytes at most.
        let temporary = Some(std::env::temp_dir()).filter(|path| path.as_os_str().len() < 60);
        let folder = temporary.unwrap_or_else(|| "/tmp".into()).join(format!("sfpg-{name}"));
        let failed = |error| Error::new(format!("{}: {error}", folder.display()));
        DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(failed)?;
        let mark = folder.join(format!("made-by-{}", std::process::id()));
        File::create(&mark).map_err(failed)?;
        let user = User::for_server(&mark)?;
        if let Some(user) = user {
            user.own(&folder)?;
        }
        Ok(Self { programs, folder, user, fsync, watcher: None })
    }

    fn watcher(&self, process: u32) -> Result<Child, Error> {
        let mut command = user::command("sh", self.user);
        command.args(["-c", WATCHER, "watcher"]).arg(&self.programs.bin).arg(&self.folder);
        command.arg(process.to_string()).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().map_err(|error| Error::new(format!("sh: {error}")))
    }

    /// Makes the data and the two roles, and starts the server.
    fn init(&self) -> Result<(), Error> {
        let mut initdb = self.program("initdb");
        initdb.args([
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C",
            "--no-sync",
            "--no-instructions",
        ]);
        user::run(initdb.arg("-D").arg(self.data()))?;
        let mut single = self.program("postgres");
        single.args(["--single", "-F", "-D"]).arg(self.data()).arg("postgres");
        let mut single = single
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| Error::new(format!("postgres: {error}")))?;
        if let Some(mut stdin) = single.stdin.take() {
            let roles = format!(
                "CREATE ROLE {OWNER} LOGIN;\nCREATE ROLE {APP} LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEROLE NOCREATEDB;\n"
            );
            stdin.write_all(roles.as_bytes()).map_err(|error| Error::new(error.to_string()))?;
        }
        if !single.wait().is_ok_and(|status| status.success()) {
            return Err(Error::new("postgres --single could not make the roles"));
        }
        self.restart()
    }

    /// Starts the server again after [`stop`](Self::stop), and waits until it answers.
    ///
    /// # Errors
    ///
    /// It does not start, with what it has logged.
    pub fn restart(&self) -> Result<(), Error> {
        let options = format!(
            "-c listen_addresses='' -c unix_socket_directories='{}' -c unix_socket_permissions=0700 -c max_connections=200 \
             -c shared_buffers=32MB -c fsync={fsync} -c synchronous_commit={fsync} -c log_min_messages=log{recovery}",
            self.folder.display(),
            // After a crash it syncs every file that there is, one by one otherwise.
            recovery = if cfg!(target_os = "linux") { " -c recovery_init_sync_method=syncfs" } else { "" },
            fsync = if self.fsync { "on" } else { "off" },
        );
        let mut start = self.program("pg_ctl");
        start.args(["-w", "-t", "30", "-s", "start", "-l"]).arg(self.log()).arg("-D").arg(self.data());
        start.arg("-o").arg(options).stdin(Stdio::null());
        user::run(&mut start).map(drop).map_err(|error| {
            let log = std::fs::read_to_string(self.log()).unwrap_or_default();
            Error::new(format!("{error}\n{log}"))
        })
    }

    /// Ends the server as a crash does: it writes nothing more, and has to recover when it starts.
    ///
    /// # Errors
    ///
    /// It does not end.
    pub fn stop(&self) -> Result<(), Error> {
        let mut stop = self.program("pg_ctl");
        stop.args(["-w", "-m", "immediate", "-s", "stop", "-D"]).arg(self.data());
        user::run(&mut stop).map(drop)
    }

    /// The folder of its socket, for a URL: `postgres://role@localhost/database?host=…`.
    pub fn socket(&self) -> &Path {
        &self.folder
    }

    /// What it has logged.
    pub fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// Its version: the first number of it.
    pub fn major(&self) -> u32 {
        self.programs.major
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn program(&self, name: &str) -> std::process::Command {
        user::command(self.programs.bin.join(name), self.user)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some((mut watcher, stdin)) = self.watcher.take() {
            drop(stdin);
            let _status = watcher.wait();
        }
    }
}

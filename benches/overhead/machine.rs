//! On what the figures were measured.

use std::process::Command;

/// Machine, tools and commit.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    pub(crate) rustc: String,
    pub(crate) tokio: String,
    pub(crate) peers: Vec<String>,
    pub(crate) commit: String,
    pub(crate) date: String,
}

const LOCK: &str = include_str!("../../Cargo.lock");

impl Machine {
    pub(crate) fn look() -> Self {
        Self {
            cpu: file_line("/proc/cpuinfo", "model name"),
            cores: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
            kernel: first_line("/proc/sys/kernel/osrelease"),
            rustc: stdout("rustc", &["--version"]),
            tokio: version("tokio"),
            peers: ["async_dag", "dagx", "dagrs", "graph-flow"]
                .map(|name| format!("{name} {}", version(name)))
                .to_vec(),
            commit: commit(),
            date: stdout("date", &["-u", "+%Y-%m-%d"]),
        }
    }

    /// What is known, with its name.
    pub(crate) fn rows(&self) -> [(&'static str, String); 7] {
        [
            ("processor", format!("{}, {} cores", self.cpu, self.cores)),
            ("kernel", format!("Linux {}", self.kernel)),
            ("compiler", format!("{}, profile bench", self.rustc)),
            ("tokio", format!("{}, multi-thread, 2 workers", self.tokio)),
            ("peers", self.peers.join(", ")),
            ("commit", self.commit.clone()),
            ("date", self.date.clone()),
        ]
    }
}

fn commit() -> String {
    let commit = stdout("git", &["rev-parse", "--short=12", "HEAD"]);
    let dirty = Command::new("git").args(["diff", "--quiet", "HEAD", "--"]).status();
    if dirty.is_ok_and(|status| status.success()) { commit } else { format!("{commit} with changes") }
}

fn stdout(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    let text = output.ok().filter(|output| output.status.success());
    text.map_or_else(
        || "unknown".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

fn first_line(file: &str) -> String {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().next().unwrap_or("unknown").trim().to_owned()
}

/// The value behind the first `name : value`.
fn file_line(file: &str, name: &str) -> String {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let found = text.lines().find_map(|line| line.strip_prefix(name)?.split_once(':'));
    found.map_or_else(|| "unknown processor".to_owned(), |(_, value)| value.trim().to_owned())
}

/// The version of a package in `Cargo.lock`.
fn version(name: &str) -> String {
    let start = format!("name = \"{name}\"\nversion = \"");
    let found = LOCK.split_once(&start).and_then(|(_, rest)| rest.split_once('"'));
    found.map_or_else(|| "unknown".to_owned(), |(version, _)| version.to_owned())
}

//! Facts about the machine, its tools and the commit, for every record of figures.

use std::process::Command;

const LOCK: &str = include_str!("../Cargo.lock");

/// What every record of figures says of where they come from, with its names.
pub fn facts(command: &str, runtime: &str, peers: &[&str]) -> Vec<(&'static str, String)> {
    let peers: Vec<String> = peers.iter().map(|name| format!("{name} {}", version(name))).collect();
    let mut facts = vec![
        ("processor", format!("{}, {} cores", processor(), cores())),
        ("kernel", format!("Linux {}", kernel())),
        ("compiler", format!("{}, profile bench", compiler())),
        ("tokio", format!("{}, {runtime}", version("tokio"))),
        ("peers", peers.join(", ")),
        ("commit", commit()),
        ("date", date("+%Y-%m-%d")),
        ("command", format!("`{command}`")),
    ];
    facts.retain(|(_, value)| !value.is_empty());
    facts
}

/// The processor's name.
pub fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let found = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    found.map_or_else(|| "unknown processor".to_owned(), |(_, value)| value.trim().to_owned())
}

/// How many threads can run at the same time; zero where nobody knows.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(0, std::num::NonZero::get)
}

/// The kernel's release.
pub fn kernel() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    text.lines().next().unwrap_or("unknown").trim().to_owned()
}

/// The compiler's version.
pub fn compiler() -> String {
    stdout("rustc", &["--version"])
}

/// The commit, and whether there are changes on top of it.
pub fn commit() -> String {
    let commit = stdout("git", &["rev-parse", "--short=12", "HEAD"]);
    let dirty = Command::new("git").args(["diff", "--quiet", "HEAD", "--"]).status();
    if dirty.is_ok_and(|status| status.success()) { commit } else { format!("{commit} with changes") }
}

/// The date in universal time, in a format of the program `date`.
pub fn date(format: &str) -> String {
    stdout("date", &["-u", format])
}

/// The version of a package in `Cargo.lock`.
pub fn version(name: &str) -> String {
    let start = format!("name = \"{name}\"\nversion = \"");
    let found = LOCK.split_once(&start).and_then(|(_, rest)| rest.split_once('"'));
    found.map_or_else(|| "unknown".to_owned(), |(version, _)| version.to_owned())
}

fn stdout(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    let text = output.ok().filter(|output| output.status.success());
    text.map_or_else(
        || "unknown".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

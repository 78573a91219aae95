//! `cargo xtask bench`: runs the bench `overhead`, `policies`, `events`, `plus` or `store`, and forwards everything to it.
//!
//! The bench itself prints the table and, with `--check`, fails where a goal is missed. Only this command compiles the
//! other crates that a bench measures beside ours, and only those of the bench that it runs.

use crate::provision;
use crate::report::{Outcome, Report};
use crate::shell;
use anyhow::Result;

pub(crate) const HELP: &str = "
Usage: cargo xtask bench [--check] [--quick] [--filter WORD]... [--json FILE] [--baseline FILE]
       cargo xtask bench --verify | --memory | --callgrind | --blocking
       cargo xtask bench policies [--check] [--quick] [--filter WORD]... [--json FILE] [--baseline FILE]
       cargo xtask bench policies --verify | --callgrind
       cargo xtask bench events [--check] [--quick] [--filter WORD]... [--json FILE] [--baseline FILE]
       cargo xtask bench events --verify
       cargo xtask bench plus [--check] [--quick] [--filter WORD]... [--json FILE] [--baseline FILE]
       cargo xtask bench plus --verify
       cargo xtask bench store [--check] [--quick] [--filter WORD]... [--json FILE] [--baseline FILE]
       cargo xtask bench store --verify

Runs `cargo bench -p stageflow-benches --features peers --bench overhead`, which
prints the time per stage: ours, hand-written tokio and other engines, side by
side on the same graphs.

    --check          also measures instructions and memory, prints the goals, and
                     fails where one is missed; with CI=true also where one could
                     not be checked, for want of valgrind
    --quick          fewer rounds and repetitions
    --filter WORD    only cells whose row, shape or body contains the word; with
                     several, all must match
    --json FILE      writes every figure as JSON
    --baseline FILE  writes the tables as Markdown, with machine, commit and command
    --verify         only checks, on small graphs, that each row runs each stage
                     once, after those it waits for
    --memory         only the bytes that a run needs beyond its plan
    --callgrind      only the instructions per stage
    --blocking       only how long a stage waits whose sibling blocks a worker

With `policies`, runs the bench of that name with the feature `policy-peers`: what
each policy adds to a call that succeeds at once, ours around a stage, and those
of tower, tower-resilience, backon, failsafe and governor around a call. The
options mean the same; `--check` checks the goals of the policies, and
`--verify` that each policy acts where it has to.

With `events`, runs the bench of that name with the feature `telemetry`: what it
costs a run of 10,000 stages that somebody listens, from a sink that does nothing
to OpenTelemetry, and what it costs to hand one event over, beside tokio's
channel. `--verify` checks that no row loses an event.

With `plus`, runs the bench of that name with the feature `plus`: what the
ready-made stages cost, beside what one would write or take instead, and what a
fan-out needs by how many items run at a time, and what it takes to choose a route
by weight. `--verify` checks that each gives what it should.

With `store`, runs the bench of that name with the feature `store`: how many durable
stages there are in a second, beside hand-written commits of the same bytes on the
same store; what a journal costs stages that are not durable; how long it takes
to resume 10,000 durable stages; and how many answers are kept and given again.
SQLite writes below `target/`, PostgreSQL is a throw-away server, and both sync
the disk. `--verify` checks that what is measured is in the journal.

Files are relative to the root of the workspace.";

/// The bench to run, the feature it needs, and what is forwarded to it.
struct Bench<'a> {
    name: &'static str,
    feature: &'static str,
    args: &'a [String],
}

impl<'a> Bench<'a> {
    fn of(args: &'a [String]) -> Self {
        match args.split_first() {
            Some((first, args)) if first == "policies" => {
                Self { name: "policies", feature: "policy-peers", args }
            }
            Some((first, args)) if first == "plus" => Self { name: "plus", feature: "plus", args },
            Some((first, args)) if first == "store" => Self { name: "store", feature: "store", args },
            Some((first, args)) if first == "events" => Self { name: "events", feature: "telemetry", args },
            _ => Self { name: "overhead", feature: "peers", args },
        }
    }
}

pub(crate) fn run(args: &[String]) -> Result<bool> {
    let mut report = Report::from_env();
    if Bench::of(args).name == "store" {
        report.gate("postgres", provision::postgres);
    }
    report.gate("bench", || gate(args));
    Ok(report.finish())
}

pub(crate) fn gate(args: &[String]) -> Result<Outcome> {
    let Bench { name, feature, args } = Bench::of(args);
    let flags = ["bench", "-p", "stageflow-benches", "--features", feature, "--bench", name, "--"];
    shell::outcome(shell::cargo(flags).args(args))
}

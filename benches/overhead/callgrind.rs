//! Instructions per stage, which are the same on any machine: this program runs itself under valgrind's callgrind.
//!
//! Each figure is the difference of two processes that differ only in how often they run the graph, on one worker. So
//! neither start-up nor building the plan counts, and results are never dropped, so teardown does not count either.

use std::{
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
};

use anyhow::{Context, Result, bail};
use stageflow_benches::{graph::Shape, work::Noop};

use crate::{
    campaign::runtime,
    cells::{self, FAN_OUTS},
    rows::Row,
};

const SHAPES: &[Shape] = &[cells::CHAINS[1], FAN_OUTS[1], FAN_OUTS[2], cells::LAYERED];
const ROWS: &[Row] = &[Row::Ours, Row::Observed, Row::JoinSet];

/// So many runs in the shorter process, and so many stages more in the longer one.
const SHORT: usize = 2;
const MORE_STAGES: usize = 40_000;

/// What was counted, or why nothing could be.
pub(crate) type Counts = Result<Vec<Count>, &'static str>;

/// Instructions per stage of one row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Count {
    pub(crate) row: Row,
    pub(crate) shape: Shape,
    pub(crate) per_stage: f64,
}

pub(crate) fn measure() -> Result<Counts> {
    let there = Command::new("valgrind").arg("--version").stdout(Stdio::null()).status();
    if !there.is_ok_and(|status| status.success()) {
        return Ok(Err("valgrind is not installed: `apt-get install valgrind`"));
    }
    let cells: Vec<_> = SHAPES.iter().flat_map(|shape| ROWS.iter().map(|row| (*row, *shape))).collect();
    let todo = Mutex::new(cells.iter().enumerate());
    let done = Mutex::new(Vec::new());
    // Counts do not depend on how busy the machine is.
    let work = || {
        loop {
            let next = todo.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((index, (row, shape))) = next else { return };
            let count = count(*row, *shape);
            done.lock().unwrap_or_else(PoisonError::into_inner).push((index, count));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, std::num::NonZero::get) {
            scope.spawn(work);
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    let counts: Result<Vec<Count>> = done.into_iter().map(|(_, count)| count).collect();
    let counts = Ok(counts?);
    print(&counts);
    Ok(counts)
}

#[expect(clippy::cast_precision_loss, reason = "counts of a bench fit a float")]
fn count(row: Row, shape: Shape) -> Result<Count> {
    let stages = shape.graph().len();
    let more = MORE_STAGES.div_ceil(stages);
    let (short, long) = (instructions(row, shape, SHORT)?, instructions(row, shape, SHORT + more)?);
    let per_stage = (long as f64 - short as f64) / (more * stages) as f64;
    Ok(Count { row, shape, per_stage })
}

fn instructions(row: Row, shape: Shape, runs: usize) -> Result<u64> {
    let this = std::env::current_exe().context("this program has a path")?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(this)
        .arg("--callgrind-cell")
        .args([row.to_string(), shape.to_string(), runs.to_string()])
        .output()
        .context("valgrind starts")?;
    let log = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("valgrind failed on {row}, {shape}:\n{log}");
    }
    let total = log.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok());
    total.with_context(|| format!("valgrind printed no total:\n{log}"))
}

/// What runs under valgrind.
pub(crate) fn cell(row: Row, shape: Shape, runs: usize) -> Result<()> {
    let runtime = runtime(1)?;
    let mut prepared = match row.prepare(shape, &Noop) {
        Ok(prepared) => prepared,
        Err(why) => bail!("{row} does not run {shape}: {why}"),
    };
    prepared.case.hold(&runtime, runs);
    std::process::exit(0);
}

pub(crate) fn print(counts: &Counts) {
    match counts {
        Err(why) => crate::say(format_args!("\ninstructions per stage: NOT CHECKED: {why}")),
        Ok(counts) => {
            crate::say("\ninstructions per stage (callgrind, one worker, run phase)");
            for Count { row, shape, per_stage } in counts {
                crate::say(format_args!("  {shape:<20} {row:<18} {per_stage:>8.0}"));
            }
        }
    }
}

//! Instructions per stage, which are the same on any machine: this program runs itself under valgrind's callgrind.
//!
//! Counting begins at zero when `counted_from_here` is called, after the plan is built and was run a few times, and goes on to the
//! end of the process, on one worker. Results are never dropped, so teardown does not count. A worker gives way every
//! 200 µs, which under valgrind is every few dozen stages: that adds some 20 to 40 instructions per stage to ours, and
//! makes them differ by a few percent from time to time.

use anyhow::{Result, bail};
use stageflow_benches::{callgrind, graph::Shape, report::runtime, work::Noop};

use crate::{
    cells::{self, FAN_OUTS},
    rows::Row,
};

const SHAPES: &[Shape] = &[cells::CHAINS[1], FAN_OUTS[1], FAN_OUTS[2], cells::LAYERED];
const ROWS: &[Row] = &[Row::Ours, Row::Observed, Row::Unheard, Row::JoinSet];

/// About so many stages are counted.
const STAGES: usize = 50_000;
/// About so many stages run before the counted ones: more than it takes until the process has its counter for short times.
const WARM_UP: usize = 5_000;

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
    if let Some(why) = callgrind::missing() {
        return Ok(Err(why));
    }
    let cells: Vec<_> = SHAPES.iter().flat_map(|shape| ROWS.iter().map(|row| (*row, *shape))).collect();
    let counts: Result<Vec<Count>> =
        callgrind::each(&cells, |(row, shape)| count(*row, *shape)).into_iter().collect();
    let counts = Ok(counts?);
    print(&counts);
    Ok(counts)
}

#[expect(clippy::cast_precision_loss, reason = "counts of a bench fit a float")]
fn count(row: Row, shape: Shape) -> Result<Count> {
    let stages = shape.graph().len();
    let runs = STAGES.div_ceil(stages);
    let per_stage = instructions(row, shape, runs)? as f64 / (runs * stages) as f64;
    Ok(Count { row, shape, per_stage })
}

/// All instructions of so many runs.
fn instructions(row: Row, shape: Shape, runs: usize) -> Result<u64> {
    let cell = [row.to_string(), shape.to_string(), runs.to_string()];
    let args = [&["--callgrind-cell".to_owned()][..], &cell].concat();
    callgrind::instructions(&format!("{row}-{shape}"), &args)
}

/// What runs under valgrind.
pub(crate) fn cell(row: Row, shape: Shape, runs: usize) -> Result<()> {
    let runtime = runtime(1)?;
    let mut prepared = match row.prepare(shape, &Noop) {
        Ok(prepared) => prepared,
        Err(why) => bail!("{row} does not run {shape}: {why}"),
    };
    prepared.case.hold(&runtime, WARM_UP.div_ceil(shape.graph().len()).max(2));
    callgrind::counted_from_here();
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

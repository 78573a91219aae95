//! Instructions per call, without and with each policy.

use anyhow::{Context as _, Result};
use stageflow_benches::{callgrind, report::runtime, table::aligned};

use crate::{
    campaign::make,
    case::CALLS,
    options::Options,
    rows::{self, Row},
};

/// So many batches run before those that are counted, and so many are counted.
const WARM_UP: usize = 5;
const COUNTED: usize = 10;

pub(crate) fn print(options: &Options) -> Result<()> {
    if let Some(why) = callgrind::missing() {
        crate::say(format_args!("instructions per call: NOT CHECKED: {why}"));
        return Ok(());
    }
    let rows: Vec<(usize, &Row)> =
        rows::ALL.iter().enumerate().filter(|(_, row)| row.matches(&options.filters)).collect();
    let counts = callgrind::each(&rows, |(index, _)| {
        Ok::<_, anyhow::Error>((count(*index, true)?, count(*index, false)?))
    });
    let mut table = vec![["policy", "row", "instructions", "bare"].map(str::to_owned).to_vec()];
    for ((_, row), counted) in rows.iter().zip(counts) {
        let (bare, with) = counted?;
        let cost = format!("{:.0}", with - bare);
        table.push(vec![row.policy.to_string(), row.name.to_owned(), cost, format!("{bare:.0}")]);
    }
    crate::say("instructions per call (callgrind, one worker)");
    aligned(&table, &[0, 1]).iter().for_each(crate::say);
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "counts of a bench fit a float")]
fn count(row: usize, bare: bool) -> Result<f64> {
    let which = if bare { "bare" } else { "with" };
    let args = ["--callgrind-cell".to_owned(), row.to_string(), which.to_owned(), COUNTED.to_string()];
    let count = callgrind::instructions(&format!("{row}-{which}"), &args)?;
    Ok(count as f64 / (COUNTED as f64 * f64::from(CALLS)))
}

/// What runs under valgrind.
pub(crate) fn cell(row: &usize, bare: bool, batches: usize) -> Result<()> {
    let row = rows::ALL.get(*row).context("there is such a row")?;
    let runtime = runtime(1)?;
    let pair = make(&runtime, row);
    let mut case = if bare { pair.bare } else { pair.with };
    let handler = runtime.spawn(async move {
        for _ in 0..WARM_UP {
            case.batch().await;
        }
        callgrind::counted_from_here();
        for _ in 0..batches {
            case.batch().await;
        }
        std::process::exit(0);
    });
    runtime.block_on(handler).context("a batch does not panic")
}

//! Measures all rows in rounds: in each round every row once, in another order, so that a disturbance meets all of them.

use std::time::Duration;

use anyhow::{Result, ensure};
use stageflow_benches::{graph::Dice, report::runtime, stopwatch::Stopwatch};
use tokio::runtime::Runtime;

use crate::{
    case::{Pair, Visit, median, visit},
    options::Options,
    rows::{self, Policy, Row},
};

/// All figures of one run of the bench.
pub(crate) struct Campaign {
    pub(crate) rows: Vec<Measured>,
    pub(crate) rounds: usize,
}

/// A row and what was measured of it.
pub(crate) struct Measured {
    pub(crate) row: &'static Row,
    pub(crate) figure: Figure,
}

/// Nanoseconds per call, over the rounds.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub(crate) struct Figure {
    /// The median.
    pub(crate) cost: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    /// The medians of what the cost is the difference of.
    pub(crate) bare: f64,
    pub(crate) with: f64,
    /// How many batches there were of each kind.
    pub(crate) batches: usize,
}

impl Figure {
    fn of(visits: &[Visit]) -> Self {
        let costs = || visits.iter().map(|visit| visit.cost);
        Self {
            cost: median(costs()),
            min: costs().fold(f64::INFINITY, f64::min),
            max: costs().fold(f64::NEG_INFINITY, f64::max),
            bare: median(visits.iter().map(|visit| visit.bare)),
            with: median(visits.iter().map(|visit| visit.with)),
            batches: visits.iter().map(|visit| visit.batches).sum(),
        }
    }
}

impl Campaign {
    pub(crate) fn measure(options: &Options) -> Result<Self> {
        let rounds = if options.quick { 3 } else { 9 };
        let time = Duration::from_millis(if options.quick { 30 } else { 80 });
        // One worker: what a policy costs a call is looked at where nobody competes for it.
        let runtime = runtime(1)?;
        let rows: Vec<&'static Row> = rows::ALL.iter().filter(|row| row.matches(&options.filters)).collect();
        ensure!(!rows.is_empty(), "no row matches {:?}", options.filters);
        let mut pairs: Vec<Option<Pair>> = rows.iter().map(|_| None).collect();
        let mut visits: Vec<Vec<Visit>> = rows.iter().map(|_| Vec::new()).collect();
        let mut order: Vec<usize> = (0..rows.len()).collect();
        let mut dice = Dice::new(7);
        for round in 0..rounds {
            let watch = Stopwatch::start();
            dice.shuffle(&mut order);
            for index in &order {
                let pair = &mut pairs[*index];
                if pair.is_none() {
                    *pair = Some(make(&runtime, rows[*index]));
                    visit(&runtime, pair, time / 4);
                }
                visits[*index].push(visit(&runtime, pair, time));
            }
            crate::say(format_args!("round {} of {rounds}: {:.1?}", round + 1, watch.elapsed()));
        }
        let measured =
            |(row, visits): (&'static Row, Vec<Visit>)| Measured { row, figure: Figure::of(&visits) };
        Ok(Self { rows: rows.into_iter().zip(visits).map(measured).collect(), rounds })
    }

    /// The least cost among the peers of a policy, and whose it is.
    pub(crate) fn fastest_peer(&self, policy: Policy) -> Option<(f64, &'static str)> {
        let peers = self.rows.iter().filter(|one| one.row.policy == policy && !one.row.is_ours());
        let fastest = peers.min_by(|a, b| a.figure.cost.total_cmp(&b.figure.cost));
        fastest.map(|one| (one.figure.cost, one.row.name))
    }
}

/// Makes a row. Some need a runtime for that.
pub(crate) fn make(runtime: &Runtime, row: &Row) -> Pair {
    let _context = runtime.enter();
    row.pair()
}

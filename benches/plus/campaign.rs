//! Measures all cases in rounds: in each round every case once, in another order, so that a disturbance meets all of them.

use anyhow::{Context, Result, ensure};
use stageflow_benches::{
    graph::Dice,
    report::{Spread, runtime},
    stopwatch::Stopwatch,
};
use tokio::runtime::Runtime;

use crate::Options;

type Measure = Box<dyn FnMut(&Runtime) -> Result<f64>>;

/// One thing that is measured.
pub(crate) struct Case {
    /// The table in which it stands.
    pub(crate) table: String,
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    /// Measures once, in the unit.
    pub(crate) measure: Measure,
    /// Whether it is the same each time, so that once is enough.
    pub(crate) is_exact: bool,
}

/// What was measured of a case.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Measured {
    pub(crate) table: String,
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    #[serde(flatten)]
    pub(crate) spread: Spread,
}

/// All figures of one run of the bench.
pub(crate) struct Campaign {
    pub(crate) cases: Vec<Measured>,
    pub(crate) rounds: usize,
}

impl Campaign {
    pub(crate) fn measure(options: &Options, mut cases: Vec<Case>) -> Result<Self> {
        let rounds = if options.quick { 3 } else { 11 };
        let is_asked = |case: &Case| {
            options
                .filters
                .iter()
                .all(|word| case.name.contains(word.as_str()) || case.table.contains(word.as_str()))
        };
        cases.retain(is_asked);
        ensure!(!cases.is_empty(), "nothing matches {:?}", options.filters);
        let runtime = runtime(1)?;
        let mut values: Vec<Vec<f64>> = cases.iter().map(|_| Vec::new()).collect();
        let mut order: Vec<usize> = (0..cases.len()).collect();
        let mut dice = Dice::new(7);
        for round in 0..rounds {
            let watch = Stopwatch::start();
            dice.shuffle(&mut order);
            for index in &order {
                let case = &mut cases[*index];
                if round == 0 || !case.is_exact {
                    let value = (case.measure)(&runtime).with_context(|| case.name.clone())?;
                    values[*index].push(value);
                }
            }
            crate::say(format_args!("round {} of {rounds}: {:.1?}", round + 1, watch.elapsed()));
        }
        let finish = |(case, values): (Case, Vec<f64>)| Measured {
            table: case.table,
            name: case.name,
            unit: case.unit,
            spread: Spread::of(&values),
        };
        Ok(Self { cases: cases.into_iter().zip(values).map(finish).collect(), rounds })
    }

    /// The median of a case, if it was measured.
    pub(crate) fn median(&self, table: &str, name: &str) -> Option<f64> {
        self.cases.iter().find(|case| case.table == table && case.name == name).map(|case| case.spread.median)
    }
}

//! Measures everything in rounds, each in another order. What is compared is measured by turns, so that a disturbance meets all of it.

use anyhow::{Context, Result, ensure};
use stageflow_benches::{graph::Dice, report::Spread, stopwatch::Stopwatch};

use crate::{Options, answers, attached, bare, durable, lab::Lab, resume, what::What};

/// All figures of one run of the bench.
pub(crate) struct Campaign {
    pub(crate) figures: Vec<(What, Spread)>,
    pub(crate) rounds: usize,
}

impl Campaign {
    pub(crate) fn measure(options: &Options, lab: &Lab) -> Result<Self> {
        let rounds = if options.quick { 3 } else { 5 };
        let is_asked =
            |what: &What| options.filters.iter().all(|word| what.to_string().contains(word.as_str()));
        let mut groups = What::groups();
        groups.iter_mut().for_each(|group| group.retain(is_asked));
        groups.retain(|group| !group.is_empty());
        ensure!(!groups.is_empty(), "nothing matches {:?}", options.filters);
        let all: Vec<What> = groups.iter().flatten().copied().collect();
        let mut values: Vec<Vec<f64>> = all.iter().map(|_| Vec::new()).collect();
        let mut dice = Dice::new(7);
        for round in 0..rounds {
            let watch = Stopwatch::start();
            dice.shuffle(&mut groups);
            for group in &mut groups {
                for _ in 0..group[0].repetitions() {
                    dice.shuffle(group);
                    for what in &*group {
                        let value = once(lab, *what).with_context(|| what.to_string())?;
                        let place = all.iter().position(|one| one == what).context("it is one of all")?;
                        values[place].push(value);
                    }
                }
            }
            crate::say(format_args!("round {} of {rounds}: {:.1?}", round + 1, watch.elapsed()));
        }
        let spreads = values.iter().map(|values| Spread::of(values));
        Ok(Self { figures: all.into_iter().zip(spreads).collect(), rounds })
    }

    pub(crate) fn get(&self, what: What) -> Option<Spread> {
        self.figures.iter().find(|(one, _)| *one == what).map(|(_, figure)| *figure)
    }

    pub(crate) fn median(&self, what: What) -> Option<f64> {
        self.get(what).map(|figure| figure.median)
    }
}

/// Nanoseconds for each stage, commit or answer; for a run that is resumed, of all of it.
fn once(lab: &Lab, what: What) -> Result<f64> {
    match what {
        What::Durable(kind, runs) => durable::runs(lab, kind, runs),
        What::Bare(kind, way, committers) => bare::commits(lab, kind, way, committers),
        What::Wide(kind, stages) => durable::wide(lab, kind, stages),
        What::Attached(row, shape) => attached::stages(lab, row, shape),
        What::Resume(kind, shape) => resume::rest(lab, kind, shape),
        What::Kept(kind) => answers::kept(lab, kind),
        What::Replayed(kind) => answers::replayed(lab, kind),
    }
}

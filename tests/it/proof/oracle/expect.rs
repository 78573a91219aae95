//! The plain sequential oracle: how each stage must end, when it may start, and how the run must end, from the rules alone.
//!
//! Where the rules leave something open the documentation of the builder and of the outcomes is taken at its word: a condition that
//! does not hold comes before everything else, and a failure among the inputs before a skip.

use std::collections::BTreeSet;

use stageflow::FailurePolicy;

use super::case::{Case, Exit, Pace, Predicate, Source, StageCase, Wire};

/// The value of the pipeline's input.
pub(crate) const INPUT: u64 = 77;

/// What must become of one stage as long as nothing ends the run before.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    pub(crate) fate: Fate,
    /// Its code is called.
    pub(crate) runs: bool,
    /// When it starts or is decided, in milliseconds of virtual time: not before the first, not after the second.
    pub(crate) start: (u64, u64),
    /// When it has ended.
    end: (u64, u64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Completed(u64),
    SkippedOwn,
    /// One of these was skipped.
    SkippedUpstream(BTreeSet<usize>),
    /// The condition on one of these does not hold; `None` is the input.
    NotTaken(BTreeSet<Option<usize>>),
    Failed,
    Denied,
    Cancels,
    /// One of these is the failure at the root.
    Blocked(BTreeSet<usize>),
}

/// How the run must end as long as nobody cancels it from outside.
#[derive(Clone, Debug)]
pub(crate) struct Oracle {
    pub(crate) stages: Vec<Expected>,
    /// Nothing ends the run early: every stage must end as expected.
    pub(crate) exact: bool,
    /// The stages that fail are more than the policy tolerates.
    pub(crate) too_many_failures: bool,
}

/// What an edge delivers.
enum Delivery {
    Value(u64),
    /// Nothing, because one of these stages was skipped.
    Skipped(BTreeSet<usize>),
    /// Nothing, because one of these stages has failed.
    Failed(BTreeSet<usize>),
}

impl Oracle {
    pub(crate) fn of(case: &Case) -> Self {
        let mut known: Vec<Option<Expected>> = vec![None; case.stages.len()];
        // Edges by name may lead forward: rounds until every stage is known.
        while known.iter().any(Option::is_none) {
            for (index, stage) in case.stages.iter().enumerate() {
                if known[index].is_none() && stage.sources().all(|source| known[source].is_some()) {
                    known[index] = Some(expect(index, stage, &known, case.policy));
                }
            }
        }
        let stages: Vec<Expected> = known.into_iter().flatten().collect();
        let count = |fate: fn(&Fate) -> bool| stages.iter().filter(|stage| fate(&stage.fate)).count();
        let failures = count(|fate| matches!(fate, Fate::Failed | Fate::Denied));
        let too_many_failures = match case.policy {
            FailurePolicy::FailFast => failures > 0,
            FailurePolicy::TolerateCount(limit) => failures > limit as usize,
            FailurePolicy::ToleratePercent(percent) => {
                failures as f64 > percent / 100.0 * stages.len() as f64 + 1e-9
            }
            _ => false,
        };
        let ended = count(|fate| matches!(fate, Fate::Cancels | Fate::Denied)) > 0;
        Self { exact: !ended && !too_many_failures, too_many_failures, stages }
    }

    pub(crate) fn any(&self, fate: &Fate) -> bool {
        self.stages.iter().any(|stage| stage.fate == *fate)
    }
}

/// The value a stage gives for what it was given: so that it shows which values arrived, and where.
pub(crate) fn value(index: usize, inputs: impl IntoIterator<Item = Option<u64>>) -> u64 {
    let mix = |seed: u64, next: u64| (seed ^ next).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29) + 1;
    let start = mix(0, index as u64);
    inputs.into_iter().fold(start, |seed, input| mix(seed, input.unwrap_or(0)))
}

pub(crate) fn holds(predicate: Predicate, value: u64) -> bool {
    match predicate {
        Predicate::Holds => true,
        Predicate::Fails => false,
        Predicate::IsEven => value.is_multiple_of(2),
        Predicate::Panics => panic!("{}", super::super::ON_PURPOSE),
    }
}

fn expect(index: usize, stage: &StageCase, known: &[Option<Expected>], policy: FailurePolicy) -> Expected {
    let of = |source: usize| known[source].as_ref().expect("stages are known in order");
    let deliver = |source: &Source| match source {
        Source::Input => Delivery::Value(INPUT),
        Source::Stage(source) => match &of(*source).fate {
            Fate::Completed(value) => Delivery::Value(*value),
            Fate::SkippedOwn | Fate::SkippedUpstream(_) | Fate::NotTaken(_) => {
                Delivery::Skipped([*source].into())
            }
            Fate::Failed | Fate::Denied | Fate::Cancels => Delivery::Failed([*source].into()),
            Fate::Blocked(roots) => Delivery::Failed(roots.clone()),
        },
    };
    let end = |source: &Source| match source {
        Source::Input => (0, 0),
        Source::Stage(source) => of(*source).end,
    };
    let ready = ready(stage, end, |source| matches!(deliver(source), Delivery::Value(_)));

    // A condition that does not hold, or panics, decides as soon as its value is there.
    let mut routes = BTreeSet::new();
    let mut panics = false;
    let mut decided = ready;
    for (source, predicate) in &stage.when {
        let Delivery::Value(value) = deliver(source) else { continue };
        if *predicate == Predicate::Panics {
            panics = true;
        } else if holds(*predicate, value) {
            continue;
        } else {
            routes.insert(match source {
                Source::Input => None,
                Source::Stage(stage) => Some(*stage),
            });
        }
        decided.0 = decided.0.min(end(source).0);
        decided.1 = decided.1.min(end(source).1);
    }
    let without_run = |fate| Expected { fate, runs: false, start: decided, end: decided };
    if panics {
        return without_run(Fate::Failed);
    }
    if !routes.is_empty() {
        return without_run(Fate::NotTaken(routes));
    }

    let mut inputs = Vec::new();
    let (mut skipped, mut failed) = (BTreeSet::new(), BTreeSet::new());
    let mut missing = |delivery| match delivery {
        Delivery::Value(value) => Some(value),
        Delivery::Skipped(by) => (skipped.extend(by), None).1,
        Delivery::Failed(by) => (failed.extend(by), None).1,
    };
    for wire in &stage.wires {
        match wire {
            Wire::One(source) | Wire::Owned(source) => inputs.push(missing(deliver(source))),
            Wire::Many(sources) => inputs.extend(sources.iter().map(|source| missing(deliver(source)))),
            Wire::Optional(source) => inputs.push(given(&deliver(source))),
            Wire::OrOptional(sides) => inputs.push(sides.iter().find_map(|side| given(&deliver(side)))),
            Wire::Or(sides) => match sides.iter().find_map(|side| given(&deliver(side))) {
                Some(value) => inputs.push(Some(value)),
                None => inputs.extend(sides.iter().map(|side| missing(deliver(side)))),
            },
            Wire::Named(names) => {
                let deliver = |(source, _): &(usize, bool)| deliver(&Source::Stage(*source));
                let (optional, required): (Vec<_>, Vec<_>) =
                    names.iter().partition(|(_, optional)| *optional);
                inputs.extend(required.into_iter().map(|name| missing(deliver(name))));
                inputs.extend(optional.into_iter().map(|name| given(&deliver(name))));
            }
        }
    }
    for source in stage.after.iter().chain(&stage.after_names) {
        let delivery = deliver(&Source::Stage(*source));
        if !(policy == FailurePolicy::BestEffort && matches!(delivery, Delivery::Failed(_))) {
            missing(delivery);
        }
    }
    for (source, _) in &stage.when {
        missing(deliver(source));
    }
    // It may be decided as soon as one of its sources has ended without a value.
    let empty = stage.sources().filter(|source| !matches!(of(*source).fate, Fate::Completed(_)));
    let decided = (empty.map(|source| of(source).end.0).min().unwrap_or(ready.0).min(ready.0), ready.1);
    let early = Expected { start: decided, end: decided, ..without_run(Fate::SkippedOwn) };
    if !failed.is_empty() {
        return Expected { fate: Fate::Blocked(failed), ..early };
    }
    if !skipped.is_empty() {
        return Expected { fate: Fate::SkippedUpstream(skipped), ..early };
    }
    let pause = match stage.pace {
        Pace::Sleeps(millis) => u64::from(millis),
        Pace::AtOnce | Pace::Yields(_) => 0,
    };
    let fate = match stage.exit {
        Exit::Completes => Fate::Completed(value(index, inputs)),
        Exit::Skips => Fate::SkippedOwn,
        Exit::Fails | Exit::Retries | Exit::Panics => Fate::Failed,
        Exit::Cancels => Fate::Cancels,
        Exit::Denies => Fate::Denied,
    };
    Expected { fate, runs: true, start: ready, end: (ready.0 + pause, ready.1 + pause) }
}

fn given(delivery: &Delivery) -> Option<u64> {
    match delivery {
        Delivery::Value(value) => Some(*value),
        Delivery::Skipped(_) | Delivery::Failed(_) => None,
    }
}

/// When all edges of a stage are decided (S-4): an `or` is as soon as a side completed and all before it ended.
fn ready(
    stage: &StageCase,
    end: impl Fn(&Source) -> (u64, u64),
    completes: impl Fn(&Source) -> bool,
) -> (u64, u64) {
    let wires = stage.wires.iter().flat_map(|wire| {
        let mut sources = wire.sources();
        if let Wire::Or(_) | Wire::OrOptional(_) = wire
            && let Some(first) = sources.iter().position(&completes)
        {
            sources.truncate(first + 1);
        }
        sources
    });
    let after = stage.after.iter().chain(&stage.after_names).map(|stage| Source::Stage(*stage));
    let when = stage.when.iter().map(|(source, _)| *source);
    let ends = wires.chain(after).chain(when).map(|source| end(&source));
    ends.fold((0, 0), |all, one| (all.0.max(one.0), all.1.max(one.1)))
}

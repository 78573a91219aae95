//! A stage as the checks see it: everything that stands around its code, outermost first, and the times that bound it.

use std::{sync::Arc, time::Duration};

use stageflow_core::{PolicyFacts, RetryFacts, StageKind, intercept::AnyInterceptor, time::Human};

use super::{Allowed, Around};
use crate::problem::Quoted;

/// A stage in its pipeline, or a stage that is a pipeline around others.
#[derive(Debug)]
pub(super) struct Level {
    /// Outermost first.
    pub(super) chain: Vec<(AnyInterceptor, Origin)>,
    pub(super) stage: String,
    /// How many stages alike its pipeline has.
    pub(super) count: u64,
    pub(super) timeout: Option<Duration>,
    pub(super) attempt: Option<Duration>,
    pub(super) idle: Option<Duration>,
    /// Who has set these three.
    pub(super) set_by: SetBy,
    /// What an attempt takes at least.
    pub(super) least: Duration,
    /// What the account of the run of its pipeline has, if it has one of its own: the outermost always does, and may be without limit.
    pub(super) retries: Option<u64>,
    /// Of the pipeline that the stage belongs to.
    pub(super) deadline: Option<Duration>,
    pub(super) allowed: Vec<Allowed>,
}

/// Who has added an interceptor, or set a time; the nearest last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Origin {
    Engine,
    Pipeline,
    Stage,
}

/// Who has set the times of a stage.
#[derive(Clone, Copy, Debug)]
pub(super) struct SetBy {
    pub(super) timeout: Origin,
    pub(super) attempt: Origin,
    pub(super) idle: Origin,
}

/// An interceptor around the code of a stage.
#[derive(Clone, Copy, Debug)]
pub(super) struct Policy<'a> {
    /// The level it belongs to.
    pub(super) level: usize,
    pub(super) any: &'a AnyInterceptor,
    pub(super) origin: Origin,
}

impl<'a> Policy<'a> {
    pub(super) fn facts(&self) -> &'a PolicyFacts {
        self.any.facts()
    }

    /// The retry that it is, if it makes more than one attempt.
    pub(super) fn retry(&self) -> Option<&'a RetryFacts> {
        match self.facts() {
            PolicyFacts::Retry(retry) if retry.max_attempts > 1 => Some(retry),
            _ => None,
        }
    }
}

/// A stage, or several alike, with all that stands around.
#[derive(Debug)]
pub(super) struct Site<'a> {
    levels: &'a [Arc<Level>],
    pub(super) kind: StageKind,
    /// How many stages alike one run of their pipeline has.
    pub(super) count: u64,
    /// The deadline of the pipeline that the stage is; `Some(None)` for one without.
    child: Option<Option<Duration>>,
    pub(super) around: &'a Around<'a>,
    /// Whether the run has no more retries than it has without a word.
    pub(super) is_bounded: bool,
    /// All policies around the code, outermost first.
    pub(super) policies: Vec<Policy<'a>>,
}

impl<'a> Site<'a> {
    pub(super) fn new(
        levels: &'a [Arc<Level>],
        kind: StageKind,
        count: u64,
        child: Option<Option<Duration>>,
        around: &'a Around<'a>,
        is_bounded: bool,
    ) -> Self {
        let of = |(level, of): (usize, &'a Arc<Level>)| {
            of.chain.iter().map(move |(any, origin)| Policy { level, any, origin: *origin })
        };
        let policies = levels.iter().enumerate().flat_map(of).collect();
        Self { levels, kind, count, child, around, is_bounded, policies }
    }

    /// The stages it is nested in, outermost first, and itself.
    pub(super) fn levels(&self) -> &'a [Arc<Level>] {
        self.levels
    }

    /// The stage itself.
    pub(super) fn own(&self) -> &'a Level {
        &self.levels[self.level()]
    }

    pub(super) fn level(&self) -> usize {
        self.levels.len() - 1
    }

    pub(super) fn is_pipeline(&self) -> bool {
        self.child.is_some()
    }

    /// The policies of the stage itself, with their places in all.
    pub(super) fn own_policies(&self) -> impl Iterator<Item = (usize, Policy<'a>)> {
        let level = self.level();
        self.policies.iter().copied().enumerate().filter(move |(_, policy)| policy.level == level)
    }

    /// How many attempts one call at this place can become.
    pub(super) fn attempts_inside(&self, place: usize) -> u64 {
        self.amplified(|other| other > place).amplification.unwrap_or(1)
    }

    /// How many attempts one call of the outermost stage can become.
    pub(super) fn attempts(&self) -> u64 {
        self.amplified(|_| true).amplification.unwrap_or(1)
    }

    /// Where a policy comes from, in words.
    pub(super) fn origin(&self, policy: &Policy<'_>) -> String {
        let who = match policy.origin {
            Origin::Engine => "engine",
            Origin::Pipeline => "pipeline",
            Origin::Stage => "stage",
        };
        if policy.level == self.level() {
            return who.to_owned();
        }
        format!("{who}, around {}", Quoted(&self.levels[policy.level].stage))
    }

    /// The longest an attempt takes; `None` if nothing ends it.
    pub(super) fn attempt(&self) -> Option<Duration> {
        least(self.own().attempt, self.child.flatten())
    }

    /// The longest a call takes at worst, without what stands around its pipeline.
    pub(super) fn longest(&self) -> Option<Duration> {
        let first = self.own_policies().next().map_or(self.policies.len(), |(place, _)| place);
        let time = self.fold(self.attempt(), &self.policies[first..], self.level());
        least(time, self.own().timeout)
    }

    /// The longest that takes which is inside of a place at worst, if no attempt takes longer than it may.
    pub(super) fn inside(&self, place: usize) -> Option<Duration> {
        self.fold(self.attempt(), &self.policies[place + 1..], self.policies[place].level)
    }

    /// The sum of all delays inside of a place.
    pub(super) fn delays_inside(&self, place: usize) -> Duration {
        self.fold(Some(Duration::ZERO), &self.policies[place + 1..], self.policies[place].level)
            .unwrap_or_default()
    }

    /// The longest that everything takes at worst.
    pub(super) fn longest_of_all(&self) -> Option<Duration> {
        let time = self.fold(self.attempt(), &self.policies, 0);
        let time = least(time, self.attempt().and_then(|attempt| self.paid_time(attempt)));
        least(time, self.levels.first().and_then(|level| least(level.timeout, level.deadline)))
    }

    /// From the attempt outwards, to a level.
    fn fold(&self, attempt: Option<Duration>, policies: &[Policy<'_>], to: usize) -> Option<Duration> {
        let mut time = attempt;
        let mut level = self.level();
        let out = |mut time, from: usize, to: usize| {
            for inner in (to + 1..=from).rev() {
                let (inner, outer) = (&self.levels[inner], &self.levels[inner - 1]);
                time = least(least(time, inner.timeout), least(inner.deadline, outer.attempt));
            }
            time
        };
        for policy in policies.iter().rev() {
            time = out(time, level, policy.level);
            level = policy.level;
            time = match policy.facts() {
                PolicyFacts::Retry(retry) => time.map(|time| self.payable(retry, policy.level).longest(time)),
                PolicyFacts::Timeout(timeout) => least(time, Some(timeout.limit)),
                _ => time,
            };
        }
        out(time, level, to)
    }

    /// The time the stage has for all its attempts, and whose it is.
    pub(super) fn available(&self) -> Option<(Duration, &'static str)> {
        let own = self.own().timeout.map(|time| (time, "the stage"));
        own.into_iter().chain(self.run_time()).min_by_key(|(time, _)| *time)
    }

    /// What of it may be waited for, as an attempt takes a time at least.
    pub(super) fn slack(&self) -> Option<Duration> {
        self.available().map(|(time, _)| time.saturating_sub(self.own().least))
    }

    /// How much time there is, in words.
    pub(super) fn in_words(&self) -> String {
        let Some((time, whose)) = self.available() else { return String::new() };
        let least = self.own().least;
        let of_it = if least.is_zero() {
            String::new()
        } else {
            format!(", of which an attempt takes {} at least", Human(least))
        };
        format!("{whose} has {}{of_it}", Human(time))
    }

    /// The time the run of the pipeline has that the stage belongs to.
    pub(super) fn run_time(&self) -> Option<(Duration, &'static str)> {
        let own = (self.own().deadline, "the pipeline");
        let outer = self.levels[..self.level()].iter().flat_map(|level| {
            let stage = [level.timeout, level.attempt].map(|time| (time, "the stage around it"));
            stage.into_iter().chain([(level.deadline, "the pipeline around it")])
        });
        let all = std::iter::once(own).chain(outer);
        all.filter_map(|(time, whose)| Some((time?, whose))).min_by_key(|(time, _)| *time)
    }
}

/// The lesser of two bounds, where `None` is none.
pub(super) fn least(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    one.into_iter().chain(other).min()
}

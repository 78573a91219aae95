//! What the budget of a run leaves of the attempts that policies allow (rule S-24).

use std::time::Duration;

use stageflow_core::RetryFacts;

use super::{
    report::{Numbers, Paid},
    site::Site,
};

/// So many retries are followed one by one.
const FOLLOWED: u64 = 10_000;

/// The stages alike in a pipeline, and how many attempts the policies of one of them allow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) stages: u64,
    pub(super) attempts: u64,
}

/// How many attempts the innermost stages make at most, of a run with so many retries.
///
/// Retries of a stage cost one each, and so does the first attempt of a stage in a child run that is made again. Attempts made
/// innermost first are the most: those further out cost more for each call. Other stages of a child run are taken to cost nothing.
pub(super) fn calls(steps: &[Step], retries: Option<u64>) -> u64 {
    let each = |step: &Step| step.stages.saturating_mul(step.attempts);
    let product = |steps: &[Step]| steps.iter().map(each).fold(1, u64::saturating_mul);
    let Some(mut left) = retries else { return product(steps) };
    let stages = |steps: &[Step]| steps.iter().map(|step| step.stages).fold(1, u64::saturating_mul);
    let mut calls = stages(steps);
    // What one more attempt at a step costs, with all that is in it.
    let mut costs = vec![1_u64; steps.len()];
    for step in (1..steps.len()).rev() {
        costs[step - 1] = each(&steps[step]).saturating_mul(costs[step]).saturating_add(1);
    }
    for step in (0..steps.len()).rev() {
        let more = stages(&steps[..=step]).saturating_mul(steps[step].attempts.saturating_sub(1));
        let whole = more.min(left / costs[step]);
        calls = calls.saturating_add(whole.saturating_mul(product(&steps[step + 1..])));
        left -= whole * costs[step];
        if whole < more {
            // One that is begun and not paid to its end.
            for inner in step + 1..steps.len() {
                left = left.saturating_sub(1);
                let whole = left / costs[inner];
                calls = calls.saturating_add(whole.saturating_mul(product(&steps[inner + 1..])));
                left -= whole * costs[inner];
            }
            break;
        }
    }
    calls
}

impl<'a> Site<'a> {
    /// The least retries that a run has around the policies of a level, and whether it is the outermost.
    pub(super) fn retries(&self, level: usize) -> Option<(u64, bool)> {
        let levels = self.levels()[..=level].iter().enumerate();
        // Of equal ones the outermost.
        let all = levels.filter_map(|(index, level)| Some((level.retries?, index == 0)));
        all.min_by_key(|(retries, _)| *retries)
    }

    /// The policy of a level as far as the budget of a run can pay for it.
    pub(super) fn payable(&self, retry: &RetryFacts, level: usize) -> RetryFacts {
        let mut retry = retry.clone();
        if let Some((left, _)) = self.retries(level) {
            let most = u32::try_from(left).unwrap_or(u32::MAX).saturating_add(1);
            retry.max_attempts = retry.max_attempts.min(most);
        }
        retry
    }

    /// The calls of one stage by the retries for which `of` says so, and of all stages alike as the budget pays for them.
    pub(super) fn amplified(&self, of: impl Fn(usize) -> bool) -> Numbers {
        let all = self.steps(of);
        let one: Vec<_> = all.iter().map(|step| Step { stages: 1, ..*step }).collect();
        let allowed = calls(&one, None);
        let paid = self.retries(self.level());
        let paid = paid.map(|(retries, is_of_run)| Paid { calls: self.most(&all), retries, is_of_run });
        Numbers { amplification: Some(self.most(&one)), calls: Some(allowed), paid, ..Numbers::default() }
    }

    /// Of each level the stages alike, and their attempts by the retries for which `of` says so.
    fn steps(&self, of: impl Fn(usize) -> bool) -> Vec<Step> {
        let levels = self.levels().iter();
        let mut steps: Vec<_> = levels.map(|level| Step { stages: level.count, attempts: 1 }).collect();
        for (place, policy) in self.policies.iter().enumerate() {
            if let Some(retry) = policy.retry().filter(|_| of(place)) {
                let attempts = &mut steps[policy.level].attempts;
                *attempts = attempts.saturating_mul(retry.max_attempts.into());
            }
        }
        steps
    }

    /// What each account around the stage leaves, the least of it.
    fn most(&self, steps: &[Step]) -> u64 {
        let mut most = calls(steps, None);
        let mut runs = 1_u64;
        for (index, level) in self.levels().iter().enumerate() {
            if level.retries.is_some() {
                most = most.min(runs.saturating_mul(calls(&steps[index..], level.retries)));
            }
            runs = runs.saturating_mul(steps[index].stages).saturating_mul(steps[index].attempts);
        }
        most
    }

    /// The calls of the stages alike in one run of the pipeline at a level, and how many of them are first ones.
    pub(super) fn calls_in_run(&self, level: usize) -> (u64, u64) {
        let steps = self.steps(|_| true).split_off(level);
        let least = self.retries(level).map(|(retries, _)| retries);
        let first = steps.iter().map(|step| step.stages).fold(1, u64::saturating_mul);
        (first, calls(&steps, least))
    }

    /// How long the attempts of one stage take that the budget of the run pays for, if each takes `attempt`; `None` if it pays for all
    /// or they are too many to follow.
    pub(super) fn paid_time(&self, attempt: Duration) -> Option<Duration> {
        let mut left = self.levels().first()?.retries.filter(|left| *left <= FOLLOWED)?;
        let policies = self.policies.iter().filter_map(|policy| Some((policy.level, policy.retry()?)));
        let mut retries: Vec<(usize, &RetryFacts, u32)> =
            policies.map(|(level, retry)| (level, retry, 0)).collect();
        let mut time = attempt;
        // Like the figures of a counter: the innermost first, and what is in one begins anew with it.
        while let Some(place) = retries.iter().rposition(|(_, retry, made)| *made + 1 < retry.max_attempts) {
            if left == 0 {
                return Some(time);
            }
            let (level, retry, made) = &mut retries[place];
            time = time.saturating_add(retry.backoff.longest(*made));
            *made += 1;
            // The first attempts of the stages in it.
            let cost = 1 + (self.level() - *level) as u64;
            if left < cost {
                return Some(time);
            }
            left -= cost;
            time = time.saturating_add(attempt);
            retries[place + 1..].iter_mut().for_each(|(_, _, made)| *made = 0);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{Step, calls};

    /// As `calls`, one attempt after the other: the figures of a counter for each stage.
    fn counted(steps: &[Step], retries: u64) -> u64 {
        fn attempt(steps: &[Step], is_paid: bool, left: &mut u64, calls: &mut u64) {
            let Some((first, inner)) = steps.split_first() else {
                *calls += 1;
                return;
            };
            for made in 0..first.attempts {
                if made > 0 || is_paid {
                    if *left == 0 {
                        return;
                    }
                    *left -= 1;
                }
                attempt(inner, is_paid || made > 0, left, calls);
            }
        }
        let (mut left, mut calls) = (retries, 0);
        attempt(steps, false, &mut left, &mut calls);
        calls
    }

    #[test]
    fn what_is_reckoned_is_what_is_counted() {
        let each = |attempts: &[u64]| -> Vec<_> {
            attempts.iter().map(|attempts| Step { stages: 1, attempts: *attempts }).collect()
        };
        for attempts in [&[1][..], &[5], &[3, 1], &[1, 3], &[3, 3], &[2, 3, 4], &[4, 1, 3], &[2, 2, 2, 2]] {
            let steps = each(attempts);
            for retries in 0..120 {
                let reckoned = calls(&steps, Some(retries));
                assert_eq!(reckoned, counted(&steps, retries), "{attempts:?} with {retries}");
            }
            assert_eq!(calls(&steps, None), attempts.iter().product::<u64>());
            assert_eq!(calls(&steps, Some(u64::MAX)), attempts.iter().product::<u64>());
        }
    }

    #[test]
    fn stages_that_are_alike_share_the_retries() {
        let steps = [Step { stages: 2, attempts: 2 }, Step { stages: 20, attempts: 3 }];
        let all: Vec<_> = [0, 19, 80, 81, 102, 103, 141, 1_000].map(|left| calls(&steps, Some(left))).into();
        // The first attempts, and the retries of them; then each child run that is made again costs one more.
        assert_eq!(all, [40, 59, 120, 120, 141, 142, 180, 240]);
        let huge = [Step { stages: u64::MAX, attempts: u64::MAX }; 3];
        assert_eq!(calls(&huge, Some(5)), u64::MAX);
        assert_eq!(calls(&huge, None), u64::MAX);
    }
}

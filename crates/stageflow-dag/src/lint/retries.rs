//! Checks of retries, and of retries with breakers.

use std::time::Duration;

use stageflow_core::{ErrorClass, PolicyFacts, RetryFacts, StageKind, time::Human};

use super::{
    Found, Lint,
    report::{Numbers, Paid},
    site::{Policy, Site},
};

/// From so many attempts on it is a policy that does not give up.
const MANY: u32 = 10;

/// From so many stages on that come back at one moment it is a herd.
const HERD: u64 = 10;

pub(super) fn nested(site: &Site<'_>, found: &mut Found) {
    if site.is_pipeline() {
        // The stages in it are what is called so often.
        return;
    }
    let retries: Vec<_> = site.policies.iter().filter_map(|policy| Some((policy, policy.retry()?))).collect();
    let [(_, first), rest @ ..] = &retries[..] else { return };
    // One account bounds them all.
    let one_account = first.budget.is_some() && rest.iter().all(|(_, retry)| retry.budget == first.budget);
    if rest.is_empty() || one_account {
        return;
    }
    let mut numbers = site.amplified(|_| true).taking(site.longest_of_all());
    let attempts = numbers.calls.unwrap_or(1);
    // Under the budget that is there without a word it is a few calls too many, and not an avalanche.
    numbers.is_mild = site.is_bounded;
    let levels: Vec<_> = retries
        .iter()
        .map(|(policy, retry)| format!("{} ({})", retry.max_attempts, site.origin(policy)))
        .collect();
    let message = format!("{} retries multiply: {} = {attempts} attempts", retries.len(), levels.join(" × "));
    found.push(Lint::NestedRetries, message, numbers);
}

pub(super) fn of_work(site: &Site<'_>, found: &mut Found) {
    let tries = site.policies.iter().filter_map(Policy::retry).any(RetryFacts::retries_failures);
    if site.kind != StageKind::Work || site.is_pipeline() || !tries {
        return;
    }
    let attempts = site.attempts();
    let is_idempotent =
        site.policies.iter().any(|policy| matches!(policy.facts(), PolicyFacts::Idempotency(_)));
    let beside =
        if is_idempotent { "; idempotency answers repeated calls, not the attempts of one" } else { "" };
    let message = format!("one call of a stage of kind `work` may have its effect {attempts} times{beside}");
    found.push(Lint::RetryOfWork, message, site.amplified(|_| true));
}

pub(super) fn many(site: &Site<'_>, found: &mut Found) {
    for (place, policy) in site.own_policies() {
        let Some(retry) = policy.retry().filter(|retry| retry.max_attempts > MANY) else { continue };
        let payable = site.payable(retry, policy.level);
        if payable.max_attempts < retry.max_attempts {
            // It is `attempts-above-budget`.
            continue;
        }
        let message = format!(
            "{} attempts ({}), with delays of up to {} together",
            retry.max_attempts,
            site.origin(&policy),
            Human(retry.longest(Duration::ZERO))
        );
        let time = site.inside(place).map(|attempt| retry.longest(attempt));
        found.push(Lint::ManyAttempts, message, site.amplified(|other| other == place).taking(time));
    }
}

/// Attempts that the budget never pays for, even if this stage were the only one that fails.
pub(super) fn above_budget(site: &Site<'_>, found: &mut Found) {
    for (place, policy) in site.own_policies() {
        let (Some(retry), Some((left, is_of_run))) = (policy.retry(), site.retries(policy.level)) else {
            continue;
        };
        let payable = site.payable(retry, policy.level);
        let last = payable.max_attempts;
        let begins = retry.begun_at_best(site.slack());
        if last >= retry.max_attempts || begins <= last {
            continue;
        }
        let whose = if is_of_run { "the run" } else { "a run of a pipeline with a budget of its own" };
        let message = format!(
            "attempt {last} of {} ({}) is the last that can be paid for: {whose} has {left} {} in all",
            retry.max_attempts,
            site.origin(&policy),
            if left == 1 { "retry" } else { "retries" }
        );
        let time = site.inside(place).map(|attempt| payable.longest(attempt));
        found.push(
            Lint::AttemptsAboveBudget,
            message,
            Numbers::amplification(last.into()).taking(time).in_all(),
        );
    }
}

pub(super) fn out_of_time(site: &Site<'_>, found: &mut Found) {
    let within = site.available().map(|(time, _)| time);
    // Nothing is waited for that leaves an attempt less than it takes at least.
    let (slack, left) = (site.slack(), site.in_words());
    for (place, policy) in site.own_policies() {
        let Some(allowed) = policy.retry() else { continue };
        // What is not paid for is another finding.
        let retry = &site.payable(allowed, policy.level);
        let attempts = retry.max_attempts;
        if attempts < 2 {
            continue;
        }
        let who = site.origin(&policy);
        let best = retry.begun_at_best(slack);
        if best < attempts {
            let why = match retry.max_elapsed {
                Some(most) if retry.begun_at_best(None) <= best => {
                    format!("the policy gives up after {}", Human(most))
                }
                _ => left.clone(),
            };
            let message = format!(
                "attempt {best} of {} ({who}) is the last that can begin, however fast they fail: {why}",
                allowed.max_attempts
            );
            found.push(Lint::UnreachableAttempts, message, of_all(site, best).taking(within));
            continue;
        }
        let attempt = site.inside(place);
        let each = attempt.unwrap_or_default();
        let worst = retry.begun_at_worst(each, slack);
        let all = retry.longest(each);
        if worst < retry.begun_at_worst(each, None) || within.is_some_and(|within| all > within) {
            let what = match attempt {
                Some(each) => {
                    format!("{attempts} attempts of {} and their delays may take {}", Human(each), Human(all))
                }
                None => format!("the delays alone may take {}", Human(all)),
            };
            let last = if worst < attempts { "the last that begins" } else { "not given its time" };
            let message =
                format!("at worst attempt {worst} of {attempts} ({who}) is {last}: {what}, and {left}");
            found.push(Lint::RetriesCutShort, message, of_all(site, worst).taking(Some(all)));
        }
    }
}

/// So many calls of each of the stages, as far as the budget pays for them all.
fn of_all(site: &Site<'_>, attempts: u32) -> Numbers {
    let all = site.levels().iter().map(|level| level.count).fold(1, u64::saturating_mul);
    let paid = site.retries(site.level()).map(|(retries, is_of_run)| {
        // Of a pipeline within the run each run has its own.
        let calls = if is_of_run { all.saturating_add(retries) } else { u64::MAX };
        Paid { calls, retries, is_of_run }
    });
    Numbers { paid, ..Numbers::calls(attempts) }
}

pub(super) fn hung(site: &Site<'_>, found: &mut Found) {
    let own = site.own();
    let tries = |retry: &RetryFacts| retry.classes.contains(&ErrorClass::Timeout);
    let any = site.own_policies().filter_map(|(_, policy)| policy.retry()).any(tries);
    let inner = site.own_policies().any(|(_, policy)| matches!(policy.facts(), PolicyFacts::Timeout(_)));
    if site.is_pipeline() || !any || inner || own.timeout.or(own.attempt).or(own.idle).is_some() {
        return;
    }
    let (until, time) = match site.available() {
        Some((time, whose)) => (format!("takes all of the {} that {whose} has", Human(time)), Some(time)),
        None => ("is waited for for ever".to_owned(), None),
    };
    let message = format!("timeouts are tried again, but an attempt that hangs {until}: it has no timeout");
    found.push(Lint::HungAttempt, message, Numbers::default().taking(time));
}

pub(super) fn together(site: &Site<'_>, found: &mut Found) {
    for (_, policy) in site.own_policies() {
        let Some(retry) = policy.retry().filter(|retry| retry.backoff.is_fixed()) else { continue };
        if site.count < HERD {
            continue;
        }
        let first = retry.backoff.longest(0);
        let message = format!(
            "{} stages that fail together come back together after {}: there is no jitter",
            site.count,
            Human(first)
        );
        found.push(
            Lint::SynchronisedRetries,
            message,
            Numbers::calls(site.count).taking(Some(first)).in_all(),
        );
    }
}

pub(super) fn breaker_around(site: &Site<'_>, found: &mut Found) {
    if site.is_pipeline() {
        return;
    }
    for (place, policy) in site.policies.iter().enumerate() {
        let PolicyFacts::Breaker(breaker) = policy.facts() else { continue };
        let attempts = site.attempts_inside(place);
        if attempts < 2 {
            continue;
        }
        let opens = breaker.consecutive.map(|failures| u64::from(failures).saturating_mul(attempts));
        let when = opens.map_or_else(String::new, |opens| {
            format!(", and opens after up to {opens} failed attempts in a row")
        });
        let message = format!(
            "breaker `{}` ({}) counts one call for up to {attempts} attempts{when}",
            breaker.dependency,
            site.origin(policy)
        );
        let numbers = Numbers::amplification(attempts);
        found.push(
            Lint::BreakerOutsideRetry,
            message,
            Numbers { calls: opens.or(numbers.calls), ..numbers }.in_all(),
        );
    }
}

pub(super) fn breaker_inside(site: &Site<'_>, found: &mut Found) {
    let own: Vec<_> = site.own_policies().collect();
    for (index, (_, policy)) in own.iter().enumerate() {
        let Some(retry) = policy.retry().filter(|retry| retry.classes.contains(&ErrorClass::Transient))
        else {
            continue;
        };
        if retry.max_attempts < 2 {
            continue;
        }
        for (_, inner) in &own[index + 1..] {
            let PolicyFacts::Breaker(breaker) = inner.facts() else { continue };
            let open = breaker.shortest_open();
            if breaker.max_wait.is_some() || open <= retry.hint_max {
                continue;
            }
            // What it cannot wait for it gives up at once.
            if site.slack().is_some_and(|slack| slack <= open)
                || retry.max_elapsed.is_some_and(|most| most < open)
            {
                continue;
            }
            let message = format!(
                "a retry waits for breaker `{}` for {} at least when it is open, and for others at most {}",
                breaker.dependency,
                Human(open),
                Human(retry.hint_max)
            );
            found.push(Lint::LongWaitForBreaker, message, Numbers::time(open));
        }
    }
}

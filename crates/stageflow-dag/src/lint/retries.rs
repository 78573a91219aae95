//! Checks of retries, and of retries with breakers.

use std::time::Duration;

use stageflow_core::{ErrorClass, PolicyFacts, RetryFacts, StageKind, time::Human};

use super::{
    Found, Lint,
    report::Numbers,
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
    let attempts = site.attempts();
    let levels: Vec<_> = retries
        .iter()
        .map(|(policy, retry)| format!("{} ({})", retry.max_attempts, site.origin(policy)))
        .collect();
    let message = format!("{} retries multiply: {} = {attempts} attempts", retries.len(), levels.join(" × "));
    found.push(Lint::NestedRetries, message, Numbers::amplification(attempts).taking(site.longest_of_all()));
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
    found.push(Lint::RetryOfWork, message, Numbers::amplification(attempts));
}

pub(super) fn many(site: &Site<'_>, found: &mut Found) {
    for (place, policy) in site.own_policies() {
        let Some(retry) = policy.retry().filter(|retry| retry.max_attempts > MANY) else { continue };
        let delays = retry.longest(Duration::ZERO);
        let message = format!(
            "{} attempts ({}), with delays of up to {} together",
            retry.max_attempts,
            site.origin(&policy),
            Human(delays)
        );
        let time = site.inside(place).map(|attempt| retry.longest(attempt));
        found.push(
            Lint::ManyAttempts,
            message,
            Numbers::amplification(retry.max_attempts.into()).taking(time),
        );
    }
}

pub(super) fn out_of_time(site: &Site<'_>, found: &mut Found) {
    let available = site.available();
    let within = available.map(|(time, _)| time);
    let left = available.map_or_else(String::new, |(time, whose)| format!("{whose} has {}", Human(time)));
    for (place, policy) in site.own_policies() {
        let Some(retry) = policy.retry() else { continue };
        let attempts = retry.max_attempts;
        let who = site.origin(&policy);
        let best = retry.begun_at_best(within);
        if best < attempts {
            let why = match retry.max_elapsed {
                Some(most) if retry.begun_at_best(None) <= best => {
                    format!("the policy gives up after {}", Human(most))
                }
                _ => left.clone(),
            };
            let message = format!(
                "attempt {best} of {attempts} ({who}) is the last that can begin, however fast they fail: {why}"
            );
            found.push(Lint::UnreachableAttempts, message, Numbers::calls(best).taking(within));
            continue;
        }
        let attempt = site.inside(place);
        let each = attempt.unwrap_or_default();
        let worst = retry.begun_at_worst(each, within);
        let all = retry.longest(each);
        if worst < retry.begun_at_worst(each, None) || within.is_some_and(|within| all > within) {
            let what = match attempt {
                Some(each) => {
                    format!("{attempts} of {} and their delays may take {}", Human(each), Human(all))
                }
                None => format!("the delays alone may take {}", Human(all)),
            };
            let last = if worst < attempts { "the last that begins" } else { "not given its time" };
            let message =
                format!("at worst attempt {worst} of {attempts} ({who}) is {last}: {what}, and {left}");
            found.push(Lint::RetriesCutShort, message, Numbers::calls(worst).taking(Some(all)));
        }
    }
}

pub(super) fn hung(site: &Site<'_>, found: &mut Found) {
    let own = site.own();
    let tries = |retry: &RetryFacts| retry.classes.contains(&ErrorClass::Timeout);
    let any = site.own_policies().filter_map(|(_, policy)| policy.retry()).any(tries);
    let inner = site.own_policies().any(|(_, policy)| matches!(policy.facts(), PolicyFacts::Timeout(_)));
    if site.is_pipeline() || !any || inner || own.timeout.is_some() || own.attempt.is_some() {
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
        let waits = retry.max_attempts - 1;
        let wait = retry.hint_max.saturating_mul(waits);
        // Without time for the first wait the retry gives up at once.
        if site.available().is_some_and(|(time, _)| time <= retry.hint_max)
            || retry.max_elapsed.is_some_and(|most| most < retry.hint_max)
        {
            continue;
        }
        for (_, inner) in &own[index + 1..] {
            let PolicyFacts::Breaker(breaker) = inner.facts() else { continue };
            let open = breaker.shortest_open();
            if breaker.max_wait.is_some() || wait >= open {
                continue;
            }
            let wait = site.available().map_or(wait, |(time, _)| wait.min(time));
            let message = format!(
                "a retry waits up to {} for breaker `{}`, which stays open for {} at least",
                Human(wait),
                breaker.dependency,
                Human(open)
            );
            found.push(Lint::OpenOutlastsRetries, message, Numbers::time(wait));
        }
    }
}

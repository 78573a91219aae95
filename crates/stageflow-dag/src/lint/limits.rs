//! Checks of bulkheads and rate limits.

use std::time::Duration;

use stageflow_core::{
    BulkheadFacts, PolicyFacts, RateDimension, RateLimitFacts,
    time::{Human, nanos},
};

use super::{
    Found, Lint,
    report::Numbers,
    site::{Policy, Site, least},
};

fn bulkhead<'a>(policy: &Policy<'a>) -> Option<&'a BulkheadFacts> {
    if let PolicyFacts::Bulkhead(facts) = policy.facts() { Some(facts) } else { None }
}

fn rate<'a>(policy: &Policy<'a>) -> Option<&'a RateLimitFacts> {
    if let PolicyFacts::RateLimit(facts) = policy.facts() { Some(facts) } else { None }
}

/// Limits that are held, or paid for once, while what is inside is tried again.
pub(super) fn around_retries(site: &Site<'_>, found: &mut Found) {
    if site.is_pipeline() {
        return;
    }
    for (place, policy) in site.policies.iter().enumerate() {
        let attempts = site.attempts_inside(place);
        if attempts < 2 {
            continue;
        }
        if let Some(facts) = bulkhead(policy) {
            let delays = site.delays_inside(place);
            let message = format!(
                "bulkhead `{}` ({}) keeps one of its {} places for up to {} of delays between {attempts} attempts",
                facts.dependency,
                site.origin(policy),
                facts.max_concurrent,
                Human(delays)
            );
            found.push(Lint::BulkheadOutsideRetry, message, Numbers::calls(attempts).taking(Some(delays)));
        }
        if let Some(facts) = rate(policy) {
            let most = facts.dimensions.iter().filter(|dimension| dimension.is_count);
            let lets = most.map(|dimension| {
                let real = dimension.limit.saturating_mul(attempts);
                format!(
                    ": up to {real} {} in {} instead of {}",
                    dimension.name,
                    Human(dimension.period),
                    dimension.limit
                )
            });
            let message = format!(
                "rate limit `{}` ({}) charges once for up to {attempts} attempts{}",
                facts.dependency,
                site.origin(policy),
                lets.take(1).collect::<String>()
            );
            found.push(Lint::RateLimitOutsideRetry, message, Numbers::amplification(attempts));
        }
    }
}

/// The same limit twice around one call.
pub(super) fn around_themselves(site: &Site<'_>, found: &mut Found) {
    if site.is_pipeline() {
        return;
    }
    for (place, policy) in site.policies.iter().enumerate() {
        let others = &site.policies[place + 1..];
        if let Some(facts) = bulkhead(policy).filter(|facts| facts.id.is_some())
            && others.iter().filter_map(bulkhead).any(|other| other.id == facts.id)
        {
            let enough = facts.max_concurrent as u64;
            let message = format!(
                "a call holds a place of bulkhead `{}` ({}) while it waits for another: {enough} at a time block each other",
                facts.dependency,
                site.origin(policy)
            );
            found.push(Lint::BulkheadAroundItself, message, Numbers::calls(enough).in_all());
        }
        if let Some(facts) = rate(policy).filter(|facts| facts.id.is_some())
            && others.iter().filter_map(rate).any(|other| other.id == facts.id)
        {
            let message = format!(
                "a call is charged twice by rate limit `{}` ({}), or oftener",
                facts.dependency,
                site.origin(policy)
            );
            found.push(Lint::ChargedTwice, message, Numbers::default());
        }
    }
}

/// Two limits of which one decides.
pub(super) fn in_series(site: &Site<'_>, found: &mut Found) {
    if site.is_pipeline() {
        return;
    }
    let bulkheads: Vec<_> = site.policies.iter().filter_map(bulkhead).collect();
    for (index, outer) in bulkheads.iter().enumerate() {
        let inner = bulkheads[index + 1..].iter().filter(|inner| inner.id.is_none() || inner.id != outer.id);
        for inner in inner.filter(|inner| inner.per_tenant == outer.per_tenant) {
            let (places, others) = (outer.max_concurrent, inner.max_concurrent);
            let message = if places > others {
                let held = places - others;
                format!(
                    "bulkheads `{}` ({places}) and `{}` ({others}): at most {others} calls run, and up to {held} hold a place of the first while they wait for the second",
                    outer.dependency, inner.dependency
                )
            } else {
                format!(
                    "bulkheads `{}` ({places}) and `{}` ({others}): at most {places} calls run, and alone they never fill the second",
                    outer.dependency, inner.dependency
                )
            };
            found.push(Lint::LimitsInSeries, message, Numbers::calls(places.min(others) as u64).in_all());
        }
        let around = site.around;
        let of_kind = around.kinds.iter().filter(|(kind, _)| *kind == site.kind);
        let common = of_kind.map(|(_, limit)| *limit).chain(around.max_in_flight).min();
        let engine =
            if outer.per_tenant { common.into_iter().chain(around.per_tenant).min() } else { common };
        if let Some(limit) = engine
            && (limit as usize) < outer.max_concurrent
        {
            let held = outer.max_concurrent - limit as usize;
            let message = format!(
                "bulkhead `{}` ({}) and the engine ({limit}): at most {limit} attempts run, and up to {held} hold a place while they wait for the engine",
                outer.dependency, outer.max_concurrent
            );
            found.push(Lint::LimitsInSeries, message, Numbers::calls(limit).in_all());
        }
    }
    let rates: Vec<_> = site.policies.iter().filter_map(rate).collect();
    for (index, outer) in rates.iter().enumerate() {
        let inner = rates[index + 1..].iter().filter(|inner| inner.id.is_none() || inner.id != outer.id);
        for inner in inner.filter(|inner| inner.per_tenant == outer.per_tenant) {
            for dimension in &outer.dimensions {
                let Some(other) = inner.dimensions.iter().find(|other| other.name == dimension.name) else {
                    continue;
                };
                let lower = if dimension.per_second() < other.per_second() { dimension } else { other };
                let message = format!(
                    "rate limits `{}` and `{}` both count {}: the lower one decides, {} in {}",
                    outer.dependency,
                    inner.dependency,
                    dimension.name,
                    lower.limit,
                    Human(lower.period)
                );
                found.push(Lint::LimitsInSeries, message, Numbers::default());
            }
        }
    }
}

/// Limits of waits that the time of the stage never lets take effect.
pub(super) fn waits(site: &Site<'_>, found: &mut Found) {
    let Some((time, whose)) = site.available() else { return };
    for (_, policy) in site.own_policies() {
        let (what, name, wait) = match policy.facts() {
            PolicyFacts::Bulkhead(facts) if facts.waits => {
                ("bulkhead", &facts.dependency, facts.queue_timeout)
            }
            PolicyFacts::RateLimit(facts) if facts.waits => ("rate limit", &facts.dependency, facts.max_wait),
            PolicyFacts::Breaker(facts) => ("breaker", &facts.dependency, facts.max_wait),
            _ => continue,
        };
        if let Some(wait) = wait.filter(|wait| *wait >= time) {
            let message = format!(
                "{what} `{name}` lets a call wait for {}, which {whose} does not have: its time is {}",
                Human(wait),
                Human(time)
            );
            found.push(Lint::WaitOutlastsStage, message, Numbers::time(wait));
        }
    }
}

/// Stages that begin together, and find no room.
pub(super) fn fans(site: &Site<'_>, found: &mut Found) {
    for (_, policy) in site.own_policies() {
        if let Some(facts) = bulkhead(&policy) {
            let queue = if facts.waits { facts.max_queue } else { 0 };
            let room = facts.max_concurrent.saturating_add(queue) as u64;
            if site.count > room {
                let refused = site.count - room;
                let message = format!(
                    "of {} stages that begin together up to {refused} are refused: bulkhead `{}` has {} places and lets {queue} wait",
                    site.count, facts.dependency, facts.max_concurrent
                );
                found.push(Lint::FanOverflowsQueue, message, Numbers::calls(refused).in_all());
            }
        }
        if let Some(facts) = rate(&policy) {
            let within = if facts.waits {
                least(facts.max_wait, site.available().map(|(time, _)| time))
            } else {
                Some(Duration::ZERO)
            };
            let fewest = facts.dimensions.iter().filter(|one| one.is_count);
            let fewest =
                fewest.map(|one| (admitted(one, facts, within), one)).min_by_key(|(count, _)| *count);
            if let Some((admitted, dimension)) = fewest
                && admitted < site.count
            {
                let refused = site.count - admitted;
                let all = needed(dimension, site.count);
                let message = format!(
                    "of {} stages that begin together up to {refused} are refused: rate limit `{}` takes {} for all of them, and has {dimension}",
                    site.count,
                    facts.dependency,
                    Human(all)
                );
                found.push(
                    Lint::FanOutlastsQuota,
                    message,
                    Numbers::calls(refused).taking(Some(all)).in_all(),
                );
            }
        }
    }
}

/// How many of calls that come together are let through, at once or after their wait.
fn admitted(dimension: &RateDimension, facts: &RateLimitFacts, within: Option<Duration>) -> u64 {
    let queue = if facts.waits { facts.max_queue as u64 } else { 0 };
    let later = within.map_or(queue, |within| {
        // Who would wait as long as there is time is refused.
        let within = u128::from(nanos(within).saturating_sub(1));
        let period = u128::from(nanos(dimension.period).max(1));
        u64::try_from(within * u128::from(dimension.limit) / period).unwrap_or(u64::MAX)
    });
    dimension.burst.saturating_add(later.min(queue))
}

/// How long it takes until so many calls are let through.
fn needed(dimension: &RateDimension, calls: u64) -> Duration {
    let wait = u128::from(calls.saturating_sub(dimension.burst)) * u128::from(nanos(dimension.period));
    Duration::from_nanos(u64::try_from(wait / u128::from(dimension.limit.max(1))).unwrap_or(u64::MAX))
}

//! Checks of what answers in place of a stage, and of who may ask.

use stageflow_core::{PolicyFacts, time::Human};

use super::{
    Found, Lint,
    report::Numbers,
    site::{Origin, Policy, Site},
};

pub(super) fn stored_failures(site: &Site<'_>, found: &mut Found) {
    for (place, policy) in site.own_policies() {
        let PolicyFacts::Idempotency(facts) = policy.facts() else { continue };
        let attempts = site.amplified(|other| other < place).amplification.unwrap_or(1);
        if !facts.store_failures || attempts < 2 {
            continue;
        }
        let message = format!(
            "under a key the first failure is stored, and answers the other {} of {attempts} attempts around it",
            attempts - 1
        );
        found.push(Lint::StoredFailureRetried, message, Numbers::calls(1_u64));
    }
}

pub(super) fn lease(site: &Site<'_>, found: &mut Found) {
    for (place, policy) in site.own_policies() {
        let PolicyFacts::Idempotency(facts) = policy.facts() else { continue };
        let Some(lease) = facts.lease else { continue };
        let own = site.own().timeout.map(|time| (time, "the stage has"));
        let inside = site.inside(place).map(|time| (time, "its attempts may take"));
        let available = site.available().map(|(time, _)| time);
        let Some((time, whose)) = own.into_iter().chain(inside).min_by_key(|(time, _)| *time) else {
            continue;
        };
        // What the run has no time for, no lease has to be as long as.
        let time = available.map_or(time, |available| time.min(available));
        if lease < time {
            let message = format!(
                "the lease ends the call after {}, as a timeout, and {whose} {}",
                Human(lease),
                Human(time)
            );
            found.push(Lint::LeaseTooShort, message, Numbers::time(time));
        }
    }
}

pub(super) fn fallback_inside(site: &Site<'_>, found: &mut Found) {
    let own: Vec<_> = site.own_policies().collect();
    for (index, (_, policy)) in own.iter().enumerate() {
        let Some(retry) = policy.retry() else { continue };
        for (_, inner) in &own[index + 1..] {
            let PolicyFacts::Fallback(fallback) = inner.facts() else { continue };
            if !retry.classes.iter().all(|class| fallback.classes.contains(class)) {
                continue;
            }
            let message = format!(
                "the fallback is asked after the first attempt: where it answers, attempts 2 to {} are never made",
                retry.max_attempts
            );
            found.push(Lint::FallbackInsideRetry, message, Numbers::calls(1_u64));
        }
    }
}

pub(super) fn outside_authentication(site: &Site<'_>, found: &mut Found) {
    let asks = |policy: &Policy<'_>| matches!(policy.facts(), PolicyFacts::Authenticate(_));
    let Some(first) = site.policies.iter().position(asks) else { return };
    // The engine's decides on runs before anything of them is called.
    let of_engine = |policy: &Policy<'_>| policy.origin == Origin::Engine && policy.any.fails_closed();
    if site.policies.iter().any(|policy| asks(policy) && of_engine(policy)) {
        return;
    }
    for policy in &site.policies[..first] {
        let what = match policy.facts() {
            PolicyFacts::Idempotency(_) => "answers calls of anybody who has the key".to_owned(),
            PolicyFacts::Bulkhead(facts) => {
                format!("gives its {} places to anybody", facts.max_concurrent)
            }
            PolicyFacts::RateLimit(facts) => format!("gives the quota of `{}` to anybody", facts.dependency),
            PolicyFacts::Other if policy.level == site.policies[first].level => "runs for anybody".to_owned(),
            _ => continue,
        };
        let message = format!(
            "`{}` ({}) stands outside of authentication, and {what}",
            policy.any.name(),
            site.origin(policy)
        );
        found.push(Lint::OutsideAuthentication, message, Numbers::default());
    }
}

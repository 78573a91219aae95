//! The rows of the table: which policy, whose, and what is called.

use std::fmt;

use stageflow::Jitter;

use crate::{
    case::Pair,
    ours::Own,
    peers::{crates, resilience, tower},
    plain,
};

/// What is compared with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    /// An interceptor that does nothing: what the mechanism costs.
    Nothing,
    Retry,
    Breaker,
    Bulkhead,
    Rate,
    Timeout,
    Fallback,
    /// No peer has it.
    Own,
    Stack,
    Decision,
}

impl Policy {
    pub(crate) const ALL: &[Self] = &[
        Self::Nothing,
        Self::Retry,
        Self::Breaker,
        Self::Bulkhead,
        Self::Rate,
        Self::Timeout,
        Self::Fallback,
        Self::Own,
        Self::Stack,
        Self::Decision,
    ];
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Nothing => "An interceptor that does nothing",
            Self::Retry => "Retry",
            Self::Breaker => "Circuit breaker",
            Self::Bulkhead => "Bulkhead",
            Self::Rate => "Rate limit",
            Self::Timeout => "Time limit",
            Self::Fallback => "Fallback",
            Self::Own => "Without a peer",
            Self::Stack => "Everything at once",
            Self::Decision => "Decisions alone, without a call",
        })
    }
}

/// What a row runs.
#[derive(Clone, Copy)]
pub(crate) enum Make {
    /// Ours around a stage.
    Ours(Own),
    /// One of another crate around a call.
    Peer(fn() -> Pair),
    /// A decision of ours.
    Plain(fn() -> Pair),
    /// A back-off of ours.
    Backoff(Jitter),
    /// A decision of another crate.
    PlainPeer(fn() -> Pair),
}

/// Which goal a row has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aim {
    /// A policy that does not act.
    AtRest,
    Backoff,
    Stack,
    None,
}

/// One row.
pub(crate) struct Row {
    pub(crate) policy: Policy,
    pub(crate) name: &'static str,
    pub(crate) aim: Aim,
    pub(crate) make: Make,
}

impl Row {
    pub(crate) fn pair(&self) -> Pair {
        match self.make {
            Make::Ours(own) => own.pair(),
            Make::Peer(make) | Make::Plain(make) | Make::PlainPeer(make) => make(),
            Make::Backoff(jitter) => plain::backoff(jitter),
        }
    }

    pub(crate) fn is_ours(&self) -> bool {
        matches!(self.make, Make::Ours(_) | Make::Plain(_) | Make::Backoff(_))
    }

    /// Whether its bare call is a stage of ours.
    pub(crate) fn is_stage(&self) -> bool {
        matches!(self.make, Make::Ours(_))
    }

    pub(crate) fn matches(&self, words: &[String]) -> bool {
        let policy = self.policy.to_string().to_lowercase();
        words.iter().all(|word| self.name.contains(word.as_str()) || policy.contains(&word.to_lowercase()))
    }
}

const fn ours(policy: Policy, name: &'static str, own: Own) -> Row {
    Row { policy, name, aim: Aim::AtRest, make: Make::Ours(own) }
}

const fn peer(policy: Policy, name: &'static str, make: fn() -> Pair) -> Row {
    Row { policy, name, aim: Aim::None, make: Make::Peer(make) }
}

const fn plain(name: &'static str, make: fn() -> Pair) -> Row {
    Row { policy: Policy::Decision, name, aim: Aim::None, make: Make::Plain(make) }
}

const fn backoff(name: &'static str, jitter: Jitter) -> Row {
    Row { policy: Policy::Decision, name, aim: Aim::Backoff, make: Make::Backoff(jitter) }
}

/// Every row, in the order of the table.
pub(crate) const ALL: &[Row] = &[
    ours(Policy::Nothing, "ours", Own::Nothing),
    ours(Policy::Retry, "ours", Own::Retry),
    peer(Policy::Retry, "tower", tower::retry_pair),
    peer(Policy::Retry, "tower-resilience", resilience::retry_pair),
    peer(Policy::Retry, "backon", crates::backon),
    ours(Policy::Breaker, "ours, per tenant", Own::Breaker),
    peer(Policy::Breaker, "tower-resilience", resilience::breaker_pair),
    peer(Policy::Breaker, "failsafe", crates::failsafe),
    ours(Policy::Bulkhead, "ours", Own::Bulkhead),
    ours(Policy::Bulkhead, "ours, per tenant", Own::BulkheadPerTenant),
    peer(Policy::Bulkhead, "tower", tower::concurrency_pair),
    peer(Policy::Bulkhead, "tower-resilience", resilience::bulkhead_pair),
    peer(Policy::Bulkhead, "by hand: tokio's semaphore", crates::tokio_semaphore),
    ours(Policy::Rate, "ours", Own::Rate),
    ours(Policy::Rate, "ours, per tenant", Own::RatePerTenant),
    peer(Policy::Rate, "tower", tower::rate_pair),
    peer(Policy::Rate, "tower-resilience", resilience::rate_pair),
    peer(Policy::Rate, "governor", crates::governor),
    ours(Policy::Timeout, "ours, of an attempt", Own::AttemptTimeout),
    ours(Policy::Timeout, "ours, of a stage", Own::StageTimeout),
    peer(Policy::Timeout, "tower", tower::timeout_pair),
    peer(Policy::Timeout, "tower-resilience", resilience::timeout_pair),
    peer(Policy::Timeout, "by hand: tokio's timeout", crates::tokio_timeout),
    ours(Policy::Fallback, "ours", Own::Fallback),
    peer(Policy::Fallback, "tower-resilience", resilience::fallback_pair),
    ours(Policy::Own, "authenticate, admitted", Own::Authenticate),
    ours(Policy::Own, "tenant guard", Own::TenantGuard),
    ours(Policy::Own, "idempotency, no key", Own::WithoutKey),
    Row {
        policy: Policy::Own,
        name: "idempotency, first call",
        aim: Aim::None,
        make: Make::Ours(Own::FirstCall),
    },
    Row {
        policy: Policy::Stack,
        name: "ours, default chain",
        aim: Aim::Stack,
        make: Make::Ours(Own::DefaultChain),
    },
    peer(Policy::Stack, "tower, four of them", tower::stack_pair),
    peer(Policy::Stack, "tower-resilience, five of them", resilience::stack_pair),
    backoff("back-off, no jitter", Jitter::None),
    backoff("back-off, full jitter", Jitter::Full),
    backoff("back-off, equal jitter", Jitter::Equal),
    backoff("back-off, decorrelated jitter", Jitter::Decorrelated),
    backoff("back-off, proportional jitter", Jitter::Proportional(0.2)),
    plain("retry budget", plain::budget),
    plain("breaker", plain::breaker),
    plain("breaker, 100 tenants in turn", plain::breaker_of_many),
    plain("bulkhead", plain::bulkhead),
    plain("bulkhead, 100 tenants in turn", plain::bulkhead_of_many),
    plain("rate limiter", plain::rate),
    Row {
        policy: Policy::Decision,
        name: "governor, check",
        aim: Aim::None,
        make: Make::PlainPeer(plain::governor),
    },
];

//! Facts in one line, every value visible.

use std::{fmt, time::Duration};

use super::{
    AuthenticateFacts, BreakerFacts, BulkheadFacts, FallbackFacts, IdempotencyFacts, PolicyFacts,
    RateDimension, RateLimitFacts, RetryFacts, TenantGuardFacts, TimeoutFacts,
};
use crate::{ErrorClass, text::OneLine, time::Human};

impl fmt::Display for PolicyFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Other => f.write_str("an interceptor"),
            Self::Authenticate(facts) => facts.fmt(f),
            Self::TenantGuard(facts) => facts.fmt(f),
            Self::Idempotency(facts) => facts.fmt(f),
            Self::Fallback(facts) => facts.fmt(f),
            Self::Retry(facts) => facts.fmt(f),
            Self::Breaker(facts) => facts.fmt(f),
            Self::Bulkhead(facts) => facts.fmt(f),
            Self::RateLimit(facts) => facts.fmt(f),
            Self::Timeout(facts) => facts.fmt(f),
        }
    }
}

/// A number with what is counted.
struct Count<T>(T, &'static str);

impl<T: fmt::Display + PartialEq + From<u8>> fmt::Display for Count<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.0 == T::from(1) { "" } else { "s" };
        write!(f, "{} {}{plural}", self.0, self.1)
    }
}

fn optional(f: &mut fmt::Formatter<'_>, what: &str, time: Option<Duration>) -> fmt::Result {
    time.map_or(Ok(()), |time| write!(f, ", {what} {}", Human(time)))
}

fn flag(f: &mut fmt::Formatter<'_>, is_set: bool, what: &str) -> fmt::Result {
    if is_set { write!(f, ", {what}") } else { Ok(()) }
}

fn queue(f: &mut fmt::Formatter<'_>, waits: bool, max_queue: usize) -> fmt::Result {
    if waits { write!(f, ", {max_queue} wait") } else { f.write_str(", none waits") }
}

fn classes(classes: &[ErrorClass]) -> String {
    if classes.is_empty() {
        return "no failures".to_owned();
    }
    classes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ")
}

impl fmt::Display for RetryFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "retry: {}, {}", Count(self.max_attempts, "attempt"), self.backoff)?;
        write!(f, ", of {}", classes(&self.classes))?;
        flag(f, self.has_predicate, "and by a predicate")?;
        optional(f, "begun within", self.max_elapsed)?;
        optional(f, "hints up to", Some(self.hint_max))?;
        flag(f, self.is_budgeted, "on a budget")
    }
}

impl fmt::Display for AuthenticateFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "authentication: within {}", Human(self.timeout))?;
        if self.rules > 0 { write!(f, ", {}", Count(self.rules, "rule")) } else { Ok(()) }
    }
}

impl fmt::Display for TenantGuardFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |count: Option<usize>| count.map_or_else(|| "any".to_owned(), |count| count.to_string());
        write!(f, "tenant guard: tenants: {}, organisations: {}", of(self.tenants), of(self.organisations))
    }
}

impl fmt::Display for IdempotencyFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.required { "idempotency: keys required" } else { "idempotency: keys optional" })?;
        flag(f, self.fingerprint, "inputs compared")?;
        flag(f, self.store_failures, "failures stored")?;
        flag(f, self.store_fallbacks, "answers of fallbacks stored")?;
        optional(f, "lease", self.lease)?;
        optional(f, "answers kept", self.ttl)
    }
}

impl fmt::Display for FallbackFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fallback: {}, of {}", Count(self.steps, "step"), classes(&self.classes))
    }
}

impl fmt::Display for BreakerFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "breaker `{}`: open for {}", OneLine(&self.dependency), Human(self.open_for))?;
        if self.max_open < Duration::MAX {
            write!(f, " to {}", Human(self.max_open))?;
        }
        if self.jitter > 0.0 {
            write!(f, " ±{}%", self.jitter * 100.0)?;
        }
        if let Some(calls) = self.count_window {
            write!(f, ", by the last {}", Count(calls, "call"))?;
        }
        optional(f, "by the last", self.time_window)?;
        if let Some(rate) = self.failure_rate {
            write!(f, ", at {}% failures of at least {}", rate * 100.0, Count(self.min_calls, "call"))?;
        }
        if let Some(failures) = self.consecutive {
            write!(f, ", after {} in a row", Count(failures, "failure"))?;
        }
        if let Some((threshold, share)) = self.slow_calls {
            write!(f, ", at {}% calls of {} or more", share * 100.0, Human(threshold))?;
        }
        write!(f, ", {}", Count(self.probes, "probe"))?;
        optional(f, "waits up to", self.max_wait)?;
        flag(f, self.per_tenant, "per tenant")
    }
}

impl fmt::Display for BulkheadFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bulkhead `{}`: {} at a time", OneLine(&self.dependency), self.max_concurrent)?;
        queue(f, self.waits, self.max_queue)?;
        optional(f, "at most", self.queue_timeout)?;
        flag(f, self.per_tenant, "per tenant")
    }
}

impl fmt::Display for RateLimitFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rate limit `{}`", OneLine(&self.dependency))?;
        for (index, dimension) in self.dimensions.iter().enumerate() {
            write!(f, "{} {dimension}", if index == 0 { ":" } else { "," })?;
        }
        queue(f, self.waits, self.max_queue)?;
        optional(f, "less than", self.max_wait)?;
        flag(f, self.per_tenant, "per tenant")
    }
}

impl fmt::Display for RateDimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, limit, period, burst, .. } = self;
        write!(f, "{limit} {} in {}, {burst} at once", OneLine(name), Human(*period))
    }
}

impl fmt::Display for TimeoutFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "timeout: {}", Human(self.limit))
    }
}

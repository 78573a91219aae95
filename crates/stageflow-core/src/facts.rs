//! What an interceptor says of itself, as data: for listings, and for the lint that looks for compositions that go wrong.

mod print;
mod retry;

use std::{sync::Arc, time::Duration};

use serde::Serialize;

pub use self::retry::RetryFacts;

/// What an interceptor is, with its values: the answer of [`Interceptor::describe`](crate::Interceptor::describe).
///
/// `Display` prints it in one line. Each kind of policy has a type of its own, made by its `new` and completed by its fields, so
/// that interceptors of yours can say what they are, and are looked at by `Engine::lint` like those of Stageflow.
///
/// ```
/// use stageflow_core::{Backoff, PolicyFacts, RetryFacts};
///
/// let facts = PolicyFacts::from(RetryFacts::new(Backoff::default(), 3));
/// assert_eq!(
///     facts.to_string(),
///     "retry: 3 attempts, exponential ×2.0 from 200ms to 30s, full jitter, of transient and timeout, hints up to 1m00s"
/// );
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(tag = "policy", rename_all = "snake_case")]
#[non_exhaustive]
pub enum PolicyFacts {
    /// Nothing that is known.
    #[default]
    Other,
    /// Asks who calls.
    Authenticate(AuthenticateFacts),
    /// Asks for which tenant.
    TenantGuard(TenantGuardFacts),
    /// Answers calls that were made before.
    Idempotency(IdempotencyFacts),
    /// Answers in place of failures.
    Fallback(FallbackFacts),
    /// Tries again.
    Retry(RetryFacts),
    /// Makes no calls that would most likely fail.
    Breaker(BreakerFacts),
    /// Lets so many calls run at a time.
    Bulkhead(BulkheadFacts),
    /// Lets so much through in a time.
    RateLimit(RateLimitFacts),
    /// Ends calls that take too long.
    Timeout(TimeoutFacts),
}

/// Tells whether two policies share their state, as clones of one do. Two that live at the same time and share nothing have
/// different ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PolicyId(usize);

impl PolicyId {
    /// The id of what shares this value.
    pub fn of<T: ?Sized>(shared: &Arc<T>) -> Self {
        Self(Arc::as_ptr(shared).cast::<()>().addr())
    }
}

macro_rules! facts {
    ($(
        $(#[$doc:meta])*
        $variant:ident $name:ident {
            $($(#[$of_given:meta])* $given:ident: $of:ty,)*
            ..
            $($(#[$of_field:meta])* $field:ident: $kind:ty = $default:expr,)*
        }
    )*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Serialize)]
        #[non_exhaustive]
        pub struct $name {
            $($(#[$of_given])* pub $given: $of,)*
            $($(#[$of_field])* pub $field: $kind,)*
        }

        impl $name {
            /// With what cannot be left out; the other fields say nothing special.
            pub fn new($($given: $of),*) -> Self {
                Self { $($given,)* $($field: $default,)* }
            }
        }

        impl From<$name> for PolicyFacts {
            fn from(facts: $name) -> Self {
                Self::$variant(facts)
            }
        }
    )*};
}

facts! {
    /// An authentication.
    Authenticate AuthenticateFacts {
        /// How long asking may take.
        timeout: Duration,
        ..
        /// How many rules about scopes there are.
        rules: usize = 0,
    }

    /// A guard of tenants.
    TenantGuard TenantGuardFacts {
        /// How many tenants it lets through; `None` for all.
        tenants: Option<usize>,
        /// How many organisations it lets through; `None` for all.
        organisations: Option<usize>,
        ..
    }

    /// A store of answers around calls.
    Idempotency IdempotencyFacts {
        /// How long a call may take that is the first; `None` if the store does not say.
        lease: Option<Duration>,
        ..
        /// How long an answer is kept; `None` if the store does not say.
        ttl: Option<Duration> = None,
        /// Whether calls without a key are refused.
        required: bool = false,
        /// Whether the inputs are compared.
        fingerprint: bool = false,
        /// Whether failures are stored as well.
        store_failures: bool = false,
        /// Whether answers of fallbacks are stored as well.
        store_fallbacks: bool = false,
    }

    /// Answers of last resort.
    Fallback FallbackFacts {
        /// How many are asked, one after the other.
        steps: usize,
        /// The classes of failures that are answered.
        classes: Vec<crate::ErrorClass>,
        ..
    }

    /// A circuit breaker.
    Breaker BreakerFacts {
        /// What it stands before.
        dependency: Arc<str>,
        /// How long it stays open for the first time.
        open_for: Duration,
        ..
        /// The longest it stays open.
        max_open: Duration = Duration::MAX,
        /// How far chance moves the time it stays open, as a share of it.
        jitter: f64 = 0.0,
        /// The share of failures that opens it.
        failure_rate: Option<f64> = None,
        /// It does not judge by fewer calls than these.
        min_calls: u32 = 1,
        /// The time whose calls it judges by.
        time_window: Option<Duration> = None,
        /// The number of last calls it judges by.
        count_window: Option<u32> = None,
        /// The number of failures in a row that opens it.
        consecutive: Option<u32> = None,
        /// From when on a call is slow, and the share of slow calls that opens it.
        slow_calls: Option<(Duration, f64)> = None,
        /// How many probes close it.
        probes: u32 = 1,
        /// How long a call waits while it is open; `None` if it is rejected at once.
        max_wait: Option<Duration> = None,
        /// Whether each tenant has one to itself.
        per_tenant: bool = false,
    }

    /// A bulkhead.
    Bulkhead BulkheadFacts {
        /// What it stands before.
        dependency: Arc<str>,
        /// How many calls run at a time.
        max_concurrent: usize,
        ..
        /// Which bulkhead it is, where clones share the places.
        #[serde(skip)]
        id: Option<PolicyId> = None,
        /// How many calls wait.
        max_queue: usize = 0,
        /// Whether calls wait at all.
        waits: bool = false,
        /// How long a call waits; `None` for as long as it has time.
        queue_timeout: Option<Duration> = None,
        /// Whether each tenant has places of its own.
        per_tenant: bool = false,
    }

    /// A rate limiter.
    RateLimit RateLimitFacts {
        /// What it stands before.
        dependency: Arc<str>,
        /// What is counted.
        dimensions: Vec<RateDimension>,
        ..
        /// Which limiter it is, where clones share the quota.
        #[serde(skip)]
        id: Option<PolicyId> = None,
        /// How many calls wait.
        max_queue: usize = 0,
        /// Whether calls wait at all.
        waits: bool = false,
        /// The wait of a call is shorter than this; `None` for as long as it has time.
        max_wait: Option<Duration> = None,
        /// Whether each tenant has a quota of its own.
        per_tenant: bool = false,
    }

    /// A limit of time.
    Timeout TimeoutFacts {
        /// How long the call inside of it may take.
        limit: Duration,
        ..
    }
}

/// So much cost per time, and so much at once.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RateDimension {
    /// What is counted, such as requests.
    pub name: Arc<str>,
    /// How much cost is let through in a period.
    pub limit: u64,
    /// The period.
    pub period: Duration,
    /// How much cost is let through at once.
    pub burst: u64,
    /// Whether each call costs 1; otherwise a function says.
    pub is_count: bool,
}

impl RateDimension {
    /// A dimension in which each call costs 1.
    pub fn new(name: impl Into<Arc<str>>, limit: u64, period: Duration, burst: u64) -> Self {
        Self { name: name.into(), limit, period, burst, is_count: true }
    }

    /// How much cost is let through per second in the long run.
    pub fn per_second(&self) -> f64 {
        self.limit as f64 / self.period.as_secs_f64()
    }
}

impl BreakerFacts {
    /// The shortest time that it stays open for the first time.
    pub fn shortest_open(&self) -> Duration {
        self.open_for.min(self.max_open).mul_f64((1.0 - self.jitter).clamp(0.0, 1.0))
    }
}

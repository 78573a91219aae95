//! The breaker around the calls of stages.

use std::{
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use stageflow_core::{
    BoxError, BreakerFacts, Call, ErrorClass, FieldValue, Interceptor, Layer, Next, PolicyFacts,
    StageContext, StageExit, StageResult, Value, WaitReason, code, intercept::Placement, time::Human,
};
use tokio::time::{Instant, timeout_at};

use super::{
    Asked, BreakerKey, BreakerOpen, BreakerOutcome, BreakerPermit, BreakerState, BreakerTransition, Cell,
    CircuitBreaker, LEASE, permit::Entry,
};

/// What a probe gets beyond the time its stage has left.
const LEASE_MARGIN: Duration = Duration::from_secs(30);
const LONGEST_LEASE: Duration = Duration::from_secs(300);

/// Around the calls of a stage, it rejects with the code `BREAKER_OPEN`, class transient, while it is open.
///
/// Everything inside of it is one call: an attempt, where a retry stands outside in its own layer. A call that ends before an
/// attempt of the stage has begun says nothing about the dependency, whatever its end: a limit inside has refused it, or a store
/// has answered. So does one that is dropped, unless the time of the stage is up: that is a timeout.
///
/// It emits `breaker.opened`, `breaker.half_open` and `breaker.closed` with the fields `key`, `breaker`, which is the key without its tenant, and `reason`, and `breaker.rejected`
/// with `key`. Where there is an end to it, `until_ms` is its time in the run and `open_ms` how far away that is.
///
/// # Cancel safety
///
/// Dropping the call gives back the slot of a probe, and ends a wait.
impl Interceptor for CircuitBreaker {
    async fn around(&self, call: &Call, next: Next<'_>) -> StageResult<Value> {
        let entry = match self.enter(call) {
            Ok(entry) => entry,
            // On the heap, for those alone that are refused.
            Err(open) => Box::pin(self.refused(call, open)).await?,
        };
        let mut watched = Watched { call, breaker: self, attempts: call.attempts(), entry: Some(entry) };
        let mut inner = pin!(next.run());
        let done = poll_fn(|cx| {
            // Panics pass through here on their way to the engine; only here it is known that it was the call that panicked.
            match catch_unwind(AssertUnwindSafe(|| inner.as_mut().poll(cx))) {
                Ok(polled) => polled,
                Err(panic) => {
                    watched.end(BreakerOutcome::Failure { retry_after: None });
                    resume_unwind(panic)
                }
            }
        })
        .await;
        watched.end(BreakerOutcome::of(&done));
        done
    }

    fn name(&self) -> String {
        format!("CircuitBreaker({})", self.shared.dependency)
    }

    fn placement(&self) -> Placement {
        Placement::At(Layer::Breaker)
    }

    fn describe(&self) -> PolicyFacts {
        let rules = &self.shared.rules;
        let nanos = Duration::from_nanos;
        let mut facts = BreakerFacts::new(Arc::clone(&self.shared.dependency), nanos(rules.open_for));
        facts.max_open = nanos(rules.max_open);
        facts.jitter = rules.jitter;
        facts.failure_rate = rules.failure_rate;
        facts.min_calls = rules.min_calls;
        facts.time_window = rules.time_window.map(nanos);
        facts.count_window = rules.count_window;
        facts.consecutive = rules.consecutive;
        facts.slow_calls = rules.slow.map(|slow| (nanos(slow.threshold), slow.rate));
        facts.probes = rules.probes;
        facts.max_wait = self.shared.max_wait;
        facts.per_tenant = self.shared.per_tenant;
        facts.into()
    }
}

impl CircuitBreaker {
    /// Asks for the call.
    #[inline]
    fn enter(&self, call: &Call) -> Result<Entry, Refused> {
        let ctx = call.context();
        let now = self.shared.now(ctx);
        match self.shared.enter(call, now) {
            Ok(entry) => Ok(entry),
            Err(cell) => {
                let asked = self.ask_in(ctx, cell, now, self.lease(ctx));
                asked.map_err(|(cell, open)| Box::new((cell, now, open)))
            }
        }
    }

    /// Waits where that is wanted.
    async fn refused(&self, call: &Call, refused: Refused) -> StageResult<Entry> {
        let (cell, now, open) = *refused;
        let ctx = call.context();
        match self.shared.max_wait {
            None => Err(reject(ctx, &cell, open)),
            Some(max) => {
                // A probe at the very end of the time would begin with nothing left.
                let slack = ctx.slack().map(|slack| slack.saturating_sub(Duration::from_nanos(1)));
                let give_up = self.shared.instant(now) + slack.map_or(max, |slack| slack.min(max));
                let key = self.shared.key_of(call);
                self.wait(ctx, &key, self.lease(ctx), give_up).await
            }
        }
    }

    /// Asks again whenever that may help.
    async fn wait(
        &self,
        ctx: &StageContext,
        key: &BreakerKey,
        lease: Duration,
        give_up: Instant,
    ) -> StageResult<Entry> {
        let mut waiting = None;
        loop {
            let cell = self.shared.cell(key);
            let mut changed = pin!(cell.changed.notified());
            // From now on a change is noticed: no answer can get out of date without waking us.
            changed.as_mut().enable();
            let now = Instant::now();
            let open = match self.ask_in(ctx, Arc::clone(&cell), self.shared.nanos(now), lease) {
                Ok(entry) => return Ok(entry),
                Err((_, open)) => open,
            };
            let again = open.retry_after().map(|left| now + left);
            let wake = match again {
                Some(again) if again <= give_up => again,
                _ if open.may_end_early() && now < give_up => give_up,
                _ => return Err(reject(ctx, &cell, open)),
            };
            waiting.get_or_insert_with(|| ctx.waiting(WaitReason::Breaker { key: key.to_string() }));
            let _woken = timeout_at(wake, changed).await;
        }
    }

    #[cold]
    fn ask_in(&self, ctx: &StageContext, cell: Arc<Cell>, now: u64, lease: Duration) -> Asked {
        let (asked, change) = self.ask(cell, now, lease);
        if let Some(change) = change {
            tell(ctx, &change);
        }
        asked
    }

    /// Asks for a call on behalf of a stage, as the breaker around it would: time and events are those of the run. A router asks this way
    /// before it chooses. The permit is to be told how the call ended, by [`BreakerPermit::record_in`].
    ///
    /// # Errors
    ///
    /// The breaker is open, or half-open with all its probes under way. It does not wait and emits no `breaker.rejected`.
    pub fn try_acquire_in(&self, ctx: &StageContext, key: &BreakerKey) -> Result<BreakerPermit, BreakerOpen> {
        let cell = self.shared.cell(key);
        match self.ask_in(ctx, cell, self.shared.now(ctx), self.lease(ctx)) {
            Ok(entry) => Ok(BreakerPermit::new(&self.shared, entry)),
            Err((_, open)) => Err(open),
        }
    }

    /// How long a probe of this stage keeps its slot: longer than it may take.
    fn lease(&self, ctx: &StageContext) -> Duration {
        let of_stage =
            || ctx.remaining().map_or(LEASE, |left| left.saturating_add(LEASE_MARGIN).min(LONGEST_LEASE));
        self.shared.probe_lease.unwrap_or_else(of_stage)
    }
}

impl BreakerPermit {
    /// Says that the call begins only now: what was waited for since it was admitted does not make it slow.
    pub fn begin_in(&mut self, ctx: &StageContext) {
        let now = self.shared().now(ctx);
        self.entry_mut().begin(now);
    }

    /// Says how the call of a stage ended: time, chance and events are those of the run.
    pub fn record_in(self, ctx: &StageContext, outcome: BreakerOutcome) {
        let (shared, entry) = self.into_parts();
        if let Some(change) = entry.record(&shared, outcome, shared.now(ctx), || ctx.random_u64()) {
            tell(ctx, &change);
        }
    }
}

/// What a call met that was not admitted at once, and when. On the heap, for it is rare.
type Refused = Box<(Arc<Cell>, u64, BreakerOpen)>;

/// A call that was admitted, until it is known how it ended.
struct Watched<'a> {
    call: &'a Call,
    breaker: &'a CircuitBreaker,
    /// How many attempts there were before.
    attempts: u32,
    entry: Option<Entry>,
}

impl Watched<'_> {
    /// The engine ends a call whose time is up, and that of a run that is cancelled, by dropping it.
    #[cold]
    fn dropped(&mut self) {
        if self.call.context().remaining().is_some_and(|left| left.is_zero()) {
            self.end(BreakerOutcome::Failure { retry_after: None });
        }
    }

    fn end(&mut self, outcome: BreakerOutcome) {
        let Some(entry) = &mut self.entry else { return };
        let ctx = self.call.context();
        // Where no attempt has begun nobody has asked the dependency.
        if self.call.attempts() != self.attempts {
            let shared = &self.breaker.shared;
            let now = shared.now(ctx);
            let is_done = outcome == BreakerOutcome::Success && entry.count_success(now);
            if !is_done && let Some(change) = entry.tell(shared, outcome, now, || ctx.random_u64()) {
                tell(ctx, &change);
            }
        }
        self.entry = None;
    }
}

impl Drop for Watched<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.entry.is_some() {
            self.dropped();
        }
    }
}

fn reject(ctx: &StageContext, cell: &Cell, open: BreakerOpen) -> StageExit {
    cell.machine().reject();
    let left = open.retry_after();
    emit(ctx, "breaker.rejected", open.key(), None, left);
    let key = Arc::from(open.key().to_string());
    let exit = StageExit::failure(code::BREAKER_OPEN, ErrorClass::Transient, BoxError::from(open));
    match left {
        Some(left) => exit.until_open_ends(key, left).hint(format!("try again in {}", Human(left))),
        None => exit,
    }
}

/// Emits a change.
fn tell(ctx: &StageContext, change: &BreakerTransition) {
    let (name, left) = match change.to {
        BreakerState::Closed => ("breaker.closed", None),
        BreakerState::Open { until } => {
            ("breaker.opened", Some(until.saturating_duration_since(Instant::now())))
        }
        BreakerState::HalfOpen => ("breaker.half_open", None),
        // Operators are not in a run: they get the change from what they call.
        BreakerState::Forced(_) => return,
    };
    emit(ctx, name, &change.key, Some(change.reason.as_str()), left);
}

fn emit(
    ctx: &StageContext,
    name: &str,
    key: &BreakerKey,
    reason: Option<&'static str>,
    left: Option<Duration>,
) {
    let mut fields: Vec<(&str, FieldValue)> =
        vec![("key", key.to_string().into()), ("breaker", key.name().into())];
    fields.extend(reason.map(|reason| ("reason", reason.into())));
    if let Some(left) = left {
        fields.push(("open_ms", millis(left)));
        fields.push(("until_ms", millis(ctx.elapsed().saturating_add(left))));
    }
    ctx.emit(name, fields);
}

fn millis(time: Duration) -> FieldValue {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).into()
}

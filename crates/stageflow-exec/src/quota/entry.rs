//! What a run does until the quota of its tenant has let it in.

use std::{
    future::Future as _,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use stageflow_core::{
    CancelCause, CustomEvent, EventKind, FieldValue, QuotaExceeded, QuotaKind, TenantId, event::NO_STAGE,
    time::nanos,
};
use tokio::time::Sleep;

use super::{
    pool::StagePool,
    tenant::{Entered, Place, RunPermit, Tenant},
    tenants::Tenants,
};
use crate::{ending::EndCause, error::RunError, run::RunCore, timer};

/// Where a run waits for the quota of its tenant, for as long as it does.
#[derive(Clone, Debug)]
pub(crate) struct InQueue {
    pub(crate) tenant: Arc<Tenant>,
    pub(crate) number: u64,
    /// For what it was that it had to.
    pub(crate) quota: QuotaKind,
}

/// The way of one run through the quota of its tenant. Dropped, it gives back the place or the permit.
pub(crate) struct QuotaEntry {
    tenant: Arc<Tenant>,
    entered: Option<Entered>,
    is_told: bool,
    timer: Option<(u64, Pin<Box<Sleep>>)>,
}

impl QuotaEntry {
    /// Offers a run of a tenant.
    pub(crate) fn offer(tenants: &Tenants, id: Option<&TenantId>) -> Result<Self, Refused> {
        let tenant = tenants.tenant(id).map_err(Refused::Error)?;
        let entered = tenant.offer().map_err(Refused::Quota)?;
        Ok(Self { tenant, entered: Some(entered), is_told: false, timer: None })
    }

    pub(crate) fn is_waiting(&self) -> bool {
        matches!(self.entered, Some(Entered::Place(_)))
    }

    /// The permits of the tenant's stages, if it has a limit.
    pub(crate) fn stages(&self) -> Option<Arc<StagePool>> {
        self.tenant.stages()
    }

    /// Lets `explain()` see that the run waits, if it does.
    pub(crate) fn note(&self, run: &RunCore) {
        if let Some(Entered::Place(place)) = &self.entered {
            let (tenant, number) = (Arc::clone(place.tenant()), place.number());
            run.details().quota = Some(InQueue { tenant, number, quota: place.short.quota });
        }
    }

    /// Waits until the run is let in, or ends.
    pub(crate) fn poll(&mut self, run: &RunCore, cx: &mut Context<'_>) -> Poll<()> {
        let place = match &mut self.entered {
            Some(Entered::Place(place)) => place,
            Some(Entered::Permit(permit)) => {
                run.pay_with(permit.account());
                return Poll::Ready(());
            }
            None => return Poll::Ready(()),
        };
        if !self.is_told {
            self.is_told = true;
            tell_waiting(run, place);
        }
        run.queues.register_driver(cx.waker());
        loop {
            if run.is_stopping() {
                return self.leave(run, None);
            }
            let look_in = match place.turn(cx.waker()) {
                Ok(permit) => {
                    run.pay_with(permit.account());
                    return self.leave(run, Some(permit));
                }
                Err(look_in) => look_in,
            };
            let (now, left) = (run.now(), place.expires_at.saturating_sub(self.tenant.now()));
            if now >= run.deadline {
                run.end(EndCause::Deadline);
                continue;
            }
            if left == 0 || timer::sleep(Duration::ZERO).is_none() {
                // Without a timer nobody waits.
                refuse(run, place.expire());
                continue;
            }
            let next = now.saturating_add(left.min(look_in.unwrap_or(u64::MAX))).min(run.deadline);
            if self.timer.as_ref().is_none_or(|(at, _)| *at != next) {
                self.timer = timer::sleep(Duration::from_nanos(next - now)).map(|timer| (next, timer));
            }
            if self.timer.as_mut().is_none_or(|(_, timer)| timer.as_mut().poll(cx).is_pending()) {
                return Poll::Pending;
            }
            self.timer = None;
        }
    }

    /// The wait is over: what is left of it is a permit, or nothing.
    fn leave(&mut self, run: &RunCore, permit: Option<RunPermit>) -> Poll<()> {
        self.timer = None;
        let Some(Entered::Place(place)) = &self.entered else { return Poll::Ready(()) };
        let waited = place.waited();
        if permit.is_some() {
            tell(run, "quota.admitted", [("waited_ns", waited.into())]);
        }
        {
            let mut details = run.details();
            details.quota = None;
            details.queued = Some(details.queued.unwrap_or(0).saturating_add(waited));
        }
        self.entered = permit.map(Entered::Permit);
        Poll::Ready(())
    }

    /// The first stage of the run begins.
    pub(crate) fn begin(&mut self) {
        if let Some(Entered::Permit(permit)) = &mut self.entered {
            permit.begin();
        }
    }
}

/// Why a run was not let in.
pub(crate) enum Refused {
    Quota(QuotaExceeded),
    Error(RunError),
}

/// Ends a run that was started for want of quota.
pub(crate) fn refuse(run: &RunCore, exceeded: QuotaExceeded) {
    if run.events.is_some() {
        let fields = [
            ("quota", exceeded.quota.as_str().into()),
            ("used", exceeded.used.into()),
            ("limit", exceeded.limit.into()),
        ];
        let after = exceeded.retry_after.map(|after| ("retry_after_ns", FieldValue::from(nanos(after))));
        let event = CustomEvent::new("tenant.quota_exceeded", fields.into_iter().chain(after));
        run.emit(NO_STAGE, 0, EventKind::Custom(Arc::new(event)));
    }
    run.end(EndCause::Cancel(CancelCause::Quota(Box::new(exceeded))));
}

fn tell_waiting(run: &RunCore, place: &Place) {
    let short = &place.short;
    let fields = [
        ("quota", short.quota.as_str().into()),
        ("used", short.used.into()),
        ("limit", short.limit.into()),
        ("ahead", place.ahead.into()),
    ];
    tell(run, "quota.waiting", fields);
}

fn tell<const N: usize>(run: &RunCore, name: &str, fields: [(&str, FieldValue); N]) {
    if run.events.is_some() {
        run.emit(NO_STAGE, 0, EventKind::Custom(Arc::new(CustomEvent::new(name, fields))));
    }
}

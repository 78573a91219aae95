//! Signs of progress: what idle timeouts go by. Runs without an idle timeout have none of this.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use stageflow_core::{ErrorClass, StageContext, StageExit, WaitReason, code, time::Human};

use crate::run::RunCore;

/// A kind of sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Sign {
    Start,
    Progress,
    Event,
    Child,
}

impl Sign {
    const ALL: [Self; 4] = [Self::Start, Self::Progress, Self::Event, Self::Child];
}

impl fmt::Display for Sign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Start => "its start",
            Self::Progress => "its call of `progress`",
            Self::Event => "an event of its own",
            Self::Child => "something in its child run",
        })
    }
}

/// The last sign of progress of one stage.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    /// By the engine's clock, which parents and children share.
    at: AtomicU64,
    /// The attempt that is being made.
    attempt: AtomicU32,
    sign: AtomicU8,
}

impl Pulse {
    fn beat(&self, attempt: u32, sign: Sign, now: u64) {
        // What an attempt leaves behind may go on: it says nothing about the next one.
        if self.attempt.load(Ordering::Relaxed) == attempt {
            self.sign.store(sign as u8, Ordering::Relaxed);
            self.at.store(now, Ordering::Relaxed);
        }
    }

    fn begin(&self, attempt: u32, now: u64) {
        self.attempt.store(attempt, Ordering::Relaxed);
        self.beat(attempt, Sign::Start, now);
    }

    /// The last sign and when it was.
    fn last(&self) -> (Sign, u64) {
        (Sign::ALL[usize::from(self.sign.load(Ordering::Relaxed))], self.at.load(Ordering::Relaxed))
    }
}

/// The pulses of the stages of a run.
pub(crate) type Pulses = Arc<[Pulse]>;

/// Who has an interest in the progress of a child run: the stage that it is, and those around that.
#[derive(Debug)]
pub(crate) struct Watched {
    pulses: Pulses,
    stage: u32,
    attempt: u32,
    outer: Option<Arc<Watched>>,
}

impl Watched {
    /// Who is interested in the child run of a stage.
    pub(crate) fn of(parent: &RunCore, ctx: &StageContext) -> Option<Arc<Self>> {
        let outer = parent.watched.clone();
        match &parent.pulses {
            Some(pulses) if parent.timeouts(ctx.index()).idle.get().is_some() => Some(Arc::new(Self {
                pulses: Arc::clone(pulses),
                stage: ctx.index(),
                attempt: ctx.attempt(),
                outer,
            })),
            _ => outer,
        }
    }
}

impl RunCore {
    /// A stage of this run has ended, or something has changed in its waiting: progress of the stage that the run is.
    #[inline]
    pub(crate) fn tell_watched(&self) {
        if let Some(watched) = &self.watched {
            self.beat(watched);
        }
    }

    #[cold]
    fn beat(&self, watched: &Arc<Watched>) {
        let now = self.shared.clock.monotonic_nanos();
        let mut next = Some(watched);
        while let Some(watched) = next {
            watched.pulses[watched.stage as usize].beat(watched.attempt, Sign::Child, now);
            next = watched.outer.as_ref();
        }
    }

    /// A stage has shown progress.
    pub(crate) fn progress(&self, stage: u32, attempt: u32, sign: Sign) {
        if let Some(pulses) = &self.pulses {
            pulses[stage as usize].beat(attempt, sign, self.shared.clock.monotonic_nanos());
        }
        self.tell_watched();
    }

    /// An attempt of a stage with an idle timeout begins.
    pub(crate) fn begin_pulse(&self, stage: u32, attempt: u32) {
        if let Some(pulses) = &self.pulses {
            pulses[stage as usize].begin(attempt, self.shared.clock.monotonic_nanos());
        }
    }

    /// Looks at an attempt whose timer has gone off: how long it may go on before the next look, or the failure that it is.
    pub(crate) fn look(&self, stage: u32, limit: Duration) -> Result<Duration, StageExit> {
        let Some(pulse) = self.pulses.as_ref().and_then(|pulses| pulses.get(stage as usize)) else {
            return Ok(limit);
        };
        let now = self.shared.clock.monotonic_nanos();
        let (sign, at) = pulse.last();
        let since = Duration::from_nanos(now.saturating_sub(at));
        if since < limit {
            return Ok(limit.saturating_sub(since));
        }
        if self.is_queued_inside(stage) {
            return Ok(limit);
        }
        let error = format!(
            "the attempt has shown no progress for {}, and may be idle for {}: the last sign was {sign}",
            Human(since),
            Human(limit)
        );
        Err(StageExit::failure(code::IDLE_TIMEOUT, ErrorClass::Timeout, error.into()))
    }

    /// Whether a stage in the child run of a stage, at any depth, waits for its turn: that is no idleness.
    fn is_queued_inside(&self, stage: u32) -> bool {
        let name = self.plan.stage_name(stage);
        let of_stage =
            |child: &Arc<RunCore>| child.snapshot.parent().is_some_and(|parent| parent.stage == name);
        let mut open: Vec<_> = self.children().into_iter().filter(of_stage).collect();
        while let Some(run) = open.pop() {
            let is_queued = |reason: &WaitReason| {
                matches!(
                    reason,
                    WaitReason::Permit { .. }
                        | WaitReason::BackOff { .. }
                        | WaitReason::Breaker { .. }
                        | WaitReason::RateLimit { .. }
                )
            };
            if run.details().waits.values().any(is_queued) {
                return true;
            }
            open.extend(run.children());
        }
        false
    }
}

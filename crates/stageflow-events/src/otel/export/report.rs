//! Saying that something was lost: soon, and not again and again.

use std::{
    collections::HashMap,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::otel::{
    account::{Loss, LossReason, Signal},
    clock,
};

/// What is told of losses.
pub(crate) type Hook = Arc<dyn Fn(&Loss) + Send + Sync>;

/// A loss for the same reason is told again after so long, with all that was lost meanwhile.
const EVERY: Duration = Duration::from_secs(60);

/// Tells of losses.
pub(crate) struct Reporter {
    hook: Hook,
    pending: HashMap<(Signal, LossReason), Pending>,
}

#[derive(Default)]
struct Pending {
    told: Option<Instant>,
    count: u64,
    detail: String,
}

impl Reporter {
    pub(crate) fn new(hook: Hook) -> Self {
        Self { hook, pending: HashMap::new() }
    }

    /// Notes a loss, and gives what is to be told now: outside every lock, by [`tell`].
    pub(crate) fn note(&mut self, loss: Loss) -> Option<(Hook, Loss)> {
        let Loss { signal, reason, count, detail } = loss;
        let pending = self.pending.entry((signal, reason)).or_default();
        pending.count += count;
        pending.detail = detail;
        if pending.told.is_some_and(|told| told.elapsed() < EVERY) {
            return None;
        }
        pending.told = Some(clock::now());
        let (count, detail) = (std::mem::take(&mut pending.count), std::mem::take(&mut pending.detail));
        (count > 0).then(|| (Arc::clone(&self.hook), Loss { signal, reason, count, detail }))
    }

    /// Everything that was not told yet.
    pub(crate) fn rest(&mut self) -> Vec<(Hook, Loss)> {
        let all = self.pending.iter_mut().filter(|(_, pending)| pending.count > 0);
        let told = all.map(|((signal, reason), pending)| {
            let (count, detail) = (std::mem::take(&mut pending.count), std::mem::take(&mut pending.detail));
            (Arc::clone(&self.hook), Loss { signal: *signal, reason: *reason, count, detail })
        });
        told.collect()
    }
}

/// Calls hooks. What panics there ends there.
pub(crate) fn tell(all: impl IntoIterator<Item = (Hook, Loss)>) {
    for (hook, loss) in all {
        let _panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| hook(&loss)));
    }
}

impl fmt::Debug for Reporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reporter").finish_non_exhaustive()
    }
}

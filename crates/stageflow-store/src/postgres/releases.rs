//! Leases that are on their way back: whoever asks for them by the same store waits until they are there.

use std::collections::BTreeSet;

use stageflow_core::durable::RunKey;
use tokio::sync::watch;

/// The runs whose leases are on their way.
#[derive(Clone)]
pub(super) struct Releases(watch::Sender<BTreeSet<(RunKey, u64)>>);

/// One of them. It is no longer on its way when this is dropped.
pub(super) struct Releasing {
    all: Releases,
    of: (RunKey, u64),
}

impl Releases {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(BTreeSet::new()))
    }

    pub(super) fn begin(&self, key: &RunKey, epoch: u64) -> Releasing {
        let of = (key.clone(), epoch);
        self.0.send_modify(|all| {
            all.insert(of.clone());
        });
        Releasing { all: self.clone(), of }
    }

    /// Completes when none of those is on its way.
    pub(super) async fn settled(&self, mut of: impl FnMut(&RunKey) -> bool) {
        let mut all = self.0.subscribe();
        let _cannot_close = all.wait_for(|all| !all.iter().any(|(key, _)| of(key))).await;
    }
}

impl Drop for Releasing {
    fn drop(&mut self) {
        self.all.0.send_modify(|all| {
            all.remove(&self.of);
        });
    }
}

//! How stages of a test wait, on paused time and on several threads.

use std::{future::poll_fn, task::Poll, time::Duration};

use tokio::time::sleep;

/// What waiting is, on the runtime of a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Time {
    /// Timers: the clock of the runtime is paused (`start_paused`).
    Virtual,
    /// Other tasks, which wake the stage from wherever they run: as many as there would be milliseconds.
    Real,
}

impl Time {
    pub(crate) async fn pass(self, millis: u8) {
        match self {
            Self::Virtual => sleep(Duration::from_millis(millis.into())).await,
            Self::Real => {
                for _ in 0..millis {
                    tokio::spawn(async {}).await.expect("an empty task");
                }
            }
        }
    }
}

/// Pending once, and woken at once: not by way of tokio, which would hold the wake-up back.
pub(crate) async fn yield_once() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

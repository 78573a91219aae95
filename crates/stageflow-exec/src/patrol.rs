//! Sees to it that a helper that was called comes, even where tokio has let it lie.
//!
//! A worker thread of tokio that comes to rest while another is looking for tasks rests without a look of its own. If that other
//! thread finds a stage, calls a helper and blocks in the stage before the first has come to rest, tokio counts both threads as
//! awake and wakes neither: the helper waits until something else wakes the first. It takes a thread that loses its processor at
//! the wrong instruction, and it happens (`docs/decisions/0006-a-patrol-for-helpers.md`).

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

use tokio::runtime::{Handle, Id};

/// How long a helper may take to come before tokio is nudged.
const PERIOD: Duration = Duration::from_millis(5);

/// The runtimes that are patrolled, with the count of calls in each.
static PATROLS: Mutex<Vec<(Id, u64)>> = Mutex::new(Vec::new());

fn with_patrols<R>(f: impl FnOnce(&mut Vec<(Id, u64)>) -> R) -> R {
    f(&mut PATROLS.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Somebody was called. At least one [`PERIOD`] later, and at most two, the runtime is given an empty task: from a thread of its
/// pool for blocking work, which waits in no worker and needs no timer. It goes once nobody has been called for a period.
pub(crate) fn watch(handle: &Handle) {
    let id = handle.id();
    let is_new = with_patrols(|patrols| match patrols.iter_mut().find(|(known, _)| *known == id) {
        Some((_, calls)) => {
            *calls += 1;
            false
        }
        None => {
            patrols.push((id, 1));
            true
        }
    });
    if is_new {
        let patrol = Patrol { id, seen: 0, on_duty: true, handle: handle.clone() };
        // A system that gives no more threads is no reason to end the run: it goes on as tokio does.
        let _spawned = catch_unwind(AssertUnwindSafe(|| handle.spawn_blocking(move || patrol.walk())));
    }
}

struct Patrol {
    id: Id,
    /// The count of calls at the last round.
    seen: u64,
    /// It has an entry among the patrols.
    on_duty: bool,
    handle: Handle,
}

impl Patrol {
    fn walk(mut self) {
        loop {
            // A thread of tokio's, so it may wake up early: then the nudge comes early.
            thread::park_timeout(PERIOD);
            let id = self.id;
            let calls = with_patrols(|patrols| {
                let at = patrols.iter().position(|(known, _)| *known == id)?;
                let calls = patrols[at].1;
                if calls == self.seen {
                    patrols.swap_remove(at);
                    return None;
                }
                Some(calls)
            });
            let Some(calls) = calls else {
                self.on_duty = false;
                return;
            };
            self.seen = calls;
            self.handle.spawn(async {});
        }
    }
}

impl Drop for Patrol {
    // The runtime drops it without a walk when it shuts down, or if its pool has no thread left to start.
    fn drop(&mut self) {
        if self.on_duty {
            let id = self.id;
            with_patrols(|patrols| patrols.retain(|(known, _)| *known != id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s_4_a_runtime_is_nudged_after_each_call_and_then_left_alone() {
        // Nobody drives it: what it is nudged with stays in its queue.
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let handle = runtime.handle();
        let is_patrolled = || with_patrols(|patrols| patrols.iter().any(|(id, _)| *id == handle.id()));
        for nudges in 1..3 {
            watch(handle);
            watch(handle);
            while is_patrolled() {
                thread::yield_now();
            }
            assert!(handle.metrics().global_queue_depth() >= nudges, "one at least for each time of calls");
        }
        assert!(handle.metrics().global_queue_depth() <= 4, "no more than one for each call");
    }

    #[test]
    fn a_runtime_that_shuts_down_is_forgotten() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let handle = runtime.handle().clone();
        runtime.shutdown_background();
        watch(&handle);
        assert!(
            with_patrols(|patrols| patrols.iter().all(|(id, _)| *id != handle.id())),
            "nothing stays behind"
        );
    }
}

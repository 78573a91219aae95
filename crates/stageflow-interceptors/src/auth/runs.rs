//! What is known about the principals of runs: one answer for each, found out once, and so many at most.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use stageflow_core::RunId;
use tokio::sync::OnceCell;

use super::{AuthError, Principal, credentials::next_id};

/// A run and what it has shown. The run's id alone would not do: whoever starts a run may choose it.
pub(super) type Key = (RunId, u64);

/// The answer, once there is one. Whoever comes first asks; if that one leaves before the end, the next one does.
pub(super) type Answer = OnceCell<Result<Principal, AuthError>>;

#[derive(Debug)]
pub(super) struct Runs {
    /// Tells them apart from others.
    pub(super) id: u64,
    known: Mutex<Known>,
}

impl Default for Runs {
    fn default() -> Self {
        Self { id: next_id(), known: Mutex::default() }
    }
}

#[derive(Debug, Default)]
struct Known {
    /// The answer that was asked for last: a run has many stages.
    last: Option<(Key, Arc<Answer>)>,
    answers: HashMap<Key, Arc<Answer>>,
    /// Oldest first.
    order: VecDeque<Key>,
}

impl Runs {
    /// The place of the answer. Where there are more than `max` the oldest ones are forgotten, and asked for again when needed.
    pub(super) fn answer(&self, key: Key, max: usize) -> Arc<Answer> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, answer)) = known.last.as_ref().filter(|(last, _)| *last == key) {
            return Arc::clone(answer);
        }
        if let Some(answer) = known.answers.get(&key).cloned() {
            known.last = Some((key, Arc::clone(&answer)));
            return answer;
        }
        while known.answers.len() >= max.max(1) {
            let Some(oldest) = known.order.pop_front() else { break };
            known.answers.remove(&oldest);
            known.last.take_if(|(last, _)| *last == oldest);
        }
        let answer = Arc::new(Answer::new());
        known.answers.insert(key, Arc::clone(&answer));
        known.last = Some((key, Arc::clone(&answer)));
        known.order.push_back(key);
        answer
    }

    /// The principal, if it is known by now.
    pub(super) fn known(&self, key: Key) -> Option<Principal> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.answers.get(&key)?.get()?.as_ref().ok().cloned()
    }

    pub(super) fn len(&self) -> usize {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).answers.len()
    }
}

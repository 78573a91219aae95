//! Whose turn it is: entries of a replay are checked off against those of the journal.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use stageflow_core::{
    RunOutcome,
    durable::{Entry, EntryKind, StageEnd},
};
use tokio::{sync::Notify, time::Instant};

use super::{
    Mismatch,
    script::{Attempt, Step, begun, by_stage, ending, is_cut_off},
};

/// How long nothing may go on, in virtual time, before somebody is let past whose turn it is not.
const PATIENCE: Duration = Duration::from_millis(2);
/// How long a stage that is called may keep the others waiting.
const CALL_PATIENCE: Duration = Duration::from_secs(1);
/// So close together two processors may have done what stands in the journal in the other order.
const AT_ONCE: Duration = Duration::from_millis(5);

/// The place of what the journal does not have.
const NEVER: usize = usize::MAX;

/// Checks off what a replay does, and says whose turn it is.
pub(super) struct Board {
    state: Mutex<State>,
    changed: Notify,
    start: Instant,
}

struct State {
    steps: Vec<Step>,
    done: Vec<bool>,
    /// The first step that is not done.
    cursor: usize,
    /// What each stage has not done, in its order.
    open: HashMap<Option<Arc<str>>, VecDeque<usize>>,
    /// What was done, at the places of the steps.
    taken: Vec<Option<Entry>>,
    /// What was done that no step stands for.
    more: Vec<Entry>,
    spent: Option<Entry>,
    /// How often something was done before its turn.
    early: usize,
    mismatch: Option<Mismatch>,
    /// Nobody waits for a turn.
    free: bool,
    is_last: bool,
    /// Steps that may end the run: before them comes what came at the same time.
    ending: HashSet<usize>,
    gates: BTreeMap<u64, Gate>,
    next_gate: u64,
    called: HashSet<(Arc<str>, u32)>,
    running: HashMap<(Arc<str>, u32), (Instant, Option<Duration>)>,
}

struct Gate {
    place: usize,
    is_end: bool,
    /// Let past.
    open: bool,
}

/// What the whole run waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The process ended there.
    Process,
    /// Somebody cancelled the run there.
    Run,
}

/// What a replay has written.
pub(super) struct Written {
    pub(super) entries: Vec<Entry>,
    pub(super) early: usize,
    pub(super) mismatch: Option<Mismatch>,
}

impl Board {
    /// Under virtual time, which begins now. A replay that is `free` keeps no order.
    pub(super) fn new(steps: Vec<Step>, is_last: bool, free: bool) -> Self {
        Self {
            state: Mutex::new(State {
                done: vec![false; steps.len()],
                cursor: 0,
                open: by_stage(&steps),
                taken: vec![None; steps.len()],
                more: Vec::new(),
                spent: None,
                early: 0,
                mismatch: None,
                free,
                is_last,
                ending: ending(&steps),
                gates: BTreeMap::new(),
                next_gate: 0,
                called: HashSet::new(),
                running: HashMap::new(),
                steps,
            }),
            changed: Notify::new(),
            start: Instant::now(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something was done.
    pub(super) fn observe(&self, entry: Entry) {
        self.lock().observe(entry);
        self.changed.notify_waiters();
    }

    /// Waits until an attempt may begin, and gives what was written of it.
    pub(super) async fn begin(&self, stage: Arc<str>, attempt: u32) -> Attempt {
        let (place, is_other) = self.lock().beginning(&stage, attempt);
        if is_other {
            return self.known(stage, attempt);
        }
        // One that did not begin then has its turn after everything else: the run may have ended before.
        self.turn(Some(place.unwrap_or(NEVER)), false).await;
        let free = self.lock().free;
        match place {
            Some(place) if !free => self.attempt(stage, attempt, Some(place)),
            _ => self.known(stage, attempt),
        }
    }

    /// Whether the time of a stage may be up.
    pub(super) fn is_timed(&self, stage: &Arc<str>) -> bool {
        let state = self.lock();
        state.free
            || state.steps.iter().skip(state.cursor).any(|step| match &step.entry.kind {
                EntryKind::StageEnded { stage: of, end: StageEnd::Failed(failure), .. } => {
                    of == stage && is_cut_off(failure)
                }
                _ => false,
            })
    }

    /// What was written of an attempt that begins out of its turn.
    fn known(&self, stage: Arc<str>, attempt: u32) -> Attempt {
        let place = self.lock().last_of(&stage, attempt);
        self.attempt(stage, attempt, place)
    }

    fn attempt(&self, stage: Arc<str>, attempt: u32, place: Option<usize>) -> Attempt {
        let mut state = self.lock();
        let mut known = place.map_or_else(Attempt::unknown, |place| Attempt::of(&state.steps, place));
        known.cue.timed |= state.free;
        state.running.insert((stage, attempt), (Instant::now(), known.took));
        known
    }

    /// Whether the end of a stage is still to come.
    pub(super) fn ends(&self, stage: &Arc<str>) -> bool {
        let state = self.lock();
        let open = state.open.get(&Some(Arc::clone(stage))).into_iter().flatten();
        let ends = |place: &usize| matches!(state.steps[*place].entry.kind, EntryKind::StageEnded { .. });
        !state.free && open.into_iter().any(ends)
    }

    /// A stage is called.
    pub(super) fn called(&self, stage: &Arc<str>, attempt: u32) {
        self.lock().called.insert((Arc::clone(stage), attempt));
    }

    /// Waits until it is seen that an attempt has ended.
    pub(super) async fn end(&self, stage: Arc<str>, attempt: u32) {
        let key = (stage, attempt);
        let (place, running, free) = {
            let mut state = self.lock();
            state.called.remove(&key);
            (state.next_of(&key.0), state.running.remove(&key), state.free)
        };
        if !free {
            self.turn(place, true).await;
        }
        if self.lock().free
            && let Some((began, Some(took))) = running
        {
            tokio::time::sleep_until(began + took).await;
        }
    }

    /// Waits for the turn of a step; without one, until nobody waits for turns.
    async fn turn(&self, place: Option<usize>, is_end: bool) {
        let gate = place.map(|place| Passing { board: self, key: self.lock().gate(place, is_end) });
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            let due = {
                let state = self.lock();
                if state.free || gate.as_ref().is_some_and(|gate| state.is_open(gate.key)) {
                    return;
                }
                place.filter(|place| state.is_next(*place)).map(|place| self.start + state.steps[place].at)
            };
            match due {
                Some(due) if due <= Instant::now() => return,
                Some(due) => {
                    tokio::select! {
                        biased;
                        () = tokio::time::sleep_until(due) => {}
                        () = changed => {}
                    }
                }
                None => changed.await,
            }
        }
    }

    /// Lets somebody past when nothing goes on; completes when nothing has gone on for as long as `limit`.
    pub(super) async fn watch(&self, limit: Duration) {
        let (mut patience, mut waited) = (PATIENCE, Duration::ZERO);
        loop {
            let (cursor, due) = {
                let state = self.lock();
                (state.cursor, state.steps.get(state.cursor).map(|step| self.start + step.at))
            };
            tokio::time::sleep_until(due.unwrap_or(self.start).max(Instant::now()) + patience).await;
            let mut state = self.lock();
            if state.cursor != cursor {
                (patience, waited) = (PATIENCE, Duration::ZERO);
                continue;
            }
            waited += patience;
            if waited > limit {
                return;
            }
            let let_past = state.let_past(Instant::now() - self.start, patience >= CALL_PATIENCE);
            drop(state);
            if let_past {
                self.changed.notify_waiters();
                patience = PATIENCE;
            } else {
                patience = (patience * 2).min(Duration::from_secs(3600));
            }
        }
    }

    /// Waits until the run is to be stopped from outside.
    pub(super) async fn stop(&self) -> Stop {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            let stop = self.lock().stop();
            match stop {
                Some((stop, at)) => {
                    tokio::time::sleep_until(self.start + at).await;
                    return stop;
                }
                None => changed.await,
            }
        }
    }

    /// The run does not end: nobody waits for turns from now on.
    pub(super) fn give_up(&self) {
        let mut state = self.lock();
        if !state.free {
            let expected = state.steps.get(state.cursor).map(|step| step.line.clone());
            let place = state.cursor;
            state.differs(place, expected, None);
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// What was written, in the order of the journal as far as it was the same.
    pub(super) fn finish(&self) -> Written {
        let mut state = self.lock();
        let missing = state.mismatch.is_none() && !state.free && state.cursor < state.steps.len();
        if missing {
            let (place, line) = (state.cursor, state.steps[state.cursor].line.clone());
            state.differs(place, Some(line), None);
        }
        let mut entries: Vec<Entry> = std::mem::take(&mut state.taken).into_iter().flatten().collect();
        entries.append(&mut state.more);
        // The run ends last, after what it has used.
        let ends = entries.iter().position(|entry| matches!(entry.kind, EntryKind::RunEnded { .. }));
        let last = ends.map(|place| entries.remove(place));
        entries.extend(state.spent.take().into_iter().chain(last));
        Written { entries, early: state.early, mismatch: state.mismatch.take() }
    }
}

impl State {
    fn observe(&mut self, entry: Entry) {
        let Some(line) = entry.kind.decision() else {
            if matches!(entry.kind, EntryKind::Spent { .. }) {
                self.spent = Some(entry);
            }
            return;
        };
        if self.free {
            return self.more.push(entry);
        }
        let stage = entry.kind.stage().cloned();
        let is_end = matches!(entry.kind, EntryKind::RunEnded { .. });
        let next = match is_end {
            // Before it ends, everything else is to be done.
            true => (self.cursor < self.steps.len()).then_some(self.cursor),
            false => self.open.get(&stage).and_then(|open| open.front().copied()),
        };
        match next {
            Some(place) if self.steps[place].line == line => {
                self.open.entry(stage).or_default().pop_front();
                self.early += usize::from(place != self.cursor);
                self.done[place] = true;
                self.taken[place] = Some(entry);
                while self.done.get(self.cursor) == Some(&true) {
                    self.cursor += 1;
                }
            }
            // What the process did after that was lost with it.
            None if !self.is_last => {}
            // What waits for no turn, and the run did not come to.
            None if is_eager(&entry.kind) && self.is_cut_off(stage.as_deref()) => self.early += 1,
            next => {
                let expected = next.map(|place| self.steps[place].line.clone());
                self.differs(next.unwrap_or(self.cursor), expected, Some(line));
                self.more.push(entry);
            }
        }
    }

    /// Whether the end of its run kept a stage from doing more.
    fn is_cut_off(&self, stage: Option<&str>) -> bool {
        let ends_early = self.steps.iter().any(|step| match step.entry.kind {
            EntryKind::RunEnded { outcome, .. } => {
                !matches!(outcome, RunOutcome::Completed | RunOutcome::CompletedWithFailures)
            }
            _ => false,
        });
        let parents =
            stage.into_iter().flat_map(|stage| stage.match_indices('/').map(|(at, _)| &stage[..at]));
        let completed = |parent: &str| {
            self.steps.iter().any(|step| match &step.entry.kind {
                EntryKind::StageEnded { stage, end: StageEnd::Completed, .. } => &**stage == parent,
                _ => false,
            })
        };
        ends_early || parents.into_iter().any(|parent| !completed(parent))
    }

    fn differs(&mut self, place: usize, expected: Option<String>, actual: Option<String>) {
        self.mismatch = Some(Mismatch { place: place + 1, expected, actual });
        self.free = true;
    }

    /// The step that an attempt begins with, and whether the stage is to do something else before.
    fn beginning(&self, stage: &Arc<str>, attempt: u32) -> (Option<usize>, bool) {
        let place = self.next_of(stage);
        (place, place.is_some_and(|place| begun(&self.steps[place]) != Some((stage, attempt))))
    }

    fn next_of(&self, stage: &Arc<str>) -> Option<usize> {
        self.open.get(&Some(Arc::clone(stage)))?.front().copied()
    }

    /// The last beginning of an attempt of that number: that of the process that went on with the run.
    fn last_of(&self, stage: &Arc<str>, attempt: u32) -> Option<usize> {
        self.steps.iter().rposition(|step| begun(step) == Some((stage, attempt)))
    }

    fn gate(&mut self, place: usize, is_end: bool) -> u64 {
        self.next_gate += 1;
        self.gates.insert(self.next_gate, Gate { place, is_end, open: false });
        self.next_gate
    }

    fn is_open(&self, gate: u64) -> bool {
        self.gates.get(&gate).is_some_and(|gate| gate.open)
    }

    /// Whether everything before a step is done, and of a step that may end the run, everything that came at the same time.
    fn is_next(&self, place: usize) -> bool {
        if place == NEVER {
            return false;
        }
        if !self.ending.contains(&place) {
            return self.cursor >= place || self.only_ending_before(place);
        }
        let until = self.steps[place].at + AT_ONCE;
        let comes_before = |other: usize| {
            let step = &self.steps[other];
            !matches!(step.entry.kind, EntryKind::RunEnded { .. })
                && (other < place || step.at <= until)
                && (other < place || !self.ending.contains(&other))
        };
        let own = self.steps[place].entry.kind.stage();
        !(self.cursor..self.steps.len()).any(|other| {
            !self.done[other] && comes_before(other) && self.steps[other].entry.kind.stage() != own
        })
    }

    /// Whether what is not done before a step is held back only because it may end the run.
    fn only_ending_before(&self, place: usize) -> bool {
        (self.cursor..place).all(|other| self.done[other] || self.ending.contains(&other))
            && self.ending.iter().any(|end| {
                !self.done[*end] && *end < place && self.steps[place].at <= self.steps[*end].at + AT_ONCE
            })
    }

    /// Lets the first past whose turn it is not: something that is not written has to come before.
    fn let_past(&mut self, now: Duration, is_tired: bool) -> bool {
        let Some(step) = self.steps.get(self.cursor) else { return false };
        let called = self.called.iter().any(|(stage, _)| step.entry.kind.stage() == Some(stage));
        if called && !is_tired {
            return false;
        }
        let steps = &self.steps;
        let is_due = |gate: &&mut Gate| {
            let at = steps.get(gate.place).map(|step| step.at);
            !gate.open && (is_tired || at.is_none_or(|at| at <= now + AT_ONCE))
        };
        let waiting = self.gates.values_mut().filter(is_due);
        match waiting.min_by_key(|gate| (!gate.is_end, gate.place)) {
            Some(gate) => {
                gate.open = true;
                true
            }
            None => false,
        }
    }

    fn stop(&self) -> Option<(Stop, Duration)> {
        if self.free {
            return None;
        }
        match self.steps.get(self.cursor) {
            None => {
                let last = self.steps.last();
                let has_ended =
                    last.is_some_and(|step| matches!(step.entry.kind, EntryKind::RunEnded { .. }));
                let at = last.map_or(Duration::ZERO, |step| step.at);
                (!has_ended).then_some((Stop::Process, at))
            }
            Some(step) => match step.entry.kind {
                EntryKind::RunEnded { outcome: RunOutcome::Cancelled, .. } => Some((Stop::Run, step.at)),
                _ => None,
            },
        }
    }
}

/// Whether an entry waits for no turn: a stage that is not called, or what is decided around the calls.
fn is_eager(kind: &EntryKind) -> bool {
    match kind {
        EntryKind::Decided { .. } => true,
        EntryKind::StageEnded { end, .. } => matches!(end, StageEnd::Skipped(_) | StageEnd::Blocked { .. }),
        _ => false,
    }
}

/// A place in front of a gate.
struct Passing<'a> {
    board: &'a Board,
    key: u64,
}

impl Drop for Passing<'_> {
    fn drop(&mut self) {
        self.board.lock().gates.remove(&self.key);
    }
}

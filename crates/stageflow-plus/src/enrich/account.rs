//! [`ContextAccount`]: what the stages of one run have put into a context window.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::Serialize;

use super::utilization::{ContextLevel, ContextUtilization};

/// Whose tokens: a stage, and a part of what it gives.
pub(crate) type Place = (u32, Option<Arc<str>>);

/// The account of one run with one context window: which stage has used how much. Clones are the same account.
///
/// Each stage counts once: what it gives in a later call takes the place of what it gave in an earlier one. Stages may run at the same
/// time; the sums are exact at any time, and which of several comes first is chance.
#[derive(Clone, Debug)]
pub struct ContextAccount {
    window: Arc<str>,
    /// Tells windows of one name apart.
    id: Arc<()>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    used: ContextUtilization,
    /// Room for what is being cut at the moment.
    held: usize,
    entries: BTreeMap<Place, Entry>,
}

#[derive(Debug)]
struct Entry {
    stage: Arc<str>,
    tokens: usize,
    cut_from: Option<usize>,
    is_measured: bool,
}

/// What one more output has changed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Charged {
    pub(crate) now: ContextUtilization,
    /// The level before it.
    before: ContextLevel,
}

impl Charged {
    /// Whether it is near the limit since this one.
    pub(crate) fn is_near_now(&self) -> bool {
        self.before < ContextLevel::Near && self.now.level() >= ContextLevel::Near
    }
}

/// Room that is kept for an output until it is known how much of it is left.
pub(crate) struct Held<'a> {
    account: &'a ContextAccount,
    pub(crate) room: usize,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.account.lock().held -= self.room;
    }
}

impl State {
    fn charge(&mut self, place: Place, entry: Entry) -> Charged {
        let before = self.used.level();
        let tokens = entry.tokens;
        let old = self.entries.insert(place, entry).map_or(0, |old| old.tokens);
        self.used.give_back(old);
        self.used.add(tokens);
        Charged { now: self.used, before }
    }

    /// The room for what stands at `place`, which it may take the place of itself.
    fn room(&self, place: &Place) -> usize {
        let own = self.entries.get(place).map_or(0, |entry| entry.tokens);
        let others = self.used.used().saturating_sub(own);
        self.used.usable().saturating_sub(others).saturating_sub(self.held)
    }
}

impl ContextAccount {
    pub(crate) fn new(window: Arc<str>, id: Arc<()>, empty: ContextUtilization) -> Self {
        let state = State { used: empty, held: 0, entries: BTreeMap::new() };
        Self { window, id, state: Arc::new(Mutex::new(state)) }
    }

    pub(crate) fn is_of(&self, id: &Arc<()>) -> bool {
        Arc::ptr_eq(&self.id, id)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an output, whether there is room for it or not.
    pub(crate) fn charge(&self, place: Place, stage: &str, tokens: usize) -> Charged {
        let entry = Entry { stage: stage.into(), tokens, cut_from: None, is_measured: true };
        self.lock().charge(place, entry)
    }

    /// Counts an output if there is room for it; else keeps all the room that there is.
    pub(crate) fn charge_or_hold(
        &self,
        place: &Place,
        stage: &str,
        tokens: usize,
    ) -> Result<Charged, Held<'_>> {
        let mut state = self.lock();
        let room = state.room(place);
        if tokens <= room {
            let entry = Entry { stage: stage.into(), tokens, cut_from: None, is_measured: true };
            return Ok(state.charge(place.clone(), entry));
        }
        state.held += room;
        drop(state);
        Err(Held { account: self, room })
    }

    /// Counts what was cut, in the room that was kept for it.
    pub(crate) fn charge_cut(
        &self,
        held: Held<'_>,
        place: Place,
        stage: &str,
        from: usize,
        to: usize,
    ) -> Charged {
        let entry = Entry { stage: stage.into(), tokens: to, cut_from: Some(from), is_measured: true };
        let charged = self.lock().charge(place, entry);
        drop(held);
        charged
    }

    /// Says that an output was not counted.
    pub(crate) fn not_measured(&self, place: Place, stage: &str) {
        let entry = Entry { stage: stage.into(), tokens: 0, cut_from: None, is_measured: false };
        self.lock().charge(place, entry);
    }

    /// The name of the window.
    pub fn window(&self) -> &str {
        &self.window
    }

    /// How full it is at the moment.
    pub fn utilization(&self) -> ContextUtilization {
        self.lock().used
    }

    /// How many tokens there is room for at the moment; what is being cut at the moment has none.
    pub fn room(&self) -> usize {
        let state = self.lock();
        state.used.room().saturating_sub(state.held)
    }

    /// What each stage has used, in the order of the pipeline.
    pub fn report(&self) -> ContextReport {
        let state = self.lock();
        let stages = state.entries.iter().map(|((_, part), entry)| StageTokens {
            stage: entry.stage.to_string(),
            part: part.as_ref().map(ToString::to_string),
            tokens: entry.is_measured.then_some(entry.tokens),
            share: state.used.share_of(entry.tokens),
            cut_from: entry.cut_from,
        });
        ContextReport { window: self.window.to_string(), utilization: state.used, stages: stages.collect() }
    }
}

/// What one stage has put into a context window.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct StageTokens {
    /// Its name.
    pub stage: String,
    /// Which part of what it gives, if it has said so itself.
    pub part: Option<String>,
    /// How many tokens; `None` if nobody has said how its output is measured.
    pub tokens: Option<usize>,
    /// That as a share of what is usable; 1 if nothing is.
    pub share: f64,
    /// How many tokens it was before it was cut.
    pub cut_from: Option<usize>,
}

/// A context window after a run, or while it goes on. Prints as a table, and serialises.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ContextReport {
    /// The name of the window.
    pub window: String,
    /// How full it is.
    pub utilization: ContextUtilization,
    /// What each stage has used, in the order of the pipeline.
    pub stages: Vec<StageTokens>,
}

impl fmt::Display for ContextReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "context window `{}`: {}", self.window, self.utilization)?;
        let name = |one: &StageTokens| match &one.part {
            Some(part) => format!("{}/{part}", one.stage),
            None => one.stage.clone(),
        };
        let width = self.stages.iter().map(|one| name(one).chars().count()).max().unwrap_or(0);
        for one in &self.stages {
            write!(f, "  {:width$}", name(one))?;
            match one.tokens {
                Some(tokens) => write!(f, "  {tokens:>7}  {:>5.1} %", one.share * 1e2)?,
                None => write!(f, "  not measured")?,
            }
            match one.cut_from {
                Some(from) => writeln!(f, "  cut from {from}")?,
                None => writeln!(f)?,
            }
        }
        Ok(())
    }
}

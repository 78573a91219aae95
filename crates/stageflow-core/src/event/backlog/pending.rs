//! Losses that no gap has told yet, by run.

use std::{collections::BTreeMap, mem, sync::Arc};

use super::super::{DropReason, Event, EventClass, EventKind, Losses, RunInfo};
use crate::id::RunId;

/// Of how many runs losses are kept apart. Those of further runs are told as of "other runs".
const RUNS: usize = 1_024;

#[derive(Debug, Default)]
pub(super) struct Pending {
    runs: BTreeMap<RunId, OfRun>,
    /// Losses of which no event of the same run can tell.
    elsewhere: Losses,
    /// The run whose losses were added to those last.
    last: Option<Arc<RunInfo>>,
}

#[derive(Debug)]
struct OfRun {
    run: Arc<RunInfo>,
    /// Lost behind everything of the run that is queued.
    tail: Losses,
    /// Lost out of the queue or in the hands of the sink: the first place, and what.
    early: Option<(u64, Losses)>,
}

impl Pending {
    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty() && self.elsewhere.is_empty()
    }

    fn of(&mut self, run: &Arc<RunInfo>) -> &mut OfRun {
        let id = run.run_id();
        if self.runs.len() >= RUNS && !self.runs.contains_key(&id) {
            let oldest = self.runs.first_key_value().map(|(oldest, _)| *oldest);
            oldest.into_iter().for_each(|oldest| self.end(oldest));
        }
        let none = || OfRun { run: Arc::clone(run), tail: Losses::default(), early: None };
        self.runs.entry(id).or_insert_with(none)
    }

    /// An event was not let in.
    pub(super) fn lose(&mut self, event: &Event, class: EventClass, reason: DropReason) {
        self.of(event.run()).tail.add(event, class, reason);
        self.end_with(event);
    }

    /// An event that was queued at `ticket` is lost.
    pub(super) fn lose_queued(&mut self, event: &Event, ticket: u64, class: EventClass, reason: DropReason) {
        let mut losses = Losses::default();
        losses.add(event, class, reason);
        self.lose_early(event.run(), ticket, &losses);
        self.end_with(event);
    }

    pub(super) fn lose_early(&mut self, run: &Arc<RunInfo>, ticket: u64, losses: &Losses) {
        let (first, early) = self.of(run).early.get_or_insert_with(|| (ticket, Losses::default()));
        *first = ticket.min(*first);
        early.merge(losses);
    }

    fn end_with(&mut self, event: &Event) {
        if let EventKind::PipelineEnded { .. } = event.kind() {
            self.end(event.run_id());
        }
    }

    /// No event of the run can tell of its losses any more.
    pub(super) fn end(&mut self, run: RunId) {
        let Some(of) = self.runs.remove(&run) else { return };
        self.elsewhere.add_elsewhere(&of.tail);
        if let Some((_, early)) = &of.early {
            self.elsewhere.add_elsewhere(early);
        }
        self.last = Some(of.run);
    }

    /// What was lost between the last event of the run that was queued and this one.
    pub(super) fn before(&mut self, event: &Event) -> Option<Box<Losses>> {
        if self.runs.is_empty() {
            return None;
        }
        let of = self.runs.get_mut(&event.run_id())?;
        let tail = mem::take(&mut of.tail);
        if of.early.is_none() {
            self.runs.remove(&event.run_id());
        }
        (!tail.is_empty()).then(|| Box::new(tail))
    }

    /// What the gap before this event has to tell.
    pub(super) fn gap_before(
        &mut self,
        event: &Event,
        ticket: u64,
        before: Option<Box<Losses>>,
    ) -> Option<Losses> {
        let mut losses = before.map(|before| *before).unwrap_or_default();
        if let Some(of) = self.runs.get_mut(&event.run_id())
            && let Some((_, early)) = of.early.take_if(|(first, _)| *first < ticket)
        {
            losses.merge(&early);
            if of.tail.is_empty() {
                self.runs.remove(&event.run_id());
            }
        }
        if !self.elsewhere.is_empty() {
            losses.merge(&mem::take(&mut self.elsewhere));
        }
        (!losses.is_empty()).then_some(losses)
    }

    /// A gap for each run, and one for what no run is known of.
    pub(super) fn take_all(&mut self) -> Vec<Event> {
        let gap = |run: Arc<RunInfo>, losses: Losses| {
            let seq = losses.numbers().map_or(0, |(_, last)| last);
            Event::gap(run, seq, 0, losses)
        };
        let mut gaps = Vec::new();
        for (_, of) in mem::take(&mut self.runs) {
            let mut losses = of.tail;
            if let Some((_, early)) = &of.early {
                losses.merge(early);
            }
            gaps.push(gap(of.run, losses));
        }
        let elsewhere = mem::take(&mut self.elsewhere);
        if let Some(run) = self.last.take().filter(|_| !elsewhere.is_empty()) {
            gaps.push(gap(run, elsewhere));
        }
        gaps
    }
}

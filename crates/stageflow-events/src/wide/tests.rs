//! Wide events on their own.

use super::{Seen, Tracker, WideRecord};
use crate::support::{ended, event, run, says, started};
use stageflow_core::{DropReason, Event, EventClass, EventKind, Losses};
use std::sync::Arc;

/// A record of a stage and one of a run.
pub(crate) fn samples() -> Vec<WideRecord> {
    let run = run();
    let (mut tracker, mut seen) = (Tracker::new(9), Vec::new());
    let mut events = started(&run, 1..=1);
    events.push(event(&run, 2, EventKind::StageCompleted));
    let mut end = event(&run, 3, ended());
    end = Event::new(
        run,
        stageflow_core::event::EventRecord { stage: u32::MAX, attempt: 0, ..end.record().clone() },
    );
    events.push(end);
    events.iter().for_each(|event| tracker.take(event, &mut seen));
    let records =
        seen.into_iter().filter_map(|one| if let Seen::Ended(record) = one { Some(record) } else { None });
    records.collect()
}

#[test]
fn a_stage_and_its_run_end_once() {
    let records = samples();
    let names: Vec<_> = records.iter().map(|record| (record.name(), record.outcome())).collect();
    assert_eq!(names, [("stage.wide", "completed"), ("pipeline.wide", "completed")]);
    assert!(records.iter().all(|record| !record.is_incomplete()));
}

/// What is lost before an event, and what a stage says itself of its retries.
#[test]
fn a_hole_in_the_numbers_is_a_loss() {
    let run = run();
    let (mut tracker, mut seen) = (Tracker::new(9), Vec::new());
    tracker.take(&says(&run, 4, "said", "x"), &mut seen);
    tracker.take(&event(&run, 9, EventKind::StageCompleted), &mut seen);
    let Some(Seen::Ended(record)) = seen.pop() else { panic!("the stage has ended") };
    assert!(record.is_incomplete());
    tracker.close(&mut seen);
    let Some(Seen::Closed(_)) = seen.pop() else { panic!("the run is closed") };
    let Some(Seen::Ended(WideRecord::Run(run))) = seen.pop() else { panic!("the run has ended") };
    assert_eq!((run.outcome, run.lost_events, tracker.open(), tracker.evicted), ("unknown", 8, 0, 1));
}

/// Behind a room in which the oldest give way, some events between the numbers of a gap arrive: those are not lost.
#[test]
fn what_arrives_between_the_numbers_of_a_gap_is_not_lost() {
    let run = run();
    let mut losses = Losses::default();
    for lost in [event(&run, 1, EventKind::StageStarted), event(&run, 5, EventKind::StageStarted)] {
        losses.add(&lost, EventClass::Progress, DropReason::Evicted);
    }
    let (mut tracker, mut seen) = (Tracker::new(9), Vec::new());
    let decided = |seq| says(&run, seq, "breaker.opened", "x");
    tracker.take(&decided(2), &mut seen);
    tracker.take(&Event::gap(Arc::clone(&run), 2, 0, losses), &mut seen);
    [3, 4, 6].into_iter().for_each(|seq| tracker.take(&decided(seq), &mut seen));
    tracker.take(&event(&run, 7, ended()), &mut seen);
    let lost = seen.iter().find_map(|one| match one {
        Seen::Ended(WideRecord::Run(run)) => Some((run.lost_events, run.incomplete)),
        _ => None,
    });
    assert_eq!(lost, Some((2, true)));
}

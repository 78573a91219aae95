//! Many events at once and one by one are the same.

use super::*;
use crate::event::CustomEvent;

/// What a reader sees of events: whose, which number, and for gaps how many are missing.
fn shown(events: &[Event]) -> Vec<(crate::RunId, u64, u64)> {
    events.iter().map(|event| (event.run_id(), event.seq(), told(event))).collect()
}

fn rule() -> impl Strategy<Value = Rule> {
    prop_oneof![
        Just(Rule::DropNewest),
        Just(Rule::DropOldest),
        (1..4_u32).prop_map(Rule::Sample),
        Just(Rule::Wait(Duration::from_hours(1))),
        (1..20_usize).prop_map(Rule::Spill),
    ]
}

fn room() -> impl Strategy<Value = Room> {
    (1..40_usize, rule()).prop_map(|(capacity, rule)| Room { capacity, rule })
}

fn rooms() -> impl Strategy<Value = Rooms> {
    prop_oneof![
        (1..60_usize).prop_map(Rooms::Shared),
        (room(), room(), room(), room()).prop_map(|(a, b, c, d)| Rooms::Own([a, b, c, d])),
    ]
}

fn spills(rooms: &Rooms) -> bool {
    matches!(rooms, Rooms::Own(rooms) if rooms.iter().any(|room| matches!(room.rule, Rule::Spill(_))))
}

/// What is done with both between the readings.
#[derive(Clone, Debug)]
enum Deed {
    /// So many events of a run, the last of which may be its end.
    Push(usize, u64, bool),
    /// One by itself.
    One(usize),
    Resize(usize, Room),
    Refuse(usize),
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        8 => (0..3_usize, 0..12_u64, prop::bool::weighted(0.1)).prop_map(|(one, count, ends)| Deed::Push(one, count, ends)),
        2 => (0..3_usize).prop_map(Deed::One),
        1 => (0..LANES, room()).prop_map(|(lane, room)| Deed::Resize(lane, room)),
        1 => (0..3_usize).prop_map(Deed::Refuse),
    ]
}

proptest! {
    /// Many events at once are queued and taken as one by one.
    #[test]
    fn events_at_once_are_as_one_by_one(
        rooms in rooms(),
        steps in prop::collection::vec((deed(), 1..10_usize), 1..60),
    ) {
        let spills = spills(&rooms) || steps.iter().any(|(deed, _)| matches!(deed, Deed::Resize(_, Room { rule: Rule::Spill(_), .. })));
        let (mut at_once, mut one_by_one) = (Backlog::new(rooms.clone()), Backlog::new(rooms));
        let mut runs = [run(), run(), run()];
        let mut next = [1_u64; 3];
        let (none, mut others) = (&mut Lost::new(), Vec::new());
        let kind = |seq: u64| match seq % 4 {
            0 => EventKind::StageCompleted,
            1 => EventKind::Custom(Arc::new(CustomEvent::new(if seq % 8 == 1 { "debug.x" } else { "retry.x" }, [("a", "b")]))),
            2 => EventKind::PipelineStarted,
            _ => EventKind::StageStarted,
        };
        for (deed, most) in steps {
            match deed {
                Deed::Push(one, count, ends) => {
                    let numbers = next[one]..next[one] + count;
                    let mut events: Vec<Event> = numbers.clone().map(|seq| event(&runs[one], seq, kind(seq))).collect();
                    next[one] = numbers.end;
                    if ends {
                        events.push(event(&runs[one], next[one], ended()));
                        (runs[one], next[one]) = (run(), 1);
                    }
                    for event in &events {
                        one_by_one.push(event.clone(), event.kind().class(), none);
                    }
                    at_once.push_all(events, none);
                }
                Deed::One(one) | Deed::Refuse(one) => {
                    let event = event(&runs[one], next[one], kind(next[one]));
                    next[one] += 1;
                    for backlog in [&mut at_once, &mut one_by_one] {
                        let (event, class) = (event.clone(), event.kind().class());
                        if matches!(deed, Deed::Refuse(_)) {
                            backlog.refuse(event, class, DropReason::Expired, none);
                        } else {
                            backlog.push(event, class, none);
                        }
                    }
                }
                Deed::Resize(lane, room) => {
                    for backlog in [&mut at_once, &mut one_by_one].into_iter().filter(|it| !it.is_away()) {
                        backlog.set_room(EventClass::ALL[lane], room);
                    }
                }
            }
            prop_assert_eq!(at_once.account(), one_by_one.account());
            prop_assert_eq!((at_once.queued(), at_once.is_high()), (one_by_one.queued(), one_by_one.is_high()));
            for class in EventClass::ALL {
                prop_assert_eq!(at_once.has_room(class), one_by_one.has_room(class));
            }
            for mark in [1, at_once.last() / 2, at_once.last()] {
                prop_assert_eq!(at_once.is_settled_to(mark), one_by_one.is_settled_to(mark));
            }
            // What is behind what was taken moves up when somebody looks for more: both have to look as often.
            let batch = if spills { Vec::new() } else { at_once.take(most, none) };
            prop_assert!(batch.iter().filter(|event| !event.is_gap()).count() <= most);
            for _ in 0..if spills { most } else { batch.len() } {
                let one = one_by_one.pop(none);
                let other = if spills { at_once.pop(none) } else { None };
                prop_assert!(!spills || shown(one.as_slice()) == shown(other.as_slice()));
                others.extend(one);
            }
            prop_assert_eq!(shown(&batch), shown(&others[others.len() - batch.len()..]));
            others.clear();
            at_once.settle(Some(Taken::all(&batch)));
            prop_assert_eq!(at_once.account(), one_by_one.account());
        }
        for backlog in [&mut at_once, &mut one_by_one] {
            backlog.abandon(none);
        }
        prop_assert_eq!(at_once.account(), one_by_one.account());
        prop_assert_eq!(shown(&at_once.take_untold()), shown(&one_by_one.take_untold()));
    }
}

#[test]
fn what_a_sink_loses_is_told_before_the_next_events_that_came_at_once() {
    let (mut backlog, run, none) = (own(1_000, Rule::DropNewest), run(), &mut Lost::new());
    let events = |numbers: std::ops::Range<u64>| {
        numbers.map(|seq| event(&run, seq, EventKind::StageStarted)).collect()
    };
    backlog.push_all(events(1..201), none);
    backlog.push_all(events(201..401), none);
    let mut taken = Taken::default();
    backlog.take(256, none).iter().for_each(|event| taken.lost(event, DropReason::Failed));
    backlog.settle(Some(taken));
    let next = shown(&backlog.take(256, none));
    assert_eq!((next[0].2, next[1].1, next.len()), (200, 201, 201));
}

/// The gaps at the very end of another queue are of several runs, and come at once.
#[test]
fn gaps_of_several_runs_are_batches_of_their_own() {
    let (mut backlog, none) = (own(1_000, Rule::DropNewest), &mut Lost::new());
    let gap = |run: &Arc<RunInfo>| {
        let mut losses = Losses::default();
        losses.add(&event(run, 1, EventKind::StageStarted), EventClass::Progress, DropReason::Full);
        Event::gap(Arc::clone(run), 1, 0, losses)
    };
    let runs = [run(), run(), run()];
    backlog.push_all(runs.iter().map(gap).collect(), none);
    for run in runs {
        let batch = backlog.take(256, none);
        assert_eq!(batch.iter().map(Event::run_id).collect::<Vec<_>>(), [run.run_id()]);
        backlog.settle(Some(Taken::all(&batch)));
    }
}

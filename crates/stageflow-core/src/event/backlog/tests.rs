//! Rooms, places of gaps and sums, on their own.

mod at_once;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use proptest::prelude::*;

use super::*;
use crate::{
    event::{EventRecord, NO_STAGE, support::run_from},
    outcome::RunOutcome,
};

fn run() -> Arc<RunInfo> {
    run_from(SystemTime::UNIX_EPOCH)
}

fn event(run: &Arc<RunInfo>, seq: u64, kind: EventKind) -> Event {
    Event::new(Arc::clone(run), EventRecord { seq, nanos: 0, stage: NO_STAGE, attempt: 0, kind })
}

fn ended() -> EventKind {
    EventKind::PipelineEnded { outcome: RunOutcome::Completed, failure: None, cancelled: None }
}

fn own(capacity: usize, rule: Rule) -> Backlog {
    Backlog::new(Rooms::Own([Room { capacity, rule }; LANES]))
}

/// Pushes numbers of one run in one class.
fn push(backlog: &mut Backlog, run: &Arc<RunInfo>, numbers: impl IntoIterator<Item = u64>) -> Vec<Pushed> {
    let one =
        |seq| backlog.push(event(run, seq, EventKind::StageStarted), EventClass::Progress, &mut Lost::new());
    numbers.into_iter().map(one).collect()
}

/// Reads what is there: the numbers, and for gaps how many are missing and from where to where.
fn read(backlog: &mut Backlog) -> Vec<Result<u64, (u64, u64, u64)>> {
    let mut seen = Vec::new();
    while let Some(event) = backlog.pop(&mut Lost::new()) {
        assert!(backlog.account().is_balanced());
        seen.push(match event.kind() {
            EventKind::Gap { dropped, losses } => {
                let (first, last) = losses.numbers().unwrap_or_default();
                Err((*dropped, first, last))
            }
            _ => Ok(event.seq()),
        });
    }
    seen
}

/// S-29: dropping the oldest, the gap stands before the next event that is left.
#[test]
fn what_was_evicted_is_told_before_what_is_left() {
    let (mut backlog, run) = (own(3, Rule::DropOldest), run());
    let verdicts = push(&mut backlog, &run, 1..=5);
    assert_eq!(verdicts[2..], [Pushed::Queued, Pushed::InPlace, Pushed::InPlace]);
    assert_eq!(read(&mut backlog), [Err((2, 1, 2)), Ok(3), Ok(4), Ok(5)]);
    assert_eq!(backlog.account().dropped_evicted, 2);
}

/// The gaps of a run are its own: another run that goes on is told nothing of them.
#[test]
fn s_29_gaps_are_per_run() {
    let (mut backlog, a, b) = (own(2, Rule::DropNewest), run(), run());
    push(&mut backlog, &a, 1..=5);
    push(&mut backlog, &b, 1..=1);
    assert_eq!(read(&mut backlog), [Ok(1), Ok(2)]);
    push(&mut backlog, &b, 2..=2);
    push(&mut backlog, &a, 6..=6);
    assert_eq!(read(&mut backlog), [Err((1, 1, 1)), Ok(2), Err((3, 3, 5)), Ok(6)]);
}

/// Where the end of a run is lost, the next event of any run tells of it.
#[test]
fn losses_of_a_run_that_is_over_are_told_elsewhere() {
    let (mut backlog, a, b) = (own(1, Rule::DropNewest), run(), run());
    push(&mut backlog, &a, 1..=4);
    backlog.push(event(&a, 5, ended()), EventClass::Progress, &mut Lost::new());
    let gap = backlog.pop(&mut Lost::new()).expect("a gap");
    let EventKind::Gap { dropped: 0, losses } = gap.kind() else { panic!("{gap}") };
    assert_eq!((losses.elsewhere(), losses.total()), (4, 0));
    assert_eq!(read(&mut backlog), [Ok(1)]);
    push(&mut backlog, &b, 1..=1);
    assert_eq!(read(&mut backlog), [Ok(1)]);
}

/// The order of events is that in which they came, whatever their class.
#[test]
fn classes_do_not_overtake_each_other() {
    let (mut backlog, run) = (own(100, Rule::DropNewest), run());
    for seq in 1..=40 {
        let class = EventClass::ALL[(seq % 4) as usize];
        backlog.push(event(&run, seq, EventKind::StageStarted), class, &mut Lost::new());
    }
    assert_eq!(read(&mut backlog), (1..=40).map(Ok).collect::<Vec<_>>());
}

/// From half of the room on one of so many is kept, and none when it is full.
#[test]
fn a_sample_is_kept_of_what_is_too_much() {
    let (mut backlog, run) = (own(8, Rule::Sample(3)), run());
    push(&mut backlog, &run, 1..=30);
    let account = backlog.account();
    assert_eq!((account.in_flight, account.dropped_full), (8, 4));
    let left: Vec<_> = read(&mut backlog).into_iter().filter_map(Result::ok).collect();
    assert_eq!(left, [1, 2, 3, 4, 7, 10, 13, 16]);
}

/// What waits for room has as much again, and goes when its time is up.
#[test]
fn what_waits_for_room_expires() {
    let (mut backlog, run) = (own(2, Rule::Wait(Duration::ZERO)), run());
    assert_eq!(push(&mut backlog, &run, 1..=3), [Pushed::Queued, Pushed::Queued, Pushed::Waiting]);
    assert_eq!(read(&mut backlog), [Ok(1), Ok(2)]);
    assert_eq!(backlog.account().dropped_expired, 1);
    let (mut backlog, run) = (own(2, Rule::Wait(Duration::from_secs(3_600))), self::run());
    push(&mut backlog, &run, 1..=5);
    assert_eq!((backlog.account().in_flight, backlog.account().dropped_full), (4, 1));
    assert_eq!(read(&mut backlog), [Ok(1), Ok(2), Ok(3), Ok(4)]);
}

/// 80 % and 20 %, with hysteresis.
#[test]
fn pressure_has_two_marks() {
    let (mut backlog, run) = (own(25, Rule::DropNewest), run());
    let class = |seq| EventClass::ALL[usize::try_from(seq % 4).unwrap_or(0)];
    let mut marks = Vec::new();
    for seq in 1..=90 {
        backlog.push(event(&run, seq, EventKind::StageStarted), class(seq), &mut Lost::new());
        marks.push(backlog.is_high());
    }
    assert_eq!(marks.iter().position(|high| *high), Some(79));
    while backlog.queued() > 21 {
        backlog.pop(&mut Lost::new());
    }
    assert!(backlog.is_high());
    backlog.pop(&mut Lost::new());
    assert!(!backlog.is_high());
    assert_eq!(backlog.highest(), 90);
}

/// No more than so many runs are kept apart; the sum is right nevertheless.
#[test]
fn losses_of_many_runs_take_bounded_memory() {
    let mut backlog = own(1, Rule::DropNewest);
    push(&mut backlog, &run(), 1..=1);
    for _ in 0..3_000 {
        push(&mut backlog, &run(), 1..=2);
    }
    let gaps = backlog.take_untold();
    assert!(gaps.len() <= 1_025, "{}", gaps.len());
    assert_eq!(gaps.iter().map(told).sum::<u64>(), 6_000);
}

fn told(event: &Event) -> u64 {
    match event.kind() {
        EventKind::Gap { losses, .. } => losses.total() + losses.elsewhere(),
        _ => 0,
    }
}

#[derive(Clone, Debug)]
enum Step {
    Push { run: usize, class: usize, ends: bool },
    Pop,
    Take { most: usize, panics: bool, fails: usize },
    Abandon,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        20 => (0..3_usize, 0..4_usize, prop::bool::weighted(0.05))
            .prop_map(|(run, class, ends)| Step::Push { run, class, ends }),
        4 => Just(Step::Pop),
        3 => (1..20_usize, prop::bool::weighted(0.2), 0..5_usize)
            .prop_map(|(most, panics, fails)| Step::Take { most, panics, fails }),
        1 => prop::bool::weighted(0.05).prop_map(|really| if really { Step::Abandon } else { Step::Pop }),
    ];
    prop::collection::vec(step, 1..300)
}

fn rooms() -> impl Strategy<Value = Rooms> {
    let rule = prop_oneof![
        Just(Rule::DropNewest),
        Just(Rule::DropOldest),
        (1..5_u32).prop_map(Rule::Sample),
        Just(Rule::Wait(Duration::ZERO)),
        Just(Rule::Wait(Duration::from_secs(3_600))),
    ];
    let room = (1..12_usize, rule).prop_map(|(capacity, rule)| Room { capacity, rule });
    prop_oneof![(1..30_usize).prop_map(Rooms::Shared), prop::array::uniform4(room).prop_map(Rooms::Own),]
}

proptest! {
    /// S-29: the law after every step; each event is delivered, dropped or there; numbers of a run never go back; what is
    /// missing before an event was told before it; and in the end all gaps together tell of every drop.
    #[test]
    fn s_29_the_law_holds_at_every_step(rooms in rooms(), steps in steps()) {
        let mut backlog = Backlog::new(rooms);
        let mut runs = [run(), run(), run()];
        let mut next = [1_u64; 3];
        let mut emitted = 0_u64;
        let mut given: Vec<Event> = Vec::new();
        for step in steps {
            let mut lost = Lost::new();
            let before = backlog.account();
            match step {
                Step::Push { run: one, class, ends } => {
                    let kind = if ends { ended() } else { EventKind::StageStarted };
                    backlog.push(event(&runs[one], next[one], kind), EventClass::ALL[class], &mut lost);
                    emitted += 1;
                    next[one] += 1;
                    if ends {
                        (runs[one], next[one]) = (run(), 1);
                    }
                }
                Step::Pop => given.extend(backlog.pop(&mut lost)),
                Step::Take { most, panics, fails } => {
                    let batch = backlog.take(most, &mut lost);
                    prop_assert!(backlog.account().is_balanced());
                    prop_assert!(batch.iter().all(|event| event.run_id() == batch[0].run_id()), "a batch is of one run");
                    let mut taken = Taken::default();
                    for (n, event) in batch.iter().enumerate() {
                        if n < fails { taken.lost(event, DropReason::Failed) } else { taken.took(event) }
                    }
                    if !panics {
                        given.extend(batch.into_iter().skip(fails));
                    }
                    backlog.settle((!panics).then_some(taken));
                }
                Step::Abandon => { backlog.abandon(&mut lost); }
            }
            let account = backlog.account();
            prop_assert!(account.is_balanced(), "{account}");
            prop_assert_eq!(account.emitted, emitted);
            prop_assert!(account.dropped() >= before.dropped() && account.delivered >= before.delivered);
            prop_assert_eq!(backlog.queued() as u64, account.in_flight);
        }
        while let Some(event) = backlog.pop(&mut Lost::new()) {
            given.push(event);
        }
        given.extend(backlog.take_untold());
        let delivered = given.iter().filter(|event| !event.is_gap()).count() as u64;
        let account = backlog.account();
        prop_assert_eq!((account.delivered, account.in_flight), (delivered, 0));
        prop_assert_eq!(given.iter().map(told).sum::<u64>(), account.dropped());
        for run in given.iter().map(Event::run_id).collect::<std::collections::BTreeSet<_>>() {
            let of_run: Vec<_> = given.iter().filter(|event| event.run_id() == run && !event.is_gap()).collect();
            prop_assert!(of_run.is_sorted_by(|a, b| a.seq() < b.seq()));
        }
    }
}

//! A log that is down, for a moment or for good: what is written, what is lost, and who is told.

use std::time::Duration;

use stageflow_core::{DropReason, EventSink as _};

use super::*;

const DOWN: Wrong = Wrong::Refuses(JournalErrorKind::Unavailable);

/// A moment is no loss: in order, and counted only when it is durable.
#[test]
fn what_a_log_does_not_take_at_once_it_is_given_again() {
    let (log, run) = (Log::with([DOWN, DOWN]), run("acme"));
    let taken = sink(&log).take_all(vec![denied(&run, 1), denied(&run, 2)]);
    assert_eq!((taken.delivered, taken.losses.total(), log.calls()), (2, 0, 3));
    let seqs: Vec<_> = log.of("acme").iter().map(|one| field(one, "event").cloned()).collect();
    assert_eq!(seqs, [Some(1.into()), Some(2.into())]);
}

/// It may be there twice, and the number of the event tells.
#[test]
fn a_lost_answer_is_a_second_record_and_no_loss() {
    let (log, run) = (Log::with([Wrong::Forgets]), run("acme"));
    let taken = sink(&log).take_all(vec![denied(&run, 1)]);
    assert_eq!((taken.delivered, log.of("acme").len()), (1, 2));
    assert_eq!(log.of("acme")[0], log.of("acme")[1]);
}

/// Given up, counted as failed, and announced before the next record of that tenant, and of no other.
#[test]
fn what_is_given_up_is_announced_as_soon_as_the_log_is_back() {
    let log = Log::with(std::iter::repeat_n(DOWN, 10_000));
    let sink = sink(&log).patience(Duration::from_millis(1));
    let (acme, globex) = (run("acme"), run("globex"));
    for seq in 1..=3 {
        let taken = sink.take_all(vec![denied(&acme, seq), event(&acme, 9, EventKind::StageStarted)]);
        assert_eq!((taken.delivered, taken.losses.for_reason(DropReason::Failed)), (1, 1), "{seq}");
    }
    assert_eq!(sink.unannounced(), 3);
    log.mends();
    sink.take_all(vec![denied(&globex, 1)]);
    assert_eq!(log.lines("globex"), ["auth.denied denied"]);
    sink.take_all(vec![denied(&acme, 4)]);
    assert_eq!(log.lines("acme"), ["audit.gap lost", "auth.denied denied"]);
    let gap = &log.of("acme")[0];
    assert_eq!((field(gap, "dropped"), gap.at), (Some(&3.into()), denied(&acme, 1).time()));
    assert_eq!(sink.unannounced(), 0);
    sink.take_all(vec![denied(&acme, 5)]);
    assert_eq!(log.of("acme").len(), 3, "once");
}

/// Of tenants that have no record any more a flush tells.
#[test]
fn a_flush_announces_what_nothing_follows() {
    let log = Log::with([Wrong::Refuses(JournalErrorKind::Schema), Wrong::Refuses(JournalErrorKind::Schema)]);
    let sink = sink(&log);
    for tenant in ["acme", "globex"] {
        assert_eq!(
            sink.take_all(vec![denied(&run(tenant), 1)]).losses.total(),
            1,
            "for good: not tried again"
        );
    }
    assert_eq!(log.calls(), 2);
    sink.on_flush();
    assert_eq!(
        (log.lines("acme"), log.lines("globex")),
        (vec!["audit.gap lost".into()], vec!["audit.gap lost".into()])
    );
    assert_eq!(log.of("acme")[0].reason, "the audit log is of another version");
    sink.on_flush();
    assert_eq!(log.calls(), 4, "once");
}

/// After the patience each is tried once, shortly: the queue does not stand still.
#[test]
fn a_log_that_hangs_holds_nobody_for_ever() {
    let log = Log::with([DOWN, Wrong::Hangs, Wrong::Hangs]);
    let (sink, run) = (sink(&log).patience(Duration::ZERO), run("acme"));
    for seq in 1..=3 {
        assert_eq!(sink.take_all(vec![denied(&run, seq)]).losses.total(), 1);
    }
    assert_eq!((log.calls(), sink.unannounced()), (3, 3));
}

/// A gap that could not be written is told again by the queue that told it, and is not a loss of its own.
#[test]
fn a_gap_that_is_not_written_is_not_forgotten() {
    let log = Log::with([Wrong::Refuses(JournalErrorKind::Schema)]);
    let (sink, run) = (sink(&log), run("acme"));
    let mut losses = stageflow_core::Losses::default();
    losses.add(&denied(&run, 1), stageflow_core::EventClass::Terminal, DropReason::Full);
    let taken = sink.take_all(vec![Event::gap(Arc::clone(&run), 2, 0, losses.clone())]);
    assert_eq!((taken.untold, taken.losses.total(), sink.unannounced()), (losses, 0, 0));
}

/// However many tenants there are, the list of what is missing has a bound.
#[test]
fn what_is_missing_of_very_many_tenants_takes_bounded_room() {
    let log = Log::with(std::iter::repeat_n(Wrong::Refuses(JournalErrorKind::Schema), 5_000));
    let sink = sink(&log);
    for n in 0..5_000 {
        sink.take_all(vec![denied(&run(&format!("t-{n}")), 1)]);
    }
    assert_eq!(sink.unannounced(), 5_000);
    log.mends();
    sink.on_flush();
    assert_eq!(field(&log.of("-")[0], "dropped"), Some(&904.into()), "4,096 tenants, and the rest together");
}

//! Every state and everything that can happen in it, and the stories that made the rules.

use super::{
    super::{
        BreakerOutcome, BreakerReason, Forced,
        state::{Change, Machine, Mode, Ticket, To},
    },
    FAILURE, LEASE, SECOND, admitted, strict,
};
use stageflow_core::DurationExt;

/// Where a row begins.
#[derive(Clone, Copy, Debug)]
enum From {
    Closed,
    /// Open until 10 s.
    Open,
    /// Half-open with one probe under way.
    FirstProbe,
    /// Half-open with the last probe under way.
    LastProbe,
    ForcedOpen,
    ForcedClosed,
    Disabled,
}

/// What happens at 5 s, and 10 s for `AskLater`.
#[derive(Clone, Copy, Debug)]
enum Happens {
    Ask,
    AskLater,
    Success,
    Failure,
    Hint,
    Neutral,
    Force(Forced),
    Release,
}

/// Where it leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    Closed,
    OpenFor(u64),
    HalfOpen,
    Forced(Forced),
}

/// A machine in a state, with a ticket of a call under way: of the state itself where it admits one.
fn begin(from: From) -> (Machine, Ticket) {
    let mut machine = Machine::new(strict(|_| {}), None);
    let ticket = admitted(&mut machine, 0);
    let half_open = |machine: &mut Machine| {
        // It opened at -10 s, so to speak: half-open from 0 s on.
        let first = admitted(machine, 0);
        machine.record(0, first, BreakerOutcome::Failure { retry_after: None }, 0);
        admitted(machine, 10 * SECOND)
    };
    let ticket = match from {
        From::Closed => ticket,
        From::Open => {
            let other = admitted(&mut machine, 0);
            machine.record(0, other, FAILURE, 0);
            ticket
        }
        From::FirstProbe => half_open(&mut machine),
        From::LastProbe => {
            let first = half_open(&mut machine);
            assert_eq!(machine.record(0, first, BreakerOutcome::Success, 0), None);
            admitted(&mut machine, 0)
        }
        From::ForcedOpen => {
            machine.force(0, Some(Forced::Open));
            ticket
        }
        From::ForcedClosed | From::Disabled => {
            let forced = if matches!(from, From::Disabled) { Forced::Disabled } else { Forced::Closed };
            machine.force(0, Some(forced));
            admitted(&mut machine, 0)
        }
    };
    (machine, ticket)
}

/// Whether a call was admitted, if one was asked for, and the state afterwards.
fn happens(from: From, what: Happens) -> (Option<bool>, Ends) {
    let (mut machine, ticket) = begin(from);
    let now = if matches!(what, Happens::AskLater) { 10 } else { 5 } * SECOND;
    let mut asked = None;
    let mut end = |outcome| _ = machine.record(now, ticket, outcome, 0);
    match what {
        Happens::Ask | Happens::AskLater => asked = Some(machine.admit(now, LEASE).0.is_ok()),
        Happens::Success => end(BreakerOutcome::Success),
        Happens::Failure => end(FAILURE),
        Happens::Hint => end(BreakerOutcome::Failure { retry_after: Some(99.secs()) }),
        Happens::Neutral => end(BreakerOutcome::Neutral),
        Happens::Force(forced) => _ = machine.force(now, Some(forced)),
        Happens::Release => _ = machine.force(now, None),
    }
    let ends = match machine.mode() {
        Mode::Closed => Ends::Closed,
        Mode::Open { until } => Ends::OpenFor((until - now) / SECOND),
        Mode::HalfOpen(_) => Ends::HalfOpen,
        Mode::Forced(forced) => Ends::Forced(*forced),
    };
    (asked, ends)
}

#[test]
fn every_state_answers_everything_that_can_happen() {
    use Ends::{Closed, HalfOpen, OpenFor};
    const OPEN: Ends = Ends::Forced(Forced::Open);
    const CLOSED: Ends = Ends::Forced(Forced::Closed);
    const DISABLED: Ends = Ends::Forced(Forced::Disabled);
    const ASK: [Happens; 2] = [Happens::Ask, Happens::AskLater];
    const END: [Happens; 4] = [Happens::Success, Happens::Failure, Happens::Hint, Happens::Neutral];
    #[rustfmt::skip]
    let table = [
        //                   asked at 5 s       asked at 10 s      success   failure      with hint    neutral    released
        (From::Closed,       (true, Closed),    (true, Closed),    [Closed,   OpenFor(10), OpenFor(99), Closed],   Closed),
        (From::Open,         (false, OpenFor(5)), (true, HalfOpen), [OpenFor(5), OpenFor(5), OpenFor(5), OpenFor(5)], OpenFor(5)),
        (From::FirstProbe,   (true, HalfOpen),  (true, HalfOpen),  [HalfOpen, OpenFor(20), OpenFor(99), HalfOpen], HalfOpen),
        (From::LastProbe,    (false, HalfOpen), (false, HalfOpen), [Closed,   OpenFor(20), OpenFor(99), HalfOpen], HalfOpen),
        (From::ForcedOpen,   (false, OPEN),     (false, OPEN),     [OPEN,     OPEN,        OPEN,        OPEN],     Closed),
        (From::ForcedClosed, (true, CLOSED),    (true, CLOSED),    [CLOSED,   CLOSED,      CLOSED,      CLOSED],   Closed),
        (From::Disabled,     (true, DISABLED),  (true, DISABLED),  [DISABLED, DISABLED,    DISABLED,    DISABLED], Closed),
    ];
    for (from, soon, later, ends, released) in table {
        for (what, (admits, end)) in ASK.into_iter().zip([soon, later]) {
            assert_eq!(happens(from, what), (Some(admits), end), "{from:?}, {what:?}");
        }
        for (what, end) in END.into_iter().zip(ends) {
            assert_eq!(happens(from, what), (None, end), "{from:?}, {what:?}");
        }
        assert_eq!(happens(from, Happens::Release), (None, released), "{from:?}, released");
        for forced in [Forced::Open, Forced::Closed, Forced::Disabled] {
            assert_eq!(
                happens(from, Happens::Force(forced)),
                (None, Ends::Forced(forced)),
                "{from:?}, {forced:?}"
            );
        }
    }
}

/// A call that was admitted before the breaker opened, and succeeds after it, closes nothing.
#[test]
fn a_result_of_an_older_generation_changes_nothing() {
    let mut machine = Machine::new(strict(|_| {}), None);
    let (late, trips) = (admitted(&mut machine, 0), admitted(&mut machine, 0));
    assert!(machine.record(0, trips, FAILURE, 0).is_some());
    assert_eq!(machine.record(1, late, BreakerOutcome::Success, 0), None);
    assert_eq!(*machine.mode(), Mode::Open { until: 10 * SECOND });
    // Nor does it count as a probe, or stand in the way of one.
    let probes = [admitted(&mut machine, 10 * SECOND), admitted(&mut machine, 10 * SECOND)];
    assert_eq!(machine.record(11 * SECOND, late, FAILURE, 0), None);
    assert!(machine.admit(11 * SECOND, LEASE).0.is_err());
    let changes = probes.map(|probe| machine.record(11 * SECOND, probe, BreakerOutcome::Success, 0));
    let closed = Change { to: To::Closed, reason: BreakerReason::ProbesSucceeded };
    assert_eq!(changes, [None, Some(closed)]);
    assert_eq!((machine.totals().late, machine.totals().succeeded), (2, 3));
}

#[test]
fn a_dropped_probe_gives_its_slot_back() {
    let mut machine = Machine::new(strict(|_| {}), None);
    let first = admitted(&mut machine, 0);
    machine.record(0, first, FAILURE, 0);
    let now = 10 * SECOND;
    let (dropped, _kept) = (admitted(&mut machine, now), admitted(&mut machine, now));
    assert!(machine.admit(now, LEASE).0.is_err());
    assert!(machine.forget(dropped));
    assert!(!machine.forget(dropped), "only once");
    admitted(&mut machine, now);
    assert!(machine.admit(now, LEASE).0.is_err());
}

/// One probe hangs for six days: the others find out without it, and its result still does no harm.
#[test]
fn a_hung_probe_keeps_nobody_waiting_for_six_days() {
    let mut machine = Machine::new(strict(|rules| rules.probes = 1), None);
    let first = admitted(&mut machine, 0);
    machine.record(0, first, FAILURE, 0);
    let hung = admitted(&mut machine, 10 * SECOND);
    let mut rejected = 0;
    for second in 10..70 {
        let refused = machine.admit(second * SECOND, LEASE).0.expect_err("the probe has the slot");
        assert!(refused.until.is_some_and(|until| until > second * SECOND && until <= 70 * SECOND));
        rejected += 1;
    }
    let second = admitted(&mut machine, 70 * SECOND);
    assert_eq!(rejected, 60);
    assert!(machine.record(71 * SECOND, second, BreakerOutcome::Success, 0).is_some());
    assert_eq!(*machine.mode(), Mode::Closed);
    assert_eq!(machine.record(6 * 86_400 * SECOND, hung, FAILURE, 0), None);
    assert_eq!(*machine.mode(), Mode::Closed);
}

/// A dependency that answers more slowly than the lease: results still come in, so it closes.
#[test]
fn a_probe_that_outlives_its_lease_still_counts() {
    let mut machine = Machine::new(strict(|rules| rules.probes = 1), None);
    let first = admitted(&mut machine, 0);
    machine.record(0, first, FAILURE, 0);
    let slow = admitted(&mut machine, 10 * SECOND);
    let _beside = admitted(&mut machine, 71 * SECOND);
    assert!(machine.record(80 * SECOND, slow, BreakerOutcome::Success, 0).is_some());
    assert_eq!(*machine.mode(), Mode::Closed);
}

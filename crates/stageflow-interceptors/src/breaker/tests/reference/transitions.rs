//! What happens to a breaker: calls that end in every way and at every time, and operators.

use proptest::{prelude::*, sample::select};
use proptest_state_machine::ReferenceStateMachine;

use super::{
    forced,
    machine::{End, Phase, Reference, Settings, Transition},
};

fn settings() -> impl Strategy<Value = Settings> {
    let share = || select(vec![0.25, 0.5, 0.75, 1.0]);
    let rules =
        (prop::option::of(share()), prop::option::of((1_u64..30, share())), prop::option::of(1_u32..4));
    let windows = (prop::option::of(4_u32..9), prop::option::of(select(vec![50_u64, 200])), 1_u32..5);
    let rest = (any::<bool>(), 5_u64..60, 1_u64..5, 1_u32..4, 1_u64..60);
    (rules, windows, rest).prop_map(|(rules, windows, rest)| {
        let (failure_share, slow, in_a_row) = rules;
        let (last_calls, last_time, least) = windows;
        let (hints, open, times, probes, lease) = rest;
        Settings {
            failure_share,
            slow,
            // There is a rule at least, and a window where one is named.
            in_a_row: in_a_row.or((failure_share.is_none() && slow.is_none()).then_some(2)),
            last_calls,
            last_time: last_time.or(last_calls.is_none().then_some(100)),
            least,
            hints,
            open,
            longest: open * times,
            probes,
            lease,
        }
    })
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![
        6 => Just(End::Answered),
        6 => Just(End::Failed),
        1 => (0_u64..300).prop_map(End::FailedFor),
        1 => Just(End::SaidNothing),
        1 => Just(End::Dropped),
    ]
}

impl ReferenceStateMachine for Reference {
    type State = Self;
    type Transition = Transition;

    fn init_state() -> BoxedStrategy<Self> {
        settings().prop_map(Self::new).boxed()
    }

    fn transitions(state: &Self) -> BoxedStrategy<Transition> {
        let open: Vec<_> =
            state.calls.iter().enumerate().filter(|(_, call)| !call.over).map(|(at, _)| at).collect();
        let time = match state.phase {
            // To its very end, a moment before, and a moment after.
            Phase::Open { until } if until > state.now => {
                let left = until - state.now;
                prop_oneof![Just(left), Just(left - 1), Just(left + 1), 0..left].boxed()
            }
            _ => prop_oneof![4 => 0_u64..12, 1 => 0_u64..150].boxed(),
        };
        let pass = time.prop_map(Transition::Pass);
        let force = forced().prop_map(Transition::Force);
        if open.is_empty() {
            return prop_oneof![20 => pass, 40 => Just(Transition::Ask), 1 => force].boxed();
        }
        // The oldest are left hanging at times, so that they end late.
        let newest = *open.last().unwrap_or(&0);
        let which = prop_oneof![3 => Just(newest), 1 => select(open)];
        let end = (which, end()).prop_map(|(call, end)| Transition::End(call, end));
        prop_oneof![20 => pass, 40 => Just(Transition::Ask), 40 => end, 1 => force].boxed()
    }

    fn apply(mut state: Self, transition: &Transition) -> Self {
        state.step(transition);
        state
    }

    fn preconditions(state: &Self, transition: &Transition) -> bool {
        match transition {
            Transition::End(call, _) => state.calls.get(*call).is_some_and(|call| !call.over),
            _ => true,
        }
    }
}

//! What goes on has been approved as it is, whatever guards say and in whatever order.

use proptest::prelude::*;

use super::super::approvals::{Approvals, Settled};

/// What a guard says of version `v` of the content.
#[derive(Clone, Copy, Debug)]
enum Says {
    Allow,
    Abstain,
    Transform,
}

fn says() -> impl Strategy<Value = Says> {
    prop_oneof![4 => Just(Says::Allow), 1 => Just(Says::Abstain), 2 => Just(Says::Transform)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Random guards: it always ends, and everybody has spoken about the last version, or has made it.
    #[test]
    fn everybody_has_seen_what_goes_on(
        guards in 1_usize..6,
        script in prop::collection::vec(says(), 64),
        in_turn: bool,
    ) {
        let mut approvals = Approvals::new(guards);
        let (mut version, mut heard) = (0_u32, vec![None; guards]);
        let mut script = script.into_iter().cycle();
        let mut asked = 0;
        let ended = loop {
            let whom = approvals.next(in_turn);
            if whom.is_empty() {
                break true;
            }
            prop_assert!(!in_turn || whom.len() == 1);
            let seen = version;
            let mut by = None;
            for at in whom {
                asked += 1;
                match script.next().expect("it goes on for ever") {
                    Says::Allow => { approvals.allow(at); heard[at] = Some((seen, true)); }
                    Says::Abstain => { approvals.abstain(at); heard[at] = Some((seen, false)); }
                    Says::Transform => by = by.or(Some(at)),
                }
            }
            if let Some(at) = by {
                version += 1;
                heard[at] = Some((version, true));
                if approvals.transform(at).is_err() {
                    break false;
                }
            }
        };
        prop_assert!(asked <= guards * (2 * guards + 2), "{asked} checks of {guards} guards");
        if ended {
            prop_assert!(heard.iter().all(|heard| heard.is_some_and(|(seen, _)| seen == version)));
            let approved = heard.iter().flatten().filter(|(_, allows)| *allows).count();
            prop_assert_eq!(approvals.settle(false) == Settled::Allowed, approved == guards);
            prop_assert_eq!(approvals.settle(true) == Settled::Allowed, approved > 0);
        } else {
            prop_assert_eq!(version as usize, guards * 2 + 1);
        }
    }
}

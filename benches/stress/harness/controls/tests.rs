//! That a control which stays green is noticed, and so is a check without one.

use super::*;
use crate::harness::{bench::Bench, scenario::Control};

const BASE: Scenario = Scenario {
    name: "base",
    suites: &[],
    answers: &[],
    about: "",
    parameters: "",
    faults: &[],
    controls: &[],
    body: Step::NotBuilt { issue: 4 },
};

fn look(bench: &Bench, control: &'static str) {
    let dropped = bench.is_broken(control);
    bench.equal("writes", "", 2, if dropped { 1 } else { 2 });
}

fn outcomes(scenario: Scenario) -> Vec<Outcome> {
    let scenario: &Scenario = Box::leak(Box::new(scenario));
    let rows = run(&[scenario], Settings::default(), &Stop::listen(None).unwrap(), |_| {}).unwrap();
    rows.unwrap().into_iter().map(|row| row.result).collect()
}

const DROPS: Step = Step::Run(|bench| {
    Box::pin(async move {
        look(&bench, "dropped write");
        Ok(())
    })
});

#[test]
fn a_control_that_turns_its_check_red_is_right() {
    const CONTROLS: &[Control] = &[Control::new("dropped write", &["writes"])];
    let rows = outcomes(Scenario { controls: CONTROLS, body: DROPS, ..BASE });
    assert_eq!(rows, [Outcome::Green, Outcome::Red]);
}

#[test]
fn a_control_that_changes_nothing_is_wrong() {
    const CONTROLS: &[Control] =
        &[Control::new("dropped write", &["writes"]), Control::new("no double", &["writes"])];
    let rows = outcomes(Scenario { controls: CONTROLS, body: DROPS, ..BASE });
    assert_eq!(rows[2], Outcome::Wrong("stayed green: writes".to_owned()));
}

#[test]
fn a_check_without_a_control_is_wrong() {
    const CONTROLS: &[Control] = &[Control::new("dropped write", &["other"])];
    let rows = outcomes(Scenario { controls: CONTROLS, body: DROPS, ..BASE });
    assert_eq!(rows[0], Outcome::Wrong("no control for: writes".to_owned()));
}

#[test]
fn each_fault_is_kept_from_firing_once() {
    const SPARKS: Step = Step::Run(|bench| {
        Box::pin(async move {
            bench.fault("spark").fires(true);
            look(&bench, "dropped write");
            Ok(())
        })
    });
    const CONTROLS: &[Control] = &[Control::new("dropped write", &["writes"])];
    let rows = outcomes(Scenario { controls: CONTROLS, faults: &["spark"], body: SPARKS, ..BASE });
    assert_eq!(rows, [Outcome::Green, Outcome::Red, Outcome::Red]);
}

//! That scenarios end with the verdict they deserve.

use anyhow::bail;

use super::*;
use crate::harness::scenario::Control;

const ODD: Scenario = Scenario {
    name: "odd",
    suites: &[],
    answers: &[],
    about: "",
    parameters: "",
    faults: &["spark"],
    controls: &[Control::new("wet", &["burns"])],
    body: Step::NotBuilt { issue: 4 },
};

fn verdict_of(body: Body, settings: Settings) -> (Verdict, Option<String>) {
    let scenario = Box::leak(Box::new(Scenario { body: Step::Run(body), ..ODD }));
    let record = run(scenario, settings, &Stop::listen(None).unwrap()).unwrap();
    (record.verdict, record.reason)
}

fn burn(bench: &Bench) {
    let fires = bench.fault("spark").fires(true);
    bench.check("burns", "", "fire", "", !bench.is_broken("wet") && fires);
}

#[test]
fn a_scenario_passes_fails_under_its_control_and_is_not_injected_when_disarmed() {
    let body: Body = |bench| {
        Box::pin(async move {
            burn(&bench);
            Ok(())
        })
    };
    assert_eq!(verdict_of(body, Settings::default()).0, Verdict::Pass);
    assert_eq!(verdict_of(body, Settings { sabotage: Some("wet"), ..Settings::default() }).0, Verdict::Fail);
    let disarmed = Settings { disarmed: Some("spark"), ..Settings::default() };
    assert_eq!(verdict_of(body, disarmed).0, Verdict::NotInjected);
}

#[test]
fn errors_and_panics_are_errors_whatever_was_checked_before() {
    let fails: Body = |bench| {
        Box::pin(async move {
            burn(&bench);
            bail!("no luck")
        })
    };
    assert_eq!(verdict_of(fails, Settings::default()), (Verdict::Error, Some("no luck".to_owned())));
    let panics: Body = |bench| {
        Box::pin(async move {
            burn(&bench);
            panic!("out of luck")
        })
    };
    let (verdict, reason) = verdict_of(panics, Settings::default());
    assert_eq!((verdict, reason.as_deref()), (Verdict::Error, Some("it panicked: out of luck")));
}

#[test]
fn a_scenario_that_checks_nothing_or_names_an_unknown_control_is_an_error() {
    let idle: Body = |bench| {
        Box::pin(async move {
            bench.fault("spark").fires(true);
            Ok(())
        })
    };
    assert_eq!(verdict_of(idle, Settings::default()).1.as_deref(), Some("nothing was checked"));
    let unknown: Body = |bench| {
        Box::pin(async move {
            burn(&bench);
            bench.is_broken("dry");
            Ok(())
        })
    };
    assert_eq!(verdict_of(unknown, Settings::default()).0, Verdict::Error);
}

#[test]
fn what_is_not_built_is_said_with_its_issue() {
    let record = run(Box::leak(Box::new(ODD)), Settings::default(), &Stop::listen(None).unwrap()).unwrap();
    assert_eq!(record.verdict, Verdict::NotBuilt);
    assert_eq!(record.reason.as_deref(), Some("not built yet: needs issue 4"));
}

#[test]
fn a_time_limit_keeps_what_was_recorded_and_marks_it() {
    // So long that even a busy machine has begun the first scenario by then.
    let endless: Body = |bench| {
        Box::pin(async move {
            burn(&bench);
            std::future::pending().await
        })
    };
    let scenario: &Scenario = Box::leak(Box::new(Scenario { body: Step::Run(endless), ..ODD }));
    let campaign = Campaign {
        scenarios: vec![scenario, scenario],
        settings: Settings::default(),
        command: String::new(),
    };
    let record = campaign.run(&Stop::listen(Some(Duration::from_secs(2))).unwrap()).unwrap();
    assert_eq!(record.partial.as_deref(), Some("the time limit was reached"));
    assert_eq!((record.scenarios.len(), record.not_run.len()), (1, 1));
    assert_eq!((record.scenarios[0].verdict, record.scenarios[0].checks.len()), (Verdict::Error, 1));
}

//! The sweep finds what there is to be found, and nothing else.

use super::*;

fn two() -> (Canaries, CanaryTenant, CanaryTenant) {
    let canaries = Canaries::new(2);
    let (one, other) = (canaries.tenant(0), canaries.tenant(1));
    (canaries, one, other)
}

fn kinds(report: &SweepReport) -> Vec<LeakKind> {
    report.leaks().iter().map(|leak| leak.kind).collect()
}

#[test]
fn each_tenant_and_place_has_a_text_of_its_own() {
    let canaries = [Canaries::new(20), Canaries::new(20)];
    let texts = canaries.iter().flat_map(Canaries::tenants).flat_map(|tenant| {
        let all = Place::ALL.map(|place| tenant.canary(place));
        all.into_iter().chain([tenant.id().to_owned()]).collect::<Vec<_>>()
    });
    let texts: Vec<_> = texts.collect();
    assert_eq!(texts.len(), 2 * 20 * 14);
    for (n, text) in texts.iter().enumerate() {
        assert!(
            texts[n + 1..]
                .iter()
                .all(|other| !other.contains(text.as_str()) && !text.contains(other.as_str()))
        );
    }
    assert_eq!(Canaries::seeded(7, 3).tenant(2), Canaries::seeded(7, 9).tenant(2));
}

#[test]
fn what_a_tenant_sees_is_its_own() {
    let (canaries, one, other) = two();
    let own = |id: &str| if id == one.id() { one.clone() } else { other.clone() };
    let clean = canaries
        .sweep()
        .visible("v", |id| vec![own(id).canary(Place::Output), own(id).id().to_owned()])
        .finish();
    clean.assert_clean();
    assert_eq!((clean.tenants("v"), clean.canaries("v")), (2, 2));

    let leaky = canaries.sweep().visible("v", |id| {
        vec![
            own(id).canary(Place::Input),
            format!("ä{}ä", other.canary(Place::Cause).to_uppercase()),
            other.id().to_owned(),
        ]
    });
    let leaky = leaky.finish();
    assert_eq!(
        kinds(&leaky),
        [
            LeakKind::Foreign { seen_by: 0, of: 1, place: Place::Cause },
            LeakKind::ForeignId { seen_by: 0, of: 1 }
        ]
    );
    assert!(leaky.to_string().contains("tenant 0 sees a canary of tenant 1 (Cause)"), "{leaky}");
}

#[test]
fn raw_lines_have_no_payload_and_one_owner() {
    let (canaries, one, other) = two();
    let told = format!("{} said {}", one.id(), one.canary(Place::Field));
    let clean = canaries.sweep().raw("log", [told.as_str(), "nothing", other.id()]).finish();
    clean.assert_clean();
    assert_eq!((clean.tenants("log"), clean.canaries("log")), (2, 1));
    let cases = [
        (format!("{told} {}", one.canary(Place::Input)), LeakKind::Payload { of: 0, place: Place::Input }),
        (one.canary(Place::Message), LeakKind::Unowned { of: 0, place: Place::Message }),
        (
            format!("{} {}", other.id(), one.canary(Place::Line)),
            LeakKind::Unowned { of: 0, place: Place::Line },
        ),
        (format!("{told} {}", other.id()), LeakKind::TwoTenants { one: 0, other: 1 }),
        (format!("{told} {}", &one.canary(Place::Output)[..26]), LeakKind::Torn),
        (format!("{told} {}", &one.canary(Place::Output)[3..]), LeakKind::Torn),
    ];
    for (line, kind) in cases {
        let report = canaries.sweep().raw("log", [told.as_str(), &line]).finish();
        assert_eq!(kinds(&report), [kind], "{line}");
    }
}

/// A sweep that looks at nothing is not clean.
#[test]
fn a_sweep_is_not_blind() {
    let (canaries, one, _) = two();
    let seen = canaries
        .sweep()
        .visible("v", |id| if id == one.id() { vec![one.canary(Place::Key)] } else { vec![] });
    assert_eq!(kinds(&seen.finish()), [LeakKind::Blind { tenant: Some(1) }]);
    let raw = canaries.sweep().raw("log", ["nothing of anybody"]).finish();
    assert_eq!(kinds(&raw), [LeakKind::Blind { tenant: None }]);
    // Those of another test are nobody's.
    let stranger = Canaries::new(1).tenant(0);
    assert_eq!(
        canaries.sweep().raw("log", [stranger.id(), &stranger.canary(Place::Input)]).finish().leak_count(),
        1
    );
}

#[test]
fn many_leaks_are_counted_and_some_are_shown() {
    let (canaries, one, _) = two();
    let report = canaries.sweep().raw("log", (0..500).map(|_| one.canary(Place::Output))).finish();
    assert_eq!((report.leak_count(), report.leaks().len()), (501, 100));
    assert!(report.to_string().ends_with("and 401 more"), "{report}");
    let long = format!("{}{}{}", "ü".repeat(999), one.canary(Place::Output), "ü".repeat(999));
    let shown = canaries.sweep().raw("log", [one.id(), &long]).finish().leaks()[0].line.clone();
    assert!(shown.len() < 260 && shown.contains("canary"), "{shown}");
}

//! Merges: every rule, in a fixed order, and without payloads in the records.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use proptest::prelude::*;

use crate::enrich::{ConflictDetector, FieldConflicts, Resolve, Sourced, VersionMetadata};

fn say(source: &str, value: i32) -> Sourced<i32> {
    Sourced::new(source, [("key", value)])
}

fn at(source: &str, value: i32, secs: u64) -> Sourced<i32> {
    let captured = SystemTime::UNIX_EPOCH + Duration::from_secs(secs);
    say(source, value).version(VersionMetadata::new(source, "1", captured))
}

#[test]
fn seed3_10_keep_old_keep_new_merge_and_error() {
    let of = |resolve| {
        let merged = ConflictDetector::new(resolve).merge([&say("a", 1), &say("b", 2), &say("c", 3)]);
        merged.map(|merged| (merged.values["key"], merged.conflicts.len()))
    };
    assert_eq!(of(Resolve::KeepOld), Ok((1, 2)));
    assert_eq!(of(Resolve::KeepNew), Ok((3, 2)));
    assert_eq!(of(Resolve::merge(|old, new| old * 10 + new)), Ok((123, 2)));
    assert_eq!(of(Resolve::Newest), Ok((1, 2)), "nobody says when");
    let error = of(Resolve::Error).expect_err("they disagree");
    assert_eq!(error.to_string(), "`a` and `b` disagree about `key`, and 1 more");
    assert_eq!(error.conflicts().len(), 2);
}

#[test]
fn newest_is_by_the_version_and_in_doubt_the_old_one() {
    let of = |sources: [&Sourced<i32>; 2]| {
        ConflictDetector::new(Resolve::Newest).merge(sources).expect("it has a rule").values["key"]
    };
    assert_eq!(of([&at("a", 1, 5), &at("b", 2, 6)]), 2);
    assert_eq!(of([&at("a", 1, 6), &at("b", 2, 5)]), 1);
    assert_eq!(of([&at("a", 1, 5), &at("b", 2, 5)]), 1);
    assert_eq!(of([&at("a", 1, 5), &say("b", 2)]), 1);
}

/// What upstream did wrong: equal values were merged with themselves, and its rule `error` was none.
#[test]
fn equal_values_and_keys_of_one_source_are_no_conflict() {
    let detector = ConflictDetector::new(Resolve::Error);
    let merged = detector.merge([&say("a", 1), &say("b", 1), &Sourced::new("c", [("other", 9)])]);
    let merged = merged.expect("they agree");
    assert_eq!(merged.values, BTreeMap::from([("key".to_owned(), 1), ("other".to_owned(), 9)]));
    assert_eq!(merged.conflicts, []);
    assert_eq!(detector.merge([]).expect("nobody disagrees").values.len(), 0);
}

#[test]
fn a_conflict_names_whose_value_stood_there() {
    let detector = ConflictDetector::new(Resolve::KeepNew).key("key", Resolve::KeepOld);
    let merged =
        detector.merge([&say("a", 1), &say("b", 1), &say("c", 2), &say("d", 3)]).expect("it has a rule");
    let pairs: Vec<_> = merged.conflicts.iter().map(|one| (&*one.old_source, &*one.new_source)).collect();
    assert_eq!(pairs, [("a", "c"), ("a", "d")]);
    assert!(merged.conflicts.iter().all(|one| one.resolution == "keep_old" && one.values.is_none()));
}

/// The canary: a value that must never be seen.
#[test]
fn values_are_in_no_record_unless_that_is_allowed() {
    let canary = |n: u32| Sourced::new(format!("source {n}"), [("iban", format!("canary-{n}"))]);
    let (one, two) = (canary(1), canary(2));
    let plain = ConflictDetector::new(Resolve::Error);
    let error = plain.merge([&one, &two]).expect_err("they disagree");
    assert!(!format!("{error} {error:?} {plain:?}").contains("canary"));
    let shown = plain.show_values(String::clone).merge([&one, &two]).expect_err("they disagree");
    assert_eq!(shown.conflicts()[0].values, Some(("canary-1".to_owned(), "canary-2".to_owned())));
    assert!(!shown.to_string().contains("canary"), "an error goes further than a record");
}

#[test]
fn fields_are_settled_one_by_one_and_none_says_nothing() {
    #[derive(Clone, Debug, PartialEq)]
    struct Profile {
        id: u32,
        city: String,
        phone: Option<String>,
    }
    let profile = |id, city: &str, phone: Option<&str>| Profile {
        id,
        city: city.to_owned(),
        phone: phone.map(str::to_owned),
    };
    let fields =
        |city| {
            FieldConflicts::new()
                .field("city", |p: &Profile| Some(&p.city), |p, city| p.city = city, city)
                .field("phone", |p| p.phone.as_ref(), |p, phone| p.phone = Some(phone), Resolve::KeepOld)
        };
    let (a, b, c) = (profile(1, "Graz", None), profile(2, "Linz", Some("1")), profile(3, "Graz", Some("2")));
    let sources = [("a", &a), ("b", &b), ("c", &c)];
    let (merged, conflicts) = fields(Resolve::KeepNew).merge(&a, sources).expect("each has a rule");
    assert_eq!(merged, profile(1, "Graz", Some("1")));
    let keys: Vec<_> = conflicts.iter().map(ToString::to_string).collect();
    assert_eq!(
        keys,
        [
            "`a` and `b` disagree about `city`",
            "`b` and `c` disagree about `city`",
            "`b` and `c` disagree about `phone`"
        ]
    );
    let error = fields(Resolve::Error).merge(&a, sources).expect_err("they disagree");
    assert_eq!(error.conflicts().len(), 2, "all are found before");
}

proptest! {
    #[test]
    fn every_key_is_there_and_every_disagreement_is_recorded(
        maps in prop::collection::vec(prop::collection::btree_map("[a-e]", 0_i32..3, 0..5), 0..5)
    ) {
        let sources: Vec<_> =
            maps.iter().enumerate().map(|(n, map)| Sourced::new(n.to_string(), map.clone())).collect();
        let merged = ConflictDetector::new(Resolve::KeepOld).merge(&sources).expect("it has a rule");
        for (key, value) in &merged.values {
            let says: Vec<_> = maps.iter().filter_map(|map| map.get(key)).collect();
            prop_assert_eq!(&value, &says[0]);
            let differ = says.iter().filter(|one| **one != says[0]).count();
            prop_assert_eq!(merged.conflicts.iter().filter(|one| one.key == *key).count(), differ);
        }
        let all: std::collections::BTreeSet<_> = maps.iter().flat_map(BTreeMap::keys).collect();
        prop_assert_eq!(merged.values.keys().collect::<std::collections::BTreeSet<_>>(), all);
        prop_assert!(merged.conflicts.is_sorted_by(|a, b| a.key <= b.key));
    }
}

//! Versions: the constructor is what its documentation says, hashes are those of the standard, and time does not surprise.

use std::time::{Duration, SystemTime};

use crate::enrich::VersionMetadata;

const SOURCE: &str = include_str!("../version.rs");

/// SEED3-14: a parameter that the documentation did not have.
#[test]
fn seed3_14_the_constructor_has_the_parameters_that_are_documented_and_no_others() {
    let documented: Vec<_> = SOURCE
        .lines()
        .skip_while(|line| !line.contains("# Parameters of `new`"))
        .take_while(|line| !line.contains("There are no others"))
        .filter_map(|line| line.strip_prefix("/// - `")?.split_once('`'))
        .map(|(name, _)| name.to_owned())
        .collect();
    let signature =
        SOURCE.split("pub fn new(").nth(1).and_then(|rest| rest.split(')').next()).expect("it is there");
    let taken: Vec<_> = signature
        .split(", ")
        .filter_map(|one| one.split_once(": "))
        .map(|(name, _)| name.to_owned())
        .collect();
    assert_eq!(documented, ["source", "version", "captured_at"]);
    assert_eq!(documented, taken);
    let new: fn(&'static str, &'static str, SystemTime) -> VersionMetadata = VersionMetadata::new;
    let made = new("crm", "v7", SystemTime::UNIX_EPOCH);
    assert_eq!((made.source(), made.version(), made.captured_at()), ("crm", "v7", SystemTime::UNIX_EPOCH));
    assert_eq!((made.content_hash(), made.time_to_live()), (None, None));
}

/// An example of FIPS 180-4, as `sha256sum` prints it.
#[test]
fn the_hash_of_the_content_is_sha_256() {
    let hash = VersionMetadata::new("crm", "v7", SystemTime::UNIX_EPOCH).of_content("abc");
    assert_eq!(hash.content_hash(), Some("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"));
}

#[test]
fn stale_is_what_is_older_than_its_time() {
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
    let version = VersionMetadata::new("crm", "v7", then);
    assert!(!version.is_stale_at(then + Duration::from_secs(1 << 40)), "without a time to live it never is");
    let version = version.ttl(Duration::from_millis(5));
    let at = |millis| version.is_stale_at(then + Duration::from_millis(millis));
    assert_eq!([at(0), at(4), at(5), at(6)], [false, false, false, true]);
    assert!(!version.is_stale_at(SystemTime::UNIX_EPOCH), "a clock that goes back makes nothing stale");
    assert_eq!(version.age_at(SystemTime::UNIX_EPOCH), Duration::ZERO);
    assert!(version.clone().ttl(Duration::ZERO).is_stale_at(then + Duration::from_nanos(1)));
    assert!(version.is_outdated_by("v8") && !version.is_outdated_by("v7"));
}

#[test]
fn a_hash_tells_contents_apart_and_none_tells_nothing() {
    let version = VersionMetadata::new("crm", "v7", SystemTime::UNIX_EPOCH);
    assert!(!version.is_content(""), "nothing was hashed");
    let version = version.of_content("one");
    assert!(version.is_content("one") && !version.is_content("two"));
    assert_eq!(version.to_string(), "crm v7 (7692c3ad3540)");
}

//! Versions: the constructor is what its documentation says, hashes are those of the standard, and time does not surprise.

use std::time::{Duration, SystemTime};

use crate::enrich::{VersionMetadata, sha256::sha256};

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

fn hex(content: &[u8]) -> String {
    sha256(content).map(|byte| format!("{byte:02x}")).concat()
}

/// The examples of FIPS 180-4, and every length around a block.
#[test]
fn the_hash_is_sha_256() {
    assert_eq!(hex(b""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_eq!(hex(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_eq!(
        hex(b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
    );
    assert_eq!(
        hex(&vec![b'a'; 1_000_000]),
        "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"
    );
    assert_eq!(hex(&[b'a'; 55]), "9f4390f8d30c2dd92ec9f095b65e2b9ae9b0a925a5258e241c9f1e910f734318");
    assert_eq!(hex(&[b'a'; 56]), "b35439a4ac6f0948b6d6f9e3c6af0f5f590ce20f1bde7090ef7970686ec6738a");
    assert_eq!(hex(&[b'a'; 64]), "ffe054fe7ae0cb6dc65c3af9b61d5209f439851db43d0ba5997337df154668eb");
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

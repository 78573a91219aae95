//! One effect, however many ask for it.

use crate::kit::{Dir, child};

#[test]
fn a_thousand_duplicates_in_four_processes_have_one_effect() {
    let dir = Dir::new();
    let children: Vec<_> = (0..4)
        .map(|_| child("duplicates", &dir.0).env("STORE_CALLS", "250").spawn().expect("a child"))
        .collect();
    for child in children {
        let ended = child.wait_with_output().expect("a child ends");
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    }
    let effects = std::fs::read_to_string(dir.acks()).expect("there was an effect");
    assert_eq!(effects, "0 1\n", "of 1,000 calls one is made");
}

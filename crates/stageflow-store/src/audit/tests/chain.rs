//! A chain holds as it was written, and not otherwise.

use super::{
    super::{START, link, text, verify},
    *,
};

fn record(tenant: &str, number: u64) -> AuditRecord {
    super::super::rules::record(&denied(&run(tenant), number), &TenantId::from("-"))
}

fn chained(records: impl IntoIterator<Item = AuditRecord>) -> Vec<Audited> {
    let mut hash = START;
    (1..)
        .zip(records)
        .map(|(seq, record)| {
            hash = link(&hash, seq, &text(&record).unwrap());
            Audited { seq, hash, record }
        })
        .collect()
}

/// Every single change to a log of five, each found at its place.
#[test]
fn whatever_is_changed_taken_out_put_in_or_moved_is_found() {
    let whole = chained((1..=5).map(|number| record("acme", number)));
    assert!(verify(None, &whole).is_ok() && verify(None, &[]).is_ok());
    type Change = fn(&mut Vec<Audited>, usize);
    let changes: [(&str, Change); 8] = [
        ("a decision", |log, at| log[at].record.decision = "granted".into()),
        ("a tenant", |log, at| log[at].record.tenant = "globex".into()),
        ("a time", |log, at| log[at].record.at += std::time::Duration::from_nanos(1)),
        ("a hash", |log, at| log[at].hash[31] ^= 1),
        ("a number", |log, at| log[at].seq += 1),
        ("moved", |log, at| log.swap(at, (at + 1) % 5)),
        ("put in", |log, at| {
            let mut more = log[at].clone();
            more.record.reason = "more".into();
            log.insert(at, more);
        }),
        ("put in, and numbered anew", |log, at| {
            let more = log[at].clone();
            log.insert(at, more);
            (1..).zip(&mut *log).for_each(|(seq, one)| one.seq = seq);
        }),
    ];
    for (what, change) in changes {
        for at in 0..5 {
            let mut log = whole.clone();
            change(&mut log, at);
            assert!(verify(None, &log).is_err(), "{what} at {at}");
        }
    }
    for at in 0..4 {
        let mut log = whole.clone();
        log.remove(at);
        assert!(verify(None, &log).is_err(), "taken out at {at}");
    }
    // Of a shorter log nothing can be seen but what a receipt says of it: its last number and hash.
    assert!(verify(None, &whole[..3]).is_ok());
    assert!(verify(Some(&whole[1]), &whole[2..]).is_ok() && verify(Some(&whole[0]), &whole[2..]).is_err());
}

/// Whoever can write the log and knows how the hashes are made can write another one: of the last hash he has no second.
#[test]
fn another_history_has_another_last_hash() {
    let one = chained((1..=3).map(|number| record("acme", number)));
    let mut records: Vec<_> = one.iter().map(|audited| audited.record.clone()).collect();
    records[0].decision = "granted".into();
    let other = chained(records);
    assert!(verify(None, &other).is_ok() && one[2].hash != other[2].hash);
}

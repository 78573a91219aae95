//! Quotas as data, and who has which.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use super::{OnQuotaChange, Quota, QuotaExceeded, QuotaKind, TenantQuotas};
use crate::{DurationExt, TenantId, code};

#[test]
fn a_quota_goes_through_json_and_an_unknown_limit_is_no_quota() {
    let quota = Quota::concurrent_runs(2).stages_in_flight(3).runs_per(4, 5.secs()).burst(6).stored_bytes(7);
    let quota = quota.cost_per(8, 9.secs()).wait_up_to(10.secs()).max_waiting(11);
    let json = serde_json::to_string(&quota).unwrap();
    assert_eq!(serde_json::from_str::<Quota>(&json).unwrap(), quota);
    assert_eq!(serde_json::from_str::<Quota>("{}").unwrap(), Quota::new());
    assert!(serde_json::from_str::<Quota>(r#"{"concurrent_run":2}"#).is_err(), "a typing error is no quota");
}

#[test]
fn what_would_stand_still_is_the_least_that_does_not() {
    let quota = Quota::concurrent_runs(0).stages_in_flight(0).runs_per(0, 0.secs()).cost_per(0, 0.secs());
    let nano = std::time::Duration::from_nanos(1);
    assert_eq!(quota.concurrent_runs_limit(), Some(0), "it may be that nothing is let in");
    assert_eq!(quota.stages_in_flight_limit(), Some(1), "but what is in ends");
    assert_eq!((quota.run_rate(), quota.cost_limit()), (Some((0, nano, 1)), Some((0, nano))));
    assert_eq!(quota.wait_up_to(0.secs()).waiting(), None, "no time to wait is no wait");
}

#[test]
fn the_nearest_quota_counts_as_a_whole() {
    let quotas = TenantQuotas::new(Quota::concurrent_runs(1).stages_in_flight(9));
    let quotas = quotas.look_up(|tenant| (tenant.as_str() == "b").then_some(Quota::concurrent_runs(2)));
    let of = |tenant: &str| quotas.of(Some(&TenantId::from(tenant)));
    assert_eq!((of("a").concurrent_runs_limit(), of("b").concurrent_runs_limit()), (Some(1), Some(2)));
    assert_eq!((of("a").stages_in_flight_limit(), of("b").stages_in_flight_limit()), (Some(9), None));
    quotas.set("b", Quota::new());
    assert_eq!((of("b"), quotas.of(None)), (Quota::new(), of("a")));
    quotas.unset("b");
    assert_eq!(of("b").concurrent_runs_limit(), Some(2));
    assert_eq!(
        quotas.to_string(),
        "1 runs at a time, 9 stages in flight; others are looked up",
        "and no tenant is named"
    );
}

#[test]
fn a_store_asks_before_it_writes() {
    let quotas = TenantQuotas::from(Quota::new()).with("acme", Quota::new().stored_bytes(100));
    let (acme, other) = (TenantId::from("acme"), TenantId::from("other"));
    assert_eq!(quotas.check_stored_bytes(&acme, 90, 10), Ok(()));
    assert_eq!(quotas.check_stored_bytes(&other, u64::MAX, u64::MAX), Ok(()));
    let refused = quotas.check_stored_bytes(&acme, 90, 11).unwrap_err();
    assert_eq!(refused, QuotaExceeded::new(Some(acme), QuotaKind::StoredBytes, 100, 90));
    assert_eq!(refused.to_string(), "tenant `acme`: 90 of 100 stored bytes");
    let exit = refused.into_exit().into_exit();
    assert!(matches!(exit, crate::exit::Exit::Fail(spec) if spec.code == code::QUOTA_EXCEEDED));
}

#[test]
fn whoever_goes_by_quotas_is_told_of_changes_as_long_as_it_lives() {
    struct Told(AtomicUsize);
    impl OnQuotaChange for Told {
        fn quotas_changed(&self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let quotas = TenantQuotas::new(Quota::new());
    let told = Arc::new(Told(AtomicUsize::new(0)));
    let weak = Arc::downgrade(&told);
    quotas.on_change(weak.clone());
    let (before, clone) = (quotas.version(), quotas.clone());
    clone.set("a", Quota::concurrent_runs(1));
    clone.set_default(Quota::concurrent_runs(1));
    quotas.changed();
    assert_eq!((told.0.load(Ordering::SeqCst), quotas.version()), (3, before + 3));
    drop(told);
    quotas.changed();
    assert_eq!(weak.strong_count(), 0);
}
